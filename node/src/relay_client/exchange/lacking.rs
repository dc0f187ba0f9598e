//! Embeddings whose bytes were not there when their operations came: the relay had not got them yet, or whoever sent the operations left
//! them behind.
//!
//! Once everything else is there the operations that are new here are looked through, a stretch at a time, and each embedding in force
//! without a vector is noted. The relay is asked for those, at once and then ever more rarely; what it gives is kept beside the journal
//! ([`Lacking`]). That some are missing is no failure of the exchange: an embedding can be computed again.

use std::collections::BTreeSet;

use nodespace_protocol::ids::OpHash;

use super::super::api::ATTACHMENTS_MAX;
use super::super::error::RelayError;
use super::super::memory::LACKING_WAIT_MS;
use super::Attempt;
use crate::engine::{DeviceReplica, Lacking};
use crate::model::ServiceError;
use crate::sync::SyncCounts;

/// Stretches of one exchange; the next one goes on.
const STRETCHES_MAX: u32 = 32;
/// Embeddings that are noted at one time: those of one question. The search pauses until there is room.
const NOTED_MAX: usize = ATTACHMENTS_MAX;
/// For how long a relay that cannot give them is not asked, in milliseconds.
const PAUSE_MS: u64 = 300_000;

impl<P: Fn(SyncCounts) + Send + Sync> Attempt<'_, P> {
    /// Asks the relay for embeddings whose bytes are not here, of the operations before `end`.
    ///
    /// # Errors
    /// When the store fails; what the relay does not give is asked for later.
    pub(super) async fn fetch_lacking(&mut self, end: u32) -> Result<(), RelayError> {
        let now_ms = self.exchange.clock.now_ms();
        if self.look_for_lacking(end).await? {
            self.exchange.api.ask_for_attachments_by(now_ms + LACKING_WAIT_MS);
        }
        if self.memory.lacking.is_empty() || !self.exchange.api.may_be_asked_for_attachments(now_ms) {
            return Ok(());
        }
        match self.ask_for_lacking().await {
            Ok(wait_ms) => self.exchange.api.ask_for_attachments_after(now_ms + wait_ms),
            Err(error) if error.is_of_this_relay() => {
                tracing::info!(relay = %self.exchange.api.url(), %error, "embeddings that are missing here are asked for later");
                self.exchange.api.ask_for_attachments_after(now_ms + PAUSE_MS);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Looks through what is new here. Answers whether something was noted that was not before.
    async fn look_for_lacking(&mut self, end: u32) -> Result<bool, RelayError> {
        let before = (self.memory.lacking_through, self.memory.lacking.len());
        for _ in 0..STRETCHES_MAX {
            let (from, room) = (self.memory.lacking_through, NOTED_MAX.saturating_sub(self.memory.lacking.len()));
            if from >= end || room == 0 {
                break;
            }
            let look = move |replica: &DeviceReplica| Lacking::search(replica, from..end, room);
            let stretch = self.exchange.workspace.read(look).await?.map_err(ServiceError::from)?;
            self.memory.lacking_through = stretch.through;
            for place in stretch.lacking {
                self.memory.lacking.entry(place).or_insert(0);
            }
        }
        let after = (self.memory.lacking_through, self.memory.lacking.len());
        if after != before {
            self.save(Vec::new()).await?;
        }
        Ok(after.1 > before.1)
    }

    /// Asks for all that are noted, and keeps what comes. Answers after how long to ask again, in milliseconds.
    async fn ask_for_lacking(&mut self) -> Result<u64, RelayError> {
        let places: Vec<u32> = self.memory.lacking.keys().copied().collect();
        let wanted = self.exchange.workspace.read(move |replica| Lacking::still(replica, &places)).await?.map_err(ServiceError::from)?;
        self.memory.lacking.retain(|place, _| wanted.contains_key(place));
        let hashes: BTreeSet<OpHash> = wanted.values().map(|lacking| OpHash(lacking.blob.hash)).collect();
        let mut given = BTreeSet::new();
        if !hashes.is_empty() {
            self.exchange.log_in(Some(self.relay), true).await?;
            let found = self.ask_for_attachments(&hashes.into_iter().collect::<Vec<_>>()).await?;
            let mut came = Vec::new();
            for (place, lacking) in wanted {
                let bytes = found.attachments.get(&OpHash(lacking.blob.hash)).filter(|bytes| lacking.is_met_by(bytes));
                let Some(bytes) = bytes else { continue };
                given.insert(place);
                came.push((lacking, bytes.clone()));
            }
            if !came.is_empty() {
                tracing::info!(relay = %self.exchange.api.url(), count = came.len(), "embeddings came whose operations were here already");
                self.exchange.workspace.keep_late(came).await?;
            }
            if let Some(error) = found.trouble {
                return Err(error);
            }
        }
        let wait_ms = self.memory.note_asked(&given);
        self.save(Vec::new()).await?;
        Ok(wait_ms)
    }
}
