//! Workspace actions with their certificates and proofs, and tickets.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::{ConflictType, Policy, ResolutionStrategy};
use nodespace_protocol::ids::{OpHash, WorkspaceId};
use nodespace_protocol::log::Head;
use nodespace_protocol::membership::certificate::{join_proof, verify_join};
use nodespace_protocol::membership::{Certificate, DeviceTicket, DeviceWorkspace, Frontier, Role, Ticket, WorkspaceAction};
use nodespace_protocol::op::{OpType, Payload};

use super::{Case, check};
use crate::world::{certificate, invite_key, key, log, user_key};

const WORKSPACE: WorkspaceId = WorkspaceId([0xaa; 32]);

fn seen() -> Frontier {
    let mut seen = vec![
        (log(2), Head { seq: 9, hash: OpHash([9; 32]) }),
        (log(3), Head { seq: 1, hash: OpHash([1; 32]) }),
        (log(3), Head { seq: 1, hash: OpHash([2; 32]) }),
    ];
    seen.sort_unstable();
    seen
}

fn actions() -> Vec<(&'static str, WorkspaceAction)> {
    let user = user_key(2).user();
    let policy = Policy::default().with(ConflictType::ConcurrentEdit, ResolutionStrategy::ThreeWayMerge);
    let certificate = certificate(1);
    vec![
        ("genesis", WorkspaceAction::Genesis { name: "Gärten".into(), certificate, policy: Policy::default(), secret: [7; 32] }),
        ("add a member", WorkspaceAction::AddMember { user, role: Role::Viewer }),
        ("remove a member", WorkspaceAction::RemoveMember { user, seen: seen() }),
        ("remove a member of whom nothing was seen", WorkspaceAction::RemoveMember { user, seen: Frontier::new() }),
        ("set a role", WorkspaceAction::SetRole { user, role: Role::Owner }),
        ("add a device", WorkspaceAction::AddDevice { certificate: Certificate::issue(&user_key(1), key(4).device()) }),
        ("remove a device", WorkspaceAction::RemoveDevice { device: key(2).device(), seen: seen() }),
        (
            "invite",
            WorkspaceAction::Invite {
                key: invite_key(5).public(),
                role: Role::Editor,
                expires: Timestamp::from_ms(1_700_003_600_000),
                uses: 100_000,
            },
        ),
        ("revoke an invite", WorkspaceAction::RevokeInvite { invite: OpHash([6; 32]) }),
        (
            "join",
            WorkspaceAction::Join { invite: OpHash([6; 32]), certificate, proof: join_proof(&invite_key(5), &WORKSPACE, &certificate) },
        ),
        ("set the policy", WorkspaceAction::SetPolicy { policy }),
        ("rename", WorkspaceAction::SetName { name: String::new() }),
    ]
}

#[test]
fn actions_keep_their_bytes() {
    let wrap = |action| Payload { action: Some(Box::new(action)), ..Payload::default() };
    let case = |(name, action): (&str, WorkspaceAction)| {
        let payload = wrap(action);
        let bytes = payload.encode();
        assert_eq!(Payload::decode(OpType::Workspace, &bytes), Ok(payload), "{name}");
        Case::new(name, &bytes)
    };
    let about = "Payloads of workspace operations, one for each action. Device n has the seed [n; 32], its user [n ^ 0x80; 32], an invite's \
                 key n [n ^ 0x40; 32]; the join is for workspace [0xaa; 32].";
    check("action", about, actions().into_iter().map(case).collect(), |case, bytes| {
        let payload = Payload::decode(OpType::Workspace, bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        signatures_hold(&case.name, payload.action.as_deref().unwrap());
        payload.encode()
    });
}

fn signatures_hold(name: &str, action: &WorkspaceAction) {
    match action {
        WorkspaceAction::Genesis { certificate, .. } | WorkspaceAction::AddDevice { certificate } => {
            assert_eq!(certificate.verify(), Ok(()), "{name}");
        }
        WorkspaceAction::Join { certificate, proof, .. } => {
            assert_eq!(verify_join(&invite_key(5).public(), &WORKSPACE, certificate, proof), Ok(()), "{name}");
        }
        _ => {}
    }
}

#[test]
fn tickets_keep_their_text() {
    let bare = Ticket {
        workspace: WORKSPACE,
        invite: OpHash([6; 32]),
        key: invite_key(5),
        secret: [7; 32],
        role: Role::Viewer,
        expires: Timestamp::from_ms(1_700_003_600_000),
        addresses: Vec::new(),
        relay: None,
    };
    let full = Ticket {
        role: Role::Owner,
        addresses: vec!["/ip4/192.0.2.1/udp/4001/quic-v1".into(), "/dns/example.org/tcp/443".into()],
        relay: Some("https://relay.example.org".into()),
        ..bare.clone()
    };
    let cases = [("bare", bare), ("with addresses and a relay", full)]
        .map(|(name, ticket)| Case::new(name, ticket.to_text().as_bytes()).fact("text", ticket.to_text()));
    check("ticket", "Tickets; the bytes are those of the text.", cases.to_vec(), |case, bytes| {
        let text = std::str::from_utf8(bytes).unwrap();
        let ticket = Ticket::parse(text).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(ticket.to_text(), case.facts["text"], "{}", case.name);
        ticket.to_text().into_bytes()
    });
}

#[test]
fn device_tickets_keep_their_text() {
    let entry = |n: u8| DeviceWorkspace { workspace: WorkspaceId([n; 32]), secret: [n ^ 0xff; 32] };
    let bare = DeviceTicket { certificate: certificate(3), workspaces: vec![entry(1)], addresses: Vec::new(), relay: None };
    let full = DeviceTicket {
        workspaces: vec![entry(1), entry(2), entry(200)],
        addresses: vec!["/ip6/2001:db8::1/tcp/4001".into(), "/dns4/example.org/udp/443/quic-v1".into()],
        relay: Some("https://relay.example.org".into()),
        ..bare.clone()
    };
    let cases = [("bare", bare), ("with workspaces, addresses and a relay", full)]
        .map(|(name, ticket)| Case::new(name, ticket.to_text().as_bytes()).fact("text", ticket.to_text()));
    check("device_ticket", "Device tickets; the bytes are those of the text.", cases.to_vec(), |case, bytes| {
        let text = std::str::from_utf8(bytes).unwrap();
        let ticket = DeviceTicket::parse(text).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(ticket.certificate.verify(), Ok(()), "{}", case.name);
        assert_eq!(ticket.to_text(), case.facts["text"], "{}", case.name);
        ticket.to_text().into_bytes()
    });
}
