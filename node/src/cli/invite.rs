//! `nodespace invite`: a ticket for somebody else, as text and as a QR code.

use std::io;

use axum::http::Method;
use nodespace_node::client::{Client, ClientError, Request};
use nodespace_node::model::{CreateInvite, ErrorCode, Invitation, InviteList, MembershipChange, NetworkStatus};
use nodespace_node::net::address::{NAME, is_name};
use nodespace_protocol::membership::Ticket;
use qrcode::QrCode;

use super::duration::{self, Seconds};
use super::exit::Exit;
use super::output::Output;
use super::qr;
use super::style::Tone;
use super::table::{Cell, Table};

/// How wide a QR code may be when nobody says how wide the terminal is.
const COLUMNS_DEFAULT: usize = 80;

/// Arguments of `nodespace invite`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct InviteArguments {
    #[command(subcommand)]
    command: Option<InviteCommand>,
    #[command(flatten)]
    new: NewArguments,
}

/// What else to do with invites.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum InviteCommand {
    /// List the invites that can still be used. Their tickets are kept nowhere and cannot be shown again.
    List,
    /// End an invite.
    Revoke(RevokeArguments),
}

/// What the ticket is for.
#[derive(Debug, clap::Args)]
pub(crate) struct NewArguments {
    /// What joiners become.
    #[arg(long, default_value = "editor")]
    role: RoleName,
    /// For how long the ticket can be used, such as 12h or 7d.
    #[arg(long, default_value = "7d", value_name = "DURATION", value_parser = duration::seconds)]
    expires: Seconds,
    /// How many may join with it.
    #[arg(long, default_value_t = 1)]
    uses: u32,
    /// Show the QR code although the output is no terminal.
    #[arg(long, conflicts_with = "no_qr")]
    qr: bool,
    /// Show the text only.
    #[arg(long)]
    no_qr: bool,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum RoleName {
    /// Read, write, and change who belongs to the workspace.
    Owner,
    /// Read and write.
    Editor,
    /// Read.
    Viewer,
}

impl RoleName {
    /// In the API's words.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
        }
    }
}

/// Arguments of `nodespace invite revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArguments {
    /// The invite, as `nodespace invite list` shows it, or the beginning of it.
    invite: String,
}

/// Does what was asked.
pub(crate) async fn run(arguments: &InviteArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    match &arguments.command {
        None => new(&arguments.new, client, out).await?,
        Some(InviteCommand::List) => {
            let answer = client.ask::<InviteList>(Request::get(&["v1", "invites"])).await?;
            out.answer(&answer, print_list)?;
        }
        Some(InviteCommand::Revoke(arguments)) => {
            let request = Request::new(Method::DELETE, &["v1", "invites", &arguments.invite]);
            let answer = client.ask::<MembershipChange>(request).await?;
            out.answer(&answer, |out, change| out.line(format_args!("revoked: {}", change.note)))?;
        }
    }
    Ok(Exit::Done)
}

async fn new(arguments: &NewArguments, client: &Client, out: &mut Output) -> anyhow::Result<()> {
    let NewArguments { role, expires, uses, .. } = *arguments;
    let request = CreateInvite { role: role.name().to_owned(), expires_s: expires.0, uses };
    let answer = client.ask::<Invitation>(Request::post(&["v1", "invites"]).json(&request)?).await?;
    let wants_qr = arguments.qr || out.style.is_terminal && !arguments.no_qr;
    let obstacle = obstacle(client).await;
    out.answer(&answer, |out, invitation| {
        // On a line of its own, so that a script, `head` or a triple click takes it whole.
        out.line(&invitation.ticket)?;
        if wants_qr {
            print_qr(out, &invitation.ticket)?;
        }
        let uses = if invitation.uses == 1 { "once".to_owned() } else { format!("{} times", invitation.uses) };
        out.line("\nThe other side runs: nodespace join TICKET")?;
        out.line(format_args!("It makes them {}, can be used {uses}, and ends at {}.", invitation.role, invitation.expires))?;
        out.line("Whoever has the ticket can join: hand it over in private.")?;
        print_reach(out, invitation.addresses, invitation.relay.as_deref(), obstacle)
    })?;
    Ok(())
}

/// What keeps everybody from joining at this device for now, if anything does.
pub(crate) async fn obstacle(client: &Client) -> Option<&'static str> {
    if !client.is_remote() {
        return Some("No daemon runs here, so nobody can join yet: start one with `nodespace run`.");
    }
    let network = client.clone().of_workspace(None).ask::<NetworkStatus>(Request::get(&["v1", "network"])).await;
    let is_off = matches!(network, Err(ClientError::Refused { body, .. }) if body.code == ErrorCode::Unavailable);
    is_off.then_some("The network of the daemon is off, so nobody can join yet: set `network.enabled = true` and start it again.")
}

/// What there is to know when a ticket leads nowhere by itself.
pub(crate) fn print_reach(out: &mut Output, addresses: usize, relay: Option<&str>, obstacle: Option<&str>) -> io::Result<()> {
    if let Some(relay) = relay {
        return out
            .line(format_args!("It names the relay {relay}: once this device has synced with it, the other side can join at any time."));
    }
    if addresses == 0 {
        out.line("It carries no address, only this device's name: it is found in the same local network alone, by multicast.")?;
    }
    obstacle.map_or(Ok(()), |obstacle| out.line(obstacle))
}

