//! Drains the outbox: claim ► compose ► send ► record.
//!
//! A claim is the last look before a mail leaves: the store asks once more whether the recipient may still see what is
//! in it (DESIGN §2). What is claimed ends `sent`, `dead` or `cancelled`, or is queued again; a crash in between leaves
//! a lease that runs out, and the same bytes are sent again under the same Message-ID.

pub mod smarthost;
pub mod transport;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::ids::OutboxId;
use crate::outbox::compose::{Letterhead, compose};
use crate::outbox::schedule::{self, Next};
use crate::store::Store;
use crate::store::outbox::{self, Budget, Claimed};
use crate::telemetry::{self, OutboxEvent};

use transport::{Delivery, Outgoing, Sender, Transport};

#[derive(Clone, Debug)]
pub struct Settings {
    pub transport: Transport,
    pub letterhead: Letterhead,
    pub budget: Budget,
    /// Mails sent side by side.
    pub concurrency: usize,
    /// Microseconds after which a mail that keeps being deferred is dead.
    pub give_up_after: i64,
}

#[derive(Debug)]
pub struct Mailer {
    store: Store,
    clock: Clock,
    settings: Settings,
    /// Rung when a plan put something into the outbox.
    bell: Arc<Notify>,
}

/// How a round of sending ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    pub claimed: usize,
    /// The first fault of the site, if there was one.
    pub site_fault: Option<String>,
}

const IDLE: Duration = Duration::from_secs(60);

impl Mailer {
    #[must_use]
    pub fn new(store: Store, clock: Clock, settings: Settings, bell: Arc<Notify>) -> Self {
        Self { store, clock, settings, bell }
    }

    /// Sends what is due until `shutdown`; what is being sent then is finished first.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut senders = self.senders();
        let mut faults_in_a_row = 0;
        while !shutdown.is_cancelled() {
            let pause = match self.round(&mut senders).await {
                Ok(Round { site_fault: Some(fault), .. }) => {
                    faults_in_a_row += 1;
                    let pause = schedule::site_pause(faults_in_a_row, jitter());
                    let pause = Duration::from_micros(pause.unsigned_abs());
                    telemetry::outbox_paused(pause, &fault);
                    pause
                }
                Ok(Round { claimed: 0, .. }) => {
                    for sender in &senders {
                        sender.lock().await.rest().await;
                    }
                    self.until_due().await
                }
                Ok(_) => {
                    faults_in_a_row = 0;
                    continue;
                }
                Err(error) => {
                    telemetry::store_trouble("working the outbox", &error);
                    Duration::from_secs(5)
                }
            };
            let bell_counts = faults_in_a_row == 0;
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.bell.notified(), if bell_counts => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.senders_rest(&mut senders).await;
    }

