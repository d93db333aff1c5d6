//! `postern replay`: mails from files through the whole pipeline, in order, and what became of each.
//!
//! Without `--data` the tickets live in a temporary store and go away with the command; with `--isolated` every file has
//! a store of its own.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::output::{self, Exit, Failure};
use super::{Place, world};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::address::Address;
use crate::domain::ids::JournalId;
use crate::domain::mail::{Entrance, Envelope, TrustSource};
use crate::pipeline::Pipeline;
use crate::pipeline::report::MailReport;
use crate::store::{Books, Depth, Durability, Options};

#[derive(Debug, Args)]
pub struct Replay {
    /// Files, or folders whose *.eml and *.mbox files are taken, sorted
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A fresh store for each file
    #[arg(long)]
    isolated: bool,
    /// Take files with this ending from folders too
    #[arg(long, value_name = "EXT")]
    ext: Vec<String>,
    /// Envelope recipient [default: the default support address]
    #[arg(long, value_name = "ADDR")]
    to: Option<String>,
    /// The time of acceptance, as 2026-11-21T10:00:00Z [default: now]
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
    /// What the mails' senders may be believed by: none, upstream, or authserv-id=NAME
    #[arg(long, value_name = "SOURCE", default_value = "none")]
    trust: String,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

/// One line of `--json`: a mail, and the file it came from.
#[derive(Debug, Serialize)]
struct Line<'a> {
    file: String,
    #[serde(flatten)]
    report: &'a MailReport,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    files: usize,
    mails: usize,
    comment: usize,
    suspended: usize,
    discarded: usize,
    failed: usize,
    balanced: bool,
    /// Of all stores together, if every file had its own.
    books: Books,
}

pub fn run(command: &Replay) -> Result<Exit, Failure> {
    let config = world::load_config(&command.place)?;
    let files = files(command)?;
    let trust = trust_source(&command.trust)?;
    let to = recipient(command, &config)?;
    let mut summary = Summary { files: files.len(), books: Books::empty(), ..Summary::default() };
    let mut shared = if command.isolated { None } else { Some(Scene::open(command, &config)?) };
    for file in &files {
        let mails = mails(file)?;
        let mut own = if command.isolated { Some(Scene::open(command, &config)?) } else { None };
        let Some(scene) = own.as_mut().or(shared.as_mut()) else { continue };
        for (number, raw) in mails.iter().enumerate() {
            let report = scene.decide(raw, &to, &trust)?;
            summary.count(report.state);
            print_line(command, file, (mails.len() > 1).then_some(number), &report)?;
        }
        if let Some(scene) = own {
            summary.books.add(scene.close()?);
        }
    }
    if let Some(scene) = shared {
        summary.books.add(scene.close()?);
    }
    summary.balanced = summary.books.balanced;
    finish(command, &summary)
}

impl Summary {
    fn count(&mut self, state: &str) {
        self.mails += 1;
        match state {
            "comment" => self.comment += 1,
            "suspended" => self.suspended += 1,
            "discarded" => self.discarded += 1,
            _ => self.failed += 1,
        }
    }
}

/// A store to decide in: the account's own, or one that goes away with this value.
struct Scene {
    pipeline: Pipeline,
    temporary: Option<PathBuf>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.pipeline.store.close();
        if let Some(directory) = &self.temporary {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

impl Scene {
    fn open(command: &Replay, config: &Config) -> Result<Self, Failure> {
        let clock = match &command.now {
            Some(text) => Clock::manual(
                crate::clock::parse_instant(text)
                    .map_err(|error| Failure::new(Exit::USAGE, format!("--now: {error}")))?,
            ),
            None => Clock::system(),
        };
        if command.place.data.is_some() && !command.isolated {
            return Ok(Self { pipeline: world::open(config, clock)?, temporary: None });
        }
        let directory = crate::store::temporary_directory()?;
        let scratch = Config { data: directory.clone(), ..config.clone() };
        let options = Options { durability: Durability::Scratch, ..Options::new(clock.now()) };
        Ok(Self { pipeline: world::open_with(&scratch, clock, options)?, temporary: Some(directory) })
    }

    fn decide(&mut self, raw: &[u8], to: &Address, trust: &TrustSource) -> Result<MailReport, Failure> {
        let envelope = Envelope {
            entrance: Entrance { name: "replay".to_owned(), trust: trust.clone() },
            client: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
            helo: None,
            reverse_path: reverse_path(raw),
            recipients: vec![to.clone()],
            accepted_at: self.pipeline.clock.now(),
        };
        let store = &self.pipeline.store;
        let kept = store.accept_blocking(&envelope, raw.to_vec());
        let id = kept.map_err(|error| Failure::new(Exit::TEMPORARY, error.to_string()))?;
        Ok(decide_row(&self.pipeline, id))
    }

    fn close(self) -> Result<Books, Failure> {
        Ok(self.pipeline.store.books(Depth::Books)?)
    }
}

/// Decides one row; a panic fails the mail and nothing else, as in the daemon.
fn decide_row(pipeline: &Pipeline, id: JournalId) -> MailReport {
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let entry = pipeline.store.entry(id).map_err(|error| error.to_string())?;
        let entry = entry.ok_or_else(|| "the mail is not in the journal".to_owned())?;
        pipeline.decide(&entry, None).map_err(|error| error.to_string())
    }));
    let error = match ended {
        Ok(Ok(report)) => return report,
        Ok(Err(error)) => error,
        Err(_) => "panicked".to_owned(),
    };
    let _ = pipeline.store.mark_failed(id, error.clone(), pipeline.clock.now());
    MailReport::failed(id, &error)
}

