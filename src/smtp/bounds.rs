//! What all connections of a listener share: the room for messages under way, and patience when descriptors
//! run out.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::telemetry;

/// The bytes of all messages under way.
#[derive(Debug)]
pub(super) struct InFlight {
    limit: usize,
    total: AtomicUsize,
}

impl InFlight {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, total: AtomicUsize::new(0) })
    }

    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { pool: Arc::clone(self), held: 0 }
    }
}

/// One connection's part of [`InFlight`]; given back when the connection ends.
#[derive(Debug)]
pub(super) struct Share {
    pool: Arc<InFlight>,
    held: usize,
}

impl Share {
    /// Holds `bytes` from now on. False if all connections together then hold more than they may.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let grows = bytes > self.held;
        // The additions and subtractions of one share cancel out, so the total never wraps.
        let before = self.pool.total.fetch_add(bytes, Ordering::Relaxed);
        self.pool.total.fetch_sub(self.held, Ordering::Relaxed);
        let after = (before + bytes).saturating_sub(self.held);
        telemetry::smtp_bytes_in_flight(self.held, bytes);
        self.held = bytes;
        !grows || after <= self.pool.limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

/// How long to leave `accept` alone after it failed. Without descriptors it fails at once, again and again; a
/// loop that tries on burns a core and fills the log, and frees no descriptor.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_secs(1);

    pub(super) fn after(&mut self, error: &io::Error) -> Duration {
        let the_client_gave_up = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        );
        if the_client_gave_up {
            return Duration::ZERO;
        }
        self.last = (self.last * 2).clamp(Self::FIRST, Self::LONGEST);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_accept_is_tried_less_and_less_often_down_to_once_a_second() {
        let no_descriptors = io::Error::other("too many open files");
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..10).map(|_| backoff.after(&no_descriptors).as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn a_client_that_gave_up_costs_no_pause() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.after(&io::ErrorKind::ConnectionAborted.into()), Duration::ZERO);
    }

    #[test]
    fn shares_add_up_and_are_given_back() {
        let pool = InFlight::new(100);
        let (mut first, mut second) = (pool.share(), pool.share());
        assert!(first.hold(60));
        assert!(!second.hold(60), "120 of 100 were allowed");
        assert!(second.hold(0));
        drop(first);
        assert!(second.hold(100));
        drop(second);
        assert_eq!(pool.total.load(Ordering::Relaxed), 0);
    }
}