    /// Sends everything that is due now, once; for commands that run without the daemon, and tests.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn run_once(&self) -> Result<Round, String> {
        let mut senders = self.senders();
        let mut total = Round::default();
        loop {
            let round = self.round(&mut senders).await?;
            total.claimed += round.claimed;
            if round.site_fault.is_some() || round.claimed == 0 {
                total.site_fault = round.site_fault;
                self.senders_rest(&mut senders).await;
                return Ok(total);
            }
        }
    }

    fn senders(&self) -> Vec<Arc<Mutex<Sender>>> {
        let transport = &self.settings.transport;
        (0..self.settings.concurrency.max(1))
            .map(|_| Arc::new(Mutex::new(Sender::new(transport.clone()))))
            .collect()
    }

    async fn senders_rest(&self, senders: &mut [Arc<Mutex<Sender>>]) {
        for sender in senders {
            sender.lock().await.rest().await;
        }
    }

    async fn until_due(&self) -> Duration {
        let due = self.store_call(|store| store.ask(outbox::next_due)).await.ok().flatten();
        let wait =
            due.map_or(IDLE, |due| Duration::from_micros(due.since(self.clock.now()).max(0).unsigned_abs()));
        wait.min(IDLE)
    }

    /// Claims as many mails as there are senders, sends them side by side, records each.
    async fn round(&self, senders: &mut [Arc<Mutex<Sender>>]) -> Result<Round, String> {
        let (now, budget) = (self.clock.now(), self.settings.budget);
        let limit = u32::try_from(senders.len()).unwrap_or(u32::MAX);
        let claimed =
            self.store_call(move |store| store.tell(move |db| outbox::claim(db, now, limit, budget))).await?;
        let mut tasks = tokio::task::JoinSet::new();
        let mut round = Round { claimed: claimed.len(), site_fault: None };
        for (mail, sender) in claimed.into_iter().zip(senders.iter()) {
            let (sender, letterhead) = (Arc::clone(sender), self.settings.letterhead.clone());
            tasks.spawn(async move {
                let started = std::time::Instant::now();
                let delivery = deliver(&mail, &sender, &letterhead).await;
                (delivery, started.elapsed(), mail)
            });
        }
        while let Some(finished) = tasks.join_next().await {
            // A task that panicked leaves its row's lease to run out.
            let Ok((delivery, took, mail)) = finished else { continue };
            if let Delivery::SiteFault(fault) = &delivery {
                round.site_fault.get_or_insert_with(|| fault.clone());
            }
            self.record(&mail, delivery, took).await?;
        }
        Ok(round)
    }

    async fn record(&self, mail: &Claimed, delivery: Delivery, took: Duration) -> Result<(), String> {
        let (id, now) = (mail.entry.id, self.clock.now());
        match delivery {
            Delivery::Sent => {
                self.store_call(move |store| store.tell(move |db| outbox::record_sent(db, id, now))).await?;
                telemetry::outbox_sent(&event(mail), took);
            }
            Delivery::Rejected(error) => self.bury(id, error, mail).await?,
            Delivery::Deferred(error) => {
                let promised = mail.notification.created_at;
                match schedule::next(mail.attempts, promised, now, jitter(), self.settings.give_up_after) {
                    Next::GiveUp => {
                        self.bury(id, format!("given up after days; last: {error}"), mail).await?
                    }
                    Next::At(due) => {
                        let wait = Duration::from_micros(due.since(now).max(0).unsigned_abs());
                        telemetry::outbox_retry(&event(mail), wait, &error);
                        self.store_call(move |store| {
                            store.tell(move |db| outbox::record_retry(db, id, &error, due))
                        })
                        .await?;
                    }
                }
            }
            Delivery::SiteFault(fault) => {
                self.store_call(move |store| store.tell(move |db| outbox::release(db, &[id], now, &fault)))
                    .await?;
            }
        }
        Ok(())
    }

    async fn bury(&self, id: OutboxId, error: String, mail: &Claimed) -> Result<(), String> {
        let now = self.clock.now();
        telemetry::outbox_dead(&event(mail), &error);
        self.store_call(move |store| store.tell(move |db| outbox::record_dead(db, id, &error, now))).await
    }

    /// SQLite never runs on tokio's own threads.
    async fn store_call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<T, crate::store::StoreError> + Send + 'static,
    ) -> Result<T, String> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || call(&store)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(format!("the storing task ended: {error}")),
        }
    }
}

fn event(mail: &Claimed) -> OutboxEvent<'_> {
    let entry = &mail.entry;
    OutboxEvent {
        outbox: entry.id,
        ticket: entry.ticket,
        recipient: &entry.recipient,
        attempt: mail.attempts,
    }
}

async fn deliver(mail: &Claimed, sender: &Mutex<Sender>, letterhead: &Letterhead) -> Delivery {
    let bytes = match compose(&mail.notification, &mail.entry, letterhead) {
        Ok(bytes) => bytes,
        Err(error) => return Delivery::Rejected(error.to_string()),
    };
    let outgoing = Outgoing {
        id: mail.entry.id,
        reverse_path: mail.entry.reverse_path.clone(),
        recipient: mail.entry.recipient.clone(),
        bytes,
    };
    sender.lock().await.send(&outgoing).await
}

/// Spreads retries; nothing depends on its quality, so a failing source is a fixed number.
fn jitter() -> u64 {
    getrandom::u64().unwrap_or(7)
}
