//! A client of the local API that is as simple as can be: one connection a request, blocking, no library of ours.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The body: one JSON value, or the last line of several.
    pub(crate) body: Value,
}

/// Sends a request. `Err` when the other side went away before it had answered whole: then nobody knows whether it was done.
pub(crate) fn request(address: &str, token: &str, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let body = body.map(ToString::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the answer was cut"))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?.to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = |head: &str| head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    let raw = &bytes[end + 4..];
    let body = if head.contains("transfer-encoding: chunked") {
        unchunk(raw)?
    } else if let Some(length) = length(&head) {
        raw.get(..length)?.to_vec()
    } else {
        raw.to_vec()
    };
    let text = String::from_utf8(body).ok()?;
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("null");
    let value = serde_json::from_str(&text).or_else(|_| serde_json::from_str(last));
    Some(Answer { status, body: value.ok()? })
}

/// The content of a chunked body; nothing when its end is missing.
fn unchunk(mut raw: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = raw.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&raw[..end]).ok()?.trim(), 16).ok()?;
        raw = &raw[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(raw.get(..size)?);
        raw = raw.get(size + 2..)?;
    }
}
