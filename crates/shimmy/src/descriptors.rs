//! How many files and connections this process may have open at a time. Owns the system's limit and
//! how it is shared out.

use shimmy_server::ServerConfig;

/// Descriptors that models, adapters, caches and the runtime may need beside connections; of a small
/// limit a quarter.
const OTHERS: u64 = 128;

/// Raises the limit as far as the system allows, and keeps the server's connections below it: those
/// that are refused a place wait in the backlog, while one without a descriptor is an error, for loads
/// too. Says so if they are fewer then.
pub(crate) fn fit(server: ServerConfig) -> (ServerConfig, Option<String>) {
    let Some(limit) = raise() else {
        return (server, None);
    };
    let wanted = (server.max_connections, server.max_websockets);
    let fitted = share(limit, wanted);
    let (max_connections, max_websockets) = fitted;
    let warning = (fitted != wanted).then(|| {
        format!(
            "{max_connections} connections and {max_websockets} WebSockets are taken at a time, since \
             this process may open {limit} files: `ulimit -n` changes that"
        )
    });
    let server = ServerConfig {
        max_connections,
        max_websockets,
        ..server
    };
    (server, warning)
}

/// Connections and WebSockets of those wanted, of which the latter are no longer counted among the
/// former.
fn share(limit: u64, (connections, websockets): (usize, usize)) -> (usize, usize) {
    let left = usize::try_from(limit - OTHERS.min(limit / 4)).unwrap_or(usize::MAX);
    if connections.saturating_add(websockets) <= left {
        return (connections, websockets);
    }
    // A third for those that stay for long.
    let websockets = websockets.min(left / 3).max(1);
    let connections = connections.min(left.saturating_sub(websockets)).max(1);
    (connections, websockets)
}

/// The limit, after it has been raised; none where there is none.
#[cfg(unix)]
fn raise() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let now = getrlimit(Resource::Nofile);
    // Some systems say that there is no limit, and allow no more than this.
    let least = now.maximum.map_or(10_240, |most| most.min(10_240));
    let raised = [now.maximum, Some(least)].into_iter().find(|&current| {
        let raised = Rlimit { current, ..now };
        setrlimit(Resource::Nofile, raised).is_ok()
    });
    raised.unwrap_or(now.current)
}

#[cfg(not(unix))]
fn raise() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn connections_stay_below_the_limit_and_others_have_some() {
        assert_eq!(share(1 << 20, (2048, 1024)), (2048, 1024));
        assert_eq!(share(1024, (2048, 1024)), (598, 298));
        assert_eq!(share(64, (2048, 1024)), (32, 16));
        assert_eq!(share(64, (10, 1024)), (10, 16));
        assert_eq!(share(0, (2048, 1024)), (1, 1));
    }
}
