//! Whether a mail may become a ticket update: accepted, held for a person, or discarded.
//!
//! The order of [`CHECKS`] is the policy; the first check that settles decides, and its cause is the one that
//! is stored. Causes and numbers: the published ones ([`SuspensionCause`]).
//!
//! **Invariants:** nothing is discarded but our own mail. A person who lets a held mail in vouches for its
//! content, not for its sender: a mail in the name of an agent whom nobody authenticated is then an outsider's
//! ([`Admission::author_is_outsider`]).
//!
//! Not here: rule 2 of the privacy list (causes 5 and 6), mail loops by rate (4), and duplicates.

use crate::domain::address::Address;
use crate::domain::fate::{DiscardReason, SuspensionCause};
use crate::domain::mail::Automation;
use crate::domain::trace::Trace;

mod automatic;

/// What the checks may look at. The default is a mail with nothing in it, from nobody.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// A notification of ours came back.
    pub is_own_notification: bool,
    /// A mail of ours could not be delivered, and this says so.
    pub is_own_bounce: bool,
    /// The author: From, or an aligned Reply-To.
    pub author: Option<Address>,
    /// The From address, if the author is another.
    pub from: Option<Address>,
    /// From or author is a support or return address.
    pub is_from_own_address: bool,
    pub author_is_suspended_user: bool,
    pub automation: Automation,
    /// The SMTP sender was `<>`.
    pub reverse_path_is_null: bool,
    pub author_is_agent: bool,
    /// The sender's trust in the author's address is `authenticated`.
    pub author_is_authenticated: bool,
    /// Reply-To names an agent, and nothing vouches that From may speak for that address.
    pub reply_to_names_agent_unaligned: bool,
    /// There is text, a command, an attachment or a subject.
    pub has_content: bool,
    /// CCs the ticket would have.
    pub ccs: usize,
    pub max_ccs: usize,
    /// A person let it in from the suspended queue.
    pub recovered: bool,
}

/// The answer to one mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    pub verdict: Verdict,
    /// A person let in a mail that names an agent for whom nobody vouches: take its author as an end user outside
    /// the ticket, without commands and without access.
    pub author_is_outsider: bool,
    pub trace: Trace,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    /// `detail` is one sentence for the person who reviews it.
    Suspend {
        cause: SuspensionCause,
        detail: &'static str,
    },
    Discard(DiscardReason),
}

/// A named check of the list.
#[derive(Debug)]
pub struct Check {
    pub name: &'static str,
    run: fn(&Facts) -> Answer,
    on_recovery: Recovery,
}

/// What becomes of a check's suspension when a person has let the mail in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recovery {
    Waives,
    /// It is let in, but not with the powers of the agent it names.
    WaivesForOutsider,
    /// What is wrong is not a person's to overlook.
    Stands,
}

use Recovery::{Stands, Waives, WaivesForOutsider};

pub const CHECKS: &[Check] = &[
    Check { name: "own-notification", run: own_notification, on_recovery: Stands },
    Check { name: "own-bounce", run: own_bounce, on_recovery: Stands },
    Check { name: "no-author", run: no_author, on_recovery: Stands },
    Check { name: "from-support-address", run: from_support_address, on_recovery: Stands },
    Check { name: "suspended-user", run: suspended_user, on_recovery: Waives },
    Check { name: "out-of-office", run: out_of_office, on_recovery: Waives },
    Check { name: "delivery-failure", run: delivery_failure, on_recovery: Waives },
    Check { name: "automatic-reply", run: automatic_reply, on_recovery: Waives },
    Check { name: "noreply-sender", run: noreply_sender, on_recovery: Waives },
    Check { name: "unauthenticated-agent", run: unauthenticated_agent, on_recovery: WaivesForOutsider },
    Check { name: "blank", run: blank, on_recovery: Waives },
    Check { name: "too-many-ccs", run: too_many_ccs, on_recovery: Waives },
];

