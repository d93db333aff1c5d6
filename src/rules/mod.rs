//! Triggers: rules that run on every update of a ticket (reference/triggers-and-automations.md parts A, C, D).
//!
//! **Invariants:** pure, always answers. Each trigger fires at most once per update, so a run ends after at most
//! as many firings as there are triggers. The ticket changes by `Ticket::apply` alone, and only by events that
//! change something. Mails are collected here as intents; `crate::update` finds their recipients and renders
//! them when all rules have run, so that placeholders show final values.

mod actions;
mod conditions;
mod triggers;

use crate::domain::event::AuditEvent;
use crate::domain::ids::UserId;
use crate::domain::rule::{KnownPeople, NotificationIntent};
use crate::domain::ticket::{Channel, Ticket, Visibility};
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;

pub use triggers::run;

/// The update that set the rules off.
#[derive(Clone, Copy, Debug)]
pub struct UpdateContext<'a> {
    /// The ticket before the update; none if the update creates it.
    pub before: Option<&'a Ticket>,
    /// The comment that came with the update, if any.
    pub comment: Option<Visibility>,
    /// The current user: who made the update; none if the system did.
    pub actor: Option<UserId>,
    pub via: Channel,
    pub people: KnownPeople<'a>,
    pub now: Timestamp,
}

/// What the rules did, in order, and for each rule that is active whether it fired and why.
#[derive(Clone, Debug, Default)]
pub struct RuleRun {
    pub events: Vec<AuditEvent>,
    pub notifications: Vec<NotificationIntent>,
    pub trace: Trace,
}
