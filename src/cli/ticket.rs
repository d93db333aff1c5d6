//! `postern ticket`: list, show, and turn a comment into a note.

use clap::{Args, Subcommand};

use super::output::{self, Exit, Failure};
use super::{One, Place, world};
use crate::control::Request;
use crate::domain::ids::TicketId;
use crate::domain::ticket::Status;
use crate::store::queries::{self, TicketFilter};

#[derive(Debug, Subcommand)]
pub enum TicketCommand {
    /// The newest tickets
    List(List),
    /// One ticket with its comments
    Show(One),
    /// Turn a public comment into an internal note; copies that still wait in the outbox are not sent
    MakePrivate(MakePrivate),
}

#[derive(Debug, Args)]
pub struct List {
    /// Only tickets of this status: new, open, pending, hold, solved, closed
    #[arg(long)]
    status: Option<String>,
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct MakePrivate {
    /// The comment's number, as `ticket show` prints it
    comment: i64,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

pub fn run(command: &TicketCommand) -> Result<Exit, Failure> {
    match command {
        TicketCommand::List(command) => list(command),
        TicketCommand::Show(command) => show(command),
        TicketCommand::MakePrivate(MakePrivate { comment, place, json }) => {
            let done = world::write(place, Request::MakeCommentPrivate { id: *comment })?;
            output::done(*json, &done, &format!("comment {comment} is an internal note now"))
        }
    }
}

fn list(command: &List) -> Result<Exit, Failure> {
    let status = match &command.status {
        None => None,
        Some(word) => Some(Status::from_word(word).ok_or_else(|| {
            let known: Vec<_> = Status::ALL.iter().map(|status| status.word()).collect();
            Failure::new(
                Exit::USAGE,
                format!("--status: found `{word}`, expected one of {}", known.join(", ")),
            )
        })?),
    };
    let tickets = world::read_only(&command.place)?
        .ask(|db| queries::ticket_list(db, TicketFilter { status, limit: command.limit }))?;
    if command.json {
        return output::print_json(&tickets);
    }
    let rows: Vec<_> = tickets
        .iter()
        .map(|ticket| {
            let privacy = if ticket.is_public { "public" } else { "private" };
            vec![
                ticket.id.to_string(),
                ticket.status.word().to_owned(),
                privacy.to_owned(),
                ticket.requester.clone(),
                ticket.subject.clone(),
            ]
        })
        .collect();
    output::print(&output::table(&["TICKET", "STATUS", "PRIVACY", "REQUESTER", "SUBJECT"], &rows))
}

fn show(command: &One) -> Result<Exit, Failure> {
    let ticket =
        world::read_only(&command.place)?.ask(|db| queries::ticket_show(db, TicketId(command.id)))?;
    let ticket =
        ticket.ok_or_else(|| Failure::new(Exit::NO, format!("there is no ticket `{}`", command.id)))?;
    if command.json {
        return output::print_json(&ticket);
    }
    let or_dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let privacy = if ticket.is_public { "public" } else { "private" };
    let mut text = format!("Ticket {}: {}\n", ticket.id, ticket.subject);
    let fields = [
        ("status", format!("{} ({privacy})", ticket.status.word())),
        ("requester", ticket.requester.clone()),
        ("assignee", or_dash(&ticket.assignee)),
        ("group", or_dash(&ticket.group)),
        ("priority", or_dash(&ticket.priority.map(|priority| priority.word().to_owned()))),
        ("type", or_dash(&ticket.ticket_type.map(|kind| kind.word().to_owned()))),
        ("tags", ticket.tags.iter().cloned().collect::<Vec<_>>().join(" ")),
        ("ccs", ticket.ccs.join(", ")),
        ("followers", ticket.followers.join(", ")),
    ];
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("  {name:<10} {value}\n"));
    }
    for comment in &ticket.comments {
        let flags: Vec<_> = comment.flags.iter().map(|flag| flag.word()).collect();
        let flags = if flags.is_empty() { String::new() } else { format!(" [{}]", flags.join(", ")) };
        let author = &comment.author;
        text.push_str(&format!(
            "\ncomment {} by {author}: {} ({}){flags}\n",
            comment.id,
            comment.visibility.word(),
            comment.rule
        ));
        for line in comment.text.lines() {
            let line: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
            text.push_str(&format!("    {line}\n"));
        }
    }
    output::print(&text)
}
