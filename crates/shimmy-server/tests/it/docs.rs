//! `/docs`: a page that needs nothing but this server, and lets nothing else in.

use crate::support::{Setup, TestServer};

/// What the page names, and something that each file begins with.
const FILES: [(&str, &str, &str); 4] = [
    ("/docs/favicon-32x32.png", "image/png", "\u{fffd}PNG"),
    (
        "/docs/start.js",
        "text/javascript; charset=utf-8",
        "// Shows",
    ),
    (
        "/docs/swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
        "/*! For license information",
    ),
    (
        "/docs/swagger-ui.css",
        "text/css; charset=utf-8",
        ".swagger-ui{",
    ),
];

/// The values of an attribute in the page.
fn attributes<'a>(page: &'a str, name: &str) -> Vec<&'a str> {
    let mark = format!("{name}=\"");
    let starts = page
        .match_indices(&mark)
        .map(|(at, _)| &page[at + mark.len()..]);
    starts.filter_map(|rest| rest.split('"').next()).collect()
}

async fn page(server: &TestServer) -> String {
    let response = server.get("/docs").await;
    assert_eq!(
        response.headers()["content-type"],
        "text/html; charset=utf-8"
    );
    response.text().await.unwrap()
}

#[tokio::test]
async fn every_file_that_the_page_names_is_served_here() {
    let server = Setup::default().start().await;
    let page = page(&server).await;
    let mut named: Vec<_> = [attributes(&page, "src"), attributes(&page, "href")].concat();
    named.sort_unstable();
    assert_eq!(named, FILES.map(|(path, _, _)| path));
    // No other host, whatever the scheme.
    assert!(!page.contains("//"), "{page}");
    for (path, content_type, start) in FILES {
        let response = server.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], content_type);
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let text = response.text().await.unwrap();
        assert!(text.trim_start().starts_with(start), "{path}: {text:.40}");
    }
}

#[tokio::test]
async fn the_page_shows_our_description_and_sends_it_to_nobody() {
    let server = Setup::default().start().await;
    let start = server.get("/docs/start.js").await.text().await.unwrap();
    assert!(start.contains("fetch(\"/openapi.json\""), "{start}");
    assert!(start.contains("validatorUrl: null"), "{start}");
    // What the policy would stop is not there to be stopped.
    let page = page(&server).await;
    assert_eq!(
        page.matches("<script").count(),
        attributes(&page, "src").len()
    );
    for inline in ["<style", "style=", "onclick", "onload", "javascript:"] {
        assert!(!page.contains(inline), "{inline}");
    }
}

#[tokio::test]
async fn large_files_are_sent_as_they_are_kept_to_those_who_take_gzip() {
    let server = Setup::default().start().await;
    let mut kept = 0;
    for (path, _, _) in FILES {
        let plain = server.get(path).await;
        assert_eq!(plain.headers()["vary"], "accept-encoding");
        assert!(!plain.headers().contains_key("content-encoding"));
        let plain = plain.bytes().await.unwrap();
        let request = server.client.get(server.url(path));
        let response = request.header("accept-encoding", "br, gzip").send();
        let response = response.await.unwrap();
        let encoding = response.headers().get("content-encoding").cloned();
        let sent = response.bytes().await.unwrap();
        kept += sent.len();
        match encoding {
            Some(encoding) => {
                assert_eq!(encoding, "gzip");
                assert!(sent.starts_with(&[0x1f, 0x8b, 8]), "{path}");
                let length = u32::from_le_bytes(sent[sent.len() - 4..].try_into().unwrap());
                assert_eq!(plain.len(), length as usize, "{path}");
            }
            None => {
                assert_eq!(plain, sent, "{path}");
                assert!(sent.len() < 4096, "{path} is kept as it is");
            }
        }
    }
    assert!(kept < 450_000, "the page takes {kept} bytes of the binary");
}

#[tokio::test]
async fn the_policy_allows_no_inline_code_no_other_host_and_no_frame() {
    let server = Setup::default().start().await;
    for (path, _, _) in FILES.into_iter().chain([("/docs", "", "")]) {
        let response = server.get(path).await;
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.split("; ").any(|r| r == rule), "{rule} in {policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*') && !policy.contains("//"),
            "{policy}"
        );
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
    }
}

#[tokio::test]
async fn only_the_files_of_the_page_are_served() {
    let server = Setup::default().start().await;
    for path in [
        "/docs/mod.rs",
        "/docs/..%2fopenapi.json",
        "/docs/start.js/",
        "/docs/index.html",
        "/docs/",
    ] {
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
    // Sent as it is: a client would make `/` of it.
    let request = "GET /docs/%2e%2e HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = server.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
