//! Web pages that have no business here: every combination of what they can and cannot send, on every route.

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::json;

use crate::support::{Answer, Api};

const PAGE: &str = "tauri://localhost";
const PORT: u16 = 7420;

/// What a header says (several lines when it stands there several times), and whether that is good.
type Case = (&'static [&'static str], bool);

const HOSTS: &[Case] = &[
    (&["127.0.0.1:7420"], true),
    (&["localhost:7420"], true),
    (&["LocalHost:7420"], true),
    (&["[::1]:7420"], true),
    (&["notes.local:7420"], true),
    (&["proxy.local:80"], true),
    (&[], false),
    (&[""], false),
    (&["127.0.0.1"], false),
    (&["127.0.0.1:7421"], false),
    (&["localhost:80"], false),
    (&["localhost.:7420"], false),
    (&["evil.example"], false),
    (&["evil.example:7420"], false),
    (&["localhost:7420.evil.example"], false),
    (&["127.0.0.1.evil.example:7420"], false),
    (&["evil.example/127.0.0.1:7420"], false),
    (&["user@127.0.0.1:7420"], false),
    (&["0.0.0.0:7420"], false),
    (&["2130706433:7420"], false),
    (&["[::ffff:127.0.0.1]:7420"], false),
    (&["127.0.0.1:7420, evil.example"], false),
    (&["127.0.0.1:7420", "evil.example"], false),
    (&["evil.example", "127.0.0.1:7420"], false),
    (&["127.0.0.1:7420", "127.0.0.1:7420"], false),
];

const ORIGINS: &[Case] = &[
    (&[], true),
    (&[PAGE], true),
    (&["null"], false),
    (&["http://evil.example"], false),
    (&["http://127.0.0.1:7420"], false),
    (&["http://localhost:3000"], false),
    (&["tauri://localhost.evil.example"], false),
    (&["TAURI://LOCALHOST"], false),
    (&["*"], false),
    (&[PAGE, "http://evil.example"], false),
    (&[""], false),
];

/// Good alone; what says another site is good together with an allowed origin.
const SITES: &[Case] = &[
    (&[], true),
    (&["none"], true),
    (&["same-origin"], true),
    (&["same-site"], false),
    (&["cross-site"], false),
    (&["whatever"], false),
    (&["none", "cross-site"], false),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    Right,
    RightInCapitals,
    None,
    Wrong,
    Beginning,
    Longer,
    Basic,
    Bare,
    Twice,
}

const CLAIMS: [Claim; 9] = [
    Claim::Right,
    Claim::RightInCapitals,
    Claim::None,
    Claim::Wrong,
    Claim::Beginning,
    Claim::Longer,
    Claim::Basic,
    Claim::Bare,
    Claim::Twice,
];

impl Claim {
    fn lines(self, secret: &str) -> Vec<String> {
        match self {
            Self::Right => vec![format!("Bearer {secret}")],
            // The scheme's name has no case (RFC 9110, section 11.1).
            Self::RightInCapitals => vec![format!("BEARER {secret}")],
            Self::None => vec![],
            Self::Wrong => vec![format!("Bearer {}", "0".repeat(64))],
            Self::Beginning => vec![format!("Bearer {}", &secret[..63])],
            Self::Longer => vec![format!("Bearer {secret}0")],
            Self::Basic => vec![format!("Basic {secret}")],
            Self::Bare => vec![secret.to_owned()],
            Self::Twice => vec![format!("Bearer {secret}"), format!("Bearer {secret}")],
        }
    }

    fn is_right(self) -> bool {
        matches!(self, Self::Right | Self::RightInCapitals)
    }
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    host: Case,
    origin: Case,
    site: Case,
    claim: Claim,
}

const GOOD: Sent = Sent { host: HOSTS[0], origin: ORIGINS[0], site: SITES[0], claim: Claim::Right };

