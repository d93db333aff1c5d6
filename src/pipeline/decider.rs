//! One mail, from the scheduler to what became of it.
//!
//! A decider does not wait for its commit: it goes on with the next mail, and the settler hears from the writer how the commit
//! ended. Until then the row is in work: mails that belong to it wait, and a crash is held against it.
//!
//! A mail that panics the code is tried three times and then failed; the next mail goes on meanwhile. Before a row is
//! worked on its number goes into the in-work file, so that a crash of the whole process names its suspects too.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use crate::domain::fate::Fate;
use crate::domain::ids::JournalId;
use crate::domain::mail::InboundMessage;
use crate::domain::snapshot::JournalEntry;
use crate::domain::time::Timestamp;
use crate::message;
use crate::store::commit::Conflict;
use crate::store::{InWorkGuard, RunError, StoreError};
use crate::telemetry::{self, Stage};

use super::Pipeline;
use super::report::MailReport;
use super::scheduler::{Scheduler, Task, Ties, Turn};

/// How long nothing is tried again after trouble with the store, and how long the trouble counts as the same.
const TROUBLE_PAUSE: Duration = Duration::from_millis(500);
const SAME_TROUBLE: Duration = Duration::from_millis(50);

/// What a decider does first with a row: reads it. Until the guard is dropped the row is in work.
pub(super) type Read = fn(&Decider, JournalId, InWorkGuard) -> Result<(), Undecided>;

pub(super) type MailScheduler = Scheduler<Box<Parsed>>;

/// Why a decider leaves a row as it is.
#[derive(Debug)]
pub(super) enum Undecided {
    Trouble(RunError),
    /// The scheduler brings it up again.
    Parked(Timestamp),
}

impl<E: Into<RunError>> From<E> for Undecided {
    fn from(error: E) -> Self {
        Self::Trouble(error.into())
    }
}

/// What all deciders share.
#[derive(Clone, Debug)]
pub(super) struct Decider {
    pub(super) pipeline: Pipeline,
    pub(super) scheduler: Arc<MailScheduler>,
    pub(super) settled: Sender<Settled>,
}

/// A mail in work that was read.
#[derive(Debug)]
pub(super) struct Parsed {
    mail: Arc<Mail>,
    in_work: InWorkGuard,
    began: Instant,
    read: Instant,
}

/// A decided mail whose commit has ended.
#[derive(Debug)]
pub(super) struct Settled {
    parsed: Box<Parsed>,
    report: MailReport,
    committed: Result<Result<(), Conflict>, StoreError>,
}

#[derive(Debug)]
struct Mail {
    entry: JournalEntry,
    message: InboundMessage,
}

impl Decider {
    /// Takes up mail until the scheduler stops.
    pub(super) fn work(&self, read: Read) {
        while let Some(task) = self.scheduler.take() {
            let row = match &task {
                Task::Read(row) | Task::Resume(row, _) => *row,
            };
            let ended = catch_unwind(AssertUnwindSafe(|| match task {
                Task::Read(row) => read(self, row, self.pipeline.store.in_work(row)?),
                Task::Resume(_, parsed) => self.decide(parsed),
            }));
            if !matches!(ended, Ok(Ok(()))) && conclude(&self.pipeline, &self.scheduler, row, ended) {
                std::thread::sleep(TROUBLE_PAUSE);
            }
            self.scheduler.rest();
        }
    }

    /// Decides a mail and hands its plan over, or shelves it until its turn comes.
    fn decide(&self, parsed: Box<Parsed>) -> Result<(), Undecided> {
        let Self { pipeline, scheduler, settled } = self;
        let mail = Arc::clone(&parsed.mail);
        let Mail { entry, message } = &*mail;
        let account = pipeline.account();
        let case = pipeline.case(entry, message, None, &account, Some(scheduler))?;
        let lookup = case.prepared.lookup();
        let seen = Cell::new(None);
        let tickets = || {
            // Those that the mail names, and those they were merged into.
            let now_seen = pipeline.store.look(&lookup)?;
            let tickets = now_seen.snapshot.tickets.keys().copied().collect();
            seen.set(Some(now_seen));
            Ok::<_, StoreError>(tickets)
        };
        let times = (entry.envelope.accepted_at, pipeline.clock.now());
        match scheduler.turn(entry.id, || Ties::of(message), times, tickets)? {
            Turn::Now => telemetry::stage(Stage::Wait, parsed.read.elapsed()),
            Turn::Later => {
                scheduler.shelve(entry.id, parsed);
                return Ok(());
            }
            Turn::Parked(until) => return Err(Undecided::Parked(until)),
        }
        let settled = settled.clone();
        pipeline.store.run_told(
            &lookup,
            seen.take(),
            case.now,
            |snapshot, fresh| case.draft(snapshot, fresh),
            move |committed, report| {
                // The settler outlives every commit.
                let _ = settled.send(Settled { parsed, report, committed });
            },
        )?;
        Ok(())
    }
}

