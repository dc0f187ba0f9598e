//! Node ids as keys: bytes that sort as the ids do.

use nodespace_protocol::ids::NodeId;

const UUID: u8 = 0;
const TEXT: u8 = 1;
const UUID_KEY_BYTES: usize = 17;

/// The key of a node.
pub(crate) fn node_key(id: &NodeId) -> Vec<u8> {
    match id {
        NodeId::Uuid(uuid) => [&[UUID], &uuid.as_bytes()[..]].concat(),
        NodeId::Text(text) => [&[TEXT], text.as_bytes()].concat(),
    }
}

/// The node of a key.
pub(crate) fn node_of(key: &[u8]) -> Option<NodeId> {
    match key.split_first()? {
        (&UUID, rest) => Some(NodeId::Uuid(uuid::Uuid::from_bytes(rest.try_into().ok()?))),
        (&TEXT, rest) => Some(NodeId::Text(std::str::from_utf8(rest).ok()?.into())),
        _ => None,
    }
}

/// The key of something a node has under a name. Ids hold no control characters, so a zero byte ends them.
pub(crate) fn named_key(id: &NodeId, name: &str) -> Vec<u8> {
    let mut key = node_prefix(id);
    key.extend_from_slice(name.as_bytes());
    key
}

/// What all keys of [`named_key`] of a node begin with.
pub(crate) fn node_prefix(id: &NodeId) -> Vec<u8> {
    let mut key = node_key(id);
    if matches!(id, NodeId::Text(_)) {
        key.push(0);
    }
    key
}

/// The node and the name of a key of [`named_key`].
pub(crate) fn named_of(key: &[u8]) -> Option<(NodeId, &str)> {
    let end = match key.first()? {
        &UUID => UUID_KEY_BYTES,
        _ => key.iter().position(|byte| *byte == 0)?,
    };
    let (id, name) = key.split_at_checked(end)?;
    let name = if key[0] == UUID { name } else { &name[1..] };
    Some((node_of(id)?, std::str::from_utf8(name).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_ids_and_come_back() {
        let mut ids: Vec<NodeId> = (0..50_u128).map(|number| NodeId::Uuid(uuid::Uuid::from_u128(number << 90 | 7))).collect();
        ids.extend(["a", "ab", "b", "2025-08-30", "ü"].map(|text| NodeId::Text(text.into())));
        ids.sort();
        let keys: Vec<Vec<u8>> = ids.iter().map(node_key).collect();
        assert!(keys.is_sorted());
        for (id, key) in ids.iter().zip(&keys) {
            assert_eq!(node_of(key).as_ref(), Some(id));
            let named = named_key(id, "model");
            assert!(named.starts_with(&node_prefix(id)));
            assert_eq!(named_of(&named), Some((id.clone(), "model")));
        }
    }
}
