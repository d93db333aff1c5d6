//! Drains the outbox: claim ► compose ► send ► record.
//!
//! A claim is the last look before a mail leaves: the store asks once more whether the recipient may still see what is
//! in it (DESIGN §2). What is claimed ends `sent`, `dead` or `cancelled`, or is queued again; a crash in between leaves
//! a lease that runs out, and the same bytes are sent again under the same Message-ID.
//!
//! **Invariant:** what is being sent is never broken off: neither by a stop, nor by another mail, nor by trouble with
//! the store. A mail that the smarthost took and that is not recorded would be sent twice.
//! **Invariant:** a slow mail holds up nobody but its own sender.

mod crew;
pub mod smarthost;
pub mod transport;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::outbox::compose::{Letterhead, compose};
use crate::outbox::schedule::{self, Next};
use crate::store::outbox::{self, Budget, Claimed, Terms};
use crate::store::{Store, StoreError};
use crate::telemetry::{self, OutboxEvent};

use crew::{Crew, Finished, Site};
use transport::{Delivery, Outgoing, Sender, Transport};

#[derive(Clone, Debug)]
pub struct Settings {
    pub transport: Transport,
    pub letterhead: Letterhead,
    pub budget: Budget,
    /// Mails sent side by side.
    pub concurrency: usize,
    /// Microseconds of waiting between tries after which a mail that keeps being deferred is dead.
    pub give_up_after: i64,
}

/// A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct Mailer {
    store: Store,
    clock: Clock,
    settings: Arc<Settings>,
    /// Rung when a plan put something into the outbox.
    bell: Arc<Notify>,
}

/// What one emptying of the outbox came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    pub claimed: usize,
    /// The first fault of the site, if there was one.
    pub site_fault: Option<String>,
}

/// The longest sleep without a reason to wake up.
const IDLE: Duration = Duration::from_secs(60);
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// How often, and how much later, the store is asked again to record what became of a mail.
const RECORD_AGAIN: [Duration; 3] = [Duration::from_secs(1), STORE_PAUSE, Duration::from_secs(30)];

impl Mailer {
    #[must_use]
    pub fn new(store: Store, clock: Clock, settings: Settings, bell: Arc<Notify>) -> Self {
        Self { store, clock, settings: Arc::new(settings), bell }
    }

    /// Sends what is due until `shutdown`; what is being sent then is finished first.
    pub async fn run(&self, shutdown: CancellationToken) {
        let (mut crew, mut site) = (self.crew(), Site::default());
        loop {
            let stopping = shutdown.is_cancelled();
            if stopping && crew.busy.is_empty() {
                break;
            }
            let pause = site.pause_left();
            let nap = match pause {
                _ if stopping || crew.idle.is_empty() => IDLE,
                Some(left) => left,
                None => self.hand_out_or_rest(&mut crew).await,
            };
            tokio::select! {
                Some(finished) = crew.busy.join_next() => {
                    let mut next = Some(finished);
                    // All that are back: the next claim is for all of them.
                    while let Some(finished) = next {
                        let fault = crew.welcome(finished, &self.settings.transport);
                        if let Some((pause, fault)) = site.note(fault, jitter()) {
                            telemetry::outbox_paused(pause, &without_addresses(&fault));
                        }
                        next = crew.busy.try_join_next();
                    }
                }
                () = shutdown.cancelled(), if !stopping => {}
                () = self.bell.notified(), if pause.is_none() => {}
                () = tokio::time::sleep(nap) => {}
            }
        }
        crew.rest().await;
    }

