//! Jobs on their way to the writer thread: what they are, and the bounded queue they wait in.
//!
//! **Invariant:** each job is answered exactly once: when its group is settled, or with the reason why it was not run.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Transaction;
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

/// A job with its types hidden: run in the transaction, or refused with the reason.
pub(super) type Work = Box<dyn FnOnce(Result<&Transaction<'_>, StoreError>) -> Done + Send>;

/// What a job left: to be kept or undone, and how to answer once that is settled.
pub(super) struct Done {
    pub(super) keep: bool,
    pub(super) answer: Box<dyn FnOnce(Result<(), StoreError>)>,
}

/// Held by an SMTP session from DATA to its reply.
#[derive(Debug)]
#[must_use = "the session counts as sending only while this lives"]
pub struct DataGuard(Arc<JobQueue>);

#[derive(Default)]
pub(super) struct JobQueue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    room: Condvar,
    /// Sessions between DATA and its reply.
    in_data: AtomicUsize,
}

#[derive(Default)]
struct Waiting {
    journal: VecDeque<Work>,
    others: VecDeque<Work>,
    /// Why nothing is taken any more.
    stopped: Option<StoreError>,
}

impl JobQueue {
    /// Queues a job; waits while the queue is full. `after` is called once the job is committed, before its answer.
    pub(super) fn submit<T, E, J, A>(&self, priority: Priority, job: J, after: A) -> Answer<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        J: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        A: FnOnce(&T) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.submit_told(priority, job, move |outcome: Outcome<T, E>| {
            if let Ok(value) = &outcome {
                told(|| after(value));
            }
            // Whoever asked may be gone; the job is done all the same.
            let _ = reply.send(outcome);
        });
        answer
    }

    /// Queues a job; waits while the queue is full. `tell` is called on the writer thread once it is known what became of the
    /// job. It must be quick.
    pub(super) fn submit_told<T, E, J, A>(&self, priority: Priority, job: J, tell: A)
    where
        T: Send + 'static,
        E: Send + 'static,
        J: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        A: FnOnce(Outcome<T, E>) + Send + 'static,
    {
        let work = pack(job, tell);
        let mut waiting = lock(&self.waiting);
        while waiting.stopped.is_none() && waiting.is_full(priority) {
            waiting = self.room.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        self.push(waiting, priority, work);
    }

    /// Queues a job; tells of [`StoreError::Busy`] if the queue is full, so that no thread of an async runtime waits.
    pub(super) fn try_submit<T, E, J, A>(&self, priority: Priority, job: J, tell: A)
    where
        T: Send + 'static,
        E: Send + 'static,
        J: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        A: FnOnce(Outcome<T, E>) + Send + 'static,
    {
        let work = pack(job, tell);
        let waiting = lock(&self.waiting);
        if waiting.is_full(priority) {
            drop(waiting);
            refuse(work, &StoreError::Busy);
        } else {
            self.push(waiting, priority, work);
        }
    }

    pub(super) fn begin_data(self: &Arc<Self>) -> DataGuard {
        self.in_data.fetch_add(1, Ordering::Relaxed);
        DataGuard(Arc::clone(self))
    }

    /// Takes no more jobs; those that wait may still be run.
    pub(super) fn stop(&self, why: StoreError) {
        lock(&self.waiting).stopped.get_or_insert(why);
        self.arrived.notify_one();
        self.room.notify_all();
    }

    /// Waits for a job to come; false when the queue is stopped and none is left.
    pub(super) fn wait_for_work(&self) -> bool {
        let mut waiting = lock(&self.waiting);
        while waiting.is_empty() && waiting.stopped.is_none() {
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        !waiting.is_empty()
    }

    /// The next job, those of the journal first. If none waits, waits for as long as `patience` says of the number of
    /// sessions between DATA and its reply.
    pub(super) fn next(&self, mut patience: impl FnMut(usize) -> Duration) -> Option<(Priority, Work)> {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(job) = waiting.pop() {
                self.room.notify_all();
                return Some(job);
            }
            let left = patience(self.in_data.load(Ordering::Relaxed));
            if left.is_zero() || waiting.stopped.is_some() {
                return None;
            }
            waiting = self.arrived.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn refuse_waiting(&self, why: &StoreError) {
        let mut waiting = lock(&self.waiting);
        let refused: Vec<Work> = std::iter::from_fn(|| waiting.pop().map(|(_, work)| work)).collect();
        drop(waiting);
        self.room.notify_all();
        for work in refused {
            refuse(work, why);
        }
    }

    fn push(&self, mut waiting: MutexGuard<'_, Waiting>, priority: Priority, work: Work) {
        if let Some(why) = waiting.stopped.clone() {
            drop(waiting);
            refuse(work, &why);
            return;
        }
        match priority {
            Priority::Journal => waiting.journal.push_back(work),
            Priority::Other => waiting.others.push_back(work),
        }
        drop(waiting);
        self.arrived.notify_one();
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

impl Drop for DataGuard {
    fn drop(&mut self) {
        self.0.in_data.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for JobQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobQueue").field("in_data", &self.in_data).finish_non_exhaustive()
    }
}

/// Answers a job that is not run.
pub(super) fn refuse(work: Work, why: &StoreError) {
    let done = work(Err(why.clone()));
    (done.answer)(Err(why.clone()));
}

/// Hides the types of a job, and catches its panics.
fn pack<T, E, J, A>(job: J, tell: A) -> Work
where
    T: Send + 'static,
    E: Send + 'static,
    J: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    A: FnOnce(Outcome<T, E>) + Send + 'static,
{
    Box::new(move |tx| {
        let outcome = tx.map_err(WriteError::Store).and_then(|tx| {
            catch_unwind(AssertUnwindSafe(|| job(tx)))
                .map_err(|panic| WriteError::Store(StoreError::Panicked(panic_text(&*panic))))?
                .map_err(WriteError::Job)
        });
        Done {
            keep: outcome.is_ok(),
            answer: Box::new(move |group| {
                let outcome = outcome.and_then(|value| group.map(|()| value).map_err(WriteError::Store));
                told(|| tell(outcome));
            }),
        }
    })
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