impl Sent {
    fn request(&self, api: &Api, method: &str, path: &str) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
        let lines = [("host", self.host.0), ("origin", self.origin.0), ("sec-fetch-site", self.site.0)];
        for (name, values) in lines {
            for value in values {
                request = request.header(name, *value);
            }
        }
        for value in self.claim.lines(api.token.secret()) {
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Body::from(r#"{"content":"written by a page"}"#)).unwrap()
    }

    /// The status and code of the refusal that is due, if one is.
    fn due(&self, path: &str) -> Option<(StatusCode, &'static str)> {
        let open = ["/health", "/openapi.json"].contains(&path);
        let admitted = self.origin.0 == [PAGE];
        if !self.host.1 || !self.origin.1 || !(self.site.1 || admitted) {
            Some((StatusCode::FORBIDDEN, "forbidden"))
        } else if !open && !self.claim.is_right() {
            Some((StatusCode::UNAUTHORIZED, "unauthorised"))
        } else {
            None
        }
    }
}

async fn api() -> Api {
    Api::with(|options| {
        options.port = Some(PORT);
        options.allowed_origins = vec![PAGE.to_owned(), "null".to_owned()];
        options.allowed_hosts = vec!["Notes.local".to_owned(), "proxy.local:80".to_owned()];
    })
    .await
}

fn check_dress(headers: &HeaderMap, case: &str) {
    for (name, value) in [
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(headers.get(name).map(|value| value.to_str().unwrap()), Some(value), "{name}: {case}");
    }
    assert_eq!(headers["x-request-id"].len(), 16, "{case}");
    assert!(headers.get("access-control-allow-origin").is_none_or(|origin| origin == PAGE), "{case}");
    assert!(!headers.contains_key("access-control-allow-credentials"), "{case}");
}

async fn check(api: &Api, sent: Sent, method: &str, path: &str) -> usize {
    let case = format!("{method} {path} {sent:?}");
    let response = api.begin(sent.request(api, method, path)).await;
    check_dress(response.headers(), &case);
    let status = response.status();
    let allows = response.headers().contains_key("access-control-allow-origin");
    match sent.due(path) {
        Some((due, code)) => {
            assert_eq!(status, due, "{case}");
            let answer = Answer::of(response).await;
            if method != "HEAD" {
                assert_eq!(answer.code(), code, "{case}");
            }
            assert_eq!(answer.headers.contains_key("www-authenticate"), due == StatusCode::UNAUTHORIZED, "{case}");
            assert!(!allows, "a page could read a refusal: {case}");
        }
        None => {
            assert!(![StatusCode::FORBIDDEN, StatusCode::UNAUTHORIZED].contains(&status), "{case}: {status}");
            assert_eq!(allows, sent.origin.0 == [PAGE], "{case}");
        }
    }
    1
}

#[tokio::test]
async fn every_combination_of_host_origin_site_and_token_is_answered_as_it_should() {
    let api = api().await;
    let mut cases = 0;
    for path in ["/v1/status", "/health"] {
        for host in HOSTS {
            for origin in ORIGINS {
                for site in SITES {
                    // Every claim with the good host, the two that matter with the others.
                    let claims = if host.1 { &CLAIMS[..] } else { &[Claim::Right, Claim::None] };
                    for claim in claims {
                        cases += check(&api, Sent { host: *host, origin: *origin, site: *site, claim: *claim }, "GET", path).await;
                    }
                }
            }
        }
    }
    assert!(cases > 10_000, "{cases}");
}

/// What is wrong one at a time.
fn bad() -> impl Iterator<Item = Sent> {
    let hosts = HOSTS.iter().filter(|case| !case.1).map(|host| Sent { host: *host, ..GOOD });
    let origins = ORIGINS.iter().filter(|case| !case.1).map(|origin| Sent { origin: *origin, ..GOOD });
    let sites = SITES.iter().filter(|case| !case.1).map(|site| Sent { site: *site, ..GOOD });
    let claims = CLAIMS.iter().filter(|claim| !claim.is_right()).map(|claim| Sent { claim: *claim, ..GOOD });
    hosts.chain(origins).chain(sites).chain(claims)
}

#[tokio::test]
async fn no_route_and_no_method_is_left_out() {
    let api = api().await;
    let cursor = api.device.workspace(None).unwrap().status().await.unwrap().cursor;
    let document: serde_json::Value = serde_json::from_str(&nodespace_node::api::document()).unwrap();
    let routes = document["paths"].as_object().unwrap().keys().map(|path| path.replace(['{', '}'], ""));
    let paths: Vec<String> = routes.chain(["/", "/v1", "/nowhere", "/v1/nodes/a/b", "/v1/../health"].map(str::to_owned)).collect();
    let mut cases = 0;
    for path in &paths {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"] {
            for sent in bad().filter(|sent| sent.due(path).is_some()) {
                cases += check(&api, sent, method, path).await;
            }
        }
    }
    assert!(paths.len() > 25 && cases > 10_000, "{} paths, {cases} cases", paths.len());
    assert_eq!(api.device.workspace(None).unwrap().status().await.unwrap().cursor, cursor, "a page has written something");
}

