//! Reading one HTTP/1.1 response from bytes as they arrive: the status, and the body without its
//! framing. Pure: it knows neither sockets nor what the body says.
//!
//! Source: RFC 9112 (message format, chunked coding).

use std::str;

use anyhow::{Context as _, Result, bail, ensure};

/// Longer than any line of a head or of a chunk's framing; what is longer is not HTTP.
const LINE_LIMIT: usize = 16 * 1024;

/// A response that is being read.
#[derive(Debug)]
pub(super) struct Decoder {
    status: Option<u16>,
    next: Next,
    /// The part of a line that has come so far.
    line: Vec<u8>,
    framing: Framing,
}

/// How the headers say that the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    ToEnd,
    Length(u64),
    Chunked,
}

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    StatusLine,
    Header,
    /// Content of a known length.
    Bytes(u64),
    BytesToEnd,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    Nothing,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            status: None,
            next: Next::StatusLine,
            line: Vec::new(),
            framing: Framing::ToEnd,
        }
    }

    /// Known as soon as the first line has come.
    pub(super) fn status(&self) -> Option<u16> {
        self.status
    }

    /// Whether the body has come to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.next == Next::Nothing
    }

    /// Takes the bytes that arrived and appends what is content to `body`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], body: &mut Vec<u8>) -> Result<()> {
        while !bytes.is_empty() {
            match self.next {
                Next::Nothing => return Ok(()),
                Next::BytesToEnd => {
                    body.extend_from_slice(bytes);
                    return Ok(());
                }
                Next::Bytes(left) => {
                    let left = take(&mut bytes, left, body);
                    self.next = if left == 0 {
                        Next::Nothing
                    } else {
                        Next::Bytes(left)
                    };
                }
                Next::Chunk(left) => {
                    let left = take(&mut bytes, left, body);
                    self.next = if left == 0 {
                        Next::ChunkEnd
                    } else {
                        Next::Chunk(left)
                    };
                }
                _ => {
                    if let Some(line) = self.take_line(&mut bytes)? {
                        self.next = self.after_line(&line)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The connection has ended: an error, unless that is where the body ends.
    pub(super) fn end(&self) -> Result<()> {
        ensure!(
            matches!(self.next, Next::Nothing | Next::BytesToEnd),
            "the connection ended inside an answer"
        );
        Ok(())
    }

    fn take_line(&mut self, bytes: &mut &[u8]) -> Result<Option<String>> {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        *bytes = rest;
        self.line.extend_from_slice(part);
        ensure!(
            self.line.len() <= LINE_LIMIT,
            "a line of more than {LINE_LIMIT} bytes"
        );
        if end.is_none() {
            return Ok(None);
        }
        let line = str::from_utf8(&self.line).context("a line that is not UTF-8")?;
        let line = line.trim_end_matches(['\r', '\n']).to_owned();
        self.line.clear();
        Ok(Some(line))
    }

    fn after_line(&mut self, line: &str) -> Result<Next> {
        Ok(match self.next {
            Next::StatusLine => {
                let status = line
                    .strip_prefix("HTTP/1.")
                    .and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
                self.status = Some(status.with_context(|| format!("no status line: {line:?}"))?);
                Next::Header
            }
            Next::Header if line.is_empty() => match self.framing {
                Framing::ToEnd => Next::BytesToEnd,
                Framing::Length(0) => Next::Nothing,
                Framing::Length(length) => Next::Bytes(length),
                Framing::Chunked => Next::ChunkSize,
            },
            Next::Header => {
                self.header(line)?;
                Next::Header
            }
            Next::ChunkSize => {
                let digits = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(digits, 16)
                    .with_context(|| format!("no chunk size: {line:?}"))?;
                if size == 0 {
                    Next::Trailer
                } else {
                    Next::Chunk(size)
                }
            }
            Next::ChunkEnd => {
                ensure!(line.is_empty(), "a chunk longer than its size: {line:?}");
                Next::ChunkSize
            }
            Next::Trailer if line.is_empty() => Next::Nothing,
            other => other,
        })
    }

    fn header(&mut self, line: &str) -> Result<()> {
        let Some((name, value)) = line.split_once(':') else {
            bail!("no header: {line:?}")
        };
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            ensure!(
                value.eq_ignore_ascii_case("chunked"),
                "transfer encoding {value:?}"
            );
            self.framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") && self.framing == Framing::ToEnd {
            self.framing = Framing::Length(value.parse().context("content-length")?);
        }
        Ok(())
    }
}

/// Moves at most `left` bytes into the body; how many are still to come.
fn take(bytes: &mut &[u8], left: u64, body: &mut Vec<u8>) -> u64 {
    let count = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    let (part, rest) = bytes.split_at(count);
    body.extend_from_slice(part);
    *bytes = rest;
    left - count as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a response that comes in these pieces and then ends.
    fn read(pieces: &[&[u8]]) -> Result<(u16, String)> {
        let mut decoder = Decoder::new();
        let mut body = Vec::new();
        for piece in pieces {
            decoder.feed(piece, &mut body)?;
        }
        decoder.end()?;
        Ok((
            decoder.status().context("a status")?,
            String::from_utf8(body)?,
        ))
    }

    #[test]
    fn a_body_ends_at_its_length() {
        let answer = read(&[b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokAND MORE"]);
        assert_eq!(answer.expect("a response"), (200, "ok".to_owned()));
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let answer = read(&[b"HTTP/1.0 404 No\r\n\r\nnot ", b"here"]);
        assert_eq!(answer.expect("a response"), (404, "not here".to_owned()));
    }

    const CHUNKED: &[u8] = b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\nA;x\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n";

    proptest! {
        #[test]
        fn pieces_of_any_size_make_the_same_answer(size in 1..CHUNKED.len()) {
            let pieces: Vec<&[u8]> = CHUNKED.chunks(size).collect();
            let answer = read(&pieces).expect("a response");
            prop_assert_eq!(answer, (503, "abc0123456789".to_owned()));
        }
    }

    #[test]
    fn an_answer_that_breaks_off_or_breaks_the_rules_is_an_error() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-",
            "SSH-2.0-x\r\n\r\n",
        ] {
            assert!(read(&[text.as_bytes()]).is_err(), "{text:?}");
        }
    }
}
