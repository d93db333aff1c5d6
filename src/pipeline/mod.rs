//! An accepted mail, or an operator's command, through the core and into the store.
//!
//! Everything that changes a ticket goes the same way: read a snapshot, run a pure function over it, commit its plan; and
//! again from the snapshot when something it relied on has changed meanwhile (`Store::run`).

mod decider;
mod operator;
pub mod pressure;
pub mod report;
pub mod scheduler;
pub mod workers;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::domain::fate::Fate;
use crate::domain::ids::{Fresh, JournalId, SuspendedId, TicketId};
use crate::domain::mail::{Attachment, InboundMessage};
use crate::domain::plan::{Plan, Write};
use crate::domain::rule::Trigger;
use crate::domain::settings::Settings;
use crate::domain::snapshot::{JournalEntry, Snapshot};
use crate::domain::time::Timestamp;
use crate::domain::token::{KeyRing, KeyState, TokenKey};
use crate::intake::{self, Outcome, Policy, Prepared};
use crate::message;
use crate::store::{self, KeyFile, RunError, Store};
use crate::telemetry::{self, Stage};
use crate::update;

use decider::MailScheduler;
pub use operator::Undone;
use pressure::Pressure;
use report::MailReport;

/// The account's policy and secrets, loaded once at start.
#[derive(Clone, Debug)]
pub struct Account {
    pub settings: Settings,
    pub triggers: Vec<Trigger>,
    pub keys: KeyRing,
    pub recall_key: [u8; 32],
    /// The texts of triggers and locale: they never count as repeated private text (rule 9).
    pub template_texts: Vec<String>,
}

impl Account {
    fn policy(&self) -> Policy<'_> {
        Policy {
            settings: &self.settings,
            keys: &self.keys,
            recall_key: &self.recall_key,
            template_texts: &self.template_texts,
        }
    }

    pub(crate) fn context(&self) -> update::Context<'_> {
        update::Context {
            settings: &self.settings,
            triggers: &self.triggers,
            keys: &self.keys,
            recall_key: &self.recall_key,
        }
    }
}

/// The way from an accepted mail to its plan. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub store: Store,
    pub clock: Clock,
    account: Arc<std::sync::RwLock<Arc<Account>>>,
    /// Rung when mail was put into the outbox.
    pub outbox_bell: Arc<Notify>,
    /// Failed mails that a person has had tried again, until the deciders take them up.
    retried: Arc<Mutex<Vec<JournalId>>>,
    /// Who takes mail in asks it for a place.
    pub pressure: Arc<Pressure>,
}

impl Pipeline {
    #[must_use]
    pub fn new(store: Store, clock: Clock, account: Account) -> Self {
        let account = Arc::new(std::sync::RwLock::new(Arc::new(account)));
        let pressure = Arc::new(Pressure::none());
        Self { store, clock, account, outbox_bell: Arc::default(), retried: Arc::default(), pressure }
    }

    /// The policy in force now.
    #[must_use]
    pub fn account(&self) -> Arc<Account> {
        Arc::clone(&self.account.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Signs and verifies with these keys from now on.
    ///
    /// # Errors
    /// If the file holds no sound set of keys.
    pub fn use_keys(&self, file: &KeyFile) -> Result<(), String> {
        let mut place = self.account.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let keys = key_ring(&place.settings, file, self.clock.now())?;
        *place = Arc::new(Account { keys, ..(**place).clone() });
        Ok(())
    }

    /// Decides a kept mail and commits what follows.
    ///
    /// # Errors
    /// If the store cannot be read or written; the mail stays as it was.
    pub fn decide(
        &self,
        entry: &JournalEntry,
        recovers: Option<SuspendedId>,
    ) -> Result<MailReport, RunError> {
        let message = parse(&entry.raw);
        self.decide_message(entry, &message, recovers)
    }

    /// As [`Pipeline::decide`], with the mail parsed before.
    ///
    /// # Errors
    /// As there.
    fn decide_message(
        &self,
        entry: &JournalEntry,
        message: &InboundMessage,
        recovers: Option<SuspendedId>,
    ) -> Result<MailReport, RunError> {
        let started = Instant::now();
        let account = self.account();
        let case = self.case(entry, message, recovers, &account, None)?;
        let lookup = case.prepared.lookup();
        let report = self.store.run(&lookup, case.now, |snapshot, fresh| case.draft(snapshot, fresh))?;
        self.tell(&report, message, started.elapsed());
        Ok(report)
    }

    fn case<'a>(
        &'a self,
        entry: &'a JournalEntry,
        message: &'a InboundMessage,
        recovers: Option<SuspendedId>,
        account: &'a Account,
        scheduler: Option<&'a MailScheduler>,
    ) -> Result<Case<'a>, RunError> {
        let prepared = intake::prepare(entry.id, message, &entry.envelope, recovers, &account.policy());
        let prepared = prepared_with_salts(&self.store, prepared, &account.policy())?;
        let kept = Cell::new(false);
        let attachments = AttachmentKeeper { store: &self.store, message, scheduler, kept };
        Ok(Case { prepared, account, attachments, now: self.clock.now() })
    }

    /// What is told once a decision is committed.
    fn tell(&self, report: &MailReport, message: &InboundMessage, took: Duration) {
        if report.notifications > 0 {
            self.outbox_bell.notify_one();
        }
        telemetry::message_decided(&report.event(message.message_id.as_ref(), took));
    }

