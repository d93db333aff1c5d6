//! Jobs on their way to the writer thread: what they are, and the bounded queue they wait in.
//!
//! **Invariant:** each job is answered exactly once: when its group is settled, or with the reason why it was not run.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

use super::{StoreError, WriteError, lock};
use crate::telemetry;

/// Jobs that may wait, of each priority.
const QUEUE_JOBS: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for the reply to DATA.
    Journal,
    Other,
}

pub(super) type Outcome<T, E> = Result<T, WriteError<E>>;
pub(super) type Answer<T, E> = oneshot::Receiver<Outcome<T, E>>;

/// A job with its types hidden.
pub(super) trait Job: Send {
    /// Runs it in the transaction; says whether what it wrote is to be kept.
    fn run(&mut self, tx: &Transaction<'_>) -> bool;

    /// Whether it may be run again after what it wrote was undone.
    fn is_repeatable(&self) -> bool;

    /// Says what became of it: what it answered if it was run and its group was kept, else the reason.
    fn answer(self: Box<Self>, group: Result<(), StoreError>);
}

pub(super) type Work = Box<dyn Job>;

/// Why the writer woke up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    ForWork,
    InTime,
    ToStop,
}

/// How long the writer waits for one more job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pause {
    Over,
    Until(Instant),
    /// Until [`JobQueue::call_writer`].
    UntilCalled,
}

impl Pause {
    pub(super) fn until(time: Instant, now: Instant) -> Self {
        if time > now { Self::Until(time) } else { Self::Over }
    }
}

/// Held by an SMTP session from MAIL to the reply to its message.
#[derive(Debug)]
#[must_use = "the session counts as sending only while this lives"]
pub struct MailGuard(Arc<JobQueue>);

#[derive(Default)]
pub(super) struct JobQueue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    room: Condvar,
    /// Sessions between MAIL and the reply to its message.
    in_mail: AtomicUsize,
}

#[derive(Default)]
struct Waiting {
    journal: VecDeque<Work>,
    others: VecDeque<Work>,
    /// The writer waits for a job. Nobody is woken who does not sleep: that would be a call into the kernel for each job.
    writer_sleeps: bool,
    /// Threads that wait for room.
    submitters: usize,
    /// Why nothing is taken any more.
    stopped: Option<StoreError>,
}

impl JobQueue {
    /// Queues a job; waits while the queue is full.
    pub(super) fn submit(&self, priority: Priority, work: Work) {
        let mut waiting = lock(&self.waiting);
        while waiting.stopped.is_none() && waiting.is_full(priority) {
            waiting.submitters += 1;
            waiting = self.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.submitters -= 1;
        }
        self.push(waiting, priority, work);
    }

    /// Queues a job; answers [`StoreError::Busy`] if the queue is full, so that no thread of an async runtime waits.
    pub(super) fn try_submit(&self, priority: Priority, work: Work) {
        let waiting = lock(&self.waiting);
        if waiting.is_full(priority) {
            drop(waiting);
            work.answer(Err(StoreError::Busy));
        } else {
            self.push(waiting, priority, work);
        }
    }

    pub(super) fn begin_mail(self: &Arc<Self>) -> MailGuard {
        self.in_mail.fetch_add(1, Ordering::Relaxed);
        MailGuard(Arc::clone(self))
    }

    /// Sessions that have a mail under way.
    pub(super) fn in_mail(&self) -> usize {
        self.in_mail.load(Ordering::Relaxed)
    }

    /// Takes no more jobs; those that wait may still be run.
    pub(super) fn stop(&self, why: StoreError) {
        lock(&self.waiting).stopped.get_or_insert(why);
        self.arrived.notify_one();
        self.room.notify_all();
    }

