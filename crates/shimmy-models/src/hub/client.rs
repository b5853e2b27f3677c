//! One host's HTTP, as a download needs it. Owns redirects, the token, retries and the limits on
//! answers; must not know files.

mod address;
mod backoff;

use std::io::Read;
use std::time::Duration;

use ureq::http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER,
};
use ureq::http::{HeaderName, Response, Uri};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, BodyReader};

use self::address::{Origin, host, host_of, is_on_private_address, parse, redirect};
pub(super) use self::backoff::Backoff;
use super::guard::{GuardedResolver, PrivateAddress};
use super::{Cancel, HubSettings, PullError, PullLimits};

/// How many redirects lead to one answer.
const MAX_REDIRECTS: usize = 8;
/// The longest head of an answer.
const MAX_HEADER: usize = 64 << 10;

/// Asks one host, and those that it leads to.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    /// The token, for the host that it belongs to.
    token: Option<String>,
    /// The address that was asked for first.
    first: String,
    origin: Option<Origin>,
    pub(super) limits: PullLimits,
}

/// An answer whose body has not been read.
pub(super) struct Answer {
    /// The address that answered in the end.
    pub(super) url: String,
    /// Which bytes of how many these are; none if they are all.
    pub(super) part: Option<Part>,
    /// How many bytes follow, if the answer says.
    pub(super) length: Option<u64>,
    pub(super) body: BodyReader<'static>,
}

/// `Content-Range: bytes START-END/TOTAL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) total: Option<u64>,
}

/// What went wrong with one try.
#[derive(Debug)]
pub(super) enum Fault {
    /// Another try may succeed, after this time if the host says one.
    Passing {
        reason: String,
        after: Option<Duration>,
    },
    /// It will not.
    Final(PullError),
}

impl Client {
    /// A client for what `first` leads to. Looks its host's address up.
    pub(super) fn new(settings: &HubSettings, first: &str) -> Result<Self, PullError> {
        let limits = settings.limits.clone();
        let origin = Origin::of(&parse(first, first)?);
        let pinned = settings.pinned.iter().cloned().collect();
        let is_pinned =
            |origin: &Origin| settings.pinned.iter().any(|(host, _)| *host == origin.host);
        let may_be_private = match &origin {
            Some(origin) if !is_pinned(origin) => is_on_private_address(origin),
            _ => false,
        };
        let endpoint = parse(&settings.endpoint, &settings.endpoint).ok();
        let is_hub = endpoint.is_some_and(|endpoint| Origin::of(&endpoint) == origin);
        let config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_response_header_size(MAX_HEADER)
            .timeout_resolve(Some(limits.connect_timeout))
            .timeout_connect(Some(limits.connect_timeout))
            .timeout_send_request(Some(limits.stall_timeout))
            .timeout_recv_response(Some(limits.stall_timeout))
            .timeout_per_read(Some(limits.stall_timeout))
            .max_idle_connections_per_host(limits.connections)
            .user_agent(concat!("shimmy/", env!("CARGO_PKG_VERSION")));
        // A proxy is for the world outside; a hub beside us is asked directly.
        let is_outside = !may_be_private && settings.pinned.is_empty();
        let config = match is_outside {
            true => config,
            false => config.proxy(None),
        };
        let resolver = GuardedResolver {
            pinned,
            may_be_private,
        };
        Ok(Self {
            agent: Agent::with_parts(config.build(), DefaultConnector::default(), resolver),
            token: settings.token.clone().filter(|_| is_hub),
            first: first.to_owned(),
            origin,
            limits,
        })
    }

    /// The address that was asked for first.
    pub(super) fn first(&self) -> &str {
        &self.first
    }

