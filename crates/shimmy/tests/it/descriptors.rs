//! A server that may open few files.

use std::net::TcpStream;
use std::process::Command;

use crate::support::{Server, shimmy};

/// `shimmy serve` under limits of the shell's.
fn limited(folder: &std::path::Path, limits: &str) -> Server {
    let usual = shimmy(folder);
    let mut command = Command::new("sh");
    let line = format!("{limits}; exec \"$0\" serve --bind 127.0.0.1:0");
    command.arg("-c").arg(line).arg(usual.get_program());
    for (name, value) in usual.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(folder);
    Server::launch(command)
}

#[test]
fn more_connections_than_descriptors_wait_and_are_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited(folder.path(), "ulimit -n 64");
    let address = server.url("").replace("http://", "");
    let connect = || TcpStream::connect(&address).expect("a connection");
    let held: Vec<TcpStream> = (0..120).map(|_| connect()).collect();
    // Behind those that are held no longer.
    drop(held);
    assert_eq!(server.get("/health").0, 200);
    server.signal("TERM");
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    let told = log.matches("may open 64 files").count();
    assert_eq!(told, 1, "{log}");
    assert!(!log.contains("no connection can be accepted"), "{log}");
}

#[test]
fn a_soft_limit_is_raised() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = limited(folder.path(), "ulimit -Sn 64; ulimit -Hn 4096");
    assert_eq!(server.get("/health").0, 200);
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(!log.contains("may open"), "{log}");
}
