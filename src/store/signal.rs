//! A bell for plain threads: it counts, so that a ring between looking and waiting is not missed.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::lock;

#[derive(Debug, Default)]
pub struct Signal {
    rings: Mutex<u64>,
    rang: Condvar,
}

impl Signal {
    /// How often it rang. Look at this first, then at the work, then wait with the number.
    #[must_use]
    pub fn rings(&self) -> u64 {
        *lock(&self.rings)
    }

    pub fn ring(&self) {
        *lock(&self.rings) += 1;
        self.rang.notify_all();
    }

    /// Waits until it rang more often than `seen`, or for `at_most`; returns how often it rang.
    #[must_use]
    pub fn wait(&self, seen: u64, at_most: Duration) -> u64 {
        let rings = lock(&self.rings);
        let waited = self.rang.wait_timeout_while(rings, at_most, |rings| *rings <= seen);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_ring_before_the_wait_is_not_missed() {
        let signal = Signal::default();
        let seen = signal.rings();
        signal.ring();
        assert_eq!(signal.wait(seen, Duration::from_secs(60)), seen + 1);
    }

    #[test]
    fn a_ring_wakes_whoever_waits() {
        let signal = Arc::new(Signal::default());
        let waiting = std::thread::spawn({
            let signal = Arc::clone(&signal);
            move || signal.wait(0, Duration::from_secs(60))
        });
        signal.ring();
        assert_eq!(waiting.join().unwrap(), 1);
    }
}