    /// Asks for an address, or for these bytes of it, and follows where it leads.
    pub(super) fn get(&self, url: &str, range: Option<(u64, u64)>) -> Result<Answer, Fault> {
        let mut at = parse(url, url).map_err(Fault::Final)?;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.ask(&at, range)?;
            let status = response.status().as_u16();
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return self.accept(&at, response);
            }
            let location = text(&response, LOCATION).unwrap_or_default();
            at = redirect(&at, &location).map_err(Fault::Final)?;
        }
        Err(Fault::Final(PullError::Redirect {
            host: host(&at),
            to: "ever more addresses".to_owned(),
            why: "no end",
        }))
    }

    /// A whole answer of at most `limit` bytes, tried as often as it makes sense.
    pub(super) fn text(
        &self,
        url: &str,
        what: &str,
        limit: u64,
        cancel: &Cancel,
    ) -> Result<Vec<u8>, PullError> {
        self.retry(url, cancel, || {
            let mut answer = self.get(url, None).map_err(|fault| fault.about(what))?;
            let mut bytes = Vec::new();
            let read = (&mut answer.body).take(limit + 1).read_to_end(&mut bytes);
            read.map_err(Fault::passing)?;
            if bytes.len() as u64 > limit {
                let reason = format!("more than {limit} bytes");
                return Err(Fault::Final(self.nonsense(reason)));
            }
            Ok(bytes)
        })
    }

    /// How long the file at an address is.
    pub(super) fn size(&self, url: &str, cancel: &Cancel) -> Result<u64, PullError> {
        self.retry(url, cancel, || {
            let answer = self
                .get(url, Some((0, 0)))
                .map_err(|fault| fault.about("such file"))?;
            let size = match answer.part {
                Some(part) => part.total,
                None => answer.length,
            };
            let unknown = || self.nonsense("it does not say how long the file is".to_owned());
            size.ok_or_else(|| Fault::Final(unknown()))
        })
    }

    pub(super) fn nonsense(&self, reason: String) -> PullError {
        PullError::Nonsense {
            host: host_of(&self.first),
            reason,
        }
    }

    fn retry<T>(
        &self,
        url: &str,
        cancel: &Cancel,
        attempt: impl Fn() -> Result<T, Fault>,
    ) -> Result<T, PullError> {
        let mut backoff = Backoff::new(&self.limits);
        loop {
            let (reason, after) = match attempt() {
                Ok(outcome) => return Ok(outcome),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing { reason, after }) => (reason, after),
            };
            let Some(wait) = backoff.next(after) else {
                return Err(unreachable(url, reason));
            };
            if cancel.wait(wait) {
                return Err(PullError::Cancelled);
            }
        }
    }

    fn ask(&self, at: &Uri, range: Option<(u64, u64)>) -> Result<Response<Body>, Fault> {
        let mut request = self.agent.get(at);
        if let Some((start, end)) = range {
            request = request.header(RANGE, format!("bytes={start}-{end}"));
        }
        // Elsewhere the token would be a gift.
        if let Some(token) = self
            .token
            .as_ref()
            .filter(|_| Origin::of(at) == self.origin)
        {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.call().map_err(|error| fault(at, error))
    }

    fn accept(&self, at: &Uri, response: Response<Body>) -> Result<Answer, Fault> {
        let is_home = Origin::of(at) == self.origin;
        let host = host(at);
        let status = response.status();
        match status.as_u16() {
            200 | 206 => {}
            // An address that was lent for a while has expired; the hub lends another one.
            401 | 403 | 404 | 410 if !is_home => {
                return Err(Fault::Passing {
                    reason: format!("{host} answers {status}"),
                    after: None,
                });
            }
            401 | 403 => {
                return Err(Fault::Final(PullError::Denied {
                    host,
                    what: "this".to_owned(),
                    with_token: self.token.is_some(),
                }));
            }
            404 | 410 => {
                let what = "such file".to_owned();
                return Err(Fault::Final(PullError::NotFound { host, what }));
            }
            408 | 429 | 500..=599 => {
                let seconds = text(&response, RETRY_AFTER).and_then(|text| text.parse().ok());
                return Err(Fault::Passing {
                    reason: format!("{host} answers {status}"),
                    after: seconds.map(Duration::from_secs),
                });
            }
            _ => {
                let reason = format!("it answers {status}");
                return Err(Fault::Final(PullError::Nonsense { host, reason }));
            }
        }
        let encoding = text(&response, CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            let reason = "it compresses what was asked for as it is".to_owned();
            return Err(Fault::Final(PullError::Nonsense { host, reason }));
        }
        let part = match status.as_u16() {
            206 => Some(part_of(&response).ok_or_else(|| {
                let reason = "a part of a file that is not said to be one".to_owned();
                Fault::Final(PullError::Nonsense { host, reason })
            })?),
            _ => None,
        };
        let length = response.body().content_length();
        Ok(Answer {
            url: at.to_string(),
            part,
            length,
            body: response
                .into_body()
                .into_with_config()
                .limit(u64::MAX)
                .reader(),
        })
    }
}

impl Fault {
    /// Something that may pass.
    pub(super) fn passing(error: impl ToString) -> Self {
        Self::Passing {
            reason: error.to_string(),
            after: None,
        }
    }

    /// Says what was asked for, where the answer is that there is none.
    pub(super) fn about(self, asked: &str) -> Self {
        Self::Final(match self {
            Self::Final(PullError::NotFound { host, .. }) => PullError::NotFound {
                host,
                what: asked.to_owned(),
            },
            Self::Final(PullError::Denied {
                host, with_token, ..
            }) => PullError::Denied {
                host,
                what: asked.to_owned(),
                with_token,
            },
            other => return other,
        })
    }
}

/// What a host that could not be used at all is said to be.
pub(super) fn unreachable(url: &str, reason: String) -> PullError {
    let host = host_of(url);
    // A redirect's host is named with the reason, this one only once.
    let reason = match reason.strip_prefix(&format!("{host}: ")) {
        Some(rest) => rest.to_owned(),
        None => reason,
    };
    PullError::Unreachable { host, reason }
}

fn fault(at: &Uri, error: ureq::Error) -> Fault {
    let host = host(at);
    match error {
        ureq::Error::Other(inner) if inner.is::<PrivateAddress>() => {
            Fault::Final(PullError::PrivateAddress { host })
        }
        // A certificate does not become better.
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::TlsRequired => {
            let reason = error.to_string();
            Fault::Final(PullError::Unreachable { host, reason })
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::LargeResponseHeader(..) => {
            let reason = error.to_string();
            Fault::Final(PullError::Nonsense { host, reason })
        }
        other => Fault::Passing {
            reason: format!("{host}: {other}"),
            after: None,
        },
    }
}

fn part_of(response: &Response<Body>) -> Option<Part> {
    let text = text(response, CONTENT_RANGE)?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some(Part {
        start: start.parse().ok()?,
        total: total.parse().ok(),
    })
}

fn text(response: &Response<Body>, name: HeaderName) -> Option<String> {
    let value = response.headers().get(name)?;
    value.to_str().ok().map(str::to_owned)
}