    /// The tickets that a mail names, as far as `message` was read.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn tickets_of(
        &self,
        entry: &JournalEntry,
        message: &InboundMessage,
    ) -> Result<BTreeSet<TicketId>, RunError> {
        let account = self.account();
        let policy = account.policy();
        let prepared = intake::prepare(entry.id, message, &entry.envelope, None, &policy);
        let prepared = prepared_with_salts(&self.store, prepared, &policy)?;
        Ok(self.store.tickets_named(prepared.claims())?)
    }

    fn retried(&self) -> MutexGuard<'_, Vec<JournalId>> {
        self.retried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What would become of a mail, against the tickets as they are; writes nothing.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn explain(&self, entry: &JournalEntry) -> Result<MailReport, RunError> {
        let message = message::parse(&entry.raw);
        let account = self.account();
        let policy = account.policy();
        let prepared = intake::prepare(entry.id, &message, &entry.envelope, None, &policy);
        let prepared = prepared_with_salts(&self.store, prepared, &policy)?;
        let snapshot = self.store.snapshot(&prepared.lookup())?;
        let mut fresh = crate::domain::ids::CountingFresh::default();
        let decided = intake::decide(&prepared, &snapshot, &policy, &mut fresh);
        Ok(MailReport::new(entry.id, &decided, 0, Vec::new()))
    }

    /// Decides a row of the journal unless that was done before.
    ///
    /// # Errors
    /// As [`Pipeline::decide`].
    pub fn decide_pending(&self, entry: &JournalEntry) -> Result<Option<MailReport>, RunError> {
        match entry.fate {
            Fate::Pending => self.decide(entry, None).map(Some),
            _ => Ok(None),
        }
    }
}

/// Salts never change, so they need not be of the snapshot that the decision is made from.
fn prepared_with_salts<'a>(
    store: &Store,
    prepared: intake::Prepared<'a>,
    policy: &Policy<'_>,
) -> Result<intake::Prepared<'a>, RunError> {
    let salts = store.salts(&prepared.claimed())?;
    Ok(prepared.with_salts(&salts, policy))
}

/// Reads a mail, and tells how long that took.
fn parse(raw: &[u8]) -> InboundMessage {
    let began = Instant::now();
    let message = message::parse(raw);
    telemetry::stage(Stage::Parse, began.elapsed());
    message
}

/// The keys of the file as the core knows them; a retired one verifies for five years.
///
/// # Errors
/// If the file holds no sound set of keys.
pub fn key_ring(settings: &Settings, file: &KeyFile, now: Timestamp) -> Result<KeyRing, String> {
    let keys = file.token_keys.iter().map(|key| TokenKey {
        id: key.id,
        secret: key.secret.0,
        state: match key.state {
            store::KeyState::Active => KeyState::Active,
            store::KeyState::Retired if key.verifies(now) => KeyState::Retired,
            store::KeyState::Retired | store::KeyState::Revoked => KeyState::Revoked,
        },
    });
    KeyRing::new(&settings.account.mail_domain, keys.collect()).map_err(|error| format!("keys.json: {error}"))
}

/// One mail, and all that its decision needs besides the store.
struct Case<'a> {
    prepared: intake::Prepared<'a>,
    account: &'a Account,
    attachments: AttachmentKeeper<'a>,
    now: Timestamp,
}

impl Case<'_> {
    /// Decides over one snapshot. May be called again: what it does besides is done once.
    fn draft(&self, snapshot: &Snapshot, fresh: &mut dyn Fresh) -> Result<(Plan, MailReport), RunError> {
        let deciding = Instant::now();
        let Prepared { journal, recovers, .. } = self.prepared;
        let decided = intake::decide(&self.prepared, snapshot, &self.account.policy(), fresh);
        let plan = match &decided.outcome {
            Outcome::Update(change) => {
                self.attachments.keep_for(change.comment.is_some())?;
                update::plan(change, snapshot, &self.account.context(), fresh, self.now)
            }
            // What no person may let in stays held as it is.
            Outcome::Suspend { .. } if recovers.is_some() => Plan::default(),
            Outcome::Suspend { held, record, .. } => update::hold(held.clone(), record.clone()),
            Outcome::Discard { reason, record, bounced, .. } => {
                update::discard(record.clone(), *reason, bounced.clone(), recovers)
            }
        };
        telemetry::stage(Stage::Decide, deciding.elapsed());
        let mails = plan.writes.iter().filter(|write| matches!(write, Write::InsertOutbox(_))).count();
        let triggers = report::fired(&plan);
        let report = MailReport::new(journal, &decided, mails, triggers);
        Ok((plan, report))
    }
}

/// Puts the attachments of a comment into the blob store before the plan that refers to them is committed.
struct AttachmentKeeper<'a> {
    store: &'a Store,
    message: &'a InboundMessage,
    /// Whom to tell of the wait for the disk.
    scheduler: Option<&'a MailScheduler>,
    kept: Cell<bool>,
}

impl AttachmentKeeper<'_> {
    fn keep_for(&self, has_comment: bool) -> Result<(), RunError> {
        if !has_comment || self.kept.get() {
            return Ok(());
        }
        // The raw mail holds them too, so that they were put before is enough.
        let new = |file: &&Attachment| !self.store.has_blob(&file.sha256, file.content.len());
        let mut new = self.message.attachments.iter().filter(new).peekable();
        if new.peek().is_some() {
            let mut keep = || new.try_for_each(|file| self.store.put_blob(&file.content).map(drop));
            match self.scheduler {
                Some(scheduler) => scheduler.aside(keep)?,
                None => keep()?,
            }
        }
        self.kept.set(true);
        Ok(())
    }
}
