//! The deciders: plain threads that take up pending mail in order (DESIGN §2).
//!
//! A mail that panics the code is tried three times and then failed; the next mail goes on meanwhile. Before a row is
//! worked on its number goes into the in-work file, so that a crash of the whole process names its suspects too.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::domain::fate::Fate;
use crate::domain::ids::JournalId;
use crate::domain::time::Timestamp;
use crate::intake;
use crate::message;
use crate::store::queries;
use crate::store::{RunError, StoreError};
use crate::telemetry;

use super::Pipeline;
use super::scheduler::{Scheduler, Ties, Turn};

const LOAD_AT_ONCE: usize = 256;

/// A decider spends most of its time waiting for its commit: so many for each core keep the cores busy, and one flush of
/// the disk serves them all.
const DECIDERS_PER_CORE: usize = 8;

/// What a decider does with one row.
type Decide = fn(&Pipeline, &Scheduler, JournalId) -> Result<(), Undecided>;

/// Failed mails that are remembered from before the start; more are a disaster that parking does not mend.
const MAX_FAILED: u32 = 1_000;

/// Why a decider leaves a row as it is.
#[derive(Debug)]
enum Undecided {
    Trouble(RunError),
    /// The scheduler brings it up again.
    Parked(Timestamp),
}

impl<E: Into<RunError>> From<E> for Undecided {
    fn from(error: E) -> Self {
        Self::Trouble(error.into())
    }
}

#[derive(Debug)]
pub struct Workers {
    scheduler: Arc<Scheduler>,
    pipeline: Pipeline,
    threads: Vec<JoinHandle<()>>,
}

/// How long mail waits at the start until it is known what failed mails and suspects are about.
const REMEMBERING: Duration = Duration::from_secs(2);

/// How many deciders this machine can use.
#[must_use]
pub fn usual_count() -> usize {
    DECIDERS_PER_CORE * std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

impl Workers {
    /// Starts `count` deciders and a loader that queues what is pending now and what is accepted from now on.
    /// `suspects` were in work when the process died before.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(pipeline: &Pipeline, count: usize, suspects: Vec<JournalId>) -> std::io::Result<Self> {
        Self::start_with(decide, pipeline, count, suspects)
    }

    fn start_with(
        decide: Decide,
        pipeline: &Pipeline,
        count: usize,
        suspects: Vec<JournalId>,
    ) -> std::io::Result<Self> {
        let scheduler = Arc::new(Scheduler::new(suspects.iter().copied()));
        let remembered = remember(pipeline, &scheduler, suspects)?;
        let mut threads = Vec::new();
        for slot in 0..count.max(1) {
            let (pipeline, scheduler) = (pipeline.clone(), Arc::clone(&scheduler));
            let thread = std::thread::Builder::new().name(format!("decider-{slot}"));
            threads.push(thread.spawn(move || work(slot, decide, &pipeline, &scheduler))?);
        }
        let (loading, scheduler_of_loader) = (pipeline.clone(), Arc::clone(&scheduler));
        let loader = std::thread::Builder::new().name("loader".to_owned());
        threads.push(loader.spawn(move || {
            let _ = remembered.recv_timeout(REMEMBERING);
            load(&loading, &scheduler_of_loader);
        })?);
        Ok(Self { scheduler, pipeline: pipeline.clone(), threads })
    }

    /// Blocks until every mail accepted before the call is settled, or parked for a failed one.
    pub fn drain(&self) {
        while queue_pending(&self.pipeline, &self.scheduler) > 0 {}
        self.scheduler.drain();
    }

    /// Lets each decider finish the mail it has, and waits for them. What is pending stays in the store.
    pub fn stop(self) {
        self.scheduler.stop();
        self.pipeline.store.subscribe().ring();
        for thread in self.threads {
            drop(thread.join());
        }
    }
}

/// Queues pending rows as they are accepted, failed ones that are tried again, and parked ones whose time has come.
fn load(pipeline: &Pipeline, scheduler: &Scheduler) {
    let bell = pipeline.store.subscribe();
    while !scheduler.is_stopping() {
        let rings = bell.rings();
        for row in std::mem::take(&mut *pipeline.retried()) {
            scheduler.retry(row);
        }
        scheduler.release(pipeline.clock.now());
        if queue_pending(pipeline, scheduler) == 0 {
            let _ = bell.wait(rings, Duration::from_secs(5));
        }
    }
}

