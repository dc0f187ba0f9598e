//! From a token to a caller: what the workspace says of the device now.

use std::sync::Arc;

use nodespace_protocol::crypto::Signature;
use nodespace_protocol::ids::{DeviceId, OpHash, RelayId, UserId, WorkspaceId};
use nodespace_protocol::membership::Role;
use nodespace_protocol::view::{AuthenticatedUser, LoginCredential, login};

use super::Seal;
use super::challenge::{Answered, Challenge};
use super::token::{Claim, TokenClaims};
use crate::clock;
use crate::config::QuotaConfig;
use crate::key::RelayKey;
use crate::redis::Redis;
use crate::refusal::Refusal;
use crate::store::{Database, DeviceRole, Epoch, Standing, StoreError, WorkspaceRow, members, standing};
use crate::workspace::Hub;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A member's device.
    Member(Role),
    /// A device that belongs by an open invite or its user's word: it reads, and may bring the operation that makes it a member's.
    Newcomer,
    /// The workspace is not here, or came by this very token a moment ago: the device may bring it, and go on.
    Founder,
}

/// Somebody whose request may be served.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub user: UserId,
    /// On which device.
    pub device: DeviceId,
    /// Which workspace it is about.
    pub workspace: WorkspaceId,
    /// What they may do.
    pub grant: Grant,
    /// The workspace as it was when this was looked up; `None` for a founder.
    pub row: Option<WorkspaceRow>,
    /// The epoch in force before that.
    pub epoch: Epoch,
}

impl Caller {
    /// As the protocol's checks want it.
    #[must_use]
    pub const fn authenticated(&self) -> AuthenticatedUser {
        AuthenticatedUser { user: self.user, device: self.device }
    }

    /// The workspace's row, for what only a workspace that is here can answer.
    ///
    /// # Errors
    /// When it is not here.
    pub fn row(&self) -> Result<&WorkspaceRow, Refusal> {
        self.row.as_ref().ok_or_else(|| Refusal::not_found("unknown_workspace", "this relay does not hold the workspace"))
    }
}

/// Judges challenges, tokens and membership.
#[derive(Clone, Debug)]
pub struct Access {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    seal: Seal,
    relay: RelayId,
    database: Database,
    redis: Redis,
    hub: Hub,
    quota: QuotaConfig,
    answered: Answered,
}

fn not_member() -> Refusal {
    Refusal::forbidden("not_a_member", "the device is no member of the workspace; a member invites it")
}

impl Access {
    /// Access to the workspaces of a database.
    #[must_use]
    pub fn new(key: &RelayKey, database: Database, redis: Redis, hub: Hub, quota: QuotaConfig) -> Self {
        let answered = Answered::default();
        Self { shared: Arc::new(Shared { seal: Seal::of(key), relay: key.id(), database, redis, hub, quota, answered }) }
    }

