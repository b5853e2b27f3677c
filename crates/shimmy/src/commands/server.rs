//! A running server, as `ps`, `stop` and `doctor` talk to it: over its own routes, at the address and
//! with the token that the settings say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;

use crate::cli::ListenArgs;
use crate::config::{self, FIRST_PORT, LAST_PORT, is_auto};
use crate::failure::Failure;

/// How long an address may take to take a connection, and a server to say that it is one.
const KNOCK: Duration = Duration::from_millis(500);
/// How long an answer may take: unloading waits for running answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer that is read.
const MAX_BYTES: u64 = 16 << 20;

/// A server that has said that it is one.
#[derive(Debug)]
pub(super) struct RunningServer {
    agent: Agent,
    pub(super) address: SocketAddr,
    /// What it says of itself.
    pub(super) health: Value,
    token: Option<String>,
}

impl RunningServer {
    /// The server that the settings mean; an error with what to do if none answers there.
    pub(super) fn connect(listen: &ListenArgs) -> Result<Self, Failure> {
        let addresses = addresses(listen)?;
        let token = config::tokens(listen)?.into_iter().next();
        let place = match is_auto(&listen.bind) {
            true => format!("127.0.0.1, ports {FIRST_PORT} to {LAST_PORT}"),
            false => listen.bind.clone(),
        };
        let server = addresses
            .into_iter()
            .find_map(|address| Self::knock(address, token.clone()));
        server.ok_or_else(|| {
            Failure::new(format!("no shimmy server answers at {place}")).hint(
                "start one with `shimmy serve`, or say where it is with --bind HOST:PORT or \
                 SHIMMY_BIND_ADDRESS",
            )
        })
    }

    /// The server at an address, if one answers there.
    pub(super) fn knock(address: SocketAddr, token: Option<String>) -> Option<Self> {
        // Most ports are closed, which this finds out without making a request.
        TcpStream::connect_timeout(&address, KNOCK).ok()?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("shimmy/", env!("CARGO_PKG_VERSION")))
            .build();
        let mut server = Self {
            agent: agent.into(),
            address,
            health: Value::Null,
            // Nobody is told it who has not said that he is one of us.
            token: None,
        };
        let asked = server.agent.get(server.url("/health"));
        let asked = asked.config().timeout_global(Some(KNOCK)).build().call();
        let health = asked.ok().and_then(|mut answer| read(&mut answer).ok())?;
        if health["service"] != "shimmy" {
            return None;
        }
        (server.health, server.token) = (health, token);
        Some(server)
    }

    pub(super) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base())
    }

    /// What a route says; none if it knows no such thing.
    pub(super) fn get(&self, path: &str) -> Result<Option<Value>, Failure> {
        let request = self.agent.get(self.url(path));
        let request = match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        };
        self.outcome(request.call())
    }

    /// The same for a route that changes something.
    pub(super) fn post(&self, path: &str) -> Result<Option<Value>, Failure> {
        let request = self.agent.post(self.url(path));
        let request = request.header("Content-Type", "application/json");
        let request = match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        };
        self.outcome(request.send("{}"))
    }

    fn outcome(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Option<Value>, Failure> {
        let failed = |error: ureq::Error| {
            Failure::new(format!(
                "the server at {} does not answer: {error}",
                self.address
            ))
        };
        let mut answer = answer.map_err(failed)?;
        let status = answer.status().as_u16();
        let body = read(&mut answer);
        match status {
            200..300 => body.map(Some).map_err(failed),
            401 | 403 => Err(Failure::new(format!(
                "the server at {} asks for another token",
                self.address
            ))
            .hint("set SHIMMY_API_KEY, or name the file with it: --api-key-file FILE")),
            404 => Ok(None),
            _ => {
                let body = body.unwrap_or_default();
                let reason = body["error"].as_str().unwrap_or("it does not say why");
                Err(Failure::new(format!(
                    "the server at {} refuses with {status}: {reason}",
                    self.address
                )))
            }
        }
    }
}

/// Where the server may be, in the order in which it would have chosen.
pub(super) fn addresses(listen: &ListenArgs) -> Result<Vec<SocketAddr>, Failure> {
    if is_auto(&listen.bind) {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let ports = FIRST_PORT..=LAST_PORT;
        return Ok(ports.map(|port| SocketAddr::new(loopback, port)).collect());
    }
    let addresses = listen.bind.to_socket_addrs().map_err(|error| {
        Failure::usage(format!("{:?} is no address: {error}", listen.bind))
            .hint("write it as HOST:PORT, for example 127.0.0.1:11435, or auto")
    })?;
    let addresses: Vec<SocketAddr> = addresses.map(reachable).collect();
    match addresses.iter().all(|address| address.port() == 0) {
        true => Err(
            Failure::usage("a server at port 0 has a port that only it knows")
                .hint("it has printed its address: --bind HOST:PORT"),
        ),
        false => Ok(addresses),
    }
}

/// Where somebody who listens on all interfaces is reached from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn read(answer: &mut ureq::http::Response<ureq::Body>) -> Result<Value, ureq::Error> {
    let body = answer.body_mut().with_config().limit(MAX_BYTES);
    let text = body.read_to_string()?;
    serde_json::from_str(&text).map_err(|error| ureq::Error::Other(Box::new(error)))
}

/// A model's name as a part of a path.
pub(super) fn in_path(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => {
                text.push(byte.into());
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_interfaces_is_reached_on_loopback() {
        let at = |bind: &str| {
            let listen = ListenArgs {
                bind: bind.to_owned(),
                api_key: None,
                api_key_file: None,
            };
            addresses(&listen)
                .map(|addresses| addresses[0].to_string())
                .ok()
        };
        assert_eq!(at("0.0.0.0:8080").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(at("[::]:8080").as_deref(), Some("[::1]:8080"));
        assert_eq!(at("auto").as_deref(), Some("127.0.0.1:11435"));
        assert_eq!(at("127.0.0.1:0"), None);
        assert_eq!(at("nonsense"), None);
    }

    #[test]
    fn names_stay_one_part_of_a_path() {
        assert_eq!(in_path("owner/name:Q4_K_M"), "owner/name:Q4_K_M");
        assert_eq!(in_path("a b?c#d%ü"), "a%20b%3Fc%23d%25%C3%BC");
    }
}
