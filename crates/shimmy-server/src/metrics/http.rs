//! Requests as HTTP sees them: counted by route and status, timed to the last byte.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::MatchedPath;
use axum::http::StatusCode;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use prometheus_client::metrics::histogram::Histogram;

use super::{Metrics, Request, Route};

/// The label of every path that is no route: what strangers try must not become labels.
const UNMATCHED: &str = "unmatched";

impl Metrics {
    /// Counts the answer to a request that came at `received`, and times it to its end.
    pub(crate) fn answered(
        &self,
        route: Option<&MatchedPath>,
        received: Instant,
        response: Response,
    ) -> Response {
        let route = route.map_or(UNMATCHED, MatchedPath::as_str);
        let status = response.status();
        let request = Request {
            route: route.to_owned(),
            status: status.as_u16(),
        };
        self.requests.get_or_create(&request).inc();
        // A connection that became a WebSocket is not a long request.
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        let route = Route {
            route: request.route,
        };
        let timer = Timer {
            histogram: self.request_time.get_or_create_owned(&route),
            received,
        };
        response.map(|body| {
            Body::new(Timed {
                body,
                _timer: timer,
            })
        })
    }
}

/// Observes its age when it is dropped, which is when the body is complete or its reader gone.
struct Timer {
    histogram: Histogram,
    received: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.histogram
            .observe(self.received.elapsed().as_secs_f64());
    }
}

/// A body as it was, with a timer.
struct Timed {
    body: Body,
    _timer: Timer,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
