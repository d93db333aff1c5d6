//! `postern outbox`: every notification promised, and what became of it.

use clap::{Args, Subcommand};

use super::output::{self, Exit, Failure};
use super::{One, Place, world};
use crate::control::Request;
use crate::domain::ids::OutboxId;
use crate::store::outbox::OutboxState;
use crate::store::queries;

#[derive(Debug, Subcommand)]
pub enum OutboxCommand {
    /// Mails promised, newest first
    List(List),
    /// One mail: to whom, why, its state, its text
    Show(One),
    /// Send what is dead, cancelled, held or waiting; render what failed to render
    Retry(One),
}

#[derive(Debug, Args)]
pub struct List {
    /// Only mails in this state: queued, unrendered, held, sending, sent, dead, cancelled
    #[arg(long)]
    state: Option<String>,
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

pub fn run(command: &OutboxCommand) -> Result<Exit, Failure> {
    match command {
        OutboxCommand::List(command) => list(command),
        OutboxCommand::Show(command) => show(command),
        OutboxCommand::Retry(One { id, place, json }) => {
            let done = world::write(place, Request::RetryOutbox { id: *id })?;
            output::done(*json, &done, &format!("mail {id} is due now"))
        }
    }
}

fn list(command: &List) -> Result<Exit, Failure> {
    let state = match &command.state {
        None => None,
        Some(word) => Some(OutboxState::from_word(word).ok_or_else(|| {
            let known = "queued, unrendered, held, sending, sent, dead, cancelled";
            Failure::new(Exit::USAGE, format!("--state: found `{word}`, expected one of {known}"))
        })?),
    };
    let mails = world::read_only(&command.place)?.ask(|db| queries::outbox_list(db, state, command.limit))?;
    if command.json {
        return output::print_json(&mails);
    }
    let rows: Vec<_> = mails
        .iter()
        .map(|mail| {
            vec![
                mail.id.to_string(),
                mail.state.to_owned(),
                mail.ticket.to_string(),
                mail.recipient.clone(),
                mail.rule.clone(),
                mail.attempts.to_string(),
                mail.detail.clone().unwrap_or_default(),
            ]
        })
        .collect();
    output::print(&output::table(&["ID", "STATE", "TICKET", "RECIPIENT", "RULE", "TRIES", "DETAIL"], &rows))
}

fn show(command: &One) -> Result<Exit, Failure> {
    let mail = world::read_only(&command.place)?.ask(|db| queries::outbox_show(db, OutboxId(command.id)))?;
    let mail =
        mail.ok_or_else(|| Failure::new(Exit::NO, format!("there is no outbox mail `{}`", command.id)))?;
    if command.json {
        return output::print_json(&mail);
    }
    let text =
        serde_json::to_string_pretty(&mail).map_err(|error| Failure::new(Exit::DATA, error.to_string()))?;
    output::print(&text)
}
