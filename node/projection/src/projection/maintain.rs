//! Compaction, indexes and pruning.
//!
//! | Column | Index | Why |
//! |---|---|---|
//! | `content` | full-text | words as Unicode's segmentation rules and ICU's dictionaries find them (Chinese, Japanese, Thai and the like too), lower case, accents off, no stemming and no stop words: the table has texts of any language, and a search for "to be" is one |
//! | `id`, `parent_id`, `modified_at` | B-tree | look-ups, children, ranges |
//! | `type` | bitmap | few values |
//! | `metadata_terms` | label list | "has this term" |
//! | each model's | IVF with RaBitQ codes, cosine | a tenth of the memory of the vectors; hits are ranked by the full vectors |
//!
//! The full-text index is there from the first row, since without one LanceDB does not search texts at all; the others when there are rows
//! enough that they pay. Rows written after an index was last brought up to date are found by looking through them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use lance::{dataset::cleanup::CleanupPolicyBuilder, index::DatasetIndexExt};
use lancedb::{
    DistanceType,
    index::{
        Index,
        scalar::{BTreeIndexBuilder, BitmapIndexBuilder, FtsIndexBuilder, LabelListIndexBuilder},
        vector::{IvfFlatIndexBuilder, IvfRqIndexBuilder},
    },
    table::{CompactionOptions, OptimizeAction},
};

use super::Projection;
use crate::{
    columns::{CONTENT, ID, METADATA_TERMS, MODIFIED_AT, PARENT_ID, TYPE},
    error::TableError,
    models::Model,
    schedule::Work,
};

/// The rows of a file that compaction leaves alone. Small enough that a few changes do not rewrite the whole table, large enough that a
/// million rows are a few dozen files.
const FILE_ROWS: usize = 32_768;

/// How many rows compaction reads at a time; few, since a node may hold megabytes.
const COMPACTION_BATCH_ROWS: usize = 1_024;

/// An index of more parts than this is merged into one.
const INDEX_PARTS_MAX: usize = 4;

/// The memory a build of the full-text index may take before it writes to the disk, in MiB.
const TEXT_INDEX_MEMORY_MIB: u64 = 128;

/// Words longer than this, in bytes, are not searched for: they are encoded data, and fill the index.
const WORD_BYTES_MAX: usize = 64;

/// RaBitQ wants dimensions in whole bytes of signs.
const QUANTISED_DIMENSION_STEP: usize = 8;

/// What maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Files that were written together with others.
    pub files_removed: u64,
    /// Files that took their place.
    pub files_added: u64,
    /// Indexes made.
    pub indexes_made: u64,
    /// Old versions removed.
    pub versions_pruned: u64,
    /// Bytes that this freed.
    pub bytes_pruned: u64,
    /// Whether the same work has more to do, and so stays due: one index is made a call, so that changes need not wait for all of them.
    pub more: bool,
}

/// An index that the table has.
struct Present {
    name: String,
    /// How many parts it has: bringing it up to date adds one.
    parts: usize,
    /// Whether some rows are outside it.
    is_behind: bool,
}

impl Projection {
    /// Does one piece of the work that [`Projection::due`] names; nothing for [`Work::Checkpoint`], which has a call of its own.
    ///
    /// Readers go on meanwhile. If it fails the table is as before, and the work comes again in its time.
    pub async fn maintain(&mut self, work: Work) -> Result<Maintained, TableError> {
        let done = match work {
            Work::Compact => self.compact().await,
            Work::Index => self.index().await,
            Work::Prune => self.prune().await,
            Work::Checkpoint => return Ok(Maintained::default()),
        };
        if !done.as_ref().is_ok_and(|done| done.more) {
            self.schedule.done(work);
        }
        done
    }

    async fn compact(&self) -> Result<Maintained, TableError> {
        let options = CompactionOptions {
            target_rows_per_fragment: FILE_ROWS,
            batch_size: Some(COMPACTION_BATCH_ROWS),
            num_threads: Some(1),
            ..CompactionOptions::default()
        };
        let stats = self.handle.table.optimize(OptimizeAction::Compact { options, remap_options: None }).await?;
        let Some(metrics) = stats.compaction else { return Ok(Maintained::default()) };
        Ok(Maintained { files_removed: metrics.files_removed as u64, files_added: metrics.files_added as u64, ..Maintained::default() })
    }