    /// Waits for a job to come, until it is time, or until the queue is stopped and none is left.
    pub(super) fn wait_for_work(&self, by: Option<Instant>) -> Woken {
        let mut waiting = lock(&self.waiting);
        loop {
            if !waiting.is_empty() {
                return Woken::ForWork;
            }
            if waiting.stopped.is_some() {
                return Woken::ToStop;
            }
            if by.is_some_and(|by| by <= Instant::now()) {
                return Woken::InTime;
            }
            waiting = self.writer_sleeps(waiting, by);
        }
    }

    /// The next job, those of the journal first. If none waits, pauses for as long as is answered to the number of
    /// sessions that have a mail under way.
    pub(super) fn next(&self, mut pause: impl FnMut(usize) -> Pause) -> Option<(Priority, Work)> {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(job) = waiting.pop() {
                if waiting.submitters > 0 {
                    self.room.notify_all();
                }
                return Some(job);
            }
            if waiting.stopped.is_some() {
                return None;
            }
            waiting = match pause(self.in_mail()) {
                Pause::Over => return None,
                Pause::Until(time) => self.writer_sleeps(waiting, Some(time)),
                Pause::UntilCalled => self.writer_sleeps(waiting, None),
            };
        }
    }

    /// The writer waits for as long as something is so; who ends it calls the writer.
    pub(super) fn wait_while(&self, is_so: impl Fn() -> bool) {
        let mut waiting = lock(&self.waiting);
        while is_so() {
            waiting = self.writer_sleeps(waiting, None);
        }
    }

    pub(super) fn call_writer(&self) {
        let sleeps = lock(&self.waiting).writer_sleeps;
        if sleeps {
            self.arrived.notify_one();
        }
    }

    fn writer_sleeps<'a>(
        &self,
        mut waiting: MutexGuard<'a, Waiting>,
        by: Option<Instant>,
    ) -> MutexGuard<'a, Waiting> {
        waiting.writer_sleeps = true;
        waiting = match by {
            None => self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            Some(by) => {
                let left = by.saturating_duration_since(Instant::now());
                self.arrived.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        waiting.writer_sleeps = false;
        waiting
    }

    pub(super) fn refuse_waiting(&self, why: &StoreError) {
        let mut waiting = lock(&self.waiting);
        let refused: Vec<Work> = std::iter::from_fn(|| waiting.pop().map(|(_, work)| work)).collect();
        drop(waiting);
        self.room.notify_all();
        for work in refused {
            work.answer(Err(why.clone()));
        }
    }

    fn push(&self, mut waiting: MutexGuard<'_, Waiting>, priority: Priority, work: Work) {
        if let Some(why) = waiting.stopped.clone() {
            drop(waiting);
            work.answer(Err(why));
            return;
        }
        match priority {
            Priority::Journal => waiting.journal.push_back(work),
            Priority::Other => waiting.others.push_back(work),
        }
        let sleeps = waiting.writer_sleeps;
        drop(waiting);
        if sleeps {
            self.arrived.notify_one();
        }
    }
}

impl Waiting {
    fn is_full(&self, priority: Priority) -> bool {
        let queue = match priority {
            Priority::Journal => &self.journal,
            Priority::Other => &self.others,
        };
        queue.len() >= QUEUE_JOBS
    }

    fn is_empty(&self) -> bool {
        self.journal.is_empty() && self.others.is_empty()
    }

    fn pop(&mut self) -> Option<(Priority, Work)> {
        let journal = self.journal.pop_front().map(|work| (Priority::Journal, work));
        journal.or_else(|| self.others.pop_front().map(|work| (Priority::Other, work)))
    }
}

impl Drop for MailGuard {
    fn drop(&mut self) {
        self.0.in_mail.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for JobQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobQueue").field("in_mail", &self.in_mail).finish_non_exhaustive()
    }
}

/// A job that is run once. `tell` is called on a thread of the writer with what became of it; it must be quick.
pub(super) fn once<T, E, J, A>(job: J, tell: A) -> Work
where
    T: Send + 'static,
    E: Send + 'static,
    J: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    A: FnOnce(Outcome<T, E>) + Send + 'static,
{
    let mut job = Some(job);
    let job = move |tx: &Transaction<'_>| job.take().map(|job| job(tx));
    Box::new(Packed { job, repeatable: false, outcome: None, tell })
}

