//! Triggers over one update, until nothing more fires.
//!
//! After a trigger fired, checking starts again at the top, leaving out those that fired already
//! (reference/triggers-and-automations.md A1 fact 6). Where it changed nothing, starting again finds what going
//! on would have found: the earlier ones still do not hold.

use crate::domain::rule::Trigger;
use crate::domain::ticket::{Status, Ticket};

use super::actions::{Firing, perform};
use super::conditions::holds;
use super::{RuleRun, UpdateContext};

/// Runs the active triggers over an update that was applied to `ticket` already.
///
/// Not on a ticket that was closed before; on the update that closes it, yes (fact 2).
#[must_use]
pub fn run(ctx: &UpdateContext, ticket: &mut Ticket, triggers: &[Trigger]) -> RuleRun {
    let mut run = RuleRun::default();
    if ctx.before.is_some_and(|before| before.status == Status::Closed) {
        run.trace.push("triggers", "closed", "pass", "triggers do not run on a closed ticket");
        return run;
    }
    let mut waiting: Vec<&Trigger> = triggers.iter().filter(|trigger| trigger.active).collect();
    while let Some(next) = waiting.iter().position(|trigger| unmet(trigger, ctx, ticket).is_none()) {
        let trigger = waiting.remove(next);
        run.trace.push("triggers", trigger.key.clone(), "fired", "its conditions hold");
        let mut firing = Firing { ctx, ticket, trigger, run: &mut run };
        for action in &trigger.actions {
            perform(action, &mut firing);
        }
    }
    for trigger in waiting {
        if let Some(reason) = unmet(trigger, ctx, ticket) {
            run.trace.push("triggers", trigger.key.clone(), "pass", reason.to_string());
        }
    }
    run
}

/// Why a trigger does not fire.
#[derive(thiserror::Error, Debug)]
enum Unmet {
    #[error("the condition on `{0}` does not hold")]
    All(&'static str),
    #[error("none of its `any` conditions holds")]
    Any,
    #[error("it has no conditions")]
    Empty,
}

/// Every `all` condition and, if there are any, at least one `any` condition must hold (facts 8, 9).
fn unmet(trigger: &Trigger, ctx: &UpdateContext, ticket: &Ticket) -> Option<Unmet> {
    if trigger.all.is_empty() && trigger.any.is_empty() {
        return Some(Unmet::Empty);
    }
    if let Some(failed) = trigger.all.iter().find(|condition| !holds(condition, ctx, ticket)) {
        return Some(Unmet::All(failed.field()));
    }
    let any = trigger.any.is_empty() || trigger.any.iter().any(|condition| holds(condition, ctx, ticket));
    (!any).then_some(Unmet::Any)
}
