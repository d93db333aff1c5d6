//! Who sends, and when nobody does.

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::transport::{Sender, Transport};
use crate::outbox::schedule;

/// The senders: each waits or has one mail to send.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) idle: Vec<Sender>,
    pub(super) busy: JoinSet<Finished>,
}

/// A mail was dealt with, and recorded if the store could.
#[derive(Debug)]
pub(super) struct Finished {
    /// Lost if its task ended by a fault of ours.
    pub(super) sender: Option<Sender>,
    pub(super) site_fault: Option<String>,
}

impl Crew {
    pub(super) fn new(senders: Vec<Sender>) -> Self {
        Self { idle: senders, busy: JoinSet::new() }
    }

    /// Takes a sender back, or a new one in its place; answers the fault of the site it met.
    ///
    /// The last to come is the first to go: its connection is open.
    pub(super) fn welcome(
        &mut self,
        finished: Result<Finished, JoinError>,
        transport: &Transport,
    ) -> Option<String> {
        let (sender, site_fault) =
            finished.map_or((None, None), |finished| (finished.sender, finished.site_fault));
        self.idle.push(sender.unwrap_or_else(|| Sender::new(transport.clone())));
        site_fault
    }

    /// Says goodbye to the smarthost wherever nothing is being sent.
    pub(super) async fn rest(&mut self) {
        for sender in &mut self.idle {
            sender.rest().await;
        }
    }
}

/// Whether the smarthost deals with us at all.
#[derive(Debug, Default)]
pub(super) struct Site {
    faults_in_a_row: u32,
    paused_until: Option<Instant>,
}

impl Site {
    /// How long nobody is to try.
    pub(super) fn pause_left(&self) -> Option<Duration> {
        self.paused_until
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|left| !left.is_zero())
    }

    /// Learns from a mail that was dealt with; answers the pause that begins with it.
    pub(super) fn note(&mut self, fault: Option<String>, jitter: u64) -> Option<(Duration, String)> {
        let Some(fault) = fault else {
            self.faults_in_a_row = 0;
            return None;
        };
        // Mails that were on their way together meet the same trouble: it counts once.
        if self.pause_left().is_some() {
            return None;
        }
        self.faults_in_a_row = self.faults_in_a_row.saturating_add(1);
        let pause = schedule::site_pause(self.faults_in_a_row, jitter).unsigned_abs();
        let pause = Duration::from_micros(pause);
        self.paused_until = Some(Instant::now() + pause);
        Some((pause, fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Option<String> {
        Some("535 no".to_owned())
    }

    #[test]
    fn mails_that_meet_the_same_trouble_together_make_one_pause() {
        let mut site = Site::default();
        assert!(site.note(fault(), 0).is_some());
        assert!(site.note(fault(), 0).is_none());
        assert_eq!(site.faults_in_a_row, 1);
        assert!(site.pause_left().is_some());
    }

    #[test]
    fn pauses_grow_while_nothing_gets_through_and_start_over_when_something_did() {
        let mut site = Site::default();
        let next = |site: &mut Site, fault| {
            site.paused_until = None;
            site.note(fault, 0).map(|(pause, _)| pause)
        };
        let first = next(&mut site, fault()).unwrap();
        let second = next(&mut site, fault()).unwrap();
        assert!(second > first, "{first:?}, then {second:?}");
        assert_eq!(next(&mut site, None), None);
        assert_eq!(next(&mut site, fault()), Some(first));
    }
}
