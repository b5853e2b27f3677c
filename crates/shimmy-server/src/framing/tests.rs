//! Any requests in any pieces, and each way to give one a second reading.

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;
use crate::bodies::Bodies;

/// A body as it is on the wire, and the field that announces it.
fn body() -> impl Strategy<Value = (String, Vec<u8>)> {
    let data = || vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 1..40);
    let extension = prop_oneof![Just(""), Just(";a=b"), Just(" ; a")];
    let trailer = prop_oneof![Just(""), Just("Sum: 1\r\n"), Just("A: b\r\nC: d\r\n")];
    let chunked = (vec((data(), extension), 0..4), trailer).prop_map(|(chunks, trailer)| {
        let mut wire = Vec::new();
        for (data, extension) in chunks {
            wire.extend(format!("0{:X}{extension}\r\n", data.len()).bytes());
            wire.extend(data);
            wire.extend(b"\r\n");
        }
        wire.extend(format!("0\r\n{trailer}\r\n").bytes());
        ("transfer-encoding:\tChunked \r\n".to_owned(), wire)
    });
    let whole = data().prop_map(|data| (format!("Content-Length: {}\r\n", data.len()), data));
    let empty = prop_oneof![Just(""), Just("CONTENT-LENGTH:0\r\n")];
    prop_oneof![
        chunked,
        whole,
        empty.prop_map(|field| (field.to_owned(), Vec::new()))
    ]
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let request = (body(), 0..300_usize, any::<bool>()).prop_map(|((field, wire), long, gap)| {
        let gap = if gap { "\r\n" } else { "" };
        let long = "x".repeat(long);
        let head = format!("{gap}POST /a:b HTTP/1.1\r\nX: {long}\r\n{field}Y: z\r\n\r\n");
        [head.into_bytes(), wire].concat()
    });
    vec(request, 0..4).prop_map(|requests| requests.concat())
}

/// Follows the bytes in pieces; how many are good, and why no more.
fn follow(bytes: &[u8], piece: usize) -> (usize, Option<&'static str>, Framing) {
    let mut framing = Framing::default();
    let mut good = 0;
    for piece in bytes.chunks(piece) {
        match framing.follow(piece) {
            Ok(()) => good += piece.len(),
            Err(refused) => return (good + refused.good, Some(refused.reason), framing),
        }
    }
    (good, None, framing)
}

proptest! {
    #[test]
    fn requests_are_followed_to_their_ends_however_they_are_cut(
        bytes in requests(),
        piece in 1..200_usize,
    ) {
        let (good, refused, framing) = follow(&bytes, piece);
        prop_assert_eq!((good, refused), (bytes.len(), None));
        prop_assert!(matches!(framing.place, Place::Head) && !framing.head.has_begun);
    }

    #[test]
    fn a_head_with_two_readings_is_found_wherever_it_stands(
        bytes in requests(),
        piece in 1..200_usize,
        (head, rest) in prop_oneof![
            Just(("", "\n")),
            Just(("GET / HTTP/1.1", "\nHost: a\r\n\r\n")),
            Just(("GET / HTTP/1.1\r\nHost: a", "\n\r\n")),
            Just(("GET / HTTP/1.1\r\nHost: a\r\n", "\n")),
            Just(("GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r", "\n\r\n")),
            Just(("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r", "\n\r\n")),
            Just(("GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r", "\n\r\n")),
            Just(("GET / HTTP/1.1\r\nContent-Length: 1, 1\r", "\n\r\n")),
            Just(("GET / HTTP/1.1\r\nContent-Length: +1\r", "\n\r\n")),
            Just(("GET / HTTP/1.1\r\nContent-Length:\r", "\n\r\n")),
            Just(("GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r", "\n\r\n")),
            Just(("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b", "\n\r\n")),
        ],
    ) {
        let good = bytes.len() + head.len();
        let bytes = [&bytes, head.as_bytes(), rest.as_bytes()].concat();
        let (found, refused, _) = follow(&bytes, piece);
        prop_assert_eq!(found, good);
        prop_assert!(refused.is_some());
    }
}

#[test]
fn a_length_behind_more_blanks_than_are_looked_at_is_refused() {
    let head = format!("GET / HTTP/1.1\r\nContent-Length:{}1\r", " ".repeat(LINE));
    let (good, refused, _) = follow(format!("{head}\n\r\n").as_bytes(), 7);
    assert_eq!(good, head.len());
    assert_eq!(refused, Some("a length or a coding without an end"));
}

#[test]
fn chunks_that_hyper_refuses_are_left_to_it() {
    let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunk in [
        "2\n",
        "2;a\n",
        "11111111111111111\r\n",
        "FFFFFFFFFFFFFFFF\r\n",
    ] {
        let (_, refused, framing) = follow(format!("{head}{chunk}").as_bytes(), 1000);
        assert_eq!(refused, None, "{chunk:?}");
        assert!(matches!(framing.place, Place::Beyond), "{chunk:?}");
    }
}

#[tokio::test]
async fn the_reader_gets_what_is_good_and_then_what_nobody_takes() {
    let bytes = &b"GET / HTTP/1.1\r\nHost: a\nGET / HTTP/1.1\r\n\r\n"[..];
    for room in [1, 2, 3, 1000] {
        let mut strict = Strict::new(tokio::io::join(bytes, tokio::io::sink()), Arc::default());
        let mut read = Vec::new();
        let mut buffer = vec![0; room];
        while !read.ends_with(SPOILT) {
            let count = strict.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&read));
            read.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(read, b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n");
    }
}

#[tokio::test]
async fn what_follows_an_upgrade_is_no_request() {
    let unread = Arc::new(Unread::default());
    unread.begin(&Bodies::new(1000, || ()));
    let bytes = &b"\n\n\n"[..];
    let mut strict = Strict::new(tokio::io::join(bytes, tokio::io::sink()), unread);
    let mut read = Vec::new();
    strict.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, bytes);
}
