//! The OpenAPI document: current, whole, and what is served.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::Api;

fn docs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

fn document() -> Value {
    serde_json::from_str(&nodespace_node::api::document()).unwrap()
}

/// All operations: path, method, description.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of = |(path, item): (&String, &Value)| {
        let item = item.as_object().unwrap().clone();
        let path = path.clone();
        item.into_iter().map(move |(method, operation)| (path.clone(), method, operation)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

#[test]
fn the_checked_in_document_is_current() {
    let now = nodespace_node::api::document();
    let path = docs("openapi.json");
    if std::env::var_os("NODESPACE_BLESS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let then = fs::read_to_string(&path).unwrap_or_default();
    assert!(now == then, "docs/openapi.json is not current: run this test with NODESPACE_BLESS=1 and commit what it writes");
}

#[tokio::test]
async fn what_is_served_is_the_document() {
    let api = Api::open().await;
    let answer = api.get("/openapi.json").await;
    assert_eq!(answer.bytes, nodespace_node::api::document().into_bytes());
}

#[test]
fn every_operation_says_what_it_does_takes_and_answers() {
    let document = document();
    let operations = operations(&document);
    assert!(operations.len() >= 25);
    let mut names = BTreeSet::new();
    for (path, method, operation) in &operations {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name), "two operations are called {name}");
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 10), "{method} {path}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("default") && responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
        let of_path: Vec<&str> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for name in of_path {
            assert!(parameters.iter().any(|parameter| parameter["in"] == "path" && parameter["name"] == name), "{path}: {name}");
        }
        assert!(parameters.iter().all(|parameter| parameter["description"].is_string()), "{method} {path}");
        let open = operation["security"] == serde_json::json!([{}]);
        assert_eq!(open, ["/health", "/openapi.json"].contains(&path.as_str()), "{method} {path}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut found = 0;
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
                    found += 1;
                }
                left.extend(members.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    assert!(found > 50, "{found}");
}

#[test]
fn the_page_shows_every_route() {
    let page = fs::read_to_string(docs("API.md")).unwrap();
    for (path, method, _) in operations(&document()) {
        let heading = format!("`{} {path}`", method.to_uppercase());
        assert!(page.contains(&heading), "docs/API.md does not show {heading}");
    }
}

#[test]
fn what_the_document_closes_can_be_met() {
    let document = document();
    let schema = |name: &str| document.pointer(&format!("/components/schemas/{name}")).unwrap().clone();
    let (mut sums, mut left) = (0, vec![&document]);
    while let Some(value) = left.pop() {
        match value {
            Value::Object(members) => {
                for part in members.get("allOf").and_then(Value::as_array).into_iter().flatten() {
                    let whole = part["$ref"].as_str().map_or_else(|| part.clone(), |path| schema(path.rsplit('/').next().unwrap()));
                    assert_ne!(whole["additionalProperties"], false, "nothing fits a sum with a closed part: {members:?}");
                    sums += 1;
                }
                left.extend(members.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    assert!(sums > 0);
    let kinds: Vec<Value> = schema("BatchItem")["oneOf"].as_array().unwrap().clone();
    assert_eq!(kinds.len(), 6);
    for kind in kinds {
        assert_eq!(kind["additionalProperties"], false, "{kind}");
        assert!(kind["required"].as_array().unwrap().contains(&Value::from("do")), "{kind}");
    }
}
