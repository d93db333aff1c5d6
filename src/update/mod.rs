//! Turns any change of a ticket into a plan: events ► system rules ► `Ticket::apply` ► triggers ► render ► compose.
//!
//! Mail, command line and every later cause come through [`plan`]: there is no second way to change a ticket.
//!
//! **Invariant:** pure. Ids, secrets and `now` are injected; the same input gives the same plan.

mod notify;
mod recipients;
mod system_rules;

use crate::domain::address::Address;
use crate::domain::event::{Actor, Audit, AuditEvent, Event};
use crate::domain::fate::{DiscardReason, Fate};
use crate::domain::ids::{Fresh, SuspendedId, UserId};
use crate::domain::people::User;
use crate::domain::plan::{Change, MailRecord, Plan, Precondition, Target, Write};
use crate::domain::rule::{KnownPeople, Trigger};
use crate::domain::settings::Settings;
use crate::domain::snapshot::{PrivatePrint, SenderTrust, Snapshot, SuspendedTicket, TicketFile};
use crate::domain::ticket::{Comment, Ticket, Visibility};
use crate::domain::time::Timestamp;
use crate::domain::token::KeyRing;
use crate::privacy::recall;
use crate::rules;

/// The account's policy and secrets, as every update of it reads them.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub settings: &'a Settings,
    pub triggers: &'a [Trigger],
    pub keys: &'a KeyRing,
    pub recall_key: &'a [u8; 32],
}

/// One update in the making: what notifications and rules look at.
pub(crate) struct Update<'a> {
    pub before: Option<&'a Ticket>,
    /// As the update leaves it so far.
    pub ticket: Ticket,
    pub file: Option<&'a TicketFile>,
    pub change: &'a Change,
    pub snapshot: &'a Snapshot,
    pub context: &'a Context<'a>,
    pub now: Timestamp,
    /// What happened so far, in order.
    pub events: Vec<AuditEvent>,
}

impl Update<'_> {
    fn push(&mut self, by: Actor, event: Event) {
        self.ticket.apply(&event, self.now);
        self.events.push(AuditEvent { by, event });
    }

    pub fn user(&self, id: UserId) -> Option<&User> {
        self.change.new_users.iter().find(|user| user.id == id).or_else(|| self.snapshot.user(id))
    }

    /// The person who made the update.
    pub fn actor(&self) -> Option<UserId> {
        match self.change.actor {
            Actor::User { id } => Some(id),
            Actor::Rule { .. } | Actor::System => None,
        }
    }

    pub fn created(&self) -> bool {
        self.before.is_none()
    }

    /// A human agent did it: not a rule, not a machine, not somebody who only claims an agent's address.
    pub fn by_human_agent(&self) -> bool {
        let agent = self.actor().and_then(|id| self.user(id)).is_some_and(User::is_agent);
        let vouched = self
            .change
            .mail
            .as_ref()
            .is_none_or(|mail| mail.record.trust == SenderTrust::Authenticated && !mail.automatic);
        agent && vouched
    }

    /// The comments of the ticket, oldest first, the new one included.
    pub fn comments(&self) -> Vec<&Comment> {
        self.file.iter().flat_map(|file| &file.comments).chain(&self.change.comment).collect()
    }
}

/// Makes the plan of a change.
#[must_use]
pub fn plan(
    change: &Change,
    snapshot: &Snapshot,
    context: &Context<'_>,
    fresh: &mut dyn Fresh,
    now: Timestamp,
) -> Plan {
    let (file, ticket) = match change.target {
        Target::New { ticket, salt } => (None, Ticket::blank(ticket, salt, UserId(0), now)),
        Target::Existing(id) => match snapshot.tickets.get(&id) {
            Some(file) => (Some(file), file.ticket.clone()),
            // The ticket went away since the change was decided: the version cannot match, so it is decided again.
            None => return Plan { preconditions: vec![gone(id)], writes: Vec::new() },
        },
    };
    let before = file.map(|file| &file.ticket);
    let mut update = Update { before, ticket, file, change, snapshot, context, now, events: Vec::new() };
    for event in &change.events {
        update.push(change.actor.clone(), event.clone());
    }
    system_rules::run(&mut update);
    let run = run_triggers(&mut update);
    let mut trace = change.trace.clone();
    trace.extend(run.trace);

    let audit = fresh.audit();
    let promised = notify::promise(&mut update, &run.notifications, audit, fresh, &mut trace);
    let mut plan = Plan { preconditions: change.preconditions.clone(), writes: Vec::new() };
    plan.preconditions.push(Precondition::TicketVersion {
        ticket: update.ticket.id,
        version: before.map_or(0, |ticket| ticket.version),
    });
    plan.writes.extend(change.new_users.iter().cloned().map(Write::InsertUser));
    plan.writes.push(Write::PutTicket(update.ticket.clone()));
    write_comment(&update, &mut plan);
    plan.writes.push(Write::InsertAudit(Audit {
        id: audit,
        ticket: update.ticket.id,
        actor: change.actor.clone(),
        via: change.via,
        journal: change.mail.as_ref().map(|mail| mail.record.journal),
        created_at: now,
        events: update.events.clone(),
        trace,
    }));
    plan.writes.extend(promised);
    write_mail(&update, &mut plan);
    plan
}

