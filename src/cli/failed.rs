//! `postern failed`: mail that could not be decided, or not even read; look, and have it tried again.

use clap::{Args, Subcommand};

use super::output::{self, Exit, Failure};
use super::{One, Place, world};
use crate::control::Request;
use crate::domain::ids::JournalId;
use crate::domain::mail::Envelope;
use crate::store::queries::{self, FailedView};

/// Lines of the mail's head that are shown.
const HEAD_LINES: usize = 40;

#[derive(Debug, Subcommand)]
pub enum FailedCommand {
    /// Failed mails, oldest first
    List(List),
    /// One failed mail: its envelope, what went wrong, and the head of the mail
    Show(Show),
    /// Have it tried again, as if it had never been
    Retry(One),
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

#[derive(Debug, Args)]
pub struct Show {
    id: i64,
    /// Write the whole mail to standard output, byte for byte, and nothing else
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

pub fn run(command: &FailedCommand) -> Result<Exit, Failure> {
    match command {
        FailedCommand::List(command) => list(command),
        FailedCommand::Show(command) => show(command),
        FailedCommand::Retry(One { id, place, json }) => {
            let done = world::write(place, Request::RetryFailed { id: *id })?;
            output::done(*json, &done, &format!("mail {id} is tried again"))
        }
    }
}

fn list(command: &List) -> Result<Exit, Failure> {
    let now = world::now();
    let failed = world::read_only(&command.place)?.ask(|db| queries::failed_list(db, command.limit, now))?;
    if command.json {
        return output::print_json(&failed);
    }
    let rows: Vec<_> = failed.iter().map(row).collect();
    output::print(&output::table(&["ID", "AGE", "TRIES", "FROM", "ERROR"], &rows))
}

fn row(mail: &FailedView) -> Vec<String> {
    vec![
        mail.id.to_string(),
        output::age(mail.age_s),
        mail.attempts.to_string(),
        mail.envelope.as_ref().map_or_else(|| "?".to_owned(), sender),
        mail.error.clone(),
    ]
}

fn show(command: &Show) -> Result<Exit, Failure> {
    let (id, now) = (JournalId(command.id), world::now());
    let store = world::read_only(&command.place)?;
    let failed = store.ask(|db| queries::failed_show(db, id, now))?;
    let failed =
        failed.ok_or_else(|| Failure::new(Exit::NO, format!("mail `{id}` is not among the failed ones")))?;
    if command.raw {
        let raw = store.entry(id)?.map(|entry| entry.raw).unwrap_or_default();
        return output::write(&raw);
    }
    if command.json {
        return output::print_json(&failed);
    }
    let error = failed.envelope_error.unwrap_or_default();
    let (entrance, people) = failed.envelope.map_or_else(
        || (String::new(), format!("its envelope cannot be read: {error}")),
        |envelope| (format!(" by `{}`", envelope.entrance.name), people(&envelope)),
    );
    output::print(&format!(
        "mail {id}: {} after {} unclean ends, accepted {} ({} ago){entrance}, {} bytes\n{people}",
        failed.error,
        failed.attempts,
        failed.accepted_at,
        output::age(failed.age_s),
        failed.size,
    ))?;
    // Damaged mail has no bytes to show; the rest is worth showing all the same.
    match store.entry(id) {
        Ok(entry) => output::print(&format!("\n{}", head(&entry.map(|entry| entry.raw).unwrap_or_default()))),
        Err(error) => output::print(&format!("\nthe mail itself cannot be read: {error}")),
    }
}

fn sender(envelope: &Envelope) -> String {
    envelope.reverse_path.as_ref().map_or_else(|| "<>".to_owned(), ToString::to_string)
}

fn people(envelope: &Envelope) -> String {
    let sender = envelope.reverse_path.as_ref().map(ToString::to_string).unwrap_or_default();
    let recipients: Vec<_> = envelope.recipients.iter().map(ToString::to_string).collect();
    format!("from <{sender}>\nto {}", recipients.join(", "))
}

/// The first lines of the header fields, harmless for a terminal.
fn head(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw.get(..raw.len().min(64 * 1024)).unwrap_or_default());
    let lines = text.lines().take_while(|line| !line.trim().is_empty()).take(HEAD_LINES);
    let shown: Vec<String> = lines
        .map(|line| line.chars().filter(|c| !c.is_control() || *c == '\t').take(1_000).collect())
        .collect();
    shown.join("\n")
}
