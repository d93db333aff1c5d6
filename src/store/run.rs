//! One way for every change: snapshot ► function ► commit ► again if something it relied on has changed (DESIGN §2).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use rusqlite::Connection;

use super::commit::{self, Conflict};
use super::queue::heard;
use super::{Priority, Store, StoreError, WriteError, queue, snapshot};
use crate::domain::ids::{Fresh, Salt, TicketId};
use crate::domain::plan::Plan;
use crate::domain::snapshot::{Directory, Lookup, Snapshot};
use crate::domain::time::Timestamp;
use crate::telemetry::{self, Stage};

/// Tries beside others; after that the change is made alone.
const TRIES_BESIDE_OTHERS: usize = 3;
/// Alone, only the files' people and operators can be in the way: a few more tries outlast them.
const TRIES_ALONE: usize = 5;

/// A snapshot, and how much had been committed when it was read.
#[derive(Debug)]
pub struct Seen {
    pub snapshot: Snapshot,
    commits: u64,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// What the change relies on is no longer so, however often it is made again.
    #[error("{0}")]
    Conflict(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The function that makes the plan could not.
    #[error("{0}")]
    Unplanned(String),
}

impl Store {
    /// Everything the lookup asks about, as of one instant.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn snapshot(&self, lookup: &Lookup) -> Result<Snapshot, StoreError> {
        self.read(|tx| {
            let directory = self.directory(tx)?;
            snapshot::load(tx, lookup, directory)
        })
        .map_err(failed)
    }

