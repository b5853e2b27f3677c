//! A small HTTP/1.1 client over one `TcpStream` a request, so that what is measured is the server
//! and not a client library: requests with a JSON body, bodies by length, in chunks or to the end.
//!
//! Source: RFC 9112 (message format, chunked coding) and the HTML standard's event streams.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// Longer than any answer that is measured; a server that hangs must not hang the run.
const READ_LIMIT: Duration = Duration::from_secs(180);

/// An answer whose body is still to be read.
#[derive(Debug)]
pub(super) struct Response<R> {
    pub(super) status: u16,
    pub(super) body: Body<R>,
}

/// Sends one request; `body` is JSON, and no body makes it a GET.
pub(super) fn request(
    address: SocketAddr,
    path: &str,
    body: Option<&str>,
) -> Result<Response<BufReader<TcpStream>>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_LIMIT))?;
    let method = if body.is_some() { "POST" } else { "GET" };
    let body = body.unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes())?;
    Response::read(BufReader::new(stream))
}

impl<R: BufRead> Response<R> {
    /// Reads the status line and the headers.
    fn read(mut reader: R) -> Result<Self> {
        let line = read_line(&mut reader)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("no HTTP status line: {line:?}"))?;
        let mut left = Left::ToEnd;
        loop {
            let line = read_line(&mut reader)?;
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else {
                bail!("no header: {line:?}")
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("transfer-encoding") {
                ensure!(
                    value.eq_ignore_ascii_case("chunked"),
                    "transfer encoding {value:?}"
                );
                left = Left::Chunk(0);
            } else if name.eq_ignore_ascii_case("content-length") && left == Left::ToEnd {
                left = Left::Bytes(value.parse().context("content-length")?);
            }
        }
        Ok(Self {
            status,
            body: Body {
                reader,
                left,
                is_first: true,
            },
        })
    }

    /// The whole body.
    pub(super) fn text(mut self) -> Result<String> {
        let mut text = String::new();
        self.body.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The data of each server-sent event, as it arrives.
    pub(super) fn events(self) -> impl Iterator<Item = io::Result<String>> {
        Events {
            reader: BufReader::with_capacity(1024, self.body),
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// How much of a body is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Bytes(u64),
    /// Of the current chunk.
    Chunk(u64),
    ToEnd,
}

/// A body without its framing.
#[derive(Debug)]
pub(super) struct Body<R> {
    reader: R,
    left: Left,
    is_first: bool,
}

impl<R: BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == Left::Chunk(0) {
            self.next_chunk()?;
        }
        let most = match self.left {
            Left::Bytes(left) | Left::Chunk(left) => buffer.len().min(left as usize),
            Left::ToEnd => buffer.len(),
        };
        let count = self.reader.read(&mut buffer[..most])?;
        if let Left::Bytes(left) | Left::Chunk(left) = &mut self.left {
            if count == 0 && most > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            *left -= count as u64;
        }
        Ok(count)
    }
}

impl<R: BufRead> Body<R> {
    /// Reads a chunk's size line; after the last chunk nothing is left.
    fn next_chunk(&mut self) -> io::Result<()> {
        if !self.is_first {
            // The line end that closes the chunk before.
            read_line(&mut self.reader)?;
        }
        self.is_first = false;
        let line = read_line(&mut self.reader)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("chunk {line:?}")))?;
        self.left = if size == 0 {
            Left::Bytes(0)
        } else {
            Left::Chunk(size)
        };
        Ok(())
    }
}

struct Events<R> {
    reader: R,
}

impl<R: BufRead> Iterator for Events<R> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut data: Option<String> = None;
        loop {
            let line = match read_line(&mut self.reader) {
                Ok(line) => line,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
                Err(error) => return Some(Err(error)),
            };
            if let Some(value) = line.strip_prefix("data:") {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match &mut data {
                    Some(data) => *data = format!("{data}\n{value}"),
                    None => data = Some(value.to_owned()),
                }
            } else if line.is_empty() && data.is_some() {
                return data.map(Ok);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(text: &str) -> Response<&[u8]> {
        Response::read(text.as_bytes()).expect("a whole head")
    }

    #[test]
    fn a_body_ends_at_its_length() {
        let answer = response("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokAND MORE");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text().expect("a body"), "ok");
    }

    #[test]
    fn chunks_are_joined() {
        let answer = response(
            "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x\r\n0123456789\r\n0\r\n\r\n",
        );
        assert_eq!(answer.status, 503);
        assert_eq!(answer.text().expect("a body"), "abc0123456789");
    }

    #[test]
    fn a_body_that_breaks_off_is_an_error() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(response(text).text().is_err(), "{text:?}");
        }
    }

    #[test]
    fn events_are_told_apart_across_chunks() {
        let answer = response(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
             9\r\ndata: one\r\n12\r\n\n\n: ping\n\ndata: tw\r\n\
             14\r\no\ndata: lines\n\nevent\r\nE\r\n: x\ndata:[DO]\n\r\n1\r\n\n\r\n0\r\n\r\n",
        );
        let events: Vec<String> = answer.events().map(|event| event.expect("data")).collect();
        assert_eq!(events, ["one", "two\nlines", "[DO]"]);
    }
}
