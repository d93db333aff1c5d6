//! What operators ask for, by command line or control socket. Each answers with the JSON that `--json` prints.

use serde_json::{Value, json};

use crate::domain::event::Event;
use crate::domain::fate::{DiscardReason, Fate};
use crate::domain::ids::{CommentId, JournalId, OutboxId, SuspendedId};
use crate::domain::plan::{Change, Plan, Precondition, Target, Write};
use crate::domain::snapshot::Lookup;
use crate::domain::ticket::Visibility;
use crate::domain::token;
use crate::domain::trace::Trace;
use crate::store::queries;
use crate::store::{KeyState, RenderedLate, RetryAnswer, RunError};
use crate::telemetry;
use crate::template;
use crate::update;

use super::Pipeline;

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undone {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Trouble(String),
}

impl Pipeline {
    /// Has a failed mail tried again, as if it had never been: at once if deciders run, else when they do.
    ///
    /// # Errors
    /// `Refused` if there is no such mail, or it has not failed.
    pub fn retry_failed(&self, id: JournalId) -> Result<Value, Undone> {
        if !self.store.retry_failed(id).map_err(trouble)? {
            return Err(Undone::Refused(format!("mail `{id}` is not among the failed ones")));
        }
        telemetry::message_retried(id);
        self.retried().push(id);
        self.store.subscribe().ring();
        Ok(json!({ "journal": id.0, "state": "pending" }))
    }

    /// Lets a held mail in: the whole list runs again with a person's word for it (reference/comment-privacy.md §11).
    ///
    /// # Errors
    /// `Refused` if there is no such held mail, or it is one that no person may let in; `Trouble` if the store fails.
    pub fn recover(&self, id: SuspendedId) -> Result<Value, Undone> {
        let held = self.store.ask(|db| queries::suspended_show(db, id)).map_err(trouble)?;
        let held = held
            .filter(|held| held.released_at.is_none())
            .ok_or_else(|| Undone::Refused(format!("no suspended mail `{id}` is held")))?;
        let entry = self.store.entry(held.journal).map_err(trouble)?;
        let entry = entry.ok_or_else(|| Undone::Refused(format!("the raw mail of `{id}` is gone")))?;
        let report = self.decide(&entry, Some(id)).map_err(refused_on_conflict)?;
        if let ("suspended", Some(why)) = (report.state, &report.detail) {
            return Err(Undone::Refused(format!("mail `{id}` stays held: {why}")));
        }
        serde_json::to_value(&report).map_err(trouble)
    }

    /// Removes a held mail from the queue; its journal row stays, as deleted by a person.
    ///
    /// # Errors
    /// As [`Pipeline::recover`].
    pub fn delete_suspended(&self, id: SuspendedId) -> Result<Value, Undone> {
        let held = self.store.ask(|db| queries::suspended_show(db, id)).map_err(trouble)?;
        let held = held
            .filter(|held| held.released_at.is_none())
            .ok_or_else(|| Undone::Refused(format!("no suspended mail `{id}` is held")))?;
        let journal = held.journal;
        let plan = Plan {
            preconditions: vec![Precondition::SuspendedHeld(id)],
            writes: vec![
                Write::ReleaseSuspended(id),
                Write::SettleJournal {
                    journal,
                    record: None,
                    fate: Fate::Discarded(DiscardReason::DeletedBy),
                },
            ],
        };
        self.store
            .run(&Lookup::default(), self.clock.now(), |_, _| Ok((plan.clone(), ())))
            .map_err(refused_on_conflict)?;
        Ok(json!({ "suspended": id.0, "state": "discarded", "cause": "deleted_by" }))
    }

