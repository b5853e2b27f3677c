//! Gzip: whether a client takes it, and what it stands for. It must not know whose files these are.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_ENCODING;
use miniz_oxide::inflate::decompress_to_vec;

use crate::error::{ApiError, ErrorKind};

/// Bytes before and after what is deflated, in a file that has neither a name nor a comment.
const HEADER: usize = 10;
const TRAILER: usize = 8;

/// Whether gzip is among the encodings that are accepted (RFC 9110, section 12.5.3): by its name,
/// or by `*` where its name is not there, with a weight other than zero.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut by_star = false;
    for encoding in values.flat_map(|value| value.split(',')) {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").map(str::parse::<f32>);
        let is_accepted = matches!(weight, Some(Ok(weight)) if weight > 0.0);
        match name.trim() {
            "gzip" | "x-gzip" => return is_accepted,
            "*" => by_star = is_accepted,
            _ => {}
        }
    }
    by_star
}

/// The content of a gzip file that the build made.
pub(super) fn gunzip(file: &[u8]) -> Result<Vec<u8>, ApiError> {
    let content = file.len().checked_sub(TRAILER).map(|end| HEADER..end);
    let deflated = content.and_then(|content| file.get(content));
    deflated
        .and_then(|deflated| decompress_to_vec(deflated).ok())
        .ok_or_else(|| ApiError::new(ErrorKind::Internal, "a file of the page is damaged"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let accepts = |values: &[&str]| {
            let values = values.iter().map(|&value| {
                let value = HeaderValue::from_str(value).unwrap();
                (ACCEPT_ENCODING, value)
            });
            let mut headers = HeaderMap::new();
            for (name, value) in values {
                headers.append(name, value);
            }
            accepts_gzip(&headers)
        };
        for yes in [
            "gzip",
            "br, gzip;q=0.5",
            "deflate,gzip",
            "*",
            "x-gzip",
            "br;q=0, *;q=0.1",
        ] {
            assert!(accepts(&[yes]), "{yes}");
        }
        for no in [
            "",
            "identity",
            "gzip;q=0",
            "gzip; q=0.0",
            "*, gzip;q=0",
            "*;q=0",
            "gzip;q=x",
            "gzipped",
        ] {
            assert!(!accepts(&[no]), "{no}");
        }
        assert!(!accepts(&[]));
        assert!(accepts(&["br", "gzip"]));
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        assert!(gunzip(b"").is_err());
        assert!(
            gunzip(&[
                0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0
            ])
            .is_err()
        );
    }
}
