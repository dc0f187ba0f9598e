//! The greeting: versions, the tag, credentials, summaries.

use super::message::{CLAIMS_MAX, VERSIONS};
use super::{ByeCode, Credential, Message, Role, Session, SessionError, SessionEvent};
use crate::clock::Timestamp;
use crate::crypto::Domain;
use crate::ids::DeviceId;
use crate::membership::{WorkspaceAction, certificate};
use crate::replica::{LogClaim, Replica};
use crate::store::Store;
use crate::wire::DecodeError;

/// What shows knowledge of the workspace's secret, for one direction between two devices and one salt.
fn tag_of(secret: &[u8; 32], salt: &[u8; 16], from: &DeviceId, to: &DeviceId) -> [u8; 16] {
    let hash = Domain::Hello.hash_parts(&[secret, salt, &from.0, &to.0]);
    let mut tag = [0; 16];
    tag.copy_from_slice(&hash[..16]);
    tag
}

/// Whether a frame is a hello by somebody who knows this workspace's secret: so a responder finds out which of its workspaces a stream is
/// about, and a stranger learns nothing, not even which there are.
///
/// # Errors
/// When the frame is no hello.
pub fn recognises(frame: &[u8], secret: &[u8; 32], from: &DeviceId, to: &DeviceId) -> Result<bool, DecodeError> {
    match Message::decode(frame)? {
        Message::Hello { salt, tag, .. } => {
            let expected = tag_of(secret, &salt, from, to);
            Ok(bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_slice(), tag.as_slice())))
        }
        _ => Err(DecodeError::Invalid("a session begins with a hello")),
    }
}

impl Session {
    fn secret<S: Store>(&self, replica: &Replica<S>) -> Result<[u8; 32], SessionError> {
        let secret = replica.membership().secret().or(self.config.secret);
        secret.ok_or(SessionError::Protocol("the workspace's secret is not held here; join with a ticket"))
    }

    pub(super) fn send_hello<S: Store>(&mut self, replica: &Replica<S>) -> Result<(), SessionError> {
        let own = replica.device().ok_or(SessionError::Protocol("a session needs a device key"))?;
        let secret = self.secret(replica)?;
        self.outgoing.push_back(Message::Hello {
            versions: VERSIONS,
            attachments: self.config.attachments,
            boot_nonce: self.config.boot_nonce,
            salt: self.config.salt,
            tag: tag_of(&secret, &self.config.salt, &own, &self.peer),
        });
        self.greeting.hello_sent = true;
        Ok(())
    }

