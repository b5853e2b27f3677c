//! Where requests begin and end on a connection, and that none leaves it open.
//!
//! hyper takes what RFC 9112 lets a server repair: lines that end in a bare line feed, a length beside
//! chunks. A proxy in front may have read the same bytes as other requests, and what one of the two
//! takes for a body is then a request to the other. So the bytes are followed on their way to hyper,
//! and a head that could be read in two ways is spoilt: hyper refuses it in its turn, after the answers
//! to the requests before it, and closes. It must not know what requests mean.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::bodies::Unread;

/// What stands for the rest of a head that is refused: no line may have its first byte, and the end of
/// the head is there for a reader that waits for it.
const SPOILT: &[u8] = b"\0\r\n\r\n";

/// Bytes of a line that are looked at. Nobody writes a length or a coding as long as that.
const LINE: usize = 128;

/// A connection whose requests have one reading only.
#[derive(Debug)]
pub(crate) struct Strict<S> {
    stream: S,
    framing: Framing,
    /// What the reader is still to be given of [`SPOILT`].
    spoilt: &'static [u8],
    /// Counts what comes once it is no requests.
    unread: Arc<Unread>,
}

impl<S> Strict<S> {
    /// `unread` begins before the answer is written that changes the protocol.
    pub(crate) fn new(stream: S, unread: Arc<Unread>) -> Self {
        Self {
            stream,
            framing: Framing::default(),
            spoilt: &[],
            unread,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if this.spoilt.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            if let Some(counted) = this.unread.grow(buffer.filled().len() - before) {
                return Poll::Ready(counted.map_err(|error| {
                    buffer.set_filled(before);
                    io::Error::new(io::ErrorKind::QuotaExceeded, error)
                }));
            }
            let Err(Refused { good, reason }) = this.framing.follow(&buffer.filled()[before..])
            else {
                return Poll::Ready(Ok(()));
            };
            tracing::debug!(reason, "a request's head is refused");
            buffer.set_filled(before + good);
            this.spoilt = SPOILT;
        }
        let (now, later) = this
            .spoilt
            .split_at(this.spoilt.len().min(buffer.remaining()));
        buffer.put_slice(now);
        this.spoilt = later;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Follows the bytes of requests, one after the other.
#[derive(Debug, Default)]
struct Framing {
    place: Place,
    head: Head,
    line: Line,
}

/// In which part of a request the next byte is.
#[derive(Debug, Default)]
enum Place {
    #[default]
    Head,
    /// So many more bytes of the body.
    Body(u64),
    /// In the line before a chunk.
    Size {
        size: u64,
        /// The digits are over.
        is_read: bool,
    },
    /// So many more bytes of a chunk and the end of its line.
    Chunk(u64),
    /// Behind the last chunk.
    Trailer,
    /// Where hyper has stopped to read: it has refused what came before.
    Beyond,
}

/// What a head has said so far of the body behind it.
#[derive(Debug, Default)]
struct Head {
    /// The line of the request is over.
    has_begun: bool,
    length: Option<u64>,
    is_chunked: bool,
}

/// The line that is being read.
#[derive(Debug, Default)]
struct Line {
    /// Its first bytes.
    start: Vec<u8>,
    length: usize,
    last: u8,
}

/// There are two ways to read it.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    /// Bytes before the one where that shows.
    good: usize,
    reason: &'static str,
}

impl Framing {
    /// Follows the next bytes of the connection.
    fn follow(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.place {
                Place::Beyond => return Ok(()),
                Place::Body(ref mut left) | Place::Chunk(ref mut left) => {
                    let taken =
                        usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                    *left -= taken as u64;
                    rest = &rest[taken..];
                    if *left == 0 {
                        self.place = match self.place {
                            Place::Chunk(_) => Place::Size {
                                size: 0,
                                is_read: false,
                            },
                            _ => Place::Head,
                        };
                    }
                }
                Place::Head | Place::Size { .. } | Place::Trailer => {
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    let part = &rest[..end.unwrap_or(rest.len())];
                    self.line.read(part);
                    self.read_size(part);
                    let Some(end) = end else {
                        return Ok(());
                    };
                    rest = &rest[end + 1..];
                    let ended = self.end_line();
                    self.line.clear();
                    if let Err(reason) = ended {
                        self.place = Place::Beyond;
                        let good = bytes.len() - rest.len() - 1;
                        return Err(Refused { good, reason });
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads the size of a chunk in a part of its line. hyper refuses what is none.
    fn read_size(&mut self, part: &[u8]) {
        let Place::Size { size, is_read } = &mut self.place else {
            return;
        };
        for byte in part {
            let digit = char::from(*byte).to_digit(16).map(u64::from);
            let Some(digit) = digit.filter(|_| !*is_read) else {
                *is_read = true;
                return;
            };
            let longer = size
                .checked_mul(16)
                .and_then(|size| size.checked_add(digit));
            let Some(longer) = longer else {
                self.place = Place::Beyond;
                return;
            };
            *size = longer;
        }
    }

    /// At the line feed that ends the line.
    fn end_line(&mut self) -> Result<(), &'static str> {
        let line = &self.line;
        match self.place {
            // hyper refuses it, too, and a spoilt one would be the chunk's extension.
            Place::Size { .. } if line.last != b'\r' => self.place = Place::Beyond,
            Place::Size { size: 0, .. } => self.place = Place::Trailer,
            Place::Size { size, .. } => {
                self.place = size.checked_add(2).map_or(Place::Beyond, Place::Chunk);
            }
            Place::Trailer if line.is_blank()? => self.place = Place::Head,
            Place::Head if line.is_blank()? => {
                if self.head.has_begun {
                    self.place = std::mem::take(&mut self.head).body();
                }
            }
            Place::Head if !self.head.has_begun => self.head.has_begun = true,
            Place::Head => self.head.read(line)?,
            Place::Trailer | Place::Body(_) | Place::Chunk(_) | Place::Beyond => {}
        }
        Ok(())
    }
}

impl Head {
    /// Reads a field. What is none hyper refuses.
    fn read(&mut self, line: &Line) -> Result<(), &'static str> {
        let Some(colon) = line.start.iter().position(|byte| *byte == b':') else {
            return Ok(());
        };
        let (name, value) = line.start.split_at(colon);
        let is_length = name.eq_ignore_ascii_case(b"content-length");
        let is_coding = name.eq_ignore_ascii_case(b"transfer-encoding");
        if !is_length && !is_coding {
            return Ok(());
        }
        if line.length > line.start.len() {
            return Err("a length or a coding without an end");
        }
        if self.length.is_some() || self.is_chunked {
            return Err("more than one length or coding");
        }
        let value = value[1..].trim_ascii();
        if is_coding {
            self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
            return if self.is_chunked {
                Ok(())
            } else {
                Err("a coding that is not `chunked`")
            };
        }
        let digits = value.iter().all(u8::is_ascii_digit).then_some(value);
        let length = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        self.length = length.and_then(|length| length.parse().ok());
        self.length.map(|_| ()).ok_or("a length that is no number")
    }

    /// What follows the head.
    fn body(self) -> Place {
        match self.length {
            _ if self.is_chunked => Place::Size {
                size: 0,
                is_read: false,
            },
            Some(length) if length > 0 => Place::Body(length),
            _ => Place::Head,
        }
    }
}

impl Line {
    fn read(&mut self, part: &[u8]) {
        let wanted = part.len().min(LINE - self.start.len());
        self.start.extend_from_slice(&part[..wanted]);
        self.length += part.len();
        self.last = part.last().copied().unwrap_or(self.last);
    }

    fn clear(&mut self) {
        self.start.clear();
        (self.length, self.last) = (0, 0);
    }

    /// Whether there is nothing in it, now that it has ended.
    fn is_blank(&self) -> Result<bool, &'static str> {
        match self.last {
            b'\r' => Ok(self.length == 1),
            _ => Err("a line that ends in a bare line feed"),
        }
    }
}

#[cfg(test)]
mod tests;