    /// Draws a challenge. Whether the workspace is here, and the device a member, is not said yet.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn challenge(&self, device: DeviceId, workspace: WorkspaceId) -> Result<Vec<u8>, Refusal> {
        let drawn = Challenge::draw(device, workspace, clock::now_ms());
        let drawn = drawn.map_err(|error| Refusal::unavailable(error.code(), error.to_string(), crate::store::RETRY_AFTER))?;
        Ok(drawn.seal(&self.shared.seal))
    }

    /// Exchanges the answer to a challenge for a token.
    ///
    /// # Errors
    /// When the answer does not hold, or the device does not belong.
    pub async fn login(&self, sealed: &[u8], answer: &Signature, credential: Option<&LoginCredential>) -> Result<TokenClaims, Refusal> {
        let now_ms = clock::now_ms();
        let refuse = |error: super::ChallengeError| Refusal::unauthorised(error.code(), error.to_string());
        let challenge = Challenge::open(sealed, &self.shared.seal, now_ms).map_err(refuse)?;
        challenge.verify(sealed, &self.shared.relay, answer).map_err(refuse)?;
        self.shared.answered.note(&self.shared.redis, &challenge, now_ms).await.map_err(refuse)?;
        let (device, workspace) = (challenge.device, challenge.workspace);
        let standing = self.standing(&workspace, &device).await?;
        let (user, claim) = match standing.as_ref().map(|standing| (standing.device, &standing.workspace)) {
            Some((DeviceRole::Member { user, .. }, _)) => (user, Claim::Member),
            Some((DeviceRole::Removed, _)) => return Err(removed()),
            Some((DeviceRole::Unknown, row)) => self.newcomer(&challenge, row, credential).await?,
            None => (self.founder(&device, credential)?, Claim::Device),
        };
        Ok(TokenClaims { device, user, workspace, claim, issued_at_ms: now_ms })
    }

    /// The token as text.
    #[must_use]
    pub fn seal(&self, claims: &TokenClaims) -> String {
        claims.seal(&self.shared.seal)
    }

    async fn newcomer(
        &self,
        challenge: &Challenge,
        row: &WorkspaceRow,
        credential: Option<&LoginCredential>,
    ) -> Result<(UserId, Claim), Refusal> {
        let bad = |_| Refusal::forbidden("bad_credential", "a certificate or proof in the credential is not valid");
        match credential {
            None => Err(not_member()),
            Some(LoginCredential::Device { certificate }) => {
                let certificate = certificate.verify_for(&challenge.device).map_err(bad)?;
                let found = self.is_user(row, &certificate.user).await?;
                if found { Ok((certificate.user, Claim::Device)) } else { Err(not_member()) }
            }
            Some(LoginCredential::Join { invite, certificate, proof }) => {
                let (invite, device, workspace) = (*invite, challenge.device, challenge.workspace);
                let key = self.shared.hub.ask(workspace, move |replica| Ok(replica.membership().invite_key(&invite))).await?;
                let key = key.ok_or_else(|| Refusal::forbidden("bad_invite", "the invite is not known here"))?;
                let certificate = login::verify_join_credential(certificate, proof, (&workspace, &device), &key).map_err(bad)?;
                self.check_invite(workspace, invite).await?;
                Ok((certificate.user, Claim::Join(invite)))
            }
        }
    }

    fn founder(&self, device: &DeviceId, credential: Option<&LoginCredential>) -> Result<UserId, Refusal> {
        let unknown = || Refusal::not_found("unknown_workspace", "this relay does not hold the workspace");
        let Some(LoginCredential::Device { certificate }) = credential else { return Err(unknown()) };
        if !self.shared.quota.new_workspaces {
            return Err(Refusal::forbidden("new_workspaces_closed", "this relay takes no new workspaces; ask its operator"));
        }
        let certificate = certificate.verify_for(device);
        certificate
            .map(|certificate| certificate.user)
            .map_err(|_| Refusal::forbidden("bad_credential", "the device's certificate is not valid"))
    }

    /// Whether an invite is open now, by all that the workspace's operations say.
    async fn check_invite(&self, workspace: WorkspaceId, invite: OpHash) -> Result<(), Refusal> {
        let now = clock::now();
        let open =
            move |replica: &crate::workspace::RelayReplica| Ok(replica.membership().invites(now).iter().any(|open| open.invite == invite));
        let ended = || Refusal::forbidden("bad_invite", "the invite ended, was used up, or was revoked");
        if self.shared.hub.ask(workspace, open).await? { Ok(()) } else { Err(ended()) }
    }

    /// Who a token speaks for, if it holds at all. Nothing is looked up yet.
    ///
    /// # Errors
    /// When it is missing, not ours or expired.
    pub fn claims(&self, token: Option<&str>) -> Result<TokenClaims, Refusal> {
        let token = token.ok_or_else(|| Refusal::unauthorised("token_missing", "send `Authorization: Bearer <token>`"))?;
        TokenClaims::open(token, &self.shared.seal, clock::now_ms()).map_err(|error| Refusal::unauthorised(error.code(), error.to_string()))
    }

    async fn standing(&self, workspace: &WorkspaceId, device: &DeviceId) -> Result<Option<Standing>, StoreError> {
        let database = &self.shared.database;
        database.within(standing(database, workspace, device)).await
    }

    /// Whether the workspace was brought by the user since the token was issued, and so by it.
    async fn brought(&self, row: &WorkspaceRow, claims: &TokenClaims) -> Result<bool, StoreError> {
        let database = &self.shared.database;
        database.within(members::brought_since(database.read(), row.number, &claims.user, claims.issued_at_ms)).await
    }

    async fn epoch(&self) -> Result<Epoch, StoreError> {
        let database = &self.shared.database;
        database.within(database.epoch().look(database.read())).await
    }

    async fn is_user(&self, row: &WorkspaceRow, user: &UserId) -> Result<bool, StoreError> {
        let database = &self.shared.database;
        database.within(members::is_user(database.read(), row.number, user)).await
    }

    /// Looks up what a token's device may do in its workspace now.
    ///
    /// # Errors
    /// When it may nothing, or the database fails.
    pub async fn caller(&self, claims: &TokenClaims) -> Result<Caller, Refusal> {
        let TokenClaims { device, workspace, .. } = *claims;
        let epoch = self.shared.database.epoch().current();
        let caller = |user, grant, row| Caller { user, device, workspace, grant, row, epoch };
        let Some(Standing { workspace: row, device: standing }) = self.standing(&workspace, &device).await? else {
            return match claims.claim {
                // Whoever deleted it began an epoch with that, of which this instance may not know yet.
                Claim::Device => Ok(Caller { epoch: self.epoch().await?, ..caller(claims.user, Grant::Founder, None) }),
                Claim::Member | Claim::Join(_) => Err(Refusal::not_found("unknown_workspace", "this relay does not hold the workspace")),
            };
        };
        match (standing, claims.claim) {
            (DeviceRole::Member { user, role }, _) => Ok(caller(user, Grant::Member(role), Some(row))),
            (DeviceRole::Removed, _) => Err(removed()),
            (DeviceRole::Unknown, Claim::Join(invite)) => {
                self.check_invite(workspace, invite).await?;
                Ok(caller(claims.user, Grant::Newcomer, Some(row)))
            }
            (DeviceRole::Unknown, Claim::Device) if self.brought(&row, claims).await? => {
                // Its own membership may be in a packet that is still to come.
                Ok(caller(claims.user, Grant::Founder, Some(row)))
            }
            (DeviceRole::Unknown, Claim::Device) if self.is_user(&row, &claims.user).await? => {
                Ok(caller(claims.user, Grant::Newcomer, Some(row)))
            }
            (DeviceRole::Unknown, _) => Err(not_member()),
        }
    }
}

fn removed() -> Refusal {
    Refusal::forbidden("removed", "the device was removed from the workspace")
}
