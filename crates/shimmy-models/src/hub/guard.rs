//! Which addresses may be asked. Owns what counts as private and the look-up that refuses it; must
//! not know what is asked for.
//!
//! The address that is checked is the one that is connected to: there is no second look-up in which
//! a name could mean something else.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Looks names up, and refuses private addresses unless the hub itself has one.
#[derive(Debug)]
pub(super) struct GuardedResolver {
    pub(super) pinned: HashMap<String, SocketAddr>,
    pub(super) may_be_private: bool,
}

/// A name led to a private address.
#[derive(Debug)]
pub(super) struct PrivateAddress;

impl fmt::Display for PrivateAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("it has a private address")
    }
}

impl std::error::Error for PrivateAddress {}

impl Resolver for GuardedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        if let Some(&address) = uri.host().and_then(|host| self.pinned.get(host)) {
            let mut addresses = self.empty();
            addresses.push(address);
            return Ok(addresses);
        }
        let found = DefaultResolver::default().resolve(uri, config, timeout)?;
        if self.may_be_private {
            return Ok(found);
        }
        // One private address among public ones is the start of a rebinding.
        match found.iter().any(|address| is_private(address.ip())) {
            true => Err(ureq::Error::Other(Box::new(PrivateAddress))),
            false => Ok(found),
        }
    }
}

/// Whether an address is one of this machine, of a local network, or of no host at all.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_private_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => is_private_v4(address),
            None => is_private_v6(address),
        },
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_documentation()
        // "This network", carriers' networks, protocol assignments, benchmarks, and reserved ones.
        || first == 0
        || (first == 100 && (second & 0xC0) == 64)
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && (second & 0xFE) == 18)
        || first >= 240
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        // Sites' own addresses of old, and documentation.
        || (first & 0xFFC0) == 0xFEC0
        || (first == 0x2001 && second == 0x0DB8)
}

/// The IPv4 address that an IPv6 address leads to: mapped, compatible, translated or tunnelled.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xFFFF, high, low] => of(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => of(high, low),
        [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => of(high, low),
        [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn addresses_of_this_machine_and_its_neighbours_are_private() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:7f00:1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fec0::1",
        ] {
            assert!(is_private(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
        ] {
            assert!(!is_private(address.parse().unwrap()), "{address}");
        }
    }
}
