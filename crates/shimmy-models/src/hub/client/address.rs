//! Addresses of the web: the one parser of them, where a redirect leads, and whose a token is.

use std::net::ToSocketAddrs;

use ureq::http::Uri;

use crate::hub::PullError;
use crate::hub::guard::is_private;

/// Who a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    is_secure: bool,
    pub(super) host: String,
    port: u16,
}

impl Origin {
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let is_secure = uri.scheme_str() == Some("https");
        Some(Self {
            is_secure,
            host: uri.host()?.to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
        })
    }
}

pub(super) fn is_on_private_address(origin: &Origin) -> bool {
    let host = origin.host.trim_start_matches('[').trim_end_matches(']');
    // A host that cannot be found now is no private one later.
    let addresses = (host, origin.port).to_socket_addrs();
    addresses.is_ok_and(|mut addresses| addresses.any(|address| is_private(address.ip())))
}

/// An address with `http`, or `https`, a host and nothing that only pretends to be one. The one
/// parser of addresses: what it takes for the host is what is looked up.
pub(super) fn parse(text: &str, from: &str) -> Result<Uri, PullError> {
    let wrong = || PullError::Redirect {
        host: host_of(from),
        to: crate::text::quoted(text),
        why: "no address of the web",
    };
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_user = uri
        .authority()
        .is_none_or(|authority| authority.as_str().contains('@'));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    if is_web && has_host && !has_user {
        Ok(uri)
    } else {
        Err(wrong())
    }
}

/// Where `location` leads from `at`.
pub(super) fn redirect(at: &Uri, location: &str) -> Result<Uri, PullError> {
    let from = at.to_string();
    let base = format!(
        "{}://{}",
        at.scheme_str().unwrap_or_default(),
        at.authority().map_or("", |authority| authority.as_str())
    );
    let target = if location.starts_with("//") {
        format!("{}:{location}", at.scheme_str().unwrap_or_default())
    } else if location.starts_with('/') {
        format!("{base}{location}")
    } else if location.contains("://") {
        location.to_owned()
    } else {
        let folder = at.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{base}{folder}/{location}")
    };
    let to = parse(&target, &from)?;
    if at.scheme_str() == Some("https") && to.scheme_str() != Some("https") {
        return Err(PullError::Redirect {
            host: host(at),
            to: host(&to),
            why: "not encrypted",
        });
    }
    Ok(to)
}

pub(super) fn host(uri: &Uri) -> String {
    uri.host().unwrap_or("the hub").to_owned()
}

pub(super) fn host_of(url: &str) -> String {
    let uri: Option<Uri> = url.parse().ok();
    uri.as_ref().map_or_else(|| "the hub".to_owned(), host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_web_are_asked() {
        for text in [
            "file:///etc/passwd",
            "ftp://h/x",
            "http://",
            "http:///x",
            "http://u@h/x",
            "/x",
            "h",
            "http://ok\\@127.0.0.1/",
            "http://u:p@h/",
        ] {
            assert!(parse(text, "http://h/").is_err(), "{text}");
        }
        assert!(parse("http://h:8080/x?y#z", "http://h/").is_ok());
    }

    #[test]
    fn redirects_lead_where_they_say_and_never_out_of_encryption() {
        let from = "https://h:1/a/b?q".parse().unwrap();
        for (location, expected) in [
            ("/c", "https://h:1/c"),
            ("c", "https://h:1/a/c"),
            ("//o/c", "https://o/c"),
            ("https://o/c?x", "https://o/c?x"),
        ] {
            assert_eq!(redirect(&from, location).unwrap().to_string(), expected);
        }
        for location in ["http://h/c", "", "file:///x", "http://[::1]/"] {
            let to = redirect(&from, location);
            assert!(location.is_empty() || to.is_err(), "{location}");
        }
    }
}
