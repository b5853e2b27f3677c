//! Where the server listens, and the tokens that it asks for. Beyond this machine it takes one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};

use shimmy_server::Secret;

use crate::cli::{ListenArgs, ServeArgs};
use crate::failure::Failure;

/// The port that clients look for first, and the last one that `auto` tries before any.
pub(crate) const FIRST_PORT: u16 = 11435;
pub(crate) const LAST_PORT: u16 = 11535;

/// Where Ollama's clients look for it.
pub(crate) const OLLAMA_ADDRESS: &str = "127.0.0.1:11434";
const OLLAMA_PORT: u16 = 11434;

/// The tokens that requests must carry one of; none if they need not.
pub(crate) fn api_keys(args: &ListenArgs) -> Result<Vec<Secret>, Failure> {
    let keys = tokens(args)?;
    let secrets = keys.iter().map(|key| Secret::new(key));
    secrets.collect::<Result<_, _>>().map_err(|error| {
        Failure::usage(error).hint("unset SHIMMY_API_KEY to serve without a token on loopback")
    })
}

/// The same as texts, unchecked.
pub(crate) fn tokens(args: &ListenArgs) -> Result<Vec<String>, Failure> {
    match (&args.api_key, &args.api_key_file) {
        (Some(_), Some(_)) => Err(Failure::usage(
            "the API key is given twice, by itself and in a file",
        )
        .hint("leave out one of --api-key and --api-key-file, or of their variables")),
        (Some(keys), None) => Ok(keys.clone()),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!(
                    "cannot read the API key from {}: {error}",
                    path.display()
                ))
                .hint("--api-key-file names a file that holds the token, or several, one a line")
            })?;
            let lines = text.trim_end_matches(['\r', '\n']).split('\n');
            Ok(lines
                .map(|line| line.trim_end_matches('\r').to_owned())
                .collect())
        }
        (None, None) => Ok(Vec::new()),
    }
}

/// Whether an address leaves the choice to the program.
pub(crate) fn is_auto(bind: &str) -> bool {
    bind == "auto" || bind.is_empty()
}

/// Opens the address that `--bind` asks for.
pub(crate) fn bind(args: &ListenArgs, has_key: bool) -> Result<TcpListener, Failure> {
    if is_auto(&args.bind) {
        return bind_auto();
    }
    let addresses = addresses(&args.bind, has_key, BIND_EXAMPLE)?;
    TcpListener::bind(addresses.as_slice()).map_err(|error| {
        Failure::new(format!("cannot listen on {}: {error}", args.bind))
            .hint("another program may have the port; --bind auto takes the next free one")
    })
}

/// Opens the address for Ollama's clients, if there is to be one.
pub(crate) fn bind_ollama(args: &ServeArgs, has_key: bool) -> Result<Option<TcpListener>, Failure> {
    let Some(text) = &args.ollama else {
        return Ok(None);
    };
    let address = ollama_address(text);
    let addresses = addresses(&address, has_key, OLLAMA_EXAMPLE)?;
    let listener = TcpListener::bind(addresses.as_slice()).map_err(|error| {
        Failure::new(format!(
            "cannot listen on {address} for Ollama's clients: {error}"
        ))
        .hint(
            "Ollama itself may be running: stop it, name another address with --ollama HOST:PORT, \
             or leave it out, for Ollama's dialect is also spoken on the other port",
        )
    })?;
    Ok(Some(listener))
}

/// The address in a text as Ollama's own programs take it: a URL, a host, or a port after a colon.
fn ollama_address(text: &str) -> String {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split('/').next().unwrap_or_default();
    let is_bare_v6 = text.matches(':').count() > 1 && !text.starts_with('[');
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !is_bare_v6 && !port.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    let host = match host {
        "" => "127.0.0.1".to_owned(),
        host if is_bare_v6 => format!("[{host}]"),
        host => host.to_owned(),
    };
    if port.is_empty() {
        format!("{host}:{OLLAMA_PORT}")
    } else {
        format!("{host}:{port}")
    }
}

const BIND_EXAMPLE: &str = "write it as HOST:PORT, for example 127.0.0.1:11435, or auto";
const OLLAMA_EXAMPLE: &str = "write it as HOST:PORT, for example 127.0.0.1:11434";

/// What an address means; one that other machines can reach takes a token.
fn addresses(text: &str, has_key: bool, example: &str) -> Result<Vec<SocketAddr>, Failure> {
    let addresses: Vec<SocketAddr> = text
        .to_socket_addrs()
        .map_err(|error| {
            Failure::usage(format!("{text:?} is no address to listen on: {error}")).hint(example)
        })?
        .collect();
    if !has_key && addresses.iter().any(|address| !address.ip().is_loopback()) {
        return Err(Failure::usage(format!(
            "{text} can be reached from other machines, and no token is set"
        ))
        .hint("set SHIMMY_API_KEY, or listen on 127.0.0.1"));
    }
    Ok(addresses)
}

fn bind_auto() -> Result<TcpListener, Failure> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for port in (FIRST_PORT..=LAST_PORT).chain([0]) {
        match TcpListener::bind((loopback, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => {
                return Err(Failure::new(format!(
                    "cannot listen on {loopback}:{port}: {error}"
                )));
            }
        }
    }
    Err(Failure::new(format!("no port of {loopback} is free")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollamas_address_is_read_as_its_own_programs_do() {
        for (text, address) in [
            (OLLAMA_ADDRESS, OLLAMA_ADDRESS),
            ("localhost", "localhost:11434"),
            ("0.0.0.0", "0.0.0.0:11434"),
            (":8080", "127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
            ("https://example.com/base", "example.com:11434"),
            ("::1", "[::1]:11434"),
            ("[::1]", "[::1]:11434"),
            ("[::1]:80", "[::1]:80"),
            (" 127.0.0.1 ", "127.0.0.1:11434"),
        ] {
            assert_eq!(ollama_address(text), address, "{text}");
        }
    }
}
