//! A model hub that misbehaves as it is told, on a free port of this machine. Owns its answers and
//! the record of what it was asked; must not know what a downloader makes of them.
//!
//! It speaks as much HTTP/1.1 as a downloader needs: requests without bodies, answers with lengths.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::line::{Line, wait};
use crate::sha256::sha256;

/// The commit that every repository is at.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How a hub misbehaves. The default is a good one.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Gives whole files only.
    pub has_no_ranges: bool,
    /// Sends those who want a file to this address, with `/cdn` and the file's path added.
    pub redirect_to: Option<String>,
    /// Ends a connection after so many bytes of each file's answer.
    pub cut_after: Option<usize>,
    /// Sends so many bytes of files in all, and then ends every connection.
    pub budget: Option<usize>,
    /// Holds connections open when the budget is spent, instead of ending them.
    pub stalls: bool,
    /// Bytes per second of the line that all connections share.
    pub line: Option<u32>,
    /// Answers the next requests for files with these statuses, first come, first served.
    pub failures: Vec<u16>,
    /// Says how many seconds to wait, with those.
    pub retry_after: Option<u32>,
    /// Sends bytes after the end, for ever.
    pub is_endless: bool,
    /// Changes a byte of every file on its way.
    pub corrupts: bool,
    /// Lies about the size in answers with parts.
    pub claimed_size: Option<u64>,
    /// Says that what it sends is compressed.
    pub encoding: Option<&'static str>,
    /// Wants this token.
    pub token: Option<String>,
    /// Answers this instead of the list of files.
    pub listing: Option<String>,
}

/// What was asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The path with its query.
    pub path: String,
    /// The bytes that were asked for.
    pub range: Option<String>,
    /// The token that came with it.
    pub authorization: Option<String>,
}

struct File {
    repository: String,
    name: String,
    content: Arc<[u8]>,
    sha256: String,
}

#[derive(Default)]
struct State {
    files: Vec<File>,
    behaviour: Behaviour,
    requests: Vec<Request>,
    sent: usize,
    line: Line,
}

/// A running hub; its threads end with the process.
pub struct FakeHub {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl fmt::Debug for FakeHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeHub")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl FakeHub {
    /// Starts a good hub without files.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&of_thread);
                // Whoever leaves in the middle is the subject of the tests, not a failure of theirs.
                thread::spawn(move || serve(&shared, &stream));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a file to a repository.
    pub fn add(&self, repository: &str, name: &str, content: impl Into<Vec<u8>>) -> &Self {
        let content = content.into();
        let file = File {
            repository: repository.to_owned(),
            name: name.to_owned(),
            sha256: sha256(&content),
            content: content.into(),
        };
        self.shared.lock().files.push(file);
        self
    }

    /// Changes how it behaves from the next request on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) -> &Self {
        change(&mut self.shared.lock().behaviour);
        self
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// How many bytes of files it has sent.
    pub fn sent(&self) -> usize {
        self.shared.lock().sent
    }

    /// Waits until it has sent so many bytes of files.
    ///
    /// # Panics
    ///
    /// After half a minute.
    pub fn wait_until_sent(&self, bytes: usize) {
        let state = self.shared.lock();
        let limit = Duration::from_secs(30);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, limit, |s| s.sent < bytes);
        let (_state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "nobody asked for {bytes} bytes");
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers the requests of a connection until it ends.
fn serve(shared: &Shared, stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let behaviour = {
            let mut state = shared.lock();
            state.requests.push(request.clone());
            state.behaviour.clone()
        };
        if answer(shared, &behaviour, &request, stream).is_none() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut request = Request::default();
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .ok()
        .filter(|&length| length > 0)?;
    request.path = line.split(' ').nth(1)?.to_owned();
    loop {
        line.clear();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|&length| length > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return Some(request);
        };
        let value = || Some(value.to_owned());
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = value(),
            "authorization" => request.authorization = value(),
            _ => {}
        }
    }
}

/// Answers one request; none if the connection is to end.
fn answer(
    shared: &Shared,
    behaviour: &Behaviour,
    request: &Request,
    stream: &TcpStream,
) -> Option<()> {
    let path = request.path.split('?').next()?;
    let authorization = behaviour
        .token
        .as_ref()
        .map(|token| format!("Bearer {token}"));
    if authorization.is_some() && authorization != request.authorization {
        return plain(stream, "401 Unauthorized", "", "");
    }
    if let Some(rest) = path.strip_prefix("/api/models/") {
        let repository = rest.split("/revision/").next()?;
        return match listing(shared, behaviour, repository) {
            Some(text) => plain(stream, "200 OK", "", &text),
            None => plain(stream, "404 Not Found", "", ""),
        };
    }
    let failure = shared.lock().behaviour.failures.pop();
    if let Some(status) = failure {
        let wait = behaviour
            .retry_after
            .map(|seconds| format!("Retry-After: {seconds}\r\n"));
        return plain(
            stream,
            &format!("{status} Failure"),
            &wait.unwrap_or_default(),
            "",
        );
    }
    if let Some(base) = &behaviour.redirect_to {
        return plain(
            stream,
            "302 Found",
            &format!("Location: {base}/cdn{path}\r\n"),
            "",
        );
    }
    let path = path.strip_prefix("/cdn").unwrap_or(path);
    let Some(content) = find(shared, path) else {
        return plain(stream, "404 Not Found", "", "");
    };
    send_file(shared, behaviour, request, stream, content)
}

