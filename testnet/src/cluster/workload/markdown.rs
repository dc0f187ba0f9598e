//! Markdown to import, of any size.

use super::words;
use crate::sim::dice::Dice;

/// Nodes of a document, about.
const DOCUMENT_NODES: u64 = 200;

/// Documents of about so many nodes together: headings, paragraphs and lists. With their paths, which differ from seed to seed.
pub fn documents(nodes: u64, seed: u64) -> Vec<(String, String)> {
    let mut dice = Dice::new(seed, 99);
    let mut documents = Vec::new();
    let mut left = nodes;
    while left > 0 {
        let size = left.min(DOCUMENT_NODES);
        let number = documents.len();
        documents.push((format!("import-{seed}/{number}.md"), document(number, size, &mut dice)));
        left -= size;
    }
    documents
}

/// A heading is a node, so is a paragraph, so is each line of a list.
fn document(number: usize, nodes: u64, dice: &mut Dice) -> String {
    let mut text = format!("# Document {number}\n\n");
    let mut made = 1;
    while made < nodes {
        match dice.below(6) {
            0 => text.push_str(&format!("## {}\n\n", words::sentence(dice).trim())),
            1 | 2 => text.push_str(&format!("{}{}.\n\n", words::sentence(dice), words::sentence(dice).trim())),
            _ => text.push_str(&format!("- {}\n", words::sentence(dice).trim())),
        }
        if !text.ends_with("\n\n") && dice.chance(200) {
            text.push('\n');
        }
        made += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_the_size_that_was_asked_for_and_come_again_from_their_seed() {
        let made = documents(1_000, 7);
        assert_eq!(made, documents(1_000, 7));
        assert_ne!(made, documents(1_000, 8));
        let nodes: usize = made.iter().map(|(path, text)| nodespace_outline::markdown::parse(path, text).nodes.len()).sum();
        assert!((700..=1_100).contains(&nodes), "{nodes} nodes");
    }
}
