//! Which model's vectors are in which column.
//!
//! A table may hold vectors of several models side by side, each in a column of its own: the first model's is `embedding`, a further one's
//! `embedding_` and the model's name in lower case with everything but letters and digits as `_`. The dimension is that of the first vector
//! seen. `models.json` beside the table tells other clients; this crate itself reads the models from its checkpoint (see
//! [`crate::inventory`]), so that a damaged `models.json` costs nothing.

use serde::{Deserialize, Serialize};

/// The most models a table holds. A row with a vector of one more is refused.
pub const MODELS_MAX: usize = 16;

/// The column of the first model.
const FIRST_COLUMN: &str = "embedding";

/// One model of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The model's name, as the rows give it.
    pub name: String,
    /// The column with its vectors.
    pub column: String,
    /// How many elements its vectors have.
    pub dimension: usize,
}

/// All models of the table, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Models(Vec<Model>);

impl Models {
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Model> {
        self.0.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MODELS_MAX
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Model> {
        self.0.iter().find(|model| model.name == name)
    }

    /// Gives a new model its column.
    pub(crate) fn add(&mut self, name: &str, dimension: usize) -> &Model {
        let column = self.free_column(name);
        self.0.push(Model { name: name.to_owned(), column, dimension });
        self.0.last().expect("a model was just pushed")
    }

    fn free_column(&self, name: &str) -> String {
        if self.0.is_empty() {
            return FIRST_COLUMN.to_owned();
        }
        let column = format!("{FIRST_COLUMN}_{}", slug(name));
        let taken = |column: &str| self.0.iter().any(|model| model.column == column);
        if !taken(&column) {
            return column;
        }
        // There are at most MODELS_MAX others, so one of these is free.
        (2..=MODELS_MAX + 2).map(|number| format!("{column}_{number}")).find(|column| !taken(column)).unwrap_or(column)
    }
}

/// A name that can be a column's: lower case letters, digits and `_`.
fn slug(name: &str) -> String {
    const CHARS_MAX: usize = 48;
    name.chars().take(CHARS_MAX).map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_has_a_column_of_its_own() {
        let mut models = Models::default();
        assert_eq!(models.add("bge-small", 384).column, "embedding");
        assert_eq!(models.add("BGE base", 768).column, "embedding_bge_base");
        assert_eq!(models.add("bge/base", 768).column, "embedding_bge_base_2");
        assert_eq!(models.add("'; DROP TABLE nodes", 3).column, "embedding____drop_table_nodes");
        assert_eq!(models.find("BGE base").map(|model| model.dimension), Some(768));
        assert_eq!(models.find("unheard of"), None);
        for number in models.0.len()..MODELS_MAX {
            assert!(!models.is_full());
            models.add(&"€".repeat(number), 3);
        }
        assert!(models.is_full());
        let columns: std::collections::BTreeSet<_> = models.iter().map(|model| &model.column).collect();
        assert_eq!(columns.len(), MODELS_MAX);
    }
}
