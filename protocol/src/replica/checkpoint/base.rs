//! What of a checkpoint is small: clocks, membership, and how much of everything else there is.

use std::collections::BTreeMap;

use crate::clock::{Clocks, Timestamp};
use crate::fold::record::{put_node_id, read_node_id};
use crate::ids::NodeId;
use crate::replica::Replica;
use crate::replica::digest::Sum;
use crate::store::{OpIndex, Store, StoreError};
use crate::wire::{DecodeError, Reader, put_uint};

/// The version of what checkpoints hold, nodes included.
const VERSION: u64 = 2;

/// The part that is read first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// Operations that the checkpoint includes.
    pub(crate) ops: u32,
    pub(crate) clocks: Clocks,
    pub(crate) node_sum: Sum,
    /// Operations that were stored and not folded.
    pub(crate) unfolded: Vec<OpIndex>,
    /// Workspace operations, in the order in which they entered the membership graph.
    pub(crate) membership: Vec<OpIndex>,
    /// The cuts that have been named, each by the places of its heads in `membership`.
    pub(crate) cuts: Vec<Vec<usize>>,
    /// Digests of order that belong to no node of the directory.
    pub(crate) orders: BTreeMap<Option<NodeId>, [u8; 32]>,
    /// How many of each there are: a part that is missing must not pass for an end.
    pub(crate) counts: Counts,
}

/// How much the parts hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) logs: u64,
    pub(crate) nodes: u64,
    pub(crate) tree_nodes: u64,
    pub(crate) tree_places: u64,
}

impl Base {
    pub(crate) fn of<S: Store>(replica: &Replica<S>) -> Result<Self, StoreError> {
        let mut membership = Vec::with_capacity(replica.membership.len());
        for (log, seq, hash) in replica.membership.entries() {
            let linear = replica.logs.get(&log).and_then(|log| log.only(seq));
            let found = linear.map_or_else(|| replica.store.find(&hash), |index| Ok(Some(index)))?;
            membership.extend(found);
        }
        let (tree_nodes, tree_places) = replica.tree.interned();
        Ok(Self {
            ops: replica.store.op_count(),
            clocks: replica.clocks,
            node_sum: replica.node_sum,
            unfolded: replica.unfolded.iter().copied().collect(),
            membership,
            cuts: replica.membership.cuts_at_rest(),
            orders: replica.orders.loose.clone(),
            counts: Counts {
                logs: replica.logs.len() as u64,
                nodes: replica.nodes.len() as u64,
                tree_nodes: tree_nodes as u64,
                tree_places: tree_places as u64,
            },
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for value in [VERSION, self.ops.into(), self.clocks.last().0, self.clocks.version()] {
            put_uint(&mut out, value);
        }
        out.extend_from_slice(&self.node_sum.bytes());
        for list in [&self.unfolded, &self.membership] {
            put_uint(&mut out, list.len() as u64);
            list.iter().for_each(|index| put_uint(&mut out, index.0.into()));
        }
        put_uint(&mut out, self.cuts.len() as u64);
        for heads in &self.cuts {
            put_uint(&mut out, heads.len() as u64);
            heads.iter().for_each(|head| put_uint(&mut out, *head as u64));
        }
        put_uint(&mut out, self.orders.len() as u64);
        for (parent, digest) in &self.orders {
            out.push(u8::from(parent.is_some()));
            if let Some(parent) = parent {
                put_node_id(&mut out, parent);
            }
            out.extend_from_slice(digest);
        }
        let Counts { logs, nodes, tree_nodes, tree_places } = self.counts;
        [logs, nodes, tree_nodes, tree_places].iter().for_each(|count| put_uint(&mut out, *count));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "the base of a checkpoint";
        let mut reader = Reader::new(bytes);
        let version = reader.uint(WHAT)?;
        if version != VERSION {
            return Err(DecodeError::UnknownVersion(version));
        }
        let ops = op_index(&mut reader)?.0;
        let clocks = Clocks::at(Timestamp(reader.uint(WHAT)?), reader.uint(WHAT)?);
        let node_sum = Sum::from_bytes(&reader.array(WHAT)?);
        let (unfolded, membership) = (list(&mut reader, op_index)?, list(&mut reader, op_index)?);
        let cuts = list(&mut reader, |reader| list(reader, |reader| Ok(usize::try_from(reader.uint(WHAT)?).unwrap_or(usize::MAX))))?;
        let order = |reader: &mut Reader<'_>| {
            let parent = if reader.byte(WHAT)? == 0 { None } else { Some(read_node_id(reader)?) };
            Ok((parent, reader.array(WHAT)?))
        };
        let orders = list(&mut reader, order)?.into_iter().collect();
        let mut count = || reader.uint(WHAT);
        let counts = Counts { logs: count()?, nodes: count()?, tree_nodes: count()?, tree_places: count()? };
        reader.finish()?;
        Ok(Self { ops, clocks, node_sum, unfolded, membership, cuts, orders, counts })
    }
}

fn op_index(reader: &mut Reader<'_>) -> Result<OpIndex, DecodeError> {
    u32::try_from(reader.uint("an operation")?).map(OpIndex).map_err(|_| DecodeError::Invalid("an operation's place exceeds 32 bits"))
}

/// A list; it grows as it is read, never by what it declares.
fn list<T>(reader: &mut Reader<'_>, read: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>) -> Result<Vec<T>, DecodeError> {
    let count = reader.len(usize::MAX, "a list")?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(read(reader)?);
    }
    Ok(list)
}