    /// Queues a mail again that is dead, cancelled, waiting, or was never rendered.
    ///
    /// # Errors
    /// `Refused` if there is no such mail, it was sent, or its template still fails.
    pub fn retry_outbox(&self, id: OutboxId) -> Result<Value, Undone> {
        let render = |subject: &str, body: &str, values: &Value| {
            let mail = template::render_frozen(subject, body, values)?;
            Ok::<_, template::TemplateError>(RenderedLate {
                subject: token::defuse(&mail.subject),
                text: token::defuse(&mail.text),
                html: token::defuse(&mail.html),
            })
        };
        match self.store.retry_outbox(id, self.clock.now(), render).map_err(trouble)? {
            RetryAnswer::Queued => {
                self.outbox_bell.notify_one();
                Ok(json!({ "outbox": id.0, "state": "queued" }))
            }
            RetryAnswer::Refused(why) => Err(Undone::Refused(why)),
        }
    }

    /// Turns a public comment into an internal note. Copies of it that still wait in the outbox are not sent.
    ///
    /// # Errors
    /// `Refused` if there is no such comment or it is private already.
    pub fn make_comment_private(&self, id: CommentId) -> Result<Value, Undone> {
        let ticket = self.store.ticket_of_comment(id).map_err(trouble)?;
        let ticket = ticket.ok_or_else(|| Undone::Refused(format!("there is no comment `{id}`")))?;
        let account = self.account();
        let lookup = Lookup { tickets: [ticket].into(), ..Lookup::default() };
        let now = self.clock.now();
        let answer = self.store.run(&lookup, now, |snapshot, fresh| {
            let comment = snapshot
                .tickets
                .get(&ticket)
                .and_then(|file| file.comments.iter().find(|comment| comment.id == id))
                .filter(|comment| comment.visibility == Visibility::Public);
            let Some(comment) = comment else {
                let why =
                    format!("comment `{id}` is not a public comment among the newest 100 of its ticket");
                return Ok((Plan::default(), Err(why)));
            };
            let mut trace = Trace::default();
            trace.push(
                "operator",
                "make-private",
                "applied",
                "an operator made the comment an internal note",
            );
            let change = Change::by_system(
                Target::Existing(ticket),
                vec![Event::CommentMadePrivate { comment: id }],
                trace,
            );
            let mut plan = update::plan(&change, snapshot, &account.context(), fresh, now);
            plan.writes.extend(update::hide_comment_writes(comment, &account.recall_key));
            Ok((plan, Ok(())))
        });
        answer.map_err(refused_on_conflict)?.map_err(Undone::Refused)?;
        Ok(json!({ "comment": id.0, "ticket": ticket.0, "visibility": "private" }))
    }

    /// Copies the database as it is now, for a backup; who asked takes the copy away.
    ///
    /// # Errors
    /// `Trouble` if there is no room, or the database cannot be read.
    pub fn copy_database(&self) -> Result<Value, Undone> {
        let staged = self.store.copy_database(self.pressure.disk_reserve()).map_err(trouble)?;
        Ok(json!({ "staged": staged }))
    }

    /// Makes a new signing key; old ones go on verifying.
    ///
    /// # Errors
    /// `Trouble` if the key file cannot be written.
    pub fn rotate_key(&self) -> Result<Value, Undone> {
        let keys = self.store.rotate_key(self.clock.now()).map_err(trouble)?;
        let active = keys.token_keys.iter().find(|key| key.state == KeyState::Active).map(|key| key.id);
        self.use_keys(&keys).map_err(Undone::Trouble)?;
        Ok(json!({ "active_key": active }))
    }

    /// Stops a key from verifying: tokens made with it no longer identify tickets.
    ///
    /// # Errors
    /// `Refused` if there is no such key, or it is the active one.
    pub fn revoke_key(&self, id: u8) -> Result<Value, Undone> {
        let keys = self.store.revoke_key(id).map_err(|error| Undone::Refused(error.to_string()))?;
        self.use_keys(&keys).map_err(Undone::Trouble)?;
        Ok(json!({ "revoked_key": id }))
    }
}

fn trouble(error: impl std::fmt::Display) -> Undone {
    Undone::Trouble(error.to_string())
}

fn refused_on_conflict(error: RunError) -> Undone {
    match error {
        RunError::Conflict(what) => Undone::Refused(format!("somebody else was faster: {what}")),
        other => trouble(other),
    }
}
