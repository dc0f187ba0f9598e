//! Ids as people type them: whole, or the beginning that a listing showed.

use nodespace_node::client::{Client, ClientError, Request};
use nodespace_node::model::{ConflictPage, ConflictSummary, ErrorCode, Node, NodePage};

use super::exit::{Exit, Failure};

/// The fewest characters that are taken for the beginning of an id.
const BEGINNING_LENGTH_MIN: usize = 4;

/// How many candidates are named when a beginning has several.
const CANDIDATES_SHOWN_MAX: usize = 5;

/// The whole id of a node, from its id or an unambiguous beginning of it.
pub(crate) async fn node(client: &Client, given: &str) -> anyhow::Result<String> {
    let refusal = match client.ask::<Node>(Request::get(&["v1", "nodes", given])).await {
        Ok(answer) => return Ok(answer.value.id),
        Err(error) if error.code() == Some(ErrorCode::NotFound) && given.len() >= BEGINNING_LENGTH_MIN => error,
        Err(error) => return Err(error.into()),
    };
    let mut candidates = Vec::new();
    for after in beginnings(given) {
        let request = Request::get(&["v1", "nodes"]).query("after", after).query("deleted", true).query("limit", CANDIDATES_SHOWN_MAX + 1);
        let page = client.ask::<NodePage>(request).await?.value;
        candidates.extend(page.nodes.into_iter().map(|node| node.id).filter(|id| id.starts_with(given)));
    }
    only(&candidates, given, refusal)
}

/// Where in the list of nodes ids with this beginning may stand. UUIDs come before all other ids, each kind in its own order.
fn beginnings(given: &str) -> Vec<String> {
    const LEAST: &str = "00000000-0000-0000-0000-000000000000";
    let fits = |(least, character): (char, char)| if least == '-' { character == '-' } else { matches!(character, '0'..='9' | 'a'..='f') };
    let may_be_uuid = given.len() < LEAST.len() && LEAST.chars().zip(given.chars()).all(fits);
    let uuid = may_be_uuid.then(|| format!("{given}{}", LEAST.get(given.len()..).unwrap_or_default()));
    uuid.into_iter().chain([given.to_owned()]).collect()
}

/// The whole ids of several nodes, or nothing for nothing.
pub(crate) async fn maybe_node(client: &Client, given: Option<&String>) -> anyhow::Result<Option<String>> {
    match given {
        Some(given) => node(client, given).await.map(Some),
        None => Ok(None),
    }
}

/// A conflict, from its id or an unambiguous beginning of it.
pub(crate) async fn conflict(client: &Client, given: &str) -> anyhow::Result<ConflictSummary> {
    let page = client.ask::<ConflictPage>(Request::get(&["v1", "conflicts"])).await?.value;
    let mut found: Vec<ConflictSummary> = page.conflicts.into_iter().filter(|conflict| conflict.id.starts_with(given)).collect();
    let missing =
        Failure::with(Exit::NotFound, format!("there is no conflict `{given}`; `nodespace conflicts list` shows those there are"));
    match found.len() {
        0 => Err(missing),
        1 => found.pop().ok_or(missing),
        _ => {
            let ids: Vec<String> = found.into_iter().map(|conflict| conflict.id).collect();
            Err(ambiguous(&ids, given))
        }
    }
}

fn only(candidates: &[String], given: &str, refusal: ClientError) -> anyhow::Result<String> {
    match candidates {
        [] => Err(refusal.into()),
        [id] => Ok(id.clone()),
        several => Err(ambiguous(several, given)),
    }
}

fn ambiguous(candidates: &[String], given: &str) -> anyhow::Error {
    let more = if candidates.len() > CANDIDATES_SHOWN_MAX { ", ..." } else { "" };
    let shown: Vec<&str> = candidates.iter().take(CANDIDATES_SHOWN_MAX).map(String::as_str).collect();
    Failure::usage(format!("`{given}` is the beginning of several ids, give more of it: {}{more}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_uuid_is_looked_for_among_uuids_too() {
        assert_eq!(beginnings("0190f0aa-12"), ["0190f0aa-1200-0000-0000-000000000000", "0190f0aa-12"]);
        assert_eq!(beginnings("2025-08"), ["2025-08"]);
        assert_eq!(beginnings("plan"), ["plan"]);
    }
}