fn find(shared: &Shared, path: &str) -> Option<Arc<[u8]>> {
    let state = shared.lock();
    let of = |file: &File| format!("/{}/resolve/{COMMIT}/{}", file.repository, file.name);
    let file = state
        .files
        .iter()
        .find(|file| of(file) == path || format!("/{}", file.name) == path);
    file.map(|file| Arc::clone(&file.content))
}

fn listing(shared: &Shared, behaviour: &Behaviour, repository: &str) -> Option<String> {
    if let Some(text) = &behaviour.listing {
        return Some(text.clone());
    }
    let state = shared.lock();
    let of_it = state
        .files
        .iter()
        .filter(|file| file.repository == repository);
    let files: Vec<String> = of_it
        .map(|file| {
            let (name, hash, size) = (&file.name, &file.sha256, file.content.len());
            format!(
                r#"{{"rfilename":"{name}","size":{size},"blobId":"{COMMIT}","lfs":{{"sha256":"{hash}","size":{size},"pointerSize":134}}}}"#
            )
        })
        .collect();
    let files = (!files.is_empty()).then(|| files.join(","))?;
    Some(format!(
        r#"{{"id":"{repository}","sha":"{COMMIT}","siblings":[{files}]}}"#
    ))
}

fn plain(mut stream: &TcpStream, status: &str, headers: &str, body: &str) -> Option<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).ok()
}

fn send_file(
    shared: &Shared,
    behaviour: &Behaviour,
    request: &Request,
    mut stream: &TcpStream,
    mut content: Arc<[u8]>,
) -> Option<()> {
    let total = behaviour.claimed_size.unwrap_or(content.len() as u64);
    if behaviour.corrupts {
        Arc::make_mut(&mut content)[0] ^= 1;
    }
    let range = request
        .range
        .as_deref()
        .filter(|_| !behaviour.has_no_ranges);
    let (mut head, body) = match range.and_then(|range| parse_range(range, content.len())) {
        Some((start, end)) => {
            let head =
                format!("206 Partial Content\r\nContent-Range: bytes {start}-{end}/{total}\r\n");
            (head, &content[start..=end])
        }
        None => ("200 OK\r\n".to_owned(), &content[..]),
    };
    if let Some(encoding) = behaviour.encoding {
        head.push_str(&format!("Content-Encoding: {encoding}\r\n"));
    }
    // An endless body has no length: it ends with the connection.
    let length = match behaviour.is_endless {
        true => "Connection: close\r\n".to_owned(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    stream
        .write_all(format!("HTTP/1.1 {head}{length}\r\n").as_bytes())
        .ok()?;
    for piece in body[..behaviour.cut_after.unwrap_or(body.len()).min(body.len())].chunks(4096) {
        let allowed = shared.spend(piece.len());
        stream.write_all(&piece[..allowed]).ok()?;
        if allowed < piece.len() {
            if behaviour.stalls {
                // Until the other side has had enough.
                let _ = stream.read(&mut [0]);
            }
            return None;
        }
    }
    if behaviour.is_endless {
        loop {
            stream.write_all(&[0; 4096]).ok()?;
        }
    }
    behaviour
        .cut_after
        .is_none_or(|cut| cut >= body.len())
        .then_some(())
}

impl Shared {
    /// How many of so many bytes the budget allows to be sent; they are counted.
    fn spend(&self, bytes: usize) -> usize {
        let mut state = self.lock();
        let left = state
            .behaviour
            .budget
            .map_or(bytes, |budget| budget.min(bytes));
        if let Some(budget) = &mut state.behaviour.budget {
            *budget -= left;
        }
        state.sent += left;
        self.changed.notify_all();
        let speed = state.behaviour.line;
        let takes = speed.map(|speed| state.line.send(Instant::now(), left, speed));
        drop(state);
        wait(takes.unwrap_or_default());
        left
    }
}

/// The first and the last byte of `bytes=START-END`.
fn parse_range(range: &str, length: usize) -> Option<(usize, usize)> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = (start.parse().ok()?, end.parse::<usize>().ok()?);
    (start < length).then(|| (start, end.min(length - 1)))
}
