//! The metrics that are read off when somebody asks: levels of the store, the process, the proof of the books.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::domain::time::Timestamp;
use crate::store::{Depth, Levels, Store, Tally};
use crate::telemetry;
use crate::telemetry::metrics::{self, Metric};

/// What was read less than this ago is shown again.
const FRESH: Duration = Duration::from_secs(1);
/// The books are proved this often at most, and so seldom that it takes no more than a thousandth of the time.
const PROVE_EVERY: Duration = Duration::from_secs(60);
const SHARE: u32 = 1_000;

pub(super) struct Readings {
    store: Store,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tally: Tally,
    read_at: Option<Instant>,
}

impl Readings {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        metrics::BUILD_INFO.set(&[env!("CARGO_PKG_VERSION")], 1);
        metrics::START_TIME.set_seconds(since_1970(clock.now()));
        Self { store, clock, state: Mutex::default() }
    }

    /// Brings what is read off up to date.
    pub(super) async fn refresh(self: Arc<Self>) {
        let read = tokio::task::spawn_blocking(move || self.read()).await;
        if let Err(error) = read.map_err(|error| error.to_string()).and_then(|read| read) {
            telemetry::admin_trouble("reading the levels of the store", &error);
        }
    }

    fn read(&self) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.read_at.is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(());
        }
        process();
        let stats = self.store.writer_stats();
        metrics::COMMITS.set(&[], stats.commits);
        metrics::FLUSHES.set(&[], stats.flushes);
        metrics::JOBS.set(&[], stats.jobs);
        metrics::FLUSH_SECONDS.set_seconds(stats.mean_sync);
        let levels = self.store.levels(&mut state.tally).map_err(|error| error.to_string())?;
        self.show(&levels);
        state.read_at = Some(Instant::now());
        Ok(())
    }

    fn show(&self, levels: &Levels) {
        for (metric, rows) in
            [(metrics::JOURNAL_MAILS, &levels.journal), (metrics::OUTBOX_MAILS, &levels.outbox)]
        {
            for (state, count) in rows {
                metric.set(&[state], *count);
            }
        }
        let age = |since: Option<Timestamp>| {
            let age = since.map_or(0, |since| self.clock.now().since(since));
            Duration::from_micros(age.max(0).unsigned_abs())
        };
        metrics::PENDING_AGE.set_seconds(age(levels.oldest_pending));
        metrics::OUTBOX_AGE.set_seconds(age(levels.oldest_queued));
        for (metric, level) in [
            (metrics::WAL_PAGES, u64::from(levels.wal_pages)),
            (metrics::WAL_CAP, u64::from(levels.wal_cap)),
            (metrics::DATABASE_BYTES, levels.database_bytes),
            (metrics::DISK_FREE, levels.disk_free),
        ] {
            metric.set(&[], level);
        }
    }

    /// Proves the books as `postern audit` does, again and again.
    pub(super) async fn prove_books_now_and_then(self: Arc<Self>) {
        loop {
            let (began, readings) = (Instant::now(), Arc::clone(&self));
            let proved = tokio::task::spawn_blocking(move || readings.prove_books()).await;
            if let Err(error) = proved.map_err(|error| error.to_string()).and_then(|proved| proved) {
                telemetry::admin_trouble("proving the books", &error);
            }
            tokio::time::sleep(began.elapsed().saturating_mul(SHARE).max(PROVE_EVERY)).await;
        }
    }

    fn prove_books(&self) -> Result<(), String> {
        let books = self.store.books(Depth::Books).map_err(|error| error.to_string())?;
        metrics::BOOKS_BALANCED.set(&[], u64::from(books.balanced));
        metrics::BOOKS_CHECKED.set_seconds(since_1970(self.clock.now()));
        metrics::BLOB_BYTES.set(&[], self.store.blob_bytes().map_err(|error| error.to_string())?);
        Ok(())
    }
}

fn since_1970(time: Timestamp) -> Duration {
    Duration::from_micros(time.0.max(0).unsigned_abs())
}

/// What the system says of this process; on a system that says nothing, nothing.
fn process() {
    let set = |metric: Metric, value: Option<u64>| {
        if let Some(value) = value {
            metric.set(&[], value);
        }
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    set(
        metrics::RESIDENT_BYTES,
        number_after(&status, "VmRSS:").map(|kilobytes| kilobytes.saturating_mul(1024)),
    );
    set(metrics::MAX_FILES, number_after(&limits, "Max open files"));
    let open = std::fs::read_dir("/proc/self/fd").ok();
    set(metrics::OPEN_FILES, open.and_then(|files| u64::try_from(files.count()).ok()));
}

/// The first number behind `name`, on its line.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_process_are_found_behind_their_names() {
        assert_eq!(number_after("Name:\tx\nVmRSS:\t   5120 kB\n", "VmRSS:"), Some(5120));
        assert_eq!(
            number_after("Max open files            1024        4096     files\n", "Max open files"),
            Some(1024)
        );
        assert_eq!(number_after("Max open files            unlimited   unlimited\n", "Max open files"), None);
        assert_eq!(number_after("", "VmRSS:"), None);
    }
}
