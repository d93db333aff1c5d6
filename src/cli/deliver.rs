//! `postern deliver`: the pipe transport. One mail on standard input; exit 0 means kept, 75 means try again.
//!
//! Any trouble is temporary: a mail server that gets another code would bounce the mail to a customer for a mistake that
//! an operator can mend.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;

use super::output::{self, Exit, Failure};
use super::{Place, world};
use crate::clock::Clock;
use crate::control::{Reply, Request};
use crate::domain::address::Address;
use crate::domain::ids::JournalId;
use crate::domain::mail::{Entrance, Envelope};
use crate::pipeline::Pipeline;

#[derive(Debug, Args)]
pub struct Deliver {
    /// Envelope recipient; may be given several times [default: the default support address]
    #[arg(long = "recipient", value_name = "ADDR")]
    recipients: Vec<String>,
    /// Envelope sender; empty for the null reverse-path of bounces
    #[arg(long, value_name = "ADDR", default_value = "")]
    sender: String,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Deliver) -> Result<Exit, Failure> {
    deliver(command).map_err(|failure| Failure { exit: Exit::TEMPORARY, ..failure })
}

fn deliver(command: &Deliver) -> Result<Exit, Failure> {
    let config = world::load_config(&command.place)?;
    let mut raw = Vec::new();
    std::io::stdin().lock().take(config.server.max_message_size as u64 + 1).read_to_end(&mut raw)?;
    if raw.len() > config.server.max_message_size {
        return Err(Failure::new(Exit::TEMPORARY, "the mail is larger than `max_message_size`"));
    }
    let clock = Clock::system();
    let envelope = envelope(command, &config, &clock)?;
    let request = Request::Deliver { envelope: Box::new(envelope), raw: BASE64.encode(&raw) };
    let kept = match crate::control::ask(&config.data, &request) {
        Some(Ok(Reply::Done(kept))) => kept,
        Some(Ok(Reply::Refused(why) | Reply::Trouble(why))) => {
            return Err(Failure::new(Exit::TEMPORARY, why));
        }
        Some(Err(error)) => return Err(error.into()),
        None => here(&config, clock, request)?,
    };
    if command.json { output::print_json(&kept) } else { Ok(Exit::OK) }
}

fn envelope(command: &Deliver, config: &crate::config::Config, clock: &Clock) -> Result<Envelope, Failure> {
    let parse =
        |text: &String| Address::parse(text).map_err(|error| Failure::new(Exit::USAGE, error.to_string()));
    let mut recipients = command.recipients.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    if recipients.is_empty() {
        recipients.extend(config.settings.support_addresses.first().map(|support| support.address.clone()));
    }
    let sender = command.sender.trim_matches(|c| c == '<' || c == '>').to_owned();
    Ok(Envelope {
        entrance: Entrance { name: "deliver".to_owned(), trust: config.deliver.clone() },
        client: None,
        helo: None,
        reverse_path: if sender.is_empty() { None } else { Some(parse(&sender)?) },
        recipients,
        accepted_at: clock.now(),
    })
}

/// No daemon runs: keep the mail, and decide it and what else is pending, in this process.
fn here(
    config: &crate::config::Config,
    clock: Clock,
    request: Request,
) -> Result<serde_json::Value, Failure> {
    let pipeline = world::open(config, clock)?;
    let reply = crate::control::execute(&pipeline, request);
    let kept = match reply {
        Reply::Done(kept) => kept,
        Reply::Refused(why) | Reply::Trouble(why) => return Err(Failure::new(Exit::TEMPORARY, why)),
    };
    // The mail is kept: from here on nothing may ask the server to send it again.
    while let Ok(rows) = pipeline.store.pending_after(JournalId(0), 64) {
        let undecided = rows.iter().filter(|row| !decided(&pipeline, **row)).count();
        if rows.is_empty() || undecided > 0 {
            break;
        }
    }
    pipeline.store.close();
    Ok(kept)
}

/// A panic counts against the mail, as in the daemon, and does not change the exit code: the mail is kept.
fn decided(pipeline: &Pipeline, row: JournalId) -> bool {
    let in_work = pipeline.store.in_work(0, row);
    let decided = catch_unwind(AssertUnwindSafe(|| match pipeline.store.entry(row) {
        Ok(Some(entry)) => pipeline.decide_pending(&entry).is_ok(),
        Ok(None) => true,
        Err(_) => false,
    }));
    drop(in_work);
    decided.unwrap_or_else(|_| {
        let _ = pipeline.store.add_attempt(row, pipeline.clock.now());
        false
    })
}