/// Runs the checks in order. A mail that none of them settles is accepted.
#[must_use]
pub fn admit(facts: &Facts) -> Admission {
    let mut trace = Trace::default();
    let mut author_is_outsider = false;
    for check in CHECKS {
        let (answer, because, verdict) = match (check.run)(facts) {
            Answer::Pass(because) => ("pass", because, None),
            Answer::Suspend(_, because) if facts.recovered && check.on_recovery != Stands => {
                author_is_outsider |= check.on_recovery == WaivesForOutsider;
                ("waived", because, None)
            }
            Answer::Suspend(cause, detail) => ("settle", detail, Some(Verdict::Suspend { cause, detail })),
            Answer::Discard(reason, because) => ("settle", because, Some(Verdict::Discard(reason))),
        };
        trace.push("admission", check.name, answer, because);
        if let Some(verdict) = verdict {
            return Admission { verdict, author_is_outsider, trace };
        }
    }
    Admission { verdict: Verdict::Accept, author_is_outsider, trace }
}

enum Answer {
    Pass(&'static str),
    Suspend(SuspensionCause, &'static str),
    Discard(DiscardReason, &'static str),
}

use Answer::{Discard, Pass, Suspend};

fn own_notification(facts: &Facts) -> Answer {
    if facts.is_own_notification {
        return Discard(DiscardReason::OwnMail, "it is a notification of ours that came back");
    }
    Pass("it is not a mail of ours")
}

fn own_bounce(facts: &Facts) -> Answer {
    if facts.is_own_bounce {
        return Discard(DiscardReason::OwnBounce, "it says that a mail of ours could not be delivered");
    }
    Pass("it is no bounce of a mail of ours")
}

fn no_author(facts: &Facts) -> Answer {
    if facts.author.is_none() {
        return Suspend(SuspensionCause::UnprocessableEmail, "it names no author");
    }
    Pass("it names an author")
}

fn from_support_address(facts: &Facts) -> Answer {
    if facts.is_from_own_address {
        return Suspend(
            SuspensionCause::FromSupportAddress,
            "it says that one of our own addresses wrote it",
        );
    }
    Pass("the author's address is not one of ours")
}

fn suspended_user(facts: &Facts) -> Answer {
    if facts.author_is_suspended_user {
        return Suspend(SuspensionCause::SystemUser, "the author was suspended by an admin");
    }
    Pass("the author is not suspended")
}

fn out_of_office(facts: &Facts) -> Answer {
    if facts.automation.out_of_office {
        return Suspend(SuspensionCause::AutoVacation, "it is an absence notice");
    }
    Pass("it is no absence notice")
}

/// Own bounces are settled above; this one is about a mail that somebody sent in our name, or wrongly routed.
fn delivery_failure(facts: &Facts) -> Answer {
    if automatic::is_delivery_failure(facts) {
        return Suspend(SuspensionCause::AutoDeliveryFailure, "it is a bounce of a mail that is not ours");
    }
    Pass("it is no bounce")
}

fn automatic_reply(facts: &Facts) -> Answer {
    match automatic::evidence(facts) {
        Some(because) => Suspend(SuspensionCause::AutoMailer, because),
        None => Pass("nothing says that a machine wrote it"),
    }
}

fn noreply_sender(facts: &Facts) -> Answer {
    if facts.author.iter().chain(&facts.from).any(automatic::is_noreply) {
        return Suspend(SuspensionCause::FromNoreply, "its sender takes no replies");
    }
    Pass("its sender takes replies")
}

/// Agent powers need an authenticated sender (DESIGN §7).
fn unauthenticated_agent(facts: &Facts) -> Answer {
    let cause = SuspensionCause::FailedEmailAuthentication;
    if facts.reply_to_names_agent_unaligned {
        return Suspend(
            cause,
            "Reply-To names an agent, and nobody vouches that the sender may write for them",
        );
    }
    if facts.author_is_agent && !facts.author_is_authenticated {
        return Suspend(cause, "it names an agent as its author, and nobody vouches for that");
    }
    Pass("it claims no agent's powers that nobody vouches for")
}

fn blank(facts: &Facts) -> Answer {
    if !facts.has_content {
        return Suspend(SuspensionCause::Blank, "it has no text, no attachment and no subject");
    }
    Pass("there is something in it")
}

fn too_many_ccs(facts: &Facts) -> Answer {
    if facts.ccs > facts.max_ccs {
        return Suspend(SuspensionCause::NumberRecipientsExceeded, "it has more CCs than a ticket may have");
    }
    Pass("it has no more CCs than a ticket may have")
}

#[cfg(test)]
mod tests;
