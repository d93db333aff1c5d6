//! `postern explain`: why was this decided as it was? For a mail, a fixture folder, or a stored comment. Writes nothing.

use std::path::Path;

use clap::Args;

use super::output::{self, Exit, Failure};
use super::replay::trust_source;
use super::{Place, world};
use crate::clock::Clock;
use crate::domain::address::Address;
use crate::domain::fate::Fate;
use crate::domain::ids::{CommentId, JournalId};
use crate::domain::mail::{Entrance, Envelope};
use crate::domain::snapshot::JournalEntry;
use crate::domain::trace::Trace;
use crate::pipeline::report::MailReport;
use crate::scenario;
use crate::store::{Durability, Options, Store, queries};

#[derive(Debug, Args)]
pub struct Explain {
    /// A mail (.eml), a fixture folder (input.eml, scenario.toml, expected.toml), or the number of a stored comment
    #[arg(value_name = "MAIL|FOLDER|COMMENT")]
    what: String,
    /// For a mail: its envelope recipient [default: the default support address]
    #[arg(long, value_name = "ADDR")]
    to: Option<String>,
    /// For a mail: what its sender may be believed by: none, upstream, or authserv-id=NAME
    #[arg(long, value_name = "SOURCE", default_value = "none")]
    trust: String,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Explain) -> Result<Exit, Failure> {
    let path = Path::new(&command.what);
    if path.is_dir() {
        return folder(command, path);
    }
    if path.is_file() {
        return mail(command, path);
    }
    match command.what.parse() {
        Ok(comment) => stored(command, CommentId(comment)),
        Err(_) => Err(Failure::new(
            Exit::USAGE,
            format!(
                "found `{}`, expected a mail file, a fixture folder or the number of a comment",
                command.what
            ),
        )),
    }
}

/// A fixture folder: the scenario played, and what differs from `expected.toml`.
fn folder(command: &Explain, path: &Path) -> Result<Exit, Failure> {
    let failure = |error: scenario::ScenarioError| Failure::new(Exit::DATA, error.to_string());
    let scenario = scenario::load(path).map_err(failure)?;
    let played = scenario::play(&scenario).map_err(failure)?;
    if command.json {
        output::print_json(&played)?;
    } else {
        output::print(&format!("{}\n", scenario.title))?;
        for step in &played.steps {
            if played.steps.len() > 1 {
                output::print(&format!("== {} ==", step.name))?;
            }
            output::print(&readable(&step.report))?;
        }
    }
    let differences = scenario.differences(&played);
    for difference in &differences {
        output::print(&format!("differs: {difference}"))?;
    }
    Ok(if differences.is_empty() { Exit::OK } else { Exit::NO })
}

/// A mail against the tickets as they are now, or against none if there is no store.
fn mail(command: &Explain, path: &Path) -> Result<Exit, Failure> {
    let config = world::load_config(&command.place)?;
    let default = config.settings.support_addresses.first().map(|support| support.address.clone());
    let to = match &command.to {
        Some(text) => {
            Some(Address::parse(text).map_err(|error| Failure::new(Exit::USAGE, error.to_string()))?)
        }
        None => default,
    };
    let entry = JournalEntry {
        id: JournalId(0),
        envelope: Envelope {
            entrance: Entrance { name: "explain".to_owned(), trust: trust_source(&command.trust)? },
            client: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
            helo: None,
            reverse_path: None,
            recipients: to.into_iter().collect(),
            accepted_at: Clock::system().now(),
        },
        raw: std::fs::read(path)?,
        fate: Fate::Pending,
        attempts: 0,
    };
    let explained = |store: Store| -> Result<MailReport, Failure> {
        let pipeline = crate::daemon::pipeline_to_read(&config, store)
            .map_err(|error| Failure::new(Exit::TEMPORARY, error))?;
        pipeline.explain(&entry).map_err(|error| Failure::new(Exit::TEMPORARY, error.to_string()))
    };
    let report = match Store::open_read_only(&config.data) {
        Ok(store) => explained(store)?,
        Err(_) => {
            let directory = crate::store::temporary_directory()?;
            let options = Options { durability: Durability::Scratch, ..Options::new(Clock::system().now()) };
            let store = Store::open(&directory, options);
            let report =
                store.map_err(|error| Failure::new(Exit::TEMPORARY, error.to_string())).and_then(explained);
            std::fs::remove_dir_all(&directory)?;
            report?
        }
    };
    if command.json { output::print_json(&report) } else { output::print(&readable(&report)) }
}

/// A comment, from the trace that was stored with it.
fn stored(command: &Explain, comment: CommentId) -> Result<Exit, Failure> {
    let explained = world::read_only(&command.place)?.ask(|db| queries::comment_explain(db, comment))?;
    let explained =
        explained.ok_or_else(|| Failure::new(Exit::NO, format!("there is no comment `{comment}`")))?;
    if command.json {
        return output::print_json(&explained);
    }
    output::print(&format!(
        "comment {comment} on ticket {}: {} by rule {}\n\n{}",
        explained.ticket,
        explained.visibility.word(),
        explained.rule,
        steps(&explained.audit.trace)
    ))
}

fn readable(report: &MailReport) -> String {
    let verdict = match (report.visibility, report.rule.as_deref()) {
        (Some(visibility), Some(rule)) => format!("{visibility} comment by rule {rule}"),
        _ => format!("{} {}", report.state, report.cause.as_deref().unwrap_or_default()),
    };
    let place = match report.ticket {
        Some(_) if report.created_ticket => " on a new ticket".to_owned(),
        Some(ticket) => format!(" on ticket {ticket}"),
        None => String::new(),
    };
    let flags =
        if report.flags.is_empty() { String::new() } else { format!("\nflags: {}", report.flags.join(", ")) };
    format!("{}{place}{flags}\n\n{}", verdict.trim(), steps(&report.trace))
}

fn steps(trace: &Trace) -> String {
    let rows: Vec<_> = trace
        .steps
        .iter()
        .map(|step| [&step.stage, &step.check, &step.answer, &step.because].map(ToString::to_string).to_vec())
        .collect();
    output::table(&["STAGE", "CHECK", "ANSWER", "BECAUSE"], &rows)
}
