//! How long a message may take, and how slowly it may come.
//!
//! A message comes in windows of equal length; in each, the client must send as much as the least rate asks. So a
//! client that stalls now and then is borne with, and one that sends a byte every few seconds loses its place after
//! one window, not after the time-out of the whole message.

use std::time::Duration;

use tokio::time::Instant;

/// The least rate a message may come at.
#[derive(Clone, Copy, Debug)]
pub struct MinRate {
    /// Bytes a second; 0 asks for nothing. Default 100.
    pub bytes_per_second: u32,
    /// What the rate is averaged over. Default a minute.
    pub window: Duration,
}

impl Default for MinRate {
    fn default() -> Self {
        Self { bytes_per_second: 100, window: Duration::from_secs(60) }
    }
}

/// A message that is coming in.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) began: Instant,
    rate: MinRate,
    window_ends: Instant,
    in_window: usize,
}

impl Pace {
    pub(super) fn new(rate: MinRate, now: Instant) -> Self {
        Self { began: now, rate, window_ends: now + rate.window, in_window: 0 }
    }

    /// When [`Pace::keeps_up`] is to be asked next.
    pub(super) fn window_ends(&self) -> Instant {
        self.window_ends
    }

    pub(super) fn received(&mut self, bytes: usize) {
        self.in_window = self.in_window.saturating_add(bytes);
    }

    /// Whether enough has come. Looked at when a window is over; then the next one begins.
    pub(super) fn keeps_up(&mut self, now: Instant) -> bool {
        if now < self.window_ends {
            return true;
        }
        let wanted = f64::from(self.rate.bytes_per_second) * self.rate.window.as_secs_f64();
        let came = self.in_window as f64;
        self.window_ends = now + self.rate.window;
        self.in_window = 0;
        came >= wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a client that sends so many bytes in each of these windows of a minute keeps up to the end.
    fn check(bytes_per_second: u32, minutes: &[usize], expected: bool) {
        let began = Instant::now();
        let rate = MinRate { bytes_per_second, ..MinRate::default() };
        let mut pace = Pace::new(rate, began);
        let keeps_up = minutes.iter().all(|bytes| {
            pace.received(*bytes);
            let ends = pace.window_ends();
            pace.keeps_up(ends.checked_sub(Duration::from_millis(1)).unwrap()) && pace.keeps_up(ends)
        });
        assert_eq!(keeps_up, expected, "{bytes_per_second} a second: {minutes:?}");
    }

    #[test]
    fn each_window_must_have_enough() {
        check(100, &[6000, 6000, 6000], true);
        check(100, &[6000, 5999], false);
        check(100, &[1_000_000, 0], false);
        check(100, &[0], false);
    }

    #[test]
    fn a_rate_of_nothing_bears_with_anything() {
        check(0, &[0, 0, 1], true);
    }
}
