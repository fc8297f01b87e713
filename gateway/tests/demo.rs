//! The example page: served where it was asked for, with headers that allow nothing else.

mod support;

use support::{Gateway, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wscluster_gateway::config::Config;

/// Status, headers in lower case, body.
async fn get(gateway: &Gateway, path: &str, more: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(gateway.public).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .unwrap_or_else(|| panic!("no {name}: {head}"))
}

#[tokio::test]
async fn without_demo_nothing_is_served() {
    let gateway = Gateway::start("", None).await;
    for path in ["/", "/demo", "/demo/", "/demo/chat.js"] {
        assert_eq!(get(&gateway, path, "").await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn every_file_that_the_page_names_is_served_as_what_it_is() {
    let gateway = Gateway::start("demo: true", None).await;
    let (status, head, page) = get(&gateway, "/demo/", "").await;
    assert_eq!((status, header(&head, "content-type")), (200, "text/html; charset=utf-8"));
    let names: Vec<_> = page
        .split(['"', '\''])
        .filter(|text| text.rsplit_once('.').is_some_and(|(_, kind)| ["js", "css", "svg"].contains(&kind)))
        .collect();
    assert!(names.len() >= 3, "{names:?}");
    for name in names.into_iter().chain(["wscluster.js"]) {
        let (status, head, _) = get(&gateway, &format!("/demo/{name}"), "").await;
        let kind = match name.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!((status, header(&head, "content-type")), (200, kind), "{name}");
        assert_eq!(header(&head, "x-content-type-options"), "nosniff");
        let policy = header(&head, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    assert_eq!(get(&gateway, "/demo/../Cargo.toml", "").await.0, 404);
    let (status, head, _) = get(&gateway, "/", "").await;
    assert_eq!((status, header(&head, "location")), (307, "/demo/"));
}

#[tokio::test]
async fn a_page_that_has_not_changed_is_not_sent_again() {
    let gateway = Gateway::start("demo: true", None).await;
    let (_, head, _) = get(&gateway, "/demo/chat.js", "").await;
    let tag = header(&head, "etag").to_owned();
    let (status, _, body) = get(&gateway, "/demo/chat.js", &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!((status, body.as_str()), (304, ""));
    assert_eq!(get(&gateway, "/demo/chat.js", "If-None-Match: \"other\"\r\n").await.0, 200);
}

#[tokio::test]
async fn the_page_can_be_switched_off_while_running() {
    let gateway = Gateway::start("demo: true", None).await;
    assert_eq!(get(&gateway, "/demo/", "").await.0, 200);
    gateway.settings.store(std::sync::Arc::new(Config::default().into()));
    until(|| async { get(&gateway, "/demo/", "").await.0 == 404 }).await;
}
