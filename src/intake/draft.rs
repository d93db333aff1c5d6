//! A change in the making: what the stages answered, and the ticket as the events so far leave it.

use std::collections::BTreeSet;

use crate::domain::address::Mailbox;
use crate::domain::event::Event;
use crate::domain::ids::{Fresh, UserId};
use crate::domain::people::{Role, User};
use crate::domain::plan::{MailRecord, Precondition};
use crate::domain::snapshot::Snapshot;
use crate::domain::ticket::{Flag, Ticket};
use crate::domain::token;
use crate::domain::trace::Trace;
use crate::identify::Identification;
use crate::privacy::Decision;

use super::author::Author;
use super::{Policy, Prepared, Standing};

/// What the stages answered about one mail.
pub(super) struct Basis<'a> {
    pub(super) author: &'a Author<'a>,
    pub(super) found: &'a Identification,
    pub(super) standing: &'a Standing<'a>,
    pub(super) decision: &'a Decision,
    pub(super) record: &'a MailRecord,
}

/// The change in the making: its events, and the ticket as they leave it.
pub(super) struct Draft<'a> {
    pub(super) ticket: Ticket,
    pub(super) events: Vec<Event>,
    pub(super) new_users: Vec<User>,
    pub(super) flags: BTreeSet<Flag>,
    pub(super) preconditions: Vec<Precondition>,
    pub(super) prepared: &'a Prepared<'a>,
    pub(super) snapshot: &'a Snapshot,
    pub(super) policy: &'a Policy<'a>,
}

impl Draft<'_> {
    pub(super) fn push(&mut self, event: Event) {
        self.ticket.apply(&event, self.prepared.envelope.accepted_at);
        self.events.push(event);
    }

    /// Something the mail asked for and its author's trust did not allow: the comment stands, flagged.
    pub(super) fn withhold(&mut self, what: &str, because: &str, trace: &mut Trace) {
        trace.push("access", what.to_owned(), "withheld", because.to_owned());
        self.flags.insert(Flag::AccessWithheld);
        self.events.push(Event::Withheld { what: what.to_owned(), because: because.to_owned() });
    }

    /// The user behind a mailbox, made on the spot if nobody has the address.
    pub(super) fn person(&mut self, mailbox: &Mailbox, fresh: &mut dyn Fresh) -> UserId {
        let known = self.snapshot.user_by_address(&mailbox.address).map(|user| user.id);
        let just_made =
            self.new_users.iter().find(|user| user.has_address(&mailbox.address)).map(|user| user.id);
        if let Some(id) = known.or(just_made) {
            return id;
        }
        let user = newcomer(mailbox, self.snapshot, fresh);
        let id = user.id;
        self.preconditions.push(Precondition::AddressUnknown(mailbox.address.clone()));
        self.new_users.push(user);
        id
    }
}

/// A user for an address nobody has: an end user, of the organization that owns the domain.
fn newcomer(mailbox: &Mailbox, snapshot: &Snapshot, fresh: &mut dyn Fresh) -> User {
    // Mails show the name, and who answers them may quote it: it must not read as a reference to a ticket.
    let name = token::defuse(mailbox.name.as_deref().unwrap_or_else(|| mailbox.address.local()));
    User {
        id: fresh.user(),
        name,
        role: Role::end_user(),
        addresses: vec![mailbox.address.clone()],
        organization: snapshot.directory.organization_of(&mailbox.address),
        groups: Vec::new(),
        suspended: false,
        active: true,
        version: 0,
    }
}