    /// Sends everything that is due now, once, and comes back; a fault of the site ends it early.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn run_once(&self) -> Result<Round, String> {
        let mut crew = self.crew();
        let (mut round, mut trouble) = (Round::default(), None);
        loop {
            let mut seen = 0;
            if round.site_fault.is_none() && trouble.is_none() && !crew.idle.is_empty() {
                let busy = crew.busy.len();
                match self.hand_out(&mut crew).await {
                    Ok(rows) => seen = rows,
                    Err(error) => trouble = Some(error.to_string()),
                }
                round.claimed += crew.busy.len() - busy;
            }
            match crew.busy.join_next().await {
                Some(finished) => {
                    let fault = crew.welcome(finished, &self.settings.transport);
                    round.site_fault = round.site_fault.or(fault);
                }
                None if seen == 0 => break,
                None => {}
            }
        }
        crew.rest().await;
        trouble.map_or(Ok(round), Err)
    }

    fn crew(&self) -> Crew {
        let sender = || Sender::new(self.settings.transport.clone());
        Crew::new((0..self.settings.concurrency.max(1)).map(|_| sender()).collect())
    }

    /// Answers how long there is nothing to do for the idle.
    async fn hand_out_or_rest(&self, crew: &mut Crew) -> Duration {
        match self.hand_out(crew).await {
            Ok(0) => {
                crew.rest().await;
                self.until_due().await
            }
            Ok(_) => Duration::ZERO,
            Err(error) => {
                telemetry::store_trouble("working the outbox", &error.to_string());
                STORE_PAUSE
            }
        }
    }

    async fn until_due(&self) -> Duration {
        let store = self.store.clone();
        // SQLite never runs on tokio's own threads.
        let asked = tokio::task::spawn_blocking(move || store.ask(outbox::next_due)).await;
        let due = asked.ok().and_then(Result::ok).flatten();
        let wait =
            due.map_or(IDLE, |due| Duration::from_micros(due.since(self.clock.now()).max(0).unsigned_abs()));
        wait.min(IDLE)
    }

    /// Claims a mail for each idle sender; answers how many rows were looked at.
    async fn hand_out(&self, crew: &mut Crew) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let terms = Terms {
            limit: u32::try_from(crew.idle.len()).unwrap_or(u32::MAX),
            lease: self.settings.transport.lease(),
            budget: self.settings.budget,
        };
        let claims = self.store.tell_async(move |db| outbox::claim(db, now, terms)).await?;
        let seen = claims.seen();
        for mail in claims.cancelled {
            telemetry::outbox_cancelled(mail.id, mail.ticket, &mail.recipient, mail.reason);
        }
        for (id, why) in claims.unreadable {
            telemetry::store_trouble(&format!("reading outbox mail {id}"), &why);
        }
        for mail in claims.claimed {
            let Some(sender) = crew.idle.pop() else { break };
            crew.busy.spawn(self.clone().work(sender, mail));
        }
        Ok(seen)
    }

    /// Sends one mail and records what became of it.
    async fn work(self, sender: Sender, mail: Claimed) -> Finished {
        let started = std::time::Instant::now();
        let mail = Arc::new(mail);
        let delivering = tokio::spawn(deliver(Arc::clone(&mail), sender, Arc::clone(&self.settings)));
        let (sender, delivery) = match delivering.await {
            Ok((sender, delivery)) => (Some(sender), delivery),
            // Counted like any failed try, so that a mail that always ends its task is dead one day.
            Err(error) => (None, Delivery::Deferred(format!("the sending task ended: {error}"))),
        };
        let took = started.elapsed();
        for pause in RECORD_AGAIN {
            match self.record(&mail, delivery.clone(), took).await {
                Ok(()) => break,
                Err(error) => telemetry::store_trouble("recording what became of a mail", &error.to_string()),
            }
            tokio::time::sleep(pause).await;
        }
        let site_fault = match delivery {
            Delivery::SiteFault(fault) => Some(fault),
            Delivery::Sent | Delivery::Rejected(_) | Delivery::Deferred(_) => None,
        };
        Finished { sender, site_fault }
    }

    async fn record(&self, mail: &Claimed, delivery: Delivery, took: Duration) -> Result<(), StoreError> {
        let (id, now) = (mail.entry.id, self.clock.now());
        match delivery {
            Delivery::Sent => {
                self.store.tell_async(move |db| outbox::record_sent(db, id, now)).await?;
                telemetry::outbox_sent(&event(mail), took);
            }
            Delivery::Rejected(error) => self.bury(mail, error).await?,
            Delivery::Deferred(error) => {
                match schedule::next(mail.attempts, now, jitter(), self.settings.give_up_after) {
                    Next::GiveUp => self.bury(mail, format!("tried for too long; last: {error}")).await?,
                    Next::At(due) => {
                        let logged = without_addresses(&error);
                        self.store.tell_async(move |db| outbox::record_retry(db, id, &error, due)).await?;
                        let wait = Duration::from_micros(due.since(now).max(0).unsigned_abs());
                        telemetry::outbox_retry(&event(mail), wait, &logged);
                    }
                }
            }
            Delivery::SiteFault(fault) => {
                self.store.tell_async(move |db| outbox::release(db, &[id], now, &fault)).await?;
            }
        }
        Ok(())
    }

    async fn bury(&self, mail: &Claimed, error: String) -> Result<(), StoreError> {
        let (id, now) = (mail.entry.id, self.clock.now());
        let logged = without_addresses(&error);
        self.store.tell_async(move |db| outbox::record_dead(db, id, &error, now)).await?;
        telemetry::outbox_dead(&event(mail), &logged);
        Ok(())
    }
}

async fn deliver(mail: Arc<Claimed>, mut sender: Sender, settings: Arc<Settings>) -> (Sender, Delivery) {
    let delivery = match compose(&mail.notification, &mail.entry, &settings.letterhead) {
        Ok(bytes) => {
            let outgoing = Outgoing {
                id: mail.entry.id,
                reverse_path: mail.entry.reverse_path.clone(),
                recipient: mail.entry.recipient.clone(),
                bytes,
            };
            sender.send(&outgoing).await
        }
        Err(error) => Delivery::Rejected(error.to_string()),
    };
    (sender, delivery)
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

/// Servers like to quote the address they refuse. The log holds no whole address, and a return address is a token.
fn without_addresses(answer: &str) -> String {
    let words = answer.split_whitespace();
    words.map(|word| if word.contains('@') { "(address)" } else { word }).collect::<Vec<_>>().join(" ")
}

/// Spreads retries; nothing depends on its quality, so a failing source is a fixed number.
fn jitter() -> u64 {
    getrandom::u64().unwrap_or(7)
}
