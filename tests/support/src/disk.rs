//! A small file system in memory, which can be full.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A small file system in memory; it goes with the value.
pub struct Small(PathBuf);

impl Small {
    /// Mounts one of this many bytes.
    pub fn mount(path: PathBuf, bytes: u64) -> Self {
        fs::create_dir_all(&path).unwrap();
        let size = format!("size={bytes},mode=0755");
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(size.as_str())).unwrap();
        Self(path)
    }

    /// Takes all the room that there is; gives the file that has it.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        let piece = vec![b'x'; 4096];
        while file.write_all(&piece).is_ok() {}
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Also while a process that a failed test has left uses it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
