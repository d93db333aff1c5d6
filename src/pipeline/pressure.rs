//! Takes no more mail than can be worked off: while the deciders are behind, a new mail is first delayed and then asked to
//! come again; while the disk is nearly full, none is taken and what was taken goes on being decided.
//!
//! How many mails are pending and how much of the disk is free is measured now and then ([`Pressure::measure`]); in
//! between, each mail that is taken is counted against the last measurement. So a mail costs a few atomic steps.
//!
//! **Invariant:** at most [`Limits::max_pending`] mails that came this way wait for a decider, however many sessions ask
//! at once. **Invariant:** each beginning and each end of pressure is told once: it ends well below where it began.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::store::{Signal, Store};
use crate::telemetry;

/// How often is measured when nothing presses.
const INTERVAL: Duration = Duration::from_millis(250);

/// How soon at the earliest it is measured again when a mail was refused.
const SOONEST: Duration = Duration::from_millis(10);

/// What a mail waits at most.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// A row and its place in the indexes, besides the bytes of the mail.
const ROW_BYTES: u64 = 4096;

/// What may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Mails that are accepted and not yet decided.
    pub max_pending: usize,
    /// Bytes of the disk that are left for deciding what was accepted.
    pub disk_reserve: u64,
}

/// Why a mail is not taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pressed {
    #[error("too many mails wait to be decided")]
    Backlog,
    #[error("the disk is nearly full")]
    Disk,
}

impl Pressed {
    fn word(self) -> &'static str {
        match self {
            Self::Backlog => "backlog",
            Self::Disk => "disk",
        }
    }
}

/// Where the measurements come from.
pub trait Gauges: Send + Sync {
    /// Mails that wait to be decided; counting may stop at `most`.
    ///
    /// # Errors
    /// If they cannot be counted now.
    fn pending(&self, most: usize) -> Result<usize, String>;

    /// Bytes that may still be written.
    ///
    /// # Errors
    /// If the file system does not say.
    fn free(&self) -> io::Result<u64>;
}

/// Shared by all who take mail in.
pub struct Pressure {
    limits: Limits,
    gauges: Box<dyn Gauges>,
    /// Pending mails when they were counted last.
    pending: AtomicUsize,
    /// Mails taken since.
    taken: AtomicUsize,
    /// Mails on their way into the journal.
    arriving: AtomicUsize,
    behind: AtomicBool,
    /// Bytes above the reserve: as measured last, less what was taken since.
    room: AtomicI64,
    free: AtomicU64,
    nearly_full: AtomicBool,
    bell: Signal,
    stopping: AtomicBool,
}

/// Room for one mail. Give it up when the mail is in the journal or was not taken.
#[derive(Debug)]
#[must_use = "the mail counts as arriving only while this lives"]
pub struct Place<'a> {
    pressure: &'a Pressure,
    taken: bool,
}

impl Pressure {
    #[must_use]
    pub fn new(limits: Limits, gauges: Box<dyn Gauges>) -> Self {
        let pressure = Self {
            limits,
            gauges,
            pending: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            arriving: AtomicUsize::new(0),
            behind: AtomicBool::new(false),
            room: AtomicI64::new(0),
            free: AtomicU64::new(0),
            nearly_full: AtomicBool::new(false),
            bell: Signal::default(),
            stopping: AtomicBool::new(false),
        };
        pressure.measure();
        pressure
    }

    /// None, whatever comes: for commands that take in what they are given.
    #[must_use]
    pub fn none() -> Self {
        struct Unmeasured;
        impl Gauges for Unmeasured {
            fn pending(&self, _most: usize) -> Result<usize, String> {
                Ok(0)
            }
            fn free(&self) -> io::Result<u64> {
                Ok(u64::MAX)
            }
        }
        Self::new(Limits { max_pending: usize::MAX, disk_reserve: 0 }, Box::new(Unmeasured))
    }

    /// Bytes of the disk that are left for deciding what was accepted.
    #[must_use]
    pub fn disk_reserve(&self) -> u64 {
        self.limits.disk_reserve
    }

    /// Why new mail is not taken just now, if it is not.
    #[must_use]
    pub fn pressed(&self) -> Option<Pressed> {
        let holds = |flag: &AtomicBool| flag.load(Ordering::Acquire);
        match (holds(&self.nearly_full), holds(&self.behind)) {
            (true, _) => Some(Pressed::Disk),
            (false, true) => Some(Pressed::Backlog),
            (false, false) => None,
        }
    }

    /// How long the next mail is to wait before it asks for a place: nothing up to half of what may be pending, then
    /// the longer the more are. A sender that waits sends nothing else meanwhile.
    #[must_use]
    pub fn delay(&self) -> Duration {
        let half = self.limits.max_pending / 2;
        let above = self.backlog().saturating_sub(half).min(half.max(1));
        LONGEST_DELAY.mul_f64(above as f64 / half.max(1) as f64)
    }