    async fn index(&self) -> Result<Maintained, TableError> {
        let present = self.indexes().await?;
        let rows = self.dataset().await?.count_rows(None).await? as u64;
        for (column, index) in self.wanted(rows).await? {
            if !present.contains_key(&column) {
                self.handle.table.create_index(&[column], index).execute().await?;
                return Ok(Maintained { indexes_made: 1, more: true, ..Maintained::default() });
            }
        }
        let (many, few): (Vec<_>, Vec<_>) =
            present.into_values().filter(|index| index.is_behind).partition(|index| index.parts > INDEX_PARTS_MAX);
        let merged = many.iter().map(|index| index.parts).max();
        for (indexes, merged) in [(few, None), (many, merged)] {
            if indexes.is_empty() {
                continue;
            }
            let mut action = OptimizeAction::Index(Default::default());
            if let OptimizeAction::Index(options) = &mut action {
                options.index_names = Some(indexes.into_iter().map(|index| index.name).collect());
                options.num_indices_to_merge = merged;
            }
            self.handle.table.optimize(action).await?;
        }
        Ok(Maintained::default())
    }

    /// The table's indexes by column, as its manifest lists them: LanceDB's own list would read the indexes, and keep them in memory.
    async fn indexes(&self) -> Result<BTreeMap<String, Present>, TableError> {
        let dataset = self.dataset().await?;
        let mut indexes: BTreeMap<String, Present> = BTreeMap::new();
        let mut covered: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for part in dataset.load_indices().await?.iter() {
            let Some(column) = part.fields.first().and_then(|field| dataset.schema().field_by_id(*field)) else { continue };
            let index =
                indexes.entry(column.name.clone()).or_insert_with(|| Present { name: part.name.clone(), parts: 0, is_behind: false });
            index.parts += 1;
            covered.entry(column.name.clone()).or_default().extend(part.fragment_bitmap.iter().flatten());
        }
        let fragments = &dataset.manifest().fragments;
        for (column, index) in &mut indexes {
            let covered = covered.remove(column).unwrap_or_default();
            index.is_behind = fragments.iter().any(|fragment| u32::try_from(fragment.id).is_ok_and(|id| !covered.contains(&id)));
        }
        Ok(indexes)
    }

    /// The indexes that a table of so many rows should have.
    async fn wanted(&self, rows: u64) -> Result<Vec<(String, Index)>, TableError> {
        let mut wanted = vec![(CONTENT.to_owned(), text_index())];
        if rows >= self.settings.scalar_index_rows_min {
            for column in [ID, PARENT_ID, MODIFIED_AT] {
                wanted.push((column.to_owned(), Index::BTree(BTreeIndexBuilder::default())));
            }
            wanted.push((TYPE.to_owned(), Index::Bitmap(BitmapIndexBuilder::default())));
            wanted.push((METADATA_TERMS.to_owned(), Index::LabelList(LabelListIndexBuilder::default())));
        }
        if rows >= self.settings.vector_index_rows_min {
            for model in self.handle.models().iter() {
                let vectors = self.handle.table.count_rows(Some(format!("`{}` IS NOT NULL", model.column))).await? as u64;
                if vectors >= self.settings.vector_index_rows_min {
                    wanted.push((model.column.clone(), vector_index(model)));
                }
            }
        }
        Ok(wanted)
    }

    /// Makes the index without which LanceDB does not search texts.
    pub(super) async fn make_text_index(&self) -> Result<(), TableError> {
        if !self.indexes().await?.contains_key(CONTENT) {
            self.handle.table.create_index(&[CONTENT], text_index()).execute().await?;
        }
        Ok(())
    }

    /// Removes versions that are old and that no mark needs, and files that belong to none.
    async fn prune(&self) -> Result<Maintained, TableError> {
        // Without a mark nothing is worth keeping but what readers read; with one, its version and what came after.
        let first_kept = self.kept.first().map_or(u64::MAX, |(mark, _)| mark.version);
        let before = SystemTime::now().checked_sub(self.settings.keep_versions).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut policy = CleanupPolicyBuilder::default()
            .before_timestamp(before.into())
            // No other writer exists whose unfinished files this could hit: that is what the lock is for.
            .delete_unverified(true)
            .error_if_tagged_old_versions(false)
            .build();
        policy.before_version = Some(first_kept);
        let stats = self.dataset().await?.cleanup_with_policy(policy).await?;
        Ok(Maintained { versions_pruned: stats.old_versions, bytes_pruned: stats.bytes_removed, ..Maintained::default() })
    }
}

fn text_index() -> Index {
    let index = FtsIndexBuilder::default()
        .base_tokenizer("icu/split".to_owned())
        .lower_case(true)
        .ascii_folding(true)
        .stem(false)
        .remove_stop_words(false)
        .max_token_length(Some(WORD_BYTES_MAX))
        .with_position(false)
        .memory_limit_mb(TEXT_INDEX_MEMORY_MIB)
        .num_workers(1);
    Index::FTS(index)
}

fn vector_index(model: &Model) -> Index {
    if model.dimension.is_multiple_of(QUANTISED_DIMENSION_STEP) {
        Index::IvfRq(IvfRqIndexBuilder::default().distance_type(DistanceType::Cosine))
    } else {
        Index::IvfFlat(IvfFlatIndexBuilder::default().distance_type(DistanceType::Cosine))
    }
}