/// Prints the QR code of a ticket, with as many of its addresses as make a code that fits.
fn print_qr(out: &mut Output, ticket: &str) -> io::Result<()> {
    let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(COLUMNS_DEFAULT);
    match fitting(ticket, columns) {
        None => out.line("\n(the ticket is too long for a QR code that fits here; use the text)"),
        Some((code, left_out)) => {
            out.line("")?;
            qr::lines(&code, &out.style).into_iter().try_for_each(|line| out.line(line))?;
            match left_out {
                0 => Ok(()),
                count => out.line(format_args!("(the QR code leaves out {count} of the ticket's addresses, so that it fits)")),
            }
        }
    }
}

/// The largest code of a ticket that fits, and how many addresses it leaves out: the last ones, which are the least useful.
fn fitting(ticket: &str, columns: usize) -> Option<(QrCode, usize)> {
    let mut ticket = Ticket::parse(ticket).ok()?;
    let all = dialled(&ticket);
    loop {
        // Upper case, as a QR code packs that best.
        let code = qr::encode(&ticket.to_text().to_uppercase()).ok().filter(|code| qr::width(code) <= columns);
        if let Some(code) = code {
            return Some((code, all - dialled(&ticket)));
        }
        if !shorten(&mut ticket) {
            return None;
        }
    }
}

/// How many addresses of a ticket are more than a name.
fn dialled(ticket: &Ticket) -> usize {
    ticket.addresses.iter().filter(|address| !is_name(address)).count()
}

/// Takes the last address out of a ticket. Of the only one the name stays, by which the local network leads to its device; without that a
/// ticket that names no relay would lead nowhere. False when there is nothing to be taken out.
fn shorten(ticket: &mut Ticket) -> bool {
    let Some(last) = ticket.addresses.pop() else { return false };
    if !ticket.addresses.is_empty() {
        return true;
    }
    match last.rfind(NAME) {
        Some(at) if at > 0 => {
            ticket.addresses.push(last[at..].to_owned());
            true
        }
        _ => ticket.relay.is_some(),
    }
}

fn print_list(out: &mut Output, list: &InviteList) -> io::Result<()> {
    if list.invites.is_empty() {
        return out.line("no open invites");
    }
    let ids = out.style.ids(list.invites.iter().map(|invite| invite.invite.as_str()));
    let mut table = Table::new(["invite", "makes", "uses left", "ends"]);
    for invite in &list.invites {
        let id = Cell::toned(Tone::Bold, ids.short(&invite.invite));
        table.row([id, invite.role.as_str().into(), invite.uses_left.to_string().into(), invite.expires.as_str().into()]);
    }
    out.table(&table)
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::clock::Timestamp;
    use nodespace_protocol::crypto::KeyPair;
    use nodespace_protocol::ids::{OpHash, WorkspaceId};
    use nodespace_protocol::membership::Role;

    use super::*;

    fn ticket(addresses: usize) -> Ticket {
        let address = |number: usize| format!("/ip4/192.0.2.{number}/udp/{}/quic-v1", 40_000 + number);
        Ticket {
            workspace: WorkspaceId([1; 32]),
            invite: OpHash([2; 32]),
            key: KeyPair::from_seed(&[3; 32]),
            secret: [4; 32],
            role: Role::Editor,
            expires: Timestamp::from_ms(99),
            addresses: (0..addresses).map(address).collect(),
            relay: None,
        }
    }

    #[test]
    fn a_code_fits_the_terminal_and_leaves_out_no_more_than_it_must() {
        let fitting = |addresses: usize, columns: usize| fitting(&ticket(addresses).to_text(), columns);
        let (code, left_out) = fitting(4, 80).unwrap();
        assert_eq!(left_out, 0, "four addresses fit: {} wide", qr::width(&code));
        let (code, left_out) = fitting(16, 80).unwrap();
        assert!(qr::width(&code) <= 80 && (1..16).contains(&left_out), "{left_out}");
        let (_, more) = fitting(16, 70).unwrap();
        assert!(more > left_out);
        assert!(fitting(16, 40).is_none(), "not even without addresses");
        assert!(super::fitting("nonsense", 80).is_none());
    }

    #[test]
    fn whatever_is_left_out_the_ticket_leads_somewhere() {
        let name = "/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let mut ticket = ticket(2);
        ticket.addresses.iter_mut().for_each(|address| address.push_str(name));
        assert!(shorten(&mut ticket) && dialled(&ticket) == 1);
        assert!(shorten(&mut ticket) && dialled(&ticket) == 0);
        assert_eq!(ticket.addresses, [name], "in the local network it can still be found");
        let mut by_relay = Ticket { relay: Some("https://relay.example".to_owned()), ..ticket.clone() };
        assert!(!shorten(&mut ticket), "without the name it would lead nowhere");
        assert!(shorten(&mut by_relay) && by_relay.addresses.is_empty());
        assert!(!shorten(&mut by_relay));
    }
}