fn gone(ticket: crate::domain::ids::TicketId) -> Precondition {
    Precondition::TicketVersion { ticket, version: -1 }
}

fn run_triggers(update: &mut Update<'_>) -> rules::RuleRun {
    let context = rules::UpdateContext {
        before: update.before,
        comment: update.change.comment.as_ref().map(|comment| comment.visibility),
        actor: update.actor(),
        via: update.change.via,
        people: KnownPeople { snapshot: update.snapshot, newcomers: &update.change.new_users },
        now: update.now,
    };
    let run = rules::run(&context, &mut update.ticket, update.context.triggers);
    update.events.extend(run.events.iter().cloned());
    run
}

fn write_comment(update: &Update<'_>, plan: &mut Plan) {
    let Some(comment) = &update.change.comment else { return };
    plan.writes.extend(comment_writes(comment, update.context.recall_key));
}

/// The rows of a comment; a private one leaves its fingerprint for rule 9.
#[must_use]
pub fn comment_writes(comment: &Comment, recall_key: &[u8; 32]) -> Vec<Write> {
    let print = (comment.visibility == Visibility::Private).then(|| print(comment, recall_key));
    let print = print.map(|print| Write::InsertPrivatePrint { ticket: comment.ticket, print });
    [Write::InsertComment(comment.clone())].into_iter().chain(print).collect()
}

/// Turns a public comment into a note: from now on its text counts as private too.
#[must_use]
pub fn hide_comment_writes(comment: &Comment, recall_key: &[u8; 32]) -> Vec<Write> {
    let print = print(comment, recall_key);
    vec![Write::MakeCommentPrivate(comment.id), Write::InsertPrivatePrint { ticket: comment.ticket, print }]
}

fn print(comment: &Comment, recall_key: &[u8; 32]) -> PrivatePrint {
    let attachments: Vec<_> = comment.attachments.iter().map(|attachment| attachment.sha256).collect();
    recall::print(recall_key, Some(comment.id), &comment.text, &attachments)
}

fn write_mail(update: &Update<'_>, plan: &mut Plan) {
    if let Some(held) = update.change.recovers {
        plan.writes.push(Write::ReleaseSuspended(held));
    }
    let Some(mail) = &update.change.mail else { return };
    plan.writes.push(Write::SettleJournal {
        journal: mail.record.journal,
        record: Some(mail.record.clone()),
        fate: Fate::Done {
            ticket: update.ticket.id,
            comment: update.change.comment.as_ref().map(|comment| comment.id),
        },
    });
}

/// Holds a mail for a person.
#[must_use]
pub fn hold(held: SuspendedTicket, record: MailRecord) -> Plan {
    let journal = record.journal;
    let fate = Fate::Suspended(held.cause);
    let settle = Write::SettleJournal { journal, record: Some(record), fate };
    Plan {
        preconditions: vec![Precondition::JournalPending(journal)],
        writes: vec![Write::InsertSuspended(held), settle],
    }
}

/// Lets a mail make nothing; a bounce of ours is noted on the mail that bounced.
#[must_use]
pub fn discard(
    record: MailRecord,
    reason: DiscardReason,
    bounced: Option<Address>,
    recovers: Option<SuspendedId>,
) -> Plan {
    let journal = record.journal;
    let released = recovers.map(Write::ReleaseSuspended);
    let bounced = bounced.map(|reverse_path| Write::MarkBounced { reverse_path });
    let settle = Write::SettleJournal { journal, record: Some(record), fate: Fate::Discarded(reason) };
    let undecided = recovers.map_or(Precondition::JournalPending(journal), Precondition::SuspendedHeld);
    Plan {
        preconditions: vec![undecided],
        writes: released.into_iter().chain(bounced).chain([settle]).collect(),
    }
}
