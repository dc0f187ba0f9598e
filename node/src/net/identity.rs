//! Who is who on the network: a device's signing key is also its libp2p key, so a connection that is established has proved which device is
//! at the other end, and a device's `PeerId` can be worked out by anybody who knows the device (libp2p peer-ids specification, "identity"
//! multihash of an Ed25519 key).

use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::DeviceId;

/// The multihash code of keys that are spelt out instead of hashed.
const IDENTITY_CODE: u64 = 0;

/// The device's key as libp2p wants it.
pub(super) fn keypair(key: &KeyPair) -> Keypair {
    let mut seed = key.seed();
    let secret = ed25519::SecretKey::try_from_bytes(&mut seed).expect("a seed has 32 bytes");
    ed25519::Keypair::from(secret).into()
}

/// The libp2p name of a device; `None` when its key is no point of the curve, as only a made-up one is.
pub fn peer_id(device: &DeviceId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&device.0).ok()?;
    Some(PeerId::from_public_key(&PublicKey::from(key)))
}

/// The device behind a libp2p name; `None` when its key is of another kind than ours.
pub fn device_of(peer: &PeerId) -> Option<DeviceId> {
    let hash = peer.as_ref();
    if hash.code() != IDENTITY_CODE {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(hash.digest()).ok()?;
    Some(DeviceId(key.try_into_ed25519().ok()?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_and_its_peer_id_name_each_other() {
        let key = KeyPair::from_seed(&[7; 32]);
        let peer = keypair(&key).public().to_peer_id();
        assert_eq!(peer_id(&key.device()), Some(peer));
        assert_eq!(device_of(&peer), Some(key.device()));
    }

    #[test]
    fn keys_of_other_kinds_are_nobody() {
        let hashed = PeerId::from_multihash(libp2p::multihash::Multihash::wrap(0x12, &[3; 32]).unwrap()).unwrap();
        assert_eq!(device_of(&hashed), None);
        assert_eq!(peer_id(&DeviceId([2; 32])), None, "not a point of the curve");
    }
}