/// The same for a job that may be run again: it has no effect but what it writes.
pub(super) fn repeatable<T, E, J, A>(job: J, tell: A) -> Work
where
    T: Send + 'static,
    E: Send + 'static,
    J: FnMut(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    A: FnOnce(Outcome<T, E>) + Send + 'static,
{
    let mut job = job;
    let job = move |tx: &Transaction<'_>| Some(job(tx));
    Box::new(Packed { job, repeatable: true, outcome: None, tell })
}

/// A job whose outcome comes by a channel. `after` is called once it is committed, before its answer.
pub(super) fn answered<T, E, J, A>(job: J, after: A) -> (Work, Answer<T, E>)
where
    T: Send + 'static,
    E: Send + 'static,
    J: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    A: FnOnce(&T) + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let work = once(job, move |outcome: Outcome<T, E>| {
        if let Ok(value) = &outcome {
            told(|| after(value));
        }
        // Whoever asked may be gone; the job is done all the same.
        let _ = reply.send(outcome);
    });
    (work, answer)
}

/// The same for a job that may be run again, and whose only trouble can be the database; see [`heard`].
pub(super) fn answered_again<T: Send + 'static>(
    mut job: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
) -> (Work, Answer<T, rusqlite::Error>) {
    let (reply, answer) = oneshot::channel();
    // Whoever asked may be gone; the job is done all the same.
    let tell = move |outcome| drop(reply.send(outcome));
    (repeatable(move |tx| job(tx), tell), answer)
}

/// What came by the channel of a job whose only trouble can be the database.
pub(super) fn heard<T>(
    answer: Result<Outcome<T, rusqlite::Error>, oneshot::error::RecvError>,
) -> Result<T, StoreError> {
    answer.unwrap_or(Err(WriteError::Store(StoreError::Closed))).map_err(WriteError::flatten)
}

struct Packed<J, T, E, A> {
    /// Answers nothing if it was run before and cannot be run again.
    job: J,
    repeatable: bool,
    outcome: Option<Outcome<T, E>>,
    tell: A,
}

impl<J, T, E, A> Job for Packed<J, T, E, A>
where
    T: Send,
    E: Send,
    J: FnMut(&Transaction<'_>) -> Option<Result<T, E>> + Send,
    A: FnOnce(Outcome<T, E>) + Send,
{
    /// A job that panics has failed, and takes nobody with it.
    fn run(&mut self, tx: &Transaction<'_>) -> bool {
        let job = &mut self.job;
        match catch_unwind(AssertUnwindSafe(|| job(tx))) {
            Ok(Some(answer)) => self.outcome = Some(answer.map_err(WriteError::Job)),
            Ok(None) => {}
            Err(panic) => {
                let why = StoreError::Panicked(panic_text(&*panic));
                self.outcome = Some(Err(WriteError::Store(why)));
            }
        }
        self.outcome.as_ref().is_some_and(Result::is_ok)
    }

    fn is_repeatable(&self) -> bool {
        self.repeatable
    }

    fn answer(self: Box<Self>, group: Result<(), StoreError>) {
        let Self { job, outcome, tell, .. } = *self;
        told(|| {
            drop(job);
            tell(settled(outcome, group));
        });
    }
}

fn settled<T, E>(outcome: Option<Outcome<T, E>>, group: Result<(), StoreError>) -> Outcome<T, E> {
    match outcome {
        Some(outcome) => outcome.and_then(|value| group.map(|()| value).map_err(WriteError::Store)),
        None => Err(WriteError::Store(group.err().unwrap_or(StoreError::Closed))),
    }
}

/// Whoever is told of a commit must not take the writer down.
fn told(tell: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(tell)).is_err() {
        telemetry::store_trouble("telling others of a commit", "the code panicked");
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