    /// The salts of those of these tickets that exist.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn salts(&self, tickets: &BTreeSet<TicketId>) -> Result<BTreeMap<TicketId, Salt>, StoreError> {
        if tickets.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.ask(|db| snapshot::salts(db, tickets))
    }

    /// The tickets that the lookup names, and those they were merged into: who works on the same ones. Reads nothing else of them, so a row
    /// that cannot be read is in nobody's way.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn tickets_named(&self, lookup: &Lookup) -> Result<BTreeSet<TicketId>, StoreError> {
        if lookup.tickets.is_empty() && lookup.message_ids.is_empty() {
            return Ok(BTreeSet::new());
        }
        self.ask(|db| snapshot::tickets_named(db, lookup))
    }

    /// As [`Store::snapshot`], to be used by [`Store::run_told`] unless something is committed meanwhile.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn look(&self, lookup: &Lookup) -> Result<Seen, StoreError> {
        let began = Instant::now();
        // Counted before the read, and by the writer after each commit: what is missing in the snapshot is never taken for seen.
        let commits = self.writer()?.stats().commits;
        let snapshot = self.snapshot(lookup)?;
        telemetry::stage(Stage::Read, began.elapsed());
        Ok(Seen { snapshot, commits })
    }

    /// Reads what `lookup` asks, lets `make` turn it into a plan, and commits the plan; from the start again when a
    /// precondition of the plan no longer holds. `make` must be pure but for ids: it may be called several times.
    ///
    /// # Errors
    /// If the database fails, `make` fails, or the change keeps conflicting.
    pub fn run<T>(
        &self,
        lookup: &Lookup,
        now: Timestamp,
        mut make: impl FnMut(&Snapshot, &mut dyn Fresh) -> Result<(Plan, T), RunError>,
    ) -> Result<T, RunError> {
        let mut conflict = None;
        for attempt in 0..TRIES_BESIDE_OTHERS + TRIES_ALONE {
            // Held for reading by everybody who works beside others, for writing by the one who works alone.
            let (_beside, _alone);
            if attempt < TRIES_BESIDE_OTHERS {
                _beside = Some(self.0.turns.read().unwrap_or_else(PoisonError::into_inner));
                _alone = None;
            } else {
                _beside = None;
                _alone = Some(self.0.turns.write().unwrap_or_else(PoisonError::into_inner));
            }
            let Seen { snapshot, .. } = self.look(lookup)?;
            let mut fresh = self.fresh()?;
            let (plan, answer) = make(&snapshot, &mut fresh)?;
            let began = Instant::now();
            let committed = self.commit(plan, now)?;
            telemetry::stage(Stage::Commit, began.elapsed());
            match committed {
                Ok(()) => return Ok(answer),
                Err(found) => conflict = Some(found),
            }
        }
        Err(RunError::Conflict(match conflict {
            Some(Conflict { precondition }) => {
                format!("something else changed it meanwhile: {precondition:?}")
            }
            None => "something else changed it meanwhile".to_owned(),
        }))
    }

    /// As [`Store::run`], once, and without waiting for the commit: `tell` is called on a thread of the writer with what became of
    /// the plan, and with what `make` answered. It must be quick. What was `seen` is not read again if nothing was committed since.
    ///
    /// # Errors
    /// If the database cannot be read or `make` fails; then `tell` is not called.
    pub fn run_told<T: Send + 'static>(
        &self,
        lookup: &Lookup,
        seen: Option<Seen>,
        now: Timestamp,
        make: impl FnOnce(&Snapshot, &mut dyn Fresh) -> Result<(Plan, T), RunError>,
        tell: impl FnOnce(Result<Result<(), Conflict>, StoreError>, T) + Send + 'static,
    ) -> Result<(), RunError> {
        // Whoever works alone meets no more than the plans that are queued already.
        let _beside = self.0.turns.read().unwrap_or_else(PoisonError::into_inner);
        let commits = self.writer()?.stats().commits;
        let seen = match seen.filter(|seen| seen.commits == commits) {
            Some(seen) => seen,
            None => self.look(lookup)?,
        };
        let (plan, answer) = make(&seen.snapshot, &mut self.fresh()?)?;
        let began = Instant::now();
        let work = queue::repeatable(
            move |tx| commit::apply(tx, &plan, now),
            move |committed| {
                telemetry::stage(Stage::Commit, began.elapsed());
                tell(committed.map_err(WriteError::flatten), answer);
            },
        );
        self.writer()?.queue().submit(Priority::Other, work);
        Ok(())
    }

    /// A question to the database, as of one instant.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn ask<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.read(|tx| question(tx)).map_err(failed)
    }

    /// A job on the writer thread whose only trouble can be the database, and whose only effect is what it writes: it may be
    /// run several times. Blocks until it is committed.
    ///
    /// # Errors
    /// If the job or its commit fails; then nothing was written.
    pub fn tell<T: Send + 'static>(
        &self,
        job: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (work, answer) = queue::answered_again(job);
        self.writer()?.queue().submit(Priority::Other, work);
        heard(answer.blocking_recv())
    }

    /// The same for async code: a full queue answers [`StoreError::Busy`].
    ///
    /// # Errors
    /// As there.
    pub async fn tell_async<T: Send + 'static>(
        &self,
        job: impl FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (work, answer) = queue::answered_again(job);
        self.writer()?.queue().try_submit(Priority::Other, work);
        heard(answer.await)
    }

    /// Commits a plan, or answers which of its preconditions does not hold.
    fn commit(&self, plan: Plan, now: Timestamp) -> Result<Result<(), Conflict>, StoreError> {
        if plan.writes.is_empty() && plan.preconditions.is_empty() {
            return Ok(Ok(()));
        }
        self.tell(move |db| commit::apply(db, &plan, now))
    }

    /// Agents, groups and organizations: read again only when their version has changed.
    fn directory(&self, tx: &Connection) -> rusqlite::Result<Arc<Directory>> {
        let version = snapshot::directory_version(tx)?;
        let mut known = self.0.directory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(directory) = known.as_ref().filter(|directory| directory.version == version) {
            return Ok(Arc::clone(directory));
        }
        let directory = Arc::new(snapshot::directory(tx)?);
        *known = Some(Arc::clone(&directory));
        Ok(directory)
    }
}

fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::from(error)
}
