//! `postern suspended`: the queue of held mail; look, let in, delete.

use clap::{Args, Subcommand};

use super::output::{self, Exit, Failure};
use super::{One, Place, world};
use crate::control::Request;
use crate::domain::ids::SuspendedId;
use crate::store::queries;

#[derive(Debug, Subcommand)]
pub enum SuspendedCommand {
    /// Held mails, newest first
    List(List),
    /// One held mail: why it is held, and its raw text
    Show(One),
    /// Let it in: the whole privacy list runs again, with your word for it
    Recover(One),
    /// Delete it: its row stays in the journal as discarded
    Delete(One),
}

#[derive(Debug, Args)]
pub struct List {
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

pub fn run(command: &SuspendedCommand) -> Result<Exit, Failure> {
    match command {
        SuspendedCommand::List(command) => list(command),
        SuspendedCommand::Show(command) => show(command),
        SuspendedCommand::Recover(One { id, place, json }) => {
            let report = world::write(place, Request::RecoverSuspended { id: *id })?;
            if *json {
                return output::print_json(&report);
            }
            let word = |key: &str| report.get(key).map(ToString::to_string).unwrap_or_default();
            output::print(&format!(
                "mail {id}: {} ticket {} comment {} {} by rule {}",
                word("state"),
                word("ticket"),
                word("comment"),
                word("visibility"),
                word("rule")
            ))
        }
        SuspendedCommand::Delete(One { id, place, json }) => {
            let done = world::write(place, Request::DeleteSuspended { id: *id })?;
            output::done(*json, &done, &format!("mail {id} is deleted"))
        }
    }
}

fn list(command: &List) -> Result<Exit, Failure> {
    let held = world::read_only(&command.place)?.ask(|db| queries::suspended_list(db, command.limit))?;
    if command.json {
        return output::print_json(&held);
    }
    let rows: Vec<_> = held
        .iter()
        .map(|mail| {
            vec![
                mail.id.to_string(),
                mail.cause.name().to_owned(),
                mail.author.clone().unwrap_or_default(),
                mail.ticket.map(|ticket| ticket.to_string()).unwrap_or_default(),
                mail.subject.clone(),
            ]
        })
        .collect();
    output::print(&output::table(&["ID", "CAUSE", "AUTHOR", "TICKET", "SUBJECT"], &rows))
}

fn show(command: &One) -> Result<Exit, Failure> {
    let store = world::read_only(&command.place)?;
    let held = store.ask(|db| queries::suspended_show(db, SuspendedId(command.id)))?;
    let held =
        held.ok_or_else(|| Failure::new(Exit::NO, format!("there is no suspended mail `{}`", command.id)))?;
    if command.json {
        return output::print_json(&held);
    }
    output::print(&format!("{}: {} ({})\n{}", held.id, held.cause.name(), held.cause_id, held.detail))?;
    if let Some(entry) = store.entry(held.journal)? {
        let raw = String::from_utf8_lossy(&entry.raw);
        let shown: String =
            raw.chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t').take(20_000).collect();
        output::print(&format!("\n{shown}"))?;
    }
    Ok(Exit::OK)
}
