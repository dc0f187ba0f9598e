//! Tokens: who a device is, for a quarter of an hour.
//!
//! ```text
//! kind 1 = 0xa1 | claim 1: 0 member, 1 join, 2 device | issued at, ms since 1970, 8 LE | device 32 | user 32 | workspace 32 |
//! invite 32 (zeros unless join) | authentication 32
//! ```
//!
//! Written as hexadecimal digits after `Authorization: Bearer`.

use nodespace_protocol::ids::{DeviceId, OpHash, UserId, WorkspaceId, hex};

use super::Seal;
use crate::hex::unhex;

/// How long a token holds, in milliseconds.
pub const TOKEN_LIFE_MS: u64 = 15 * 60 * 1_000;
const KIND: u8 = 0xa1;
const BODY_BYTES: usize = 2 + 8 + 4 * 32;
/// The longest text that is looked at: a token's, exactly.
const TEXT_BYTES: usize = 2 * (BODY_BYTES + super::TAG_BYTES);

/// By what a device belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The workspace's operations name it.
    Member,
    /// An invite, which it holds the secret of.
    Join(OpHash),
    /// Its user's word. That user is a member, or brings the workspace.
    Device,
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    /// The device that was there.
    pub device: DeviceId,
    /// Its user.
    pub user: UserId,
    /// The workspace it is for.
    pub workspace: WorkspaceId,
    /// By what it belongs.
    pub claim: Claim,
    /// When it was issued, in milliseconds since the Unix epoch.
    pub issued_at_ms: u64,
}

/// Why a token does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text is none of ours.
    #[error("the token is not one of this relay's")]
    Unknown,
    /// Its time is over.
    #[error("the token has expired; answer another challenge")]
    Expired,
}

impl TokenError {
    /// A stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_token",
            Self::Expired => "token_expired",
        }
    }
}

impl TokenClaims {
    /// When it ends, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn expires_at_ms(&self) -> u64 {
        self.issued_at_ms + TOKEN_LIFE_MS
    }

    /// The token as text.
    #[must_use]
    pub fn seal(&self, seal: &Seal) -> String {
        let (claim, invite) = match self.claim {
            Claim::Member => (0, OpHash([0; 32])),
            Claim::Join(invite) => (1, invite),
            Claim::Device => (2, OpHash([0; 32])),
        };
        let mut bytes = Vec::with_capacity(BODY_BYTES + super::TAG_BYTES);
        bytes.extend_from_slice(&[KIND, claim]);
        bytes.extend_from_slice(&self.issued_at_ms.to_le_bytes());
        for part in [&self.device.0, &self.user.0, &self.workspace.0, &invite.0] {
            bytes.extend_from_slice(part);
        }
        hex(&seal.close(bytes))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// When it is none of ours, or its time is over.
    pub fn open(text: &str, seal: &Seal, now_ms: u64) -> Result<Self, TokenError> {
        let sealed = Some(text).filter(|text| text.len() == TEXT_BYTES).and_then(unhex).ok_or(TokenError::Unknown)?;
        let body = seal.open(&sealed).filter(|body| body.len() == BODY_BYTES && body[0] == KIND).ok_or(TokenError::Unknown)?;
        let claims = Self::parse(&body[1..]).ok_or(TokenError::Unknown)?;
        let from_the_future = claims.issued_at_ms.saturating_sub(now_ms) > TOKEN_LIFE_MS;
        if from_the_future || now_ms >= claims.expires_at_ms() { Err(TokenError::Expired) } else { Ok(claims) }
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let (claim, rest) = body.split_first()?;
        let (issued, rest) = rest.split_first_chunk::<8>()?;
        let (parts, []) = rest.as_chunks::<32>() else { return None };
        let [device, user, workspace, invite] = parts else { return None };
        let claim = match claim {
            0 => Claim::Member,
            1 => Claim::Join(OpHash(*invite)),
            2 => Claim::Device,
            _ => return None,
        };
        Some(Self {
            device: DeviceId(*device),
            user: UserId(*user),
            workspace: WorkspaceId(*workspace),
            claim,
            issued_at_ms: u64::from_le_bytes(*issued),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::RelayKey;

    #[test]
    fn a_token_holds_for_its_time_and_cannot_be_altered() {
        let seal = Seal::of(&RelayKey::from_seed(&[2; 32]));
        for claim in [Claim::Member, Claim::Join(OpHash([7; 32])), Claim::Device] {
            let claims = TokenClaims {
                device: DeviceId([1; 32]),
                user: UserId([2; 32]),
                workspace: WorkspaceId([3; 32]),
                claim,
                issued_at_ms: 1_000,
            };
            let text = claims.seal(&seal);
            assert_eq!(text.len(), TEXT_BYTES);
            assert_eq!(TokenClaims::open(&text, &seal, 1_001), Ok(claims));
            assert_eq!(TokenClaims::open(&text.to_uppercase(), &seal, 1_001), Ok(claims));
            assert_eq!(TokenClaims::open(&text, &seal, 1_000 + TOKEN_LIFE_MS), Err(TokenError::Expired));
            for at in 0..text.len() {
                let mut altered = text.clone().into_bytes();
                altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
                let altered = String::from_utf8(altered).unwrap();
                assert_eq!(TokenClaims::open(&altered, &seal, 1_001), Err(TokenError::Unknown));
            }
        }
        for bad in ["", "x", &"0".repeat(TEXT_BYTES), &"é".repeat(TEXT_BYTES / 2)] {
            assert_eq!(TokenClaims::open(bad, &seal, 0), Err(TokenError::Unknown));
        }
    }

    #[test]
    fn a_challenge_is_no_token() {
        let seal = Seal::of(&RelayKey::from_seed(&[2; 32]));
        let challenge = crate::auth::Challenge::draw(DeviceId([1; 32]), WorkspaceId([3; 32]), 5).unwrap().seal(&seal);
        assert_eq!(TokenClaims::open(&hex(&challenge), &seal, 6), Err(TokenError::Unknown));
    }
}
