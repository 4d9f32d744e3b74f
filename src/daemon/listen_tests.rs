use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[test]
fn stale_socket_is_replaced_and_gets_its_mode_and_a_served_one_is_not() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = [ListenAddr::Unix(path.clone())];
    let mut first = Listeners::bind(&address, Passed::default(), Owners::Ours).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let second = Listeners::bind(&address, Passed::default(), Owners::Ours).unwrap_err();
    assert!(matches!(second, Error::Served(..)));
    first.remove_files();
    assert!(!path.exists());
}

#[test]
fn ordinary_file_in_the_place_of_a_socket_survives() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("file");
    crate::sys::fs::write_atomic(&path, b"precious", crate::sys::fs::Ownership::mode(0o600)).unwrap();
    let refused =
        Listeners::bind(&[ListenAddr::Unix(path.clone())], Passed::default(), Owners::Ours).unwrap_err();
    assert!(matches!(refused, Error::NotASocket(_)));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn taken_port_is_named_with_a_hint() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let address = ListenAddr::Tcp { host: "127.0.0.1".to_owned(), port };
    let error = Listeners::bind(&[address], Passed::default(), Owners::Ours).unwrap_err();
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(error.hint().unwrap().contains(&format!("sport = :{port}")));
    assert_eq!(error.to_exit(), Exit::Os);
}
