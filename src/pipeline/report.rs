//! What became of one mail, in the words of `postern replay --json` and of the `message.decided` event (DESIGN §10).

use std::time::Duration;

use serde::Serialize;

use crate::domain::event::{Actor, Event};
use crate::domain::ids::{CommentId, JournalId, TicketId};
use crate::domain::mail::MessageId;
use crate::domain::plan::{Plan, Target, Write};
use crate::domain::snapshot::SenderTrust;
use crate::domain::trace::Trace;
use crate::identify::Clue;
use crate::intake::{Decided, Outcome};
use crate::telemetry::DecidedEvent;

/// One decided mail. The field names are fixed: programs depend on them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MailReport {
    pub journal: i64,
    /// `comment`, `suspended`, `discarded` or `failed`.
    pub state: &'static str,
    pub ticket: Option<i64>,
    pub created_ticket: bool,
    pub comment: Option<i64>,
    pub visibility: Option<&'static str>,
    /// The privacy rule that decided; a suspended mail has one if the privacy list held it.
    pub rule: Option<String>,
    pub flags: Vec<&'static str>,
    /// The clue that named the ticket: `address-token`, `body-token`, `header`.
    pub identified_by: Option<&'static str>,
    /// Why the mail was suspended or discarded, or what failed.
    pub cause: Option<String>,
    pub detail: Option<String>,
    pub sender_trust: SenderTrust,
    /// Each mail command with its outcome: `solved=applied`.
    pub commands: Vec<String>,
    /// Keys of the triggers that fired.
    pub triggers: Vec<String>,
    /// Mails put into the outbox.
    pub notifications: usize,
    pub trace: Trace,
}

impl MailReport {
    #[must_use]
    pub fn new(journal: JournalId, decided: &Decided, notifications: usize, triggers: Vec<String>) -> Self {
        let report = Self {
            journal: journal.0,
            identified_by: (decided.identified_by != Clue::None).then(|| decided.identified_by.word()),
            sender_trust: decided.trust,
            notifications,
            triggers,
            trace: decided.outcome.trace().clone(),
            ..Self::default()
        };
        match &decided.outcome {
            Outcome::Suspend { held, .. } => Self {
                state: "suspended",
                ticket: held.ticket.map(|id| id.0),
                rule: settled_by_privacy(decided.outcome.trace()),
                cause: Some(held.cause.name().to_owned()),
                detail: Some(held.detail.clone()),
                ..report
            },
            Outcome::Discard { reason, .. } => {
                Self { state: "discarded", cause: Some(reason.name().to_owned()), ..report }
            }
            Outcome::Update(change) => {
                let (ticket, created_ticket) = match change.target {
                    Target::New { ticket, .. } => (ticket, true),
                    Target::Existing(ticket) => (ticket, false),
                };
                let comment = change.comment.as_ref();
                Self {
                    state: "comment",
                    ticket: Some(ticket.0),
                    created_ticket,
                    comment: comment.map(|comment| comment.id.0),
                    visibility: comment.map(|comment| comment.visibility.word()),
                    rule: comment.map(|comment| comment.rule.clone()),
                    flags: comment
                        .iter()
                        .flat_map(|comment| &comment.flags)
                        .map(|flag| flag.word())
                        .collect(),
                    commands: change.events.iter().filter_map(command).collect(),
                    ..report
                }
            }
        }
    }

    /// The mail could not be decided.
    #[must_use]
    pub fn failed(journal: JournalId, error: &str) -> Self {
        Self { journal: journal.0, state: "failed", cause: Some(error.to_owned()), ..Self::default() }
    }

    /// The log line of this decision.
    #[must_use]
    pub fn event<'a>(&'a self, message_id: Option<&'a MessageId>, duration: Duration) -> DecidedEvent<'a> {
        DecidedEvent {
            journal: JournalId(self.journal),
            message_id,
            ticket: self.ticket.map(TicketId),
            comment: self.comment.map(CommentId),
            outcome: match self.state {
                "comment" => self.visibility.unwrap_or("no_comment"),
                state => self.cause.as_deref().filter(|_| state != "failed").unwrap_or(state),
            },
            rule: self.rule.as_deref(),
            identified_by: self.identified_by,
            sender_trust: self.sender_trust,
            commands: &self.commands,
            triggers: &self.triggers,
            duration,
        }
    }
}

/// The privacy rule that held the mail, if it came that far.
fn settled_by_privacy(trace: &Trace) -> Option<String> {
    let settled = trace.steps.iter().rev().find(|step| step.stage == "privacy" && step.answer == "settle");
    settled.map(|step| step.check.to_string())
}

fn command(event: &Event) -> Option<String> {
    match event {
        Event::Command { name, outcome, .. } => Some(format!("{name}={}", outcome.word())),
        _ => None,
    }
}

/// The keys of the triggers that did something in this plan.
#[must_use]
pub fn fired(plan: &Plan) -> Vec<String> {
    let mut keys = Vec::new();
    for write in &plan.writes {
        let Write::InsertAudit(audit) = write else { continue };
        for event in &audit.events {
            if let Actor::Rule { key } = &event.by
                && !keys.contains(key)
            {
                keys.push(key.clone());
            }
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_line_says_what_became_of_the_mail_and_which_rule_decided() {
        let check = |report: MailReport, outcome: &str, rule: Option<&str>| {
            let event = report.event(None, Duration::ZERO);
            assert_eq!((event.outcome, event.rule), (outcome, rule));
        };
        let report = |state, cause: Option<&str>, rule: Option<&str>| MailReport {
            state,
            cause: cause.map(str::to_owned),
            rule: rule.map(str::to_owned),
            ..MailReport::default()
        };
        let public = MailReport { visibility: Some("public"), ..report("comment", None, Some("end-user")) };
        check(public, "public", Some("end-user"));
        check(report("comment", None, None), "no_comment", None);
        check(report("discarded", Some("duplicate"), None), "duplicate", None);
        let rule = Some("outsider-without-encoded-id");
        check(report("suspended", Some("other_user_update"), rule), "other_user_update", rule);
        check(report("failed", Some("an error with words of the mail"), None), "failed", None);
    }
}
