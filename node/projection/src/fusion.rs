//! Two rankings made into one.
//!
//! A BM25 score and a cosine distance have no common scale, but ranks do. Reciprocal rank fusion gives a node `1 / (60 + rank)` from each
//! ranking that has it, and sorts by the sum (Cormack, Clarke and Büttcher, *Reciprocal Rank Fusion outperforms Condorcet and individual
//! Rank Learning Methods*, SIGIR 2009; 60 is theirs, and the result depends little on it). It is done here and not by LanceDB so that a hit
//! keeps both scores, and equal sums have one order.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::query::Hit;

/// The rank added to each rank, so that the first few do not outweigh everything.
const RANK_OFFSET: f32 = 60.0;

/// One ranking of both, best first; ties by id.
pub(crate) fn fuse(by_text: Vec<Hit>, by_vector: Vec<Hit>) -> Vec<Hit> {
    let mut fused: BTreeMap<String, Hit> = BTreeMap::new();
    for ranking in [by_text, by_vector] {
        for (rank, hit) in ranking.into_iter().enumerate() {
            let score = 1.0 / (RANK_OFFSET + rank as f32 + 1.0);
            match fused.entry(hit.id.clone()) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Hit { score, ..hit });
                }
                Entry::Occupied(mut occupied) => {
                    let other = occupied.get_mut();
                    other.score += score;
                    other.text_score = other.text_score.or(hit.text_score);
                    other.vector_distance = other.vector_distance.or(hit.vector_distance);
                }
            }
        }
    }
    let mut hits: Vec<_> = fused.into_values().collect();
    // Stable, and the map was in order of ids.
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(id: &str, text_score: Option<f32>, vector_distance: Option<f32>) -> Hit {
        Hit { id: id.to_owned(), score: 0.0, text_score, vector_distance, snippet: String::new() }
    }

    #[test]
    fn what_both_found_comes_first_and_keeps_both_scores() {
        let by_text = vec![hit("a", Some(9.0), None), hit("b", Some(8.0), None)];
        let by_vector = vec![hit("c", None, Some(0.1)), hit("b", None, Some(0.2))];
        let fused = fuse(by_text, by_vector);
        assert_eq!(fused.iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>(), ["b", "a", "c"]);
        assert_eq!((fused[0].text_score, fused[0].vector_distance), (Some(8.0), Some(0.2)));
        assert!((fused[0].score - 2.0 / 62.0).abs() < 1e-6);
        assert!((fused[1].score - 1.0 / 61.0).abs() < 1e-6);
    }

    #[test]
    fn one_ranking_keeps_its_order() {
        let ranking = vec![hit("z", Some(3.0), None), hit("a", Some(2.0), None), hit("m", Some(1.0), None)];
        assert_eq!(fuse(ranking, Vec::new()).iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>(), ["z", "a", "m"]);
    }
}
