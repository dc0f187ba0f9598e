//! A person asks what is wrong with a relay: every step of speaking to it, in words, and whether it stands by what it signed.

use std::sync::Arc;

use nodespace_protocol::ids::RelayId;
use nodespace_protocol::store::StoreError;
use nodespace_protocol::view::Checkpoint;

use super::api::RelayApi;
use super::error::RelayError;
use super::follower::{Alarm, AlarmKind, FollowError};
use super::memory::RelayMemory;
use crate::engine::{Clock, DeviceReplica, Workspace};
use crate::model::{RelayCheck, ServiceError};

/// A clock that is further off than this, in milliseconds, is worth a word.
const CLOCK_OFF_MS: u64 = 30_000;

/// Looks at a relay. An alarm is lifted when the relay stands by its word again, and raised when it does not. What it refused is offered
/// to it again.
///
/// # Errors
/// When the store fails; what the relay does wrong is a finding.
pub(crate) async fn check(workspace: &Workspace, api: Arc<RelayApi>, clock: Clock) -> Result<RelayCheck, ServiceError> {
    let url = api.url().clone();
    let load = url.clone();
    let mut memory = workspace.read(move |replica| RelayMemory::load(replica, &load)).await??;
    let mut found = RelayCheck { url: url.to_string(), ..RelayCheck::default() };
    let before = memory.clone();
    let looked = look(&api, clock, &mut memory, &mut found).await;
    if let Err(error) = &looked {
        let causes = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        found.findings.push(format!("{error}{causes}"));
    }
    if before.alarm.is_some() && memory.alarm.is_none() {
        // Its log is read again from the beginning, and has to meet what it signed.
        memory.rebuild();
    }
    if looked.is_ok() {
        // Somebody has looked: what it did not take is offered once more.
        memory.forget_refused();
    }
    if memory != before {
        let kept = memory.clone();
        let save = move |replica: &DeviceReplica| -> Result<(), StoreError> { kept.save(replica, &url) };
        workspace.read(save).await??;
    }
    found.usable = looked.is_ok() && memory.alarm.is_none();
    found.alarm = memory.alarm.as_ref().map(Alarm::to_model);
    Ok(found)
}

