//! The only place that asks what time it is.
//!
//! **Invariant:** the time a [`Clock`] tells never runs backwards, whatever the computer's clock does: comments are
//! ordered by it, and a retry must not wait for a clock that was set back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// Tells the time. Clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    /// The latest time told.
    latest: Arc<AtomicI64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    System,
    /// Stands still unless somebody moves it.
    Manual,
}

impl Clock {
    /// The computer's clock.
    #[must_use]
    pub fn system() -> Self {
        Self { source: Source::System, latest: Arc::new(AtomicI64::new(i64::MIN)) }
    }

    /// A clock that stands at `start`: for `--now` and for tests.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self { source: Source::Manual, latest: Arc::new(AtomicI64::new(start.0)) }
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self.source {
            Source::System => self.at_least(system_time()),
            Source::Manual => Timestamp(self.latest.load(Ordering::SeqCst)),
        }
    }

    /// Never tells a time before `floor` again: after a restart, the newest time the store has seen.
    pub fn never_before(&self, floor: Timestamp) {
        self.at_least(floor);
    }

    /// Moves a manual clock forward to `to`; earlier times and the system clock are left alone.
    pub fn advance_to(&self, to: Timestamp) {
        if self.source == Source::Manual {
            self.at_least(to);
        }
    }

    fn at_least(&self, candidate: Timestamp) -> Timestamp {
        let before = self.latest.fetch_max(candidate.0, Ordering::SeqCst);
        Timestamp(before.max(candidate.0))
    }
}

fn system_time() -> Timestamp {
    let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    };
    Timestamp(micros)
}

/// Reads an instant as the command line takes it: `2026-11-21T10:12:00Z`, with any offset.
///
/// # Errors
/// If the text is not an instant as in RFC 3339.
pub fn parse_instant(text: &str) -> Result<Timestamp, InstantError> {
    let instant: jiff::Timestamp =
        text.trim().parse().map_err(|_| InstantError { found: text.to_owned() })?;
    Ok(Timestamp(instant.as_microsecond()))
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not an instant, expected one like `2026-11-21T10:12:00Z`")]
pub struct InstantError {
    pub found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_backwards() {
        let clock = Clock::system();
        let tomorrow = clock.now().plus(crate::domain::time::DAY);
        clock.never_before(tomorrow);
        assert_eq!(clock.clone().now(), tomorrow, "the computer's clock is a day behind now");
    }

    #[test]
    fn the_system_clock_cannot_be_moved_by_hand() {
        let clock = Clock::system();
        let tomorrow = clock.now().plus(crate::domain::time::DAY);
        clock.advance_to(tomorrow);
        assert!(clock.now() < tomorrow);
    }

    #[test]
    fn a_manual_clock_stands_until_it_is_moved_and_only_moves_forward() {
        let clock = Clock::manual(Timestamp(10));
        assert_eq!((clock.now(), clock.now()), (Timestamp(10), Timestamp(10)));
        clock.clone().advance_to(Timestamp(20));
        clock.advance_to(Timestamp(15));
        assert_eq!(clock.now(), Timestamp(20));
    }

    #[test]
    fn instants_are_read_with_any_offset_and_nothing_else_is() {
        let read = |text| parse_instant(text).map(Timestamp::rfc3339);
        assert_eq!(read("2026-11-21T10:12:00Z").unwrap(), "2026-11-21T10:12:00Z");
        assert_eq!(read("2026-11-21T10:12:00.5+02:00").unwrap(), "2026-11-21T08:12:00.5Z");
        for bad in ["", "2026-11-21", "2026-11-21T10:12:00", "yesterday", "1700000000"] {
            assert!(read(bad).is_err(), "`{bad}` passed");
        }
    }
}