/// Reads a row and decides it. An error is trouble with the store: the row is tried again, unblamed.
pub(super) fn read(decider: &Decider, row: JournalId, in_work: InWorkGuard) -> Result<(), Undecided> {
    let began = Instant::now();
    let entry = match decider.scheduler.entry(row) {
        Some(handed_over) => Some(handed_over),
        None => decider.pipeline.store.entry(row)?.filter(|entry| entry.fate == Fate::Pending),
    };
    let Some(entry) = entry else {
        in_work.settled();
        decider.scheduler.finish(row);
        return Ok(());
    };
    let message = super::parse(&entry.raw);
    let mail = Arc::new(Mail { entry, message });
    decider.decide(Box::new(Parsed { mail, in_work, began, read: Instant::now() }))
}

/// Ends what the deciders began, until none of them is left.
pub(super) fn settle(pipeline: &Pipeline, scheduler: &MailScheduler, settled: &Receiver<Settled>) {
    let mut last_trouble: Option<Instant> = None;
    for Settled { parsed, report, committed } in settled {
        let Parsed { mail, in_work, began, .. } = *parsed;
        let Mail { entry, message } = &*mail;
        let ended = match committed {
            Ok(Ok(())) => {
                // Whatever comes of the telling, the mail is decided.
                let _ = catch_unwind(AssertUnwindSafe(|| pipeline.tell(&report, message, began.elapsed())));
                in_work.settled();
                scheduler.finish(entry.id);
                continue;
            }
            // What it relied on has changed: again, and this time until it is done.
            Ok(Err(_)) => catch_unwind(AssertUnwindSafe(|| {
                pipeline.decide_message(entry, message, None)?;
                in_work.settled();
                Ok(())
            })),
            Err(error) => {
                // Before the row may be taken again: it must not be in work twice.
                drop(in_work);
                Ok(Err(Undecided::from(error)))
            }
        };
        let concluded = || conclude(pipeline, scheduler, entry.id, ended);
        let trouble = catch_unwind(AssertUnwindSafe(concluded)).unwrap_or(true);
        // All that failed with one commit waits once.
        if trouble && last_trouble.is_none_or(|last| last.elapsed() > SAME_TROUBLE) {
            std::thread::sleep(TROUBLE_PAUSE);
            last_trouble = Some(Instant::now());
        }
    }
}

/// Tells the scheduler how the work on a row ended; answers whether the store is in trouble.
fn conclude(
    pipeline: &Pipeline,
    scheduler: &MailScheduler,
    row: JournalId,
    ended: std::thread::Result<Result<(), Undecided>>,
) -> bool {
    match ended {
        Ok(Ok(())) => scheduler.finish(row),
        Ok(Err(Undecided::Parked(until))) => telemetry::message_parked(row, until),
        Ok(Err(Undecided::Trouble(RunError::Store(StoreError::Damaged(what))))) => {
            give_up(pipeline, scheduler, row, &what);
        }
        Ok(Err(Undecided::Trouble(trouble))) => {
            telemetry::store_trouble("deciding a mail", &trouble.to_string());
            scheduler.put_back(row, false);
            return true;
        }
        Err(panic) => blame(pipeline, scheduler, row, &panic_text(panic.as_ref())),
    }
    false
}

/// What was accepted cannot be read any more. It is kept as it is, failed, for a person to look into.
fn give_up(pipeline: &Pipeline, scheduler: &MailScheduler, row: JournalId, what: &str) {
    telemetry::message_failed(row, 1, what);
    match pipeline.store.mark_failed(row, what.to_owned(), pipeline.clock.now()) {
        Ok(()) => scheduler.fail(row, ties_of_head(pipeline, row)),
        Err(error) => {
            telemetry::store_trouble("giving up a damaged mail", &error.to_string());
            scheduler.put_back(row, false);
        }
    }
}

/// The poison rule: an unclean end counts; the third is the last.
fn blame(pipeline: &Pipeline, scheduler: &MailScheduler, row: JournalId, panic: &str) {
    let attempts = pipeline.store.entry(row).ok().flatten().map_or(0, |entry| entry.attempts);
    telemetry::message_failed(row, attempts + 1, &format!("panicked: {panic}"));
    match pipeline.store.add_attempt(row, pipeline.clock.now()) {
        Ok(Fate::Pending) => scheduler.put_back(row, true),
        Ok(Fate::Failed { .. }) => scheduler.fail(row, ties_of_head(pipeline, row)),
        Ok(_) => scheduler.finish(row),
        Err(error) => {
            telemetry::store_trouble("counting an attempt", &error.to_string());
            scheduler.put_back(row, true);
        }
    }
}

/// What a mail is about, as far as it can be told without doing again what it may have died of.
pub(super) fn ties_of_head(pipeline: &Pipeline, row: JournalId) -> Ties {
    let read = || {
        let entry = pipeline.store.entry(row).ok().flatten()?;
        let message = message::thread(&entry.raw);
        let tickets = pipeline.tickets_of(&entry, &message).unwrap_or_default();
        Some(Ties::of_conversation(&message, tickets))
    };
    catch_unwind(AssertUnwindSafe(read)).ok().flatten().unwrap_or_default()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