async fn look(api: &RelayApi, clock: Clock, memory: &mut RelayMemory, found: &mut RelayCheck) -> Result<(), RelayError> {
    let info = api.info().await?;
    let ahead = info.time_ms.cast_signed().wrapping_sub(clock.now_ms().cast_signed());
    (found.relay, found.program, found.clock_ahead_ms) = (Some(info.relay_id.to_string()), Some(info.version), Some(ahead));
    found.findings.push(format!("it answers, epoch {}", info.epoch));
    if ahead.unsigned_abs() > CLOCK_OFF_MS {
        found.findings.push(format!("its clock and this device's are {} s apart: set the one that is wrong", ahead.unsigned_abs() / 1_000));
    }
    let (relay, _) = api.log_in(memory.relay, clock.now_ms()).await?;
    found.findings.push("it knows this device".to_owned());
    let standing = match api.workspace().await {
        Ok(standing) => standing,
        Err(error) if error.is_unknown_workspace() => {
            found.findings.push(without_workspace(memory, info.epoch));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    (found.version, found.bytes) = (Some(standing.version), Some(standing.bytes));
    let Some(kept) = memory.checkpoint.clone() else {
        found.findings.push("there is nothing that it signed before".to_owned());
        memory.alarm = None;
        return Ok(());
    };
    if standing.epoch < kept.epoch {
        // An alarm that there is stays; it is raised by the exchanges when this lasts.
        let now = word_of(api, &relay, None).await?;
        let alarm = Alarm { kind: AlarmKind::RolledBack, followed: kept.version, before: Some(kept), now: Some(now) };
        return Err(FollowError::EarlierEpoch(Box::new(alarm)).into());
    }
    if kept.epoch != standing.epoch {
        found.findings.push(format!("its log was restored since epoch {}; what it lacks is sent again", kept.epoch));
        memory.alarm = None;
        return Ok(());
    }
    let verdict = stands_by(api, &relay, &kept).await?;
    let said = match &verdict {
        None => format!("it stands by what it signed for version {}", kept.version),
        Some(alarm) => alarm.to_string(),
    };
    found.findings.push(said);
    memory.alarm = verdict;
    Ok(())
}

/// It does not hold the workspace. In a later epoch than it signed something in it may have lost it.
fn without_workspace(memory: &mut RelayMemory, epoch: u64) -> String {
    let Some(kept) = memory.checkpoint.as_ref().filter(|kept| kept.version > 0) else {
        return "it does not hold the workspace yet: the next sync brings it".to_owned();
    };
    if kept.epoch == epoch {
        return format!(
            "it does not hold the workspace any more, though it signed version {} of it in this epoch: \
             let whoever runs it begin a new one (`nodespace-relay admin new-epoch`), then a sync brings it again",
            kept.version
        );
    }
    if epoch < kept.epoch {
        return format!(
            "it does not hold the workspace, and is back in epoch {epoch} from before epoch {}, which it had begun: if that lasts for more \
             than a minute, let whoever runs it begin a new one (`nodespace-relay admin new-epoch`)",
            kept.epoch
        );
    }
    memory.alarm = None;
    format!("it lost the workspace since epoch {}: the next sync brings it again", kept.epoch)
}

/// Whether the relay signs for the same version what it signed before.
async fn stands_by(api: &RelayApi, relay: &RelayId, kept: &Checkpoint) -> Result<Option<Alarm>, RelayError> {
    let alarm = |kind, now| Some(Alarm { kind, before: Some(kept.clone()), now, followed: kept.version });
    let now = match word_of(api, relay, Some(kept.version)).await {
        Ok(now) => now,
        Err(RelayError::Refused(refusal)) if refusal.code == "no_such_version" => {
            let now = word_of(api, relay, None).await?;
            // A log that is long enough and has no end of a segment there is another log.
            let kind = if now.version < kept.version { AlarmKind::RolledBack } else { AlarmKind::Forked };
            return Ok(alarm(kind, Some(now)));
        }
        Err(error) => return Err(error),
    };
    Ok(if now == *kept { None } else { alarm(AlarmKind::Forked, Some(now)) })
}

/// What the relay signs for its log, now or as of a version.
async fn word_of(api: &RelayApi, relay: &RelayId, version: Option<u64>) -> Result<Checkpoint, RelayError> {
    let word = api.checkpoint(version).await?;
    word.verify(relay).map_err(|_| FollowError::Signature)?;
    Ok(word)
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::crypto::KeyPair;
    use nodespace_protocol::ids::WorkspaceId;
    use nodespace_protocol::view::{Cursor, RunningHash};

    use super::*;

    #[test]
    fn a_relay_may_have_lost_the_workspace_in_a_later_epoch_only() {
        let mut memory = RelayMemory::default();
        assert!(without_workspace(&mut memory, 7).contains("does not hold the workspace yet"));
        let key = KeyPair::from_seed(&[1; 32]);
        let kept = Checkpoint::sign(&key, WorkspaceId([4; 32]), Cursor { epoch: 7, version: 3 }, RunningHash([5; 32]));
        memory.alarm = Some(Alarm { kind: AlarmKind::RolledBack, before: Some(kept.clone()), now: None, followed: 3 });
        memory.checkpoint = Some(kept);
        assert!(without_workspace(&mut memory, 7).contains("admin new-epoch"));
        assert!(without_workspace(&mut memory, 6).contains("back in epoch 6"));
        assert!(memory.alarm.is_some());
        assert!(without_workspace(&mut memory, 8).contains("lost the workspace since epoch 7"));
        assert!(memory.alarm.is_none(), "the next sync brings it");
    }
}
