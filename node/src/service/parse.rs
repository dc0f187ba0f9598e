//! Strings of requests into the protocol's names.

use std::collections::BTreeSet;

use nodespace_protocol::ids::{NodeId, OpHash, unhex};
use nodespace_protocol::membership::Role;
use nodespace_protocol::tree::Position;

use crate::model::{ErrorCode, PlaceRequest, ServiceError};

/// The fewest hex digits that stand for a hash.
const PREFIX_DIGITS_MIN: usize = 4;

/// A node id.
pub(super) fn node_id(text: &str) -> Result<NodeId, ServiceError> {
    NodeId::parse(text).map_err(|error| ServiceError::new(ErrorCode::InvalidRequest, format!("`{}`: {error}", shown(text))))
}

/// Several node ids.
pub(super) fn node_ids(texts: &[String]) -> Result<Vec<NodeId>, ServiceError> {
    texts.iter().map(|text| node_id(text)).collect()
}

/// The one of several hashes that begins with the digits given.
pub(super) fn by_prefix<T: Copy>(
    what: &str,
    text: &str,
    candidates: impl Iterator<Item = T>,
    digits: impl Fn(T) -> String,
) -> Result<T, ServiceError> {
    let wanted = text.to_ascii_lowercase();
    if wanted.len() < PREFIX_DIGITS_MIN || !wanted.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        let message = format!("`{}` names no {what}: give at least {PREFIX_DIGITS_MIN} hex digits of its id", shown(text));
        return Err(ServiceError::new(ErrorCode::InvalidRequest, message));
    }
    let mut found: Vec<T> = candidates.filter(|candidate| digits(*candidate).starts_with(&wanted)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(ServiceError::new(ErrorCode::InvalidRequest, format!("several begin with `{wanted}`: give more digits"))),
        (None, _) => Err(ServiceError::new(ErrorCode::NotFound, format!("there is no {what} `{wanted}`"))),
    }
}

/// The operations a history is expected to end with: in any order, each in full.
pub(super) fn heads(texts: &[String]) -> Result<BTreeSet<OpHash>, ServiceError> {
    texts.iter().map(|text| key("operation", text).map(OpHash)).collect()
}

/// The fewest hex digits that stand for a user, a device or a workspace: of these people type more than of a conflict, and mean one for
/// good.
pub(crate) const KEY_DIGITS_MIN: usize = 8;

/// The one of several keys or workspaces that begins with the digits given.
pub(crate) fn by_key<T: Copy>(
    what: &str,
    text: &str,
    candidates: impl Iterator<Item = T>,
    digits: impl Fn(T) -> String,
) -> Result<T, ServiceError> {
    if text.len() < KEY_DIGITS_MIN || text.len() > 64 {
        let message = format!("`{}` names no {what}: give its 64 hex digits, or at least the first {KEY_DIGITS_MIN} of them", shown(text));
        return Err(ServiceError::new(ErrorCode::InvalidRequest, message));
    }
    by_prefix(what, text, candidates, digits)
}

/// A key in full.
pub(crate) fn key(what: &str, text: &str) -> Result<[u8; 32], ServiceError> {
    let bytes = unhex(text.trim()).and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| ServiceError::new(ErrorCode::InvalidRequest, format!("`{}` is no {what}: it has 64 hex digits", shown(text))))
}

/// A role.
pub(crate) fn role(text: &str) -> Result<Role, ServiceError> {
    text.parse().map_err(|_| {
        ServiceError::new(ErrorCode::InvalidValue, format!("`{}` is no role: there are owner, editor and viewer", shown(text)))
    })
}

/// The word for a role.
pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Editor => "editor",
        Role::Viewer => "viewer",
    }
}

/// An explicit place.
pub(super) fn position(place: &PlaceRequest) -> Result<Position, ServiceError> {
    Ok(match place {
        PlaceRequest::First => Position::First,
        PlaceRequest::Last => Position::Last,
        PlaceRequest::After(id) => Position::After(node_id(id)?),
    })
}

/// The beginning of a string that somebody sent, fit for a message.
fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let mut shown: String = text.chars().take(CHARACTERS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
