use super::events::Parser;
use super::lines::Splitter;
use super::*;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A device that answers every request on a connection with the next of these, word for word, then closes.
async fn answering(answers: &'static [&'static str]) -> Api {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut answers = answers.iter();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            while stream.read(&mut buffer).await.unwrap_or(0) > 0 {
                let Some(answer) = answers.next() else { return };
                stream.write_all(answer.as_bytes()).await.unwrap();
                if answer.contains("close") {
                    break;
                }
            }
        }
    });
    Api::new(address, "secret".into())
}

#[test]
fn lines_are_cut_wherever_the_network_cut() {
    let text = b"one\r\ntwo\n\nthree";
    for size in 1..text.len() {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for part in text.chunks(size) {
            splitter.push(part);
            while let Some(line) = splitter.next() {
                lines.push(line);
            }
        }
        lines.extend(splitter.rest());
        assert_eq!(lines, [b"one".to_vec(), b"two".to_vec(), b"".to_vec(), b"three".to_vec()], "in parts of {size}");
    }
}

#[test]
fn events_are_put_together() {
    let mut parser = Parser::default();
    let lines = ["id: 7", "event: change", "data: {\"a\":", "data: 1}", ""];
    let events: Vec<Event> = lines.iter().filter_map(|line| parser.line(line)).collect();
    assert_eq!(events, [Event { id: Some("7".into()), kind: "change".into(), data: "{\"a\":\n1}".into() }]);
    assert_eq!([": still here", ""].iter().filter_map(|line| parser.line(line)).count(), 0, "a comment is no event");
}

#[test]
fn paths_are_encoded() {
    assert_eq!(encode("2025-08-30"), "2025-08-30");
    assert_eq!(encode("a/b ü"), "a%2Fb%20%C3%BC");
}

#[tokio::test]
async fn a_refusal_is_told_from_a_broken_connection() {
    const NO: &str = "HTTP/1.1 409 Conflict\r\ncontent-length: 40\r\n\r\n{\"code\":\"stale_version\",\"message\":\"old\"}";
    const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{";
    const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 37\r\n\r\n{\"code\":\"unavailable\",\"message\":\"no\"}";
    const LATE: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 38\r\n\r\n{\"code\":\"unavailable\",\"message\":\"no\"} ";
    let api = answering(&[NO, HALF, LATE]).await;
    assert_eq!(BUSY.len() + 1, LATE.len());
    let error = api.get::<Value>("/v1/status").await.unwrap_err();
    assert!(error.is_refusal() && error.code() == Some("stale_version"), "{error}");
    let error = api.get::<Value>("/v1/status").await.unwrap_err();
    assert!(!error.is_refusal(), "the write may have happened: {error}");
    let error = api.get::<Value>("/v1/status").await.unwrap_err();
    assert!(!error.is_refusal() && error.code() == Some("unavailable"), "{error}");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_nothing() {
    const ONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1";
    const LAST: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n2";
    let api = answering(&[ONE, LAST, ONE]).await;
    for expected in [1, 2, 1] {
        assert_eq!(api.get::<u64>("/health").await.unwrap(), expected);
    }
}

#[tokio::test]
async fn long_work_ends_with_its_result_or_its_error_and_never_quietly() {
    const DONE: &str =
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"progress\":{\"step\":\"a\",\"done\":1,\"total\":null}}\n{\"result\":7}\n";
    const WRONG: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"error\":{\"code\":\"disk_full\",\"message\":\"full\"}}\n";
    const CUT: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"progress\":{\"step\":\"a\",\"done\":1,\"total\":null}}\n";
    let api = answering(&[DONE, WRONG, CUT]).await;
    let within = Duration::from_secs(20);
    assert_eq!(api.task::<u64>("/v1/import", &Value::Null, within).await.unwrap(), 7);
    assert_eq!(api.task::<u64>("/v1/import", &Value::Null, within).await.unwrap_err().code(), Some("disk_full"));
    assert!(matches!(api.task::<u64>("/v1/import", &Value::Null, within).await, Err(ApiError::Unfinished)));
}