    /// A place for a mail of this size.
    ///
    /// # Errors
    /// If it is to come again later, with the reason.
    pub fn admit(&self, bytes: usize) -> Result<Place<'_>, Pressed> {
        self.arriving.fetch_add(1, Ordering::AcqRel);
        let place = Place { pressure: self, taken: false };
        let verdict = self.has_place().and_then(|()| self.has_room(bytes));
        if let Err(pressed) = verdict {
            self.bell.ring();
            return Err(pressed);
        }
        Ok(place)
    }

    /// Measures, and tells of pressure that ends. Blocks: not for async code.
    pub fn measure(&self) {
        let taken = self.taken.load(Ordering::Acquire);
        match self.gauges.pending(self.limits.max_pending.saturating_add(1)) {
            Ok(pending) => {
                // Those taken before the count are in it.
                self.taken.fetch_sub(taken, Ordering::AcqRel);
                self.pending.store(pending, Ordering::Release);
            }
            Err(error) => telemetry::store_trouble("counting pending mail", &error),
        }
        let free = self.gauges.free().unwrap_or_else(|error| {
            telemetry::store_trouble("asking how much of the disk is free", &error.to_string());
            0
        });
        self.free.store(free, Ordering::Release);
        self.room.store(signed(free).saturating_sub(signed(self.limits.disk_reserve)), Ordering::Release);
        let _ = self.has_place();
        let _ = self.has_room(0);
    }

    /// Measures until the [`Watch`] is dropped.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn watch(self: &Arc<Self>) -> io::Result<Watch> {
        let watched = Arc::clone(self);
        let thread = std::thread::Builder::new().name("pressure".to_owned()).spawn(move || {
            while !watched.stopping.load(Ordering::Acquire) {
                let rings = watched.bell.rings();
                watched.measure();
                std::thread::sleep(SOONEST);
                let _ = watched.bell.wait(rings, INTERVAL);
            }
        })?;
        Ok(Watch { pressure: Arc::clone(self), thread: Mutex::new(Some(thread)) })
    }

    fn backlog(&self) -> usize {
        self.pending.load(Ordering::Acquire)
            + self.taken.load(Ordering::Acquire)
            + self.arriving.load(Ordering::Acquire)
    }

    /// The mail that asks counts as arriving.
    fn has_place(&self) -> Result<(), Pressed> {
        let (most, backlog) = (self.limits.max_pending, self.backlog());
        let enough = if self.behind.load(Ordering::Acquire) { most / 2 } else { most };
        self.settle(Pressed::Backlog, &self.behind, backlog > enough, backlog as u64, most as u64)
    }

    /// Takes the room of a mail, if it is there. One that is too large for what is left is refused alone: the disk is
    /// nearly full when there is no room for the smallest.
    fn has_room(&self, bytes: usize) -> Result<(), Pressed> {
        let least = if bytes == 0 { 0 } else { signed(ROW_BYTES) };
        // Into the WAL, and from there into the database.
        let cost = signed(bytes as u64).saturating_mul(2).saturating_add(least);
        let reserve = self.limits.disk_reserve;
        let enough = if self.nearly_full.load(Ordering::Acquire) { signed(reserve / 4) } else { 0 };
        let taken = self.room.fetch_update(Ordering::AcqRel, Ordering::Acquire, |room| {
            let left = room.saturating_sub(cost);
            (left >= enough).then_some(left)
        });
        let presses = taken.is_err_and(|room| room.saturating_sub(least) < enough);
        let free = self.free.load(Ordering::Acquire);
        self.settle(Pressed::Disk, &self.nearly_full, presses, free, reserve)?;
        taken.map(drop).map_err(|_| Pressed::Disk)
    }

    /// Remembers whether it presses, and tells when that changes.
    fn settle(
        &self,
        what: Pressed,
        state: &AtomicBool,
        presses: bool,
        found: u64,
        limit: u64,
    ) -> Result<(), Pressed> {
        let before = state.swap(presses, Ordering::AcqRel);
        match (before, presses) {
            (false, true) => telemetry::pressure_began(what.word(), found, limit),
            (true, false) => telemetry::pressure_ended(what.word(), found, limit),
            _ => {}
        }
        if presses { Err(what) } else { Ok(()) }
    }
}

impl Place<'_> {
    /// The mail is in the journal.
    pub fn taken(mut self) {
        self.taken = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.taken {
            self.pressure.taken.fetch_add(1, Ordering::AcqRel);
        }
        self.pressure.arriving.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The thread that measures.
#[derive(Debug)]
pub struct Watch {
    pressure: Arc<Pressure>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.pressure.stopping.store(true, Ordering::Release);
        self.pressure.bell.ring();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

impl std::fmt::Debug for Pressure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pressure").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A store and the file system it lies on.
impl Gauges for Store {
    fn pending(&self, most: usize) -> Result<usize, String> {
        self.count_pending(most).map_err(|error| error.to_string())
    }

    fn free(&self) -> io::Result<u64> {
        self.free_bytes()
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "pressure_tests.rs"]
mod tests;