/// Queues the next pending rows; answers how many there were.
fn queue_pending(pipeline: &Pipeline, scheduler: &Scheduler) -> usize {
    match pipeline.store.pending_after(scheduler.newest(), LOAD_AT_ONCE) {
        Ok(rows) => {
            let count = rows.len();
            scheduler.queue(rows);
            count
        }
        Err(error) => {
            telemetry::store_trouble("reading pending mail", &error.to_string());
            std::thread::sleep(Duration::from_millis(500));
            0
        }
    }
}

fn work(slot: usize, decide: Decide, pipeline: &Pipeline, scheduler: &Scheduler) {
    while let Some(row) = scheduler.take() {
        let in_work = pipeline.store.in_work(slot, row);
        let ended = catch_unwind(AssertUnwindSafe(|| decide(pipeline, scheduler, row)));
        match ended {
            Ok(Ok(())) => scheduler.finish(row),
            Ok(Err(Undecided::Parked(until))) => telemetry::message_parked(row, until),
            Ok(Err(Undecided::Trouble(RunError::Store(StoreError::Damaged(what))))) => {
                give_up(pipeline, scheduler, row, &what);
            }
            Ok(Err(Undecided::Trouble(trouble))) => {
                telemetry::store_trouble("deciding a mail", &trouble.to_string());
                std::thread::sleep(Duration::from_millis(500));
                scheduler.put_back(row, false);
            }
            Err(panic) => blame(pipeline, scheduler, row, &panic_text(panic.as_ref())),
        }
        drop(in_work);
    }
}

/// One row, from reading it to its commit. An error is trouble with the store: the row is tried again, unblamed.
fn decide(pipeline: &Pipeline, scheduler: &Scheduler, row: JournalId) -> Result<(), Undecided> {
    let Some(entry) = pipeline.store.entry(row)? else { return Ok(()) };
    if entry.fate != Fate::Pending {
        return Ok(());
    }
    let message = super::parse(&entry.raw);
    let wait = |prepared: &intake::Prepared<'_>| {
        let tickets = || pipeline.store.tickets_named(prepared.claims());
        let times = (entry.envelope.accepted_at, pipeline.clock.now());
        match scheduler.wait_for_turn(row, Ties::of(&message), times, tickets)? {
            Turn::Now => Ok(()),
            Turn::Parked(until) => Err(Undecided::Parked(until)),
        }
    };
    pipeline.decide_message(&entry, &message, None, wait).map(drop)
}

/// What was accepted cannot be read any more. It is kept as it is, failed, for a person to look into.
fn give_up(pipeline: &Pipeline, scheduler: &Scheduler, row: JournalId, what: &str) {
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
fn blame(pipeline: &Pipeline, scheduler: &Scheduler, row: JournalId, panic: &str) {
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

/// Looks on a thread of its own at the mails that others may have to wait for: whatever is wrong with one of them, it must not
/// keep the daemon from starting. The channel closes when all are known.
fn remember(
    pipeline: &Pipeline,
    scheduler: &Arc<Scheduler>,
    suspects: Vec<JournalId>,
) -> std::io::Result<Receiver<()>> {
    let (known, remembered) = channel::<()>();
    let (pipeline, scheduler) = (pipeline.clone(), Arc::clone(scheduler));
    std::thread::Builder::new().name("memory".to_owned()).spawn(move || {
        for suspect in suspects {
            scheduler.remember_suspect(suspect, ties_of_head(&pipeline, suspect));
        }
        remember_failed(&pipeline, &scheduler);
        drop(known);
    })?;
    Ok(remembered)
}

fn remember_failed(pipeline: &Pipeline, scheduler: &Scheduler) {
    let now = pipeline.clock.now();
    match pipeline.store.ask(|db| queries::failed_list(db, MAX_FAILED, now)) {
        Ok(failed) => {
            failed.iter().for_each(|mail| scheduler.fail(mail.id, ties_of_head(pipeline, mail.id)));
        }
        Err(error) => telemetry::store_trouble("reading failed mail", &error.to_string()),
    }
}

/// What a mail is about, as far as it can be told without doing again what it may have died of.
fn ties_of_head(pipeline: &Pipeline, row: JournalId) -> Ties {
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

#[cfg(test)]
#[path = "workers_tests.rs"]
mod tests;