fn print_line(
    command: &Replay,
    file: &Path,
    number: Option<usize>,
    report: &MailReport,
) -> Result<(), Failure> {
    let file = match number {
        Some(number) => format!("{}#{}", file.display(), number + 1),
        None => file.display().to_string(),
    };
    if command.json {
        output::print_json(&Line { file, report })?;
        return Ok(());
    }
    let what = match (report.visibility, report.ticket) {
        (Some(visibility), Some(ticket)) => {
            let verb = if report.created_ticket { "opens" } else { "updates" };
            format!("{verb} ticket {ticket}: {visibility} ({})", report.rule.as_deref().unwrap_or("-"))
        }
        (None, Some(ticket)) if report.state == "comment" => format!("updates ticket {ticket}: no comment"),
        _ => format!("{} ({})", report.state, report.cause.as_deref().unwrap_or("-")),
    };
    output::print(&format!("{file}: {what}"))?;
    Ok(())
}

fn finish(command: &Replay, summary: &Summary) -> Result<Exit, Failure> {
    if command.json {
        output::print_json(summary)?;
    } else {
        let Summary { files, mails, comment, suspended, discarded, failed, balanced, .. } = summary;
        let books = if *balanced { "the books balance" } else { "THE BOOKS DO NOT BALANCE" };
        output::print(&format!(
            "{files} files, {mails} mails: {comment} comments, {suspended} suspended, {discarded} discarded, {failed} failed; {books}"
        ))?;
    }
    Ok(if summary.failed == 0 && summary.balanced { Exit::OK } else { Exit::NO })
}

/// The files to read. A named file always counts; a folder gives those with the endings asked for.
fn files(command: &Replay) -> Result<Vec<PathBuf>, Failure> {
    let mut endings = vec!["eml".to_owned(), "mbox".to_owned()];
    endings.extend(command.ext.iter().map(|ext| ext.trim_start_matches('.').to_owned()));
    let mut files = Vec::new();
    for path in &command.paths {
        if path.is_dir() {
            let mut found = Vec::new();
            walk(path, &endings, &mut found)?;
            found.sort();
            files.extend(found);
        } else if path.is_file() {
            files.push(path.clone());
        } else {
            return Err(Failure::new(
                Exit::USAGE,
                format!("`{}` is neither a file nor a folder", path.display()),
            ));
        }
    }
    Ok(files)
}

fn walk(folder: &Path, endings: &[String], found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if path.is_dir() {
            walk(&path, endings, found)?;
        } else if endings.iter().any(|wanted| wanted.eq_ignore_ascii_case(ending)) {
            found.push(path);
        }
    }
    Ok(())
}

/// The mails in a file: one, or those of an mbox (RFC 4155: each begins with a `From ` line after a blank one).
fn mails(file: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::new(Exit::TEMPORARY, format!("`{}`: {error}", file.display())))?;
    let is_mbox = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("mbox"));
    if !is_mbox {
        return Ok(vec![bytes]);
    }
    let mut mails: Vec<Vec<u8>> = Vec::new();
    let mut after_blank = true;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if after_blank && line.starts_with(b"From ") {
            mails.push(Vec::new());
        } else if let Some(mail) = mails.last_mut() {
            let quoted = line.strip_prefix(b">").filter(|rest| rest.trim_ascii_start().starts_with(b"From "));
            mail.extend_from_slice(quoted.unwrap_or(line));
        }
        after_blank = line.trim_ascii().is_empty();
    }
    Ok(mails)
}

/// The envelope sender as a delivering server left it in Return-Path, else the From address.
fn reverse_path(raw: &[u8]) -> Option<Address> {
    let head: Vec<&[u8]> =
        raw.split(|byte| *byte == b'\n').take(200).take_while(|line| !line.trim_ascii().is_empty()).collect();
    let field = |name: &str| {
        head.iter().find_map(|line| {
            let text = String::from_utf8_lossy(line);
            let (field, value) = text.split_once(':')?;
            field.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    match field("return-path") {
        Some(path) => Address::parse(path.trim_matches(['<', '>'])).ok(),
        None => crate::message::parse(raw).from.first().map(|from| from.address.clone()),
    }
}

/// The value of `--trust`.
pub fn trust_source(text: &str) -> Result<TrustSource, Failure> {
    TrustSource::from_word(text).map_err(|error| Failure::new(Exit::USAGE, format!("--trust: {error}")))
}

fn recipient(command: &Replay, config: &Config) -> Result<Address, Failure> {
    if let Some(text) = &command.to {
        return Address::parse(text).map_err(|error| Failure::new(Exit::USAGE, error.to_string()));
    }
    let default = config.settings.support_addresses.first();
    default
        .map(|support| support.address.clone())
        .ok_or_else(|| Failure::new(Exit::CONFIG, "there is no support address"))
}
