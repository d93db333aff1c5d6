//! The only place that asks what time it is.
//!
//! **Invariant:** the time a [`Clock`] tells never runs backwards, whatever the computer's clock does: comments are
//! ordered by it. **Invariant:** it never stands still either: while the computer's clock is behind what was told, time
//! goes at half speed until they meet. A retry must not wait for a clock that was set back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::time::Timestamp;

/// Tells the time. Clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    told: Arc<Mutex<Told>>,
}

/// A time that was told, and when.
#[derive(Clone, Copy, Debug)]
struct Told {
    time: Timestamp,
    at: Instant,
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
        Self::starting(Source::System, system_time())
    }

    /// A clock that stands at `start`: for `--now` and for tests.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self::starting(Source::Manual, start)
    }

    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.tell(&mut self.lock())
    }

    /// Never tells a time before `floor` again: after a restart, the newest time the store has seen.
    pub fn never_before(&self, floor: Timestamp) {
        let mut told = self.lock();
        if floor > self.tell(&mut told) {
            *told = Told { time: floor, at: Instant::now() };
        }
    }

    /// Moves a manual clock forward to `to`; earlier times and the system clock are left alone.
    pub fn advance_to(&self, to: Timestamp) {
        if self.source == Source::Manual {
            self.never_before(to);
        }
    }

    fn starting(source: Source, time: Timestamp) -> Self {
        Self { source, told: Arc::new(Mutex::new(Told { time, at: Instant::now() })) }
    }

    /// Both clocks are read while the lock is held: two threads must not tell their times in the wrong order.
    fn tell(&self, told: &mut Told) -> Timestamp {
        match self.source {
            Source::System => told.next(system_time(), Instant::now()),
            Source::Manual => told.time,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// The computer's time, or while that is behind, what was told and half of the time that has passed since.
    fn next(&mut self, computer: Timestamp, now: Instant) -> Timestamp {
        let passed: Duration = now.saturating_duration_since(self.at);
        let slow = self.time.plus(i64::try_from(passed.as_micros() / 2).unwrap_or(i64::MAX));
        if computer < slow {
            return slow;
        }
        *self = Self { time: computer, at: now };
        computer
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
        let told = clock.clone().now();
        assert!(told >= tomorrow, "the computer's clock is a day behind now");
        assert!(clock.now() >= told);
    }

    #[test]
    fn a_clock_that_was_set_back_is_met_again_at_half_speed() {
        let began = Instant::now();
        let mut told = Told { time: Timestamp(1_000), at: began };
        let mut at =
            |passed, computer| told.next(Timestamp(computer), began + Duration::from_micros(passed)).0;
        assert_eq!(at(10, 1_010), 1_010);
        // Set back by 100.
        assert_eq!([at(12, 912), at(30, 930), at(110, 1_010)], [1_011, 1_020, 1_060]);
        assert_eq!([at(210, 1_110), at(220, 1_120)], [1_110, 1_120]);
        // Set forward.
        assert_eq!(at(230, 5_000), 5_000);
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
