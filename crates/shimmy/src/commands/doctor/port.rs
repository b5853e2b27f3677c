//! The address that the server would listen on, and who has it already.

use std::net::{SocketAddr, TcpListener};

use super::Check;
use super::port_holder::holder;
use crate::cli::ListenArgs;
use crate::commands::server::{RunningServer, addresses};
use crate::config::{FIRST_PORT, is_auto};

/// Whether it can have it.
pub(super) fn check(listen: &ListenArgs) -> Check {
    // A server on any port is one that this machine's clients find.
    if let Ok(server) = RunningServer::connect(listen) {
        let version = server.health["version"].as_str().unwrap_or("?");
        return Check::ok(
            "port",
            format!("shimmy {version} serves on http://{}", server.address),
        );
    }
    let addresses = match addresses(listen) {
        Ok(addresses) => addresses,
        Err(failure) => {
            return Check::fail(
                "port",
                failure.to_string(),
                "write it as HOST:PORT, or auto",
            );
        }
    };
    let Some(&address) = addresses.first() else {
        return Check::fail(
            "port",
            "the address means no place",
            "write it as HOST:PORT, or auto",
        );
    };
    let is_auto = is_auto(&listen.bind);
    if !is_auto && let Some(check) = without_token(listen) {
        return check;
    }
    match TcpListener::bind(address) {
        Ok(_) => Check::ok("port", format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => taken(address, is_auto),
        Err(error) => Check::fail(
            "port",
            format!("cannot listen on {address}: {error}"),
            "choose another address: --bind HOST:PORT, or auto",
        ),
    }
}

fn taken(address: SocketAddr, is_auto: bool) -> Check {
    let who = holder(address.port()).unwrap_or_else(|| "another user's program".to_owned());
    let detail = format!("{address} is taken by {who}");
    match is_auto {
        true => Check::warn(
            "port",
            detail,
            format!(
                "the server takes the next free one, and clients that look for {FIRST_PORT} \
                     do not find it"
            ),
        ),
        false => Check::fail("port", detail, "stop it, or choose another --bind, or auto"),
    }
}

/// The server would refuse to start.
fn without_token(listen: &ListenArgs) -> Option<Check> {
    use std::net::ToSocketAddrs;
    let has_token = listen.api_key.is_some() || listen.api_key_file.is_some();
    let addresses = listen.bind.to_socket_addrs().ok()?;
    let is_open = addresses
        .into_iter()
        .any(|address| !address.ip().is_loopback());
    (is_open && !has_token).then(|| {
        Check::fail(
            "port",
            format!(
                "{} can be reached from other machines, and no token is set",
                listen.bind
            ),
            "set SHIMMY_API_KEY, or listen on 127.0.0.1",
        )
    })
}