#[tokio::test]
async fn a_whole_url_in_the_request_line_names_a_host_too() {
    let api = api().await;
    for (target, status) in [
        ("http://127.0.0.1:7420/v1/status", StatusCode::OK),
        ("http://evil.example/v1/status", StatusCode::FORBIDDEN),
        ("http://evil.example:7420/health", StatusCode::FORBIDDEN),
        ("http://user@127.0.0.1:7420/health", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(api.send(GOOD.request(&api, "GET", target)).await.status, status, "{target}");
    }
}

#[tokio::test]
async fn a_token_in_the_url_is_no_token() {
    let api = api().await;
    let secret = api.token.secret();
    for query in [format!("token={secret}"), format!("access_token={secret}"), format!("authorization=Bearer+{secret}")] {
        let path = format!("/v1/status?{query}");
        let answer = api.send(Sent { claim: Claim::None, ..GOOD }.request(&api, "GET", &path)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let answer = api.send(GOOD.request(&api, "GET", &path)).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "invalid_request"));
        assert!(!String::from_utf8_lossy(&answer.bytes).contains(secret));
    }
}

#[tokio::test]
async fn a_configured_page_may_ask_what_it_may() {
    let api = api().await;
    let preflight = |origin: Case, host: Case| {
        let sent = Sent { origin, host, site: SITES[4], claim: Claim::None };
        let mut request = sent.request(&api, "OPTIONS", "/v1/nodes/x");
        request.headers_mut().insert("access-control-request-method", "PATCH".parse().unwrap());
        request.headers_mut().insert("access-control-request-headers", "authorization".parse().unwrap());
        request
    };
    let answer = api.send(preflight(ORIGINS[1], HOSTS[0])).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(answer.headers["access-control-allow-origin"], PAGE);
    assert!(answer.headers["access-control-allow-methods"].to_str().unwrap().contains("PATCH"));
    assert!(answer.headers["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    assert_eq!(answer.headers["vary"], "Origin");
    for (origin, host) in ORIGINS.iter().filter(|case| !case.1).map(|case| (*case, HOSTS[0])).chain([(ORIGINS[1], HOSTS[13])]) {
        let answer = api.send(preflight(origin, host)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin:?} {host:?}");
        assert!(!answer.headers.contains_key("access-control-allow-methods"));
    }
    // Asking is not doing: the same without the token, and without asking.
    let answer = api.send(Sent { origin: ORIGINS[1], claim: Claim::None, ..GOOD }.request(&api, "PATCH", "/v1/nodes/x")).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn reading_changes_nothing() {
    let api = Api::open().await;
    api.create("a").await;
    let before = api.get("/v1/status").await.ok();
    let document: serde_json::Value = serde_json::from_str(&nodespace_node::api::document()).unwrap();
    let mut read = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        if item.get("get").is_some() {
            let path = path.replace("{id}", "a").replace("{node}", "a");
            for method in ["GET", "HEAD"] {
                // The head of an answer is enough: a stream has no end.
                drop(api.begin(api.request(method, &path).body(Body::empty()).unwrap()).await);
                read += 1;
            }
        }
    }
    assert!(read >= 30, "{read}");
    let after = api.get("/v1/status").await.ok();
    for member in ["cursor", "state_digest", "open_conflicts"] {
        assert_eq!(after[member], before[member]);
    }
}

#[tokio::test]
async fn settings_that_would_let_any_page_in_are_refused() {
    let api = Api::open().await;
    let with = |origins: &[&str], hosts: &[&str]| {
        let mut options = api.options.clone();
        options.allowed_origins = origins.iter().map(|&text| text.to_owned()).collect();
        options.allowed_hosts = hosts.iter().map(|&text| text.to_owned()).collect();
        options.check()
    };
    for origin in
        ["*", "null", "https://*.example", "example.org", "https://", "https://a.example/path", "https://a.example, https://b.example"]
    {
        assert!(with(&[origin], &[]).unwrap_err().to_string().contains(origin), "{origin}");
    }
    for host in ["", "*", "http://notes.local", "notes local"] {
        assert!(with(&[], &[host]).is_err(), "{host}");
    }
    with(&[PAGE, "https://notes.example:8443"], &["notes.local", "notes.local:80", "[fd00::1]"]).unwrap();
    assert_eq!(api.call("POST", "/v1/nodes", json!({ "content": "x" })).await.status, StatusCode::CREATED);
}
