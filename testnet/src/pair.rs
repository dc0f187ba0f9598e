//! Two replicas talking over a link in memory, driven by the production session.

use std::collections::VecDeque;

use anyhow::{Result, ensure};
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::replica::{PendingBuffer, Replica};
use nodespace_protocol::session::{Role, Session, SessionConfig, SessionEvent, SyncState};
use nodespace_protocol::store::Store;

/// More turns than any session needs: one that takes more is not coming to rest.
const TURNS_MAX: usize = 100_000;

/// What a session cost and said.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Bytes sent by the first and by the second.
    pub bytes: [u64; 2],
    /// Frames sent by each.
    pub frames: [u64; 2],
    /// How often the direction changed: two turns are a round trip.
    pub turns: usize,
    /// Operations that arrived at each.
    pub received_ops: [u64; 2],
    /// Where each side stood at the end.
    pub states: Vec<SyncState>,
    /// What each side said on the way.
    pub events: [Vec<SessionEvent>; 2],
}

impl Report {
    /// Whether both sides have confirmed that they hold the same.
    pub fn is_synced(&self) -> bool {
        self.states.iter().all(|state| *state == SyncState::Synced)
    }
}

/// Runs one session between two replicas until nothing more is said. `progress` is told (received so far, to be received) by the
/// side that receives.
///
/// # Errors
/// When a side drops the connection, or the session does not come to rest.
pub fn sync<S: Store>(
    first: (&mut Replica<S>, SessionConfig),
    second: (&mut Replica<S>, SessionConfig),
    now: Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report> {
    let (first_device, second_device) = (device(first.0)?, device(second.0)?);
    let mut sides = [
        Side::new(first.0, Session::new(Role::Initiator, second_device, first.1, now)),
        Side::new(second.0, Session::new(Role::Responder, first_device, second.1, now)),
    ];
    let mut report = Report::default();
    let [initiator, _] = &mut sides;
    initiator.session.start(initiator.replica, now)?;
    loop {
        let mut quiet = true;
        for from in 0..2 {
            let mut frames = VecDeque::new();
            while let Some(frame) = sides[from].session.poll_frame(sides[from].replica)? {
                frames.push_back(frame);
            }
            report.turns += usize::from(!frames.is_empty());
            quiet &= frames.is_empty();
            for frame in frames {
                report.bytes[from] += frame.len() as u64;
                report.frames[from] += 1;
                sides[1 - from].take(&frame, now)?;
                let status = sides[1 - from].session.status(sides[1 - from].replica);
                if status.receive_ops > 0 {
                    progress(status.received_ops, status.receive_ops);
                }
            }
        }
        if quiet {
            break;
        }
        ensure!(report.turns < TURNS_MAX, "the session does not come to rest");
    }
    for (at, side) in sides.iter_mut().enumerate() {
        while let Some(event) = side.session.poll_event() {
            report.events[at].push(event);
        }
        let status = side.session.status(side.replica);
        report.received_ops[at] = status.received_ops;
        report.states.push(status.state);
    }
    Ok(report)
}

struct Side<'a, S> {
    replica: &'a mut Replica<S>,
    session: Session,
    pending: PendingBuffer,
}

impl<'a, S: Store> Side<'a, S> {
    fn new(replica: &'a mut Replica<S>, session: Session) -> Self {
        Self { replica, session, pending: PendingBuffer::default() }
    }

    fn take(&mut self, frame: &[u8], now: Timestamp) -> Result<()> {
        Ok(self.session.receive(frame, self.replica, &mut self.pending, now)?)
    }
}

fn device<S: Store>(replica: &Replica<S>) -> Result<nodespace_protocol::ids::DeviceId> {
    replica.device().ok_or_else(|| anyhow::anyhow!("a session needs a device key"))
}
