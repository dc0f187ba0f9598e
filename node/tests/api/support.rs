//! A device with an API in this process, and small clients for it.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, request};
use http_body_util::BodyExt as _;
use nodespace_node::api::{self, ApiOptions, Token};
use nodespace_node::engine::{Clock, CreateOptions, Device, OpenOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

/// How long anything may take before a test gives up: far more than it needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A device in a folder of its own.
pub(crate) async fn device() -> (Device, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    Device::create(&CreateOptions { home: home.clone(), workspace_name: "notes".to_owned(), policy: Default::default() }).unwrap();
    (open_device(&home, Clock::default()).await, folder)
}

async fn open_device(home: &Path, clock: Clock) -> Device {
    Device::open(OpenOptions { projection: false, clock, ..OpenOptions::new(home) }).await.unwrap()
}

/// A device with an API.
pub(crate) struct Api {
    pub(crate) router: Router,
    pub(crate) token: Token,
    pub(crate) options: ApiOptions,
    pub(crate) device: Device,
    folder: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Self { status: head.status, headers: head.headers, bytes }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    /// The code of a refusal, after checking that it is a whole one.
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        assert!(body["message"].as_str().is_some_and(|message| message.len() > 10), "{body}");
        assert_eq!(self.headers[CONTENT_TYPE], "application/json");
        body["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, String::from_utf8_lossy(&self.bytes));
        self.json()
    }
}

impl Api {
    pub(crate) async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(set: impl FnOnce(&mut ApiOptions)) -> Self {
        let (device, folder) = device().await;
        Self::over(device, folder, set)
    }

    /// The API of a device with keys and no workspace.
    pub(crate) async fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        Device::create_empty(&home).unwrap();
        Self::over(open_device(&home, Clock::default()).await, folder, |_| {})
    }

    /// The same device after its program ended and began again, perhaps with another clock.
    pub(crate) async fn reopen(self, clock: Clock) -> Self {
        self.device.close().await.unwrap();
        let device = open_device(self.device.home(), clock).await;
        Self::over(device, self.folder, |_| {})
    }

    fn over(device: Device, folder: TempDir, set: impl FnOnce(&mut ApiOptions)) -> Self {
        let token = Token::open(device.home()).unwrap();
        let mut options = ApiOptions::new(token.clone());
        set(&mut options);
        let router = api::router(device.clone(), options.clone());
        Self { router, token, options, device, folder }
    }

    /// A request that would pass all checks.
    pub(crate) fn request(&self, method: &str, path: &str) -> request::Builder {
        let bearer = format!("Bearer {}", self.token.secret());
        Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header(HOST, "localhost")
            .header(AUTHORIZATION, bearer)
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn begin(&self, request: Request<Body>) -> Response<Body> {
        tokio::time::timeout(PATIENCE, self.router.clone().oneshot(request)).await.unwrap().unwrap()
    }

    /// Sends a request and waits for its whole answer.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.begin(request).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.raw(method, path, body.to_string()).await
    }

    pub(crate) async fn raw(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        self.send(self.request(method, path).header(CONTENT_TYPE, "application/json").body(body.into()).unwrap()).await
    }

    /// Makes a node and answers with its `WriteReply`.
    pub(crate) async fn create(&self, id: &str) -> Value {
        self.call("POST", "/v1/nodes", json!({ "id": id, "content": format!("text of {id}") })).await.ok()
    }

    /// Where the change stream ends.
    pub(crate) async fn cursor(&self) -> String {
        self.get("/v1/changes").await.ok()["cursor"].as_str().unwrap().to_owned()
    }
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: String,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// What a browser does with `text/event-stream`, but for connecting again.
pub(crate) struct Events {
    body: Body,
    text: String,
    pub(crate) comments: usize,
}

impl Events {
    /// A stream from its beginning.
    pub(crate) async fn open(api: &Api, path: &str) -> Self {
        Self::of(api.begin(api.request("GET", path).body(Body::empty()).unwrap()).await)
    }

    pub(crate) fn of(response: Response<Body>) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        Self { body: response.into_body(), text: String::new(), comments: 0 }
    }

    /// The next block of lines; `None` at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                return Some(std::mem::replace(&mut self.text, rest));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("the stream went silent")?;
            self.text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let mut event = Event::default();
            for line in block.lines().filter(|line| !line.is_empty()) {
                let (field, value) = line.split_once(": ").unwrap_or((line, ""));
                match field {
                    "event" => value.clone_into(&mut event.name),
                    "id" => value.clone_into(&mut event.id),
                    "data" => event.data.push_str(value),
                    "" => self.comments += 1,
                    "retry" => {}
                    other => panic!("unknown field {other:?} in {block:?}"),
                }
            }
            if !event.data.is_empty() {
                return Some(event);
            }
        }
    }

    /// Waits for a comment.
    pub(crate) async fn comment(&mut self) {
        let before = self.comments;
        while self.comments == before {
            let block = self.block().await.expect("the stream ended");
            self.comments += usize::from(block.starts_with(':'));
        }
    }
}
