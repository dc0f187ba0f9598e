//! A Markdown block's kind as a node's type and metadata, and back.
//!
//! The type is the kind's name, so that applications can ask for headings or tables; what a name does not say (a heading's level, an item's
//! marker, an unusual file extension) stands in the metadata under [`MEMBER`]. That is all the way back to Markdown needs.

use serde_json::{Map, Value, json};

use super::OutlineKind;

/// The metadata member that belongs to the import. Everything else in a node's metadata is the application's.
pub const MEMBER: &str = "markdown";

/// The type of a folder's node.
pub const FOLDER: &str = "folder";

/// The type of a date's node.
pub const DATE: &str = "date";

/// The extension that goes without saying.
pub const EXTENSION_DEFAULT: &str = "md";

/// What the import keeps in a block's metadata; `null` when the type says it all.
#[must_use]
pub fn detail(kind: &OutlineKind) -> Value {
    match kind {
        OutlineKind::Heading { level } => json!({ "level": level }),
        OutlineKind::ListItem { marker } => json!({ "marker": marker }),
        _ => Value::Null,
    }
}

/// What the import keeps in a document's metadata.
#[must_use]
pub fn document_detail(extension: &str) -> Value {
    if extension == EXTENSION_DEFAULT { Value::Null } else { json!({ "extension": extension }) }
}

/// A new node's metadata with this detail.
#[must_use]
pub fn metadata(detail: Value) -> Value {
    let mut members = Map::new();
    if !detail.is_null() {
        members.insert(MEMBER.to_owned(), detail);
    }
    Value::Object(members)
}

/// The merge patch (RFC 7396) for the metadata of a node whose kind changes.
#[must_use]
pub fn patch(from: Option<&OutlineKind>, to: &OutlineKind) -> Value {
    let mut detail = detail(to);
    let before = from.map(self::detail);
    if let (Some(members), Some(Value::Object(before))) = (detail.as_object_mut(), before) {
        for key in before.keys() {
            members.entry(key).or_insert(Value::Null);
        }
    }
    json!({ MEMBER: detail })
}

/// The kind of a node by its type and metadata; none when it is no block of Markdown. A detail that is missing or makes no sense, as an
/// application may have left it, is taken as the usual one.
#[must_use]
pub fn kind_of(node_type: &str, metadata: &Value) -> Option<OutlineKind> {
    let detail = &metadata[MEMBER];
    Some(match node_type {
        "document" | DATE => OutlineKind::Document,
        "front-matter" => OutlineKind::FrontMatter,
        "heading" => {
            let level = detail["level"].as_u64().and_then(|level| u8::try_from(level).ok());
            OutlineKind::Heading { level: level.unwrap_or(1).clamp(1, 6) }
        }
        "text" => OutlineKind::Text,
        "list-item" => {
            OutlineKind::ListItem { marker: detail["marker"].as_str().filter(|marker| is_marker(marker)).unwrap_or("-").to_owned() }
        }
        "code-block" => OutlineKind::CodeBlock,
        "quote" => OutlineKind::Quote,
        "table" => OutlineKind::Table,
        "html" => OutlineKind::Html,
        "divider" => OutlineKind::Divider,
        "footnote" => OutlineKind::Footnote,
        "link-definition" => OutlineKind::LinkDefinition,
        _ => return None,
    })
}

/// The extension a document's file has.
#[must_use]
pub fn extension_of(metadata: &Value) -> &str {
    let found = metadata[MEMBER]["extension"].as_str();
    found.filter(|found| super::EXTENSIONS.iter().any(|known| found.eq_ignore_ascii_case(known))).unwrap_or(EXTENSION_DEFAULT)
}

/// Whether Markdown takes this for the mark of a list item.
fn is_marker(marker: &str) -> bool {
    let digits = marker.bytes().take_while(u8::is_ascii_digit).count();
    match digits {
        0 => matches!(marker, "-" | "*" | "+"),
        1..=9 => matches!(&marker[digits..], "." | ")"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_finds_its_way_back() {
        let mut kinds = vec![
            OutlineKind::Document,
            OutlineKind::FrontMatter,
            OutlineKind::Text,
            OutlineKind::CodeBlock,
            OutlineKind::Quote,
            OutlineKind::Table,
            OutlineKind::Html,
            OutlineKind::Divider,
            OutlineKind::Footnote,
            OutlineKind::LinkDefinition,
        ];
        kinds.extend((1..=6).map(|level| OutlineKind::Heading { level }));
        kinds.extend(["-", "*", "+", "7.", "12)"].map(|marker| OutlineKind::ListItem { marker: marker.to_owned() }));
        for kind in kinds {
            assert_eq!(kind_of(kind.name(), &metadata(detail(&kind))), Some(kind));
        }
        assert_eq!(kind_of("ai-chat", &json!({})), None);
    }

    #[test]
    fn a_detail_that_makes_no_sense_is_taken_as_the_usual_one() {
        assert_eq!(kind_of("heading", &json!({ MEMBER: { "level": 900 } })), Some(OutlineKind::Heading { level: 1 }));
        assert_eq!(kind_of("list-item", &json!({ MEMBER: { "marker": "\n# " } })), Some(OutlineKind::ListItem { marker: "-".into() }));
        assert_eq!(extension_of(&json!({ MEMBER: { "extension": "exe" } })), "md");
        assert_eq!(extension_of(&metadata(document_detail("MARKDOWN"))), "MARKDOWN");
    }
}
