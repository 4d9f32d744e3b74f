//! Passing open descriptors to another process over a Unix socket: unix(7) `SCM_RIGHTS`.
//!
//! Each message carries one byte of its own, since ancillary data needs company on a stream. What arrives is
//! close-on-exec from the start.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

/// The byte that stands for descriptors on a stream.
const MARK: u8 = b'D';
/// The most descriptors that one message can carry: unix(7), the kernel's `SCM_MAX_FD`.
const MOST: usize = 253;

/// Sends descriptors with one byte.
/// Fails with `EINVAL` for more than the kernel can pass at once, else what sendmsg(2) answers.
pub(crate) fn send(socket: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, &[MARK], descriptors)
}

/// Sends a whole message with descriptors, as `sd_notify(3)` wants them.
/// Fails like [`send`].
pub(crate) fn send_with(socket: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if descriptors.len() > MOST {
        return Err(io::Error::from_raw_os_error(nix::libc::EINVAL));
    }
    let rights = SendAncillaryMessage::ScmRights(descriptors);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(rights) {
        return Err(io::Error::from_raw_os_error(nix::libc::EINVAL));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives what [`send`] sent.
/// Fails with `UnexpectedEof` if the peer is gone, `InvalidData` if something else arrives, else what recvmsg(2) answers.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Vec<OwnedFd>> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let message = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut received = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            received.extend(descriptors);
        }
    }
    match message.bytes {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        1 if byte == [MARK] => Ok(received),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn passed_descriptor_is_the_same_open_file_and_close_on_exec() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"content").unwrap();
        file.rewind().unwrap();
        send(&ours, &[file.as_fd()]).unwrap();
        let [passed] = <[OwnedFd; 1]>::try_from(receive(&theirs).unwrap()).unwrap();
        let flags = rustix::io::fcntl_getfd(&passed).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let mut text = String::new();
        std::fs::File::from(passed).read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
    }

    #[test]
    fn closed_or_wrong_peer_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&ours).write_all(b"x").unwrap();
        assert_eq!(receive(&theirs).unwrap_err().kind(), io::ErrorKind::InvalidData);
        drop(ours);
        assert_eq!(receive(&theirs).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