    pub(super) fn on_hello<S: Store>(
        &mut self,
        replica: &mut Replica<S>,
        versions: (u8, u8),
        boot_nonce: u64,
        (salt, tag): ([u8; 16], [u8; 16]),
    ) -> Result<(), SessionError> {
        if self.greeting.hello_received {
            return Err(SessionError::Protocol("a session has one hello"));
        }
        if versions.0 > VERSIONS.1 || versions.1 < VERSIONS.0 {
            return Err(self.turn_away(ByeCode::Version, "no protocol version in common"));
        }
        let own = replica.device().ok_or(SessionError::Protocol("a session needs a device key"))?;
        let secret = self.secret(replica)?;
        let expected = tag_of(&secret, &salt, &self.peer, &own);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_slice(), tag.as_slice())) {
            return Err(self.turn_away(ByeCode::Stranger, "unknown workspace"));
        }
        self.greeting.hello_received = true;
        self.events.push_back(SessionEvent::Admitted { boot_nonce });
        if self.role == Role::Responder {
            self.send_hello(replica)?;
        }
        self.greet(replica)
    }

    /// Goes on with a peer that knows the secret: as a member, or after a credential.
    fn greet<S: Store>(&mut self, replica: &mut Replica<S>) -> Result<(), SessionError> {
        let membership = replica.membership();
        // A joiner knows nobody yet: it trusts whoever knows the secret of its ticket.
        let joining = membership.is_empty() && self.config.secret.is_some();
        if joining || membership.role(&self.peer).is_some() {
            return self.admit(replica);
        }
        if membership.knows_device(&self.peer) {
            return Err(self.turn_away(ByeCode::Removed, "this device was removed from the workspace"));
        }
        if !self.greeting.asked {
            self.greeting.asked = true;
            self.outgoing.push_back(Message::WhoAreYou);
        }
        Ok(())
    }

    fn admit<S: Store>(&mut self, replica: &mut Replica<S>) -> Result<(), SessionError> {
        self.greeting.admitted = true;
        if !self.greeting.summary_sent {
            self.send_summary(replica);
        }
        Ok(())
    }

    pub(super) fn on_who_are_you<S: Store>(&mut self, replica: &Replica<S>) -> Result<(), SessionError> {
        if std::mem::replace(&mut self.greeting.credential_sent, true) {
            return Err(SessionError::Protocol("a credential is asked for once"));
        }
        // It may have forgotten us, and more: what it has written itself.
        self.send_claims(replica);
        // A joiner brings its ticket's proof; a member shows the operation that made its device one.
        let own = replica.device().and_then(|device| replica.membership().credential(&device));
        match self.config.credential.clone().or(own) {
            Some(credential) => self.outgoing.push_back(Message::Credential(credential)),
            None => return Err(self.turn_away(ByeCode::NotMember, "no credential to show")),
        }
        Ok(())
    }

    pub(super) fn on_credential<S: Store>(
        &mut self,
        replica: &mut Replica<S>,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<(), SessionError> {
        if self.greeting.admitted {
            return Ok(());
        }
        let membership = replica.membership();
        let holds = match credential {
            Credential::Join { invite, certificate, proof } => {
                let join = WorkspaceAction::Join { invite: *invite, certificate: *certificate, proof: *proof };
                certificate.device == self.peer
                    && membership
                        .invite_key(invite)
                        .is_some_and(|key| certificate::verify_join(&key, &membership.workspace(), certificate, proof).is_ok())
                    && membership.admits(&join, now).is_ok()
            }
            Credential::Device(certificate) => {
                certificate.device == self.peer && certificate.verify().is_ok() && membership.is_member(&certificate.user)
            }
        };
        if !holds {
            return Err(self.turn_away(ByeCode::NotMember, "the credential does not hold: ended, used up, revoked or not ours"));
        }
        self.greeting.vouched = true;
        self.admit(replica)?;
        if self.role == Role::Responder {
            self.start_comparing(replica);
        }
        Ok(())
    }

    /// Whether the peer may still be shown operations: it was admitted as somebody, but may have been removed since; or by a joiner who
    /// knew nobody yet and trusted everyone who knows the secret. The session of a removed peer ends.
    pub(super) fn may_be_shown<S: Store>(&mut self, replica: &Replica<S>) -> bool {
        let membership = replica.membership();
        if !self.greeting.admitted || membership.is_empty() || membership.role(&self.peer).is_some() {
            return true;
        }
        if membership.knows_device(&self.peer) {
            self.bye(ByeCode::Removed, "this device was removed from the workspace");
            return false;
        }
        self.greeting.vouched
    }

    pub(super) fn send_summary<S: Store>(&mut self, replica: &mut Replica<S>) {
        let frontier = replica.frontier_digest();
        let mut state = [0; 8];
        state.copy_from_slice(&replica.state_digest()[..8]);
        self.outgoing.push_back(Message::Summary { frontier, state, unfolded: replica.waiting_ops() + replica.held_ops() });
        self.greeting.summary_sent = true;
        self.told = Some(frontier);
        self.summarised = self.told;
    }

    pub(super) fn on_summary<S: Store>(
        &mut self,
        replica: &mut Replica<S>,
        frontier: [u8; 32],
        (state, unfolded): ([u8; 8], u64),
    ) -> Result<(), SessionError> {
        replica.commit()?;
        self.note_peer_digest(replica, frontier);
        self.shown = Some((frontier, state, unfolded));
        if replica.frontier_digest() == frontier {
            self.compare_states(replica);
            self.note_equal(replica);
            self.answer_equal(replica, frontier);
            return Ok(());
        }
        self.send_claims(replica);
        match self.role {
            Role::Responder => self.start_comparing(replica),
            // The responder compares; it needs to know that there is something to compare.
            Role::Initiator if self.compared && !self.comparing => self.send_summary(replica),
            Role::Initiator => {}
        }
        Ok(())
    }

    /// Proves how far the peer's own logs are held here, once: a store is set back while its program does not run. Who holds the same has
    /// lost nothing, and is told nothing.
    fn send_claims<S: Store>(&mut self, replica: &Replica<S>) {
        if std::mem::replace(&mut self.greeting.claims_sent, true) {
            return;
        }
        let claims = replica.claims_of(&self.peer, CLAIMS_MAX as usize);
        if !claims.is_empty() {
            self.outgoing.push_back(Message::Claims(claims));
        }
    }

    /// Takes what the peer proves of our own log. It proves it by our signature, so it need not be admitted for that. Who claims more than
    /// is held here and cannot prove it is turned away.
    pub(super) fn on_claims<S: Store>(&mut self, replica: &mut Replica<S>, claims: &[LogClaim]) -> Result<(), SessionError> {
        match replica.note_own_log(claims) {
            Ok(true) => self.events.push_back(SessionEvent::OwnLogBehind),
            Ok(false) => {}
            Err(claim) => {
                self.events.push_back(SessionEvent::FalseClaim { seq: claim.seq });
                return Err(self.turn_away(ByeCode::Malformed, "what was said of this device's own log is not signed by it"));
            }
        }
        Ok(())
    }

    /// Holds the state that the peer showed last against ours. It showed it for what is held here: so both must be equal when no operation
    /// waits on either side.
    pub(super) fn compare_states<S: Store>(&mut self, replica: &mut Replica<S>) {
        let Some((_, state, unfolded)) = self.shown else { return };
        if unfolded.saturating_add(replica.waiting_ops() + replica.held_ops()) > 0 {
            return;
        }
        self.agreed = replica.state_digest()[..8] == state;
        if self.agreed {
            return;
        }
        self.synced = None;
        if !std::mem::replace(&mut self.diverged, true) {
            self.events.push_back(SessionEvent::Diverged);
        }
    }

    /// Whoever compares waits for a word, and an equal summary needs no other: our own, if the peer has not seen it for what is held now;
    /// else that we are done.
    fn answer_equal<S: Store>(&mut self, replica: &mut Replica<S>, frontier: [u8; 32]) {
        if self.summarised == Some(frontier) {
            self.done_sent = false;
        } else {
            self.send_summary(replica);
        }
    }
}
