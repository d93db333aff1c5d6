//! The deciders: plain threads that take up pending mail in order (DESIGN §2), and those who bring it to them.
//!
//! Mail is handed over in memory as it is accepted; what was pending at the start, or could not be taken then, is read from
//! the store by the loader.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::domain::ids::JournalId;
use crate::store::{Signal, queries};
use crate::telemetry;

use super::Pipeline;
use super::decider::{self, Decider, MailScheduler, Read};
use super::scheduler::Scheduler;

const LOAD_AT_ONCE: usize = 256;

/// Threads for each decider at work: the others may wait for the disk.
const THREADS_PER_DECIDER: usize = 4;

/// How much the deciders and the settler stand back, on the scale of nice(1). Less, and a thread that a client waits for waits in turn until a
/// decider's time slice is over: with five, a tenth of the rate and more was lost to that (docs/performance.md).
const NICE: i32 = 19;

/// Failed mails that are remembered from before the start; more are a disaster that parking does not mend.
const MAX_FAILED: u32 = 1_000;

#[derive(Debug)]
pub struct Workers {
    scheduler: Arc<MailScheduler>,
    pipeline: Pipeline,
    /// Rings when it is known what failed mails and suspects are about.
    remembered: Arc<Signal>,
    threads: Vec<JoinHandle<()>>,
}

/// How long mail waits at the start until it is known what failed mails and suspects are about.
const REMEMBERING: Duration = Duration::from_secs(2);

/// How many deciders this machine can use.
#[must_use]
pub fn usual_count() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

impl Workers {
    /// Starts deciders, of which `count` are at work at a time, and a loader that queues what is pending now. `suspects` were in
    /// work when the process died before.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn start(pipeline: &Pipeline, count: usize, suspects: Vec<JournalId>) -> std::io::Result<Self> {
        Self::start_with(decider::read, pipeline, count, suspects)
    }

    fn start_with(
        read: Read,
        pipeline: &Pipeline,
        count: usize,
        suspects: Vec<JournalId>,
    ) -> std::io::Result<Self> {
        let seats = count.max(1);
        let scheduler = Arc::new(Scheduler::new(seats, suspects.iter().copied()));
        let remembered = remember(pipeline, &scheduler, suspects)?;
        let (settled, to_settle) = channel();
        let decider = Decider { pipeline: pipeline.clone(), scheduler: Arc::clone(&scheduler), settled };
        let mut threads = Vec::new();
        for number in 0..seats * THREADS_PER_DECIDER {
            let decider = decider.clone();
            let thread = std::thread::Builder::new().name(format!("decider-{number}"));
            threads.push(thread.spawn(move || {
                yield_to_intake(number == 0);
                decider.work(read);
            })?);
        }
        // The settler ends when no decider and no commit is left that could send it something.
        drop(decider);
        let (settling, scheduler_of_settler) = (pipeline.clone(), Arc::clone(&scheduler));
        let settler = std::thread::Builder::new().name("settler".to_owned());
        threads.push(settler.spawn(move || {
            yield_to_intake(false);
            decider::settle(&settling, &scheduler_of_settler, &to_settle);
        })?);
        // Before the loader looks: what it does not see is handed over, or counted as missed.
        let handed_over = Arc::clone(&scheduler);
        pipeline.store.watch_mail(move |entry| handed_over.hand_over(entry));
        let (loading, scheduler_of_loader) = (pipeline.clone(), Arc::clone(&scheduler));
        let known = Arc::clone(&remembered);
        let loader = std::thread::Builder::new().name("loader".to_owned());
        threads.push(loader.spawn(move || {
            let _ = known.wait(0, REMEMBERING);
            load(&loading, &scheduler_of_loader);
        })?);
        Ok(Self { scheduler, pipeline: pipeline.clone(), remembered, threads })
    }

    /// Blocks until every mail accepted before the call is settled, or parked for a failed one.
    pub fn drain(&self) {
        let _ = self.remembered.wait(0, REMEMBERING);
        while queue_pending(&self.pipeline, &self.scheduler).is_some_and(|count| count > 0) {}
        self.scheduler.drain();
    }

    /// Lets each decider finish the mail it has, and waits for them. What is pending stays in the store.
    pub fn stop(self) {
        self.pipeline.store.unwatch_mail();
        self.scheduler.stop();
        self.pipeline.store.subscribe().ring();
        for thread in self.threads {
            drop(thread.join());
        }
    }
}

/// A mail that waits to be decided can wait a little longer; a client that waits for its reply should not. Where the system does
/// not allow it, all threads stay equal, and one of them says so.
fn yield_to_intake(say: bool) {
    // Of this thread alone, as Linux has it.
    let yields = rustix::process::setpriority_process(None, NICE);
    if let Some(error) = yields.err().filter(|_| say) {
        telemetry::deciders_stay_equal(&error.to_string());
    }
}

/// Queues pending rows that were not handed over, failed ones that are tried again, and parked ones whose time has come.
fn load(pipeline: &Pipeline, scheduler: &MailScheduler) {
    let bell = pipeline.store.subscribe();
    while !scheduler.is_stopping() {
        let rings = bell.rings();
        for row in std::mem::take(&mut *pipeline.retried()) {
            scheduler.retry(row);
        }
        scheduler.release(pipeline.clock.now());
        let missed = scheduler.missed();
        if queue_pending(pipeline, scheduler) == Some(0) && scheduler.catch_up(missed) {
            let _ = bell.wait(rings, Duration::from_secs(5));
        }
    }
}

/// Queues the next pending rows; answers how many there were, or none if the store does not say.
fn queue_pending(pipeline: &Pipeline, scheduler: &MailScheduler) -> Option<usize> {
    match pipeline.store.pending_after(scheduler.newest(), LOAD_AT_ONCE) {
        Ok(rows) => {
            let count = rows.len();
            scheduler.queue(rows);
            Some(count)
        }
        Err(error) => {
            telemetry::store_trouble("reading pending mail", &error.to_string());
            std::thread::sleep(Duration::from_millis(500));
            None
        }
    }
}

/// Looks on a thread of its own at the mails that others may have to wait for: whatever is wrong with one of them, it must not
/// keep the daemon from starting. The bell rings when all are known.
fn remember(
    pipeline: &Pipeline,
    scheduler: &Arc<MailScheduler>,
    suspects: Vec<JournalId>,
) -> std::io::Result<Arc<Signal>> {
    let remembered = Arc::new(Signal::default());
    let known = Arc::clone(&remembered);
    let (pipeline, scheduler) = (pipeline.clone(), Arc::clone(scheduler));
    std::thread::Builder::new().name("memory".to_owned()).spawn(move || {
        for suspect in suspects {
            scheduler.remember_suspect(suspect, decider::ties_of_head(&pipeline, suspect));
        }
        remember_failed(&pipeline, &scheduler);
        known.ring();
    })?;
    Ok(remembered)
}

fn remember_failed(pipeline: &Pipeline, scheduler: &MailScheduler) {
    let now = pipeline.clock.now();
    match pipeline.store.ask(|db| queries::failed_list(db, MAX_FAILED, now)) {
        Ok(failed) => {
            failed.iter().for_each(|mail| scheduler.fail(mail.id, decider::ties_of_head(pipeline, mail.id)));
        }
        Err(error) => telemetry::store_trouble("reading failed mail", &error.to_string()),
    }
}

#[cfg(test)]
#[path = "workers_tests.rs"]
mod tests;
