//! Commands to events (reference/mail-api.md §4 to §6), in the order of [`COMMANDS`].
//!
//! **Invariant:** every command of the block gets exactly one outcome with its reason.
//! **Invariant:** a ticket never has an agent without a group, nor an agent outside its group.
//! **Invariant:** a command that cannot be carried out changes nothing and hinders no other, except `#requester`
//! with somebody it may not name: the author meant these words for another person, so the mail is held.

use std::collections::BTreeSet;

use crate::domain::address::Address;
use crate::domain::event::{CommandOutcome, Event};
use crate::domain::ids::{GroupId, OrganizationId, UserId};
use crate::domain::people::{Group, User};
use crate::domain::plan::Newcomer;
use crate::domain::settings::Settings;
use crate::domain::snapshot::Snapshot;
use crate::domain::ticket::{Status, Ticket};

use super::{COMMANDS, Command, CommandBlock, GroupName, Kind, Person, PrivacyCommand};

/// What commands are applied to, and what they may look at.
#[derive(Clone, Copy, Debug)]
pub struct ApplyContext<'a> {
    /// The ticket as the rest of the mail leaves it; for a closed ticket, the follow-up. Never closed.
    pub ticket: &'a Ticket,
    /// Somebody for whom [`may_command`] holds, and whom the caller believes.
    pub author: &'a User,
    /// Holds everybody that [`CommandBlock::lookup`] named and that exists.
    pub snapshot: &'a Snapshot,
    pub settings: &'a Settings,
}

/// What the commands come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Changes of the ticket, in order.
    pub events: Vec<Event>,
    /// One `Event::Command` for each command, in the order of application.
    pub outcomes: Vec<Event>,
    /// The mail is to be held as unprocessable (cause 19), and why; nothing else counts then.
    pub suspend: Option<String>,
}

/// Whether the author's role allows mail commands at all. Trust, access to the ticket and a Reply-To that names
/// somebody else are for the caller to judge.
#[must_use]
pub fn may_command(author: &User) -> bool {
    author.is_agent() && !author.suspended && author.role.mail_commands
}

/// Applies the block to the ticket. `introduce` gives the id that a person met for the first time will have.
#[must_use]
pub fn apply(
    block: &CommandBlock,
    context: ApplyContext<'_>,
    introduce: &mut dyn FnMut(Newcomer) -> UserId,
) -> Applied {
    let privacy = block.privacy_command();
    let ticket = context.ticket.clone();
    let mut run = Run { context, introduce, ticket, group_was_named: false, events: Vec::new() };
    let mut outcomes = Vec::new();
    for definition in COMMANDS {
        let same_kind: Vec<_> =
            block.commands.iter().filter(|parsed| parsed.definition.kind == definition.kind).collect();
        let last_usable = same_kind
            .iter()
            .rposition(|parsed| !matches!(parsed.command, Command::Unusable { .. }))
            .unwrap_or_default();
        for (position, parsed) in same_kind.into_iter().enumerate() {
            let superseded = position < last_usable && definition.kind.last_wins();
            let verdict = run.command(definition.kind, &parsed.command, superseded, privacy);
            let holds_mail = verdict.outcome == CommandOutcome::Failed;
            let suspend = holds_mail.then(|| format!("`#{}`: {}", definition.name, verdict.because));
            outcomes.push(Event::Command {
                name: definition.name.to_owned(),
                outcome: verdict.outcome,
                because: verdict.because,
            });
            if suspend.is_some() {
                return Applied { events: Vec::new(), outcomes, suspend };
            }
        }
        if definition.kind == Kind::Assignee {
            run.drop_assignee_outside_group();
        }
    }
    run.open_newly_assigned();
    Applied { events: run.events, outcomes, suspend: None }
}

impl Kind {
    /// Later lines replace earlier ones; tags add up, and of wishes about privacy the most private wins.
    fn last_wins(self) -> bool {
        self != Self::Tags && !self.is_about_privacy()
    }
}

/// What became of one command.
struct Verdict {
    outcome: CommandOutcome,
    because: String,
}

fn applied(because: &str) -> Verdict {
    Verdict { outcome: CommandOutcome::Applied, because: because.to_owned() }
}

fn ignored(because: &str) -> Verdict {
    Verdict { outcome: CommandOutcome::Ignored, because: because.to_owned() }
}

/// Not only ignored: the mail is held for a person.
fn failed(because: &str) -> Verdict {
    Verdict { outcome: CommandOutcome::Failed, because: because.to_owned() }
}

const ALREADY: &str = "it was so already";

struct Run<'a> {
    context: ApplyContext<'a>,
    introduce: &'a mut dyn FnMut(Newcomer) -> UserId,
    /// The ticket with the events so far.
    ticket: Ticket,
    group_was_named: bool,
    events: Vec<Event>,
}

impl<'a> Run<'a> {
    fn command(
        &mut self,
        kind: Kind,
        command: &Command,
        superseded: bool,
        privacy: PrivacyCommand,
    ) -> Verdict {
        if !kind.is_about_privacy() && !self.context.author.role.edit_ticket_properties {
            return ignored("the author's role may not edit ticket properties");
        }
        if superseded {
            return ignored("a later line of the same name wins");
        }
        match command {
            Command::Unusable { because } => ignored(because),
            Command::Requester(person) => self.set_requester(person),
            Command::Group(name) => self.set_group(name),
            Command::Assignee(person) => self.set_assignee(person),
            Command::Type(to) => {
                let from = self.ticket.ticket_type;
                self.change(from == Some(*to), Event::TypeChanged { from, to: Some(*to) })
            }
            Command::Priority(to) => {
                let from = self.ticket.priority;
                self.change(from == Some(*to), Event::PriorityChanged { from, to: Some(*to) })
            }
            Command::Tags(tags) => {
                let added: BTreeSet<_> = tags.difference(&self.ticket.tags).cloned().collect();
                self.change(added.is_empty(), Event::TagsChanged { added, removed: BTreeSet::new() })
            }
            Command::Status(to) => self.set_status(*to),
            Command::Note | Command::Public(false) => applied("the author asks for an internal note"),
            Command::Public(true) if privacy == PrivacyCommand::Public => {
                applied("the author asks for a public comment")
            }
            Command::Public(true) => ignored("the author also asks for an internal note, and that wins"),
        }
    }

    fn change(&mut self, is_so_already: bool, event: Event) -> Verdict {
        if is_so_already {
            return applied(ALREADY);
        }
        self.record(event);
        applied("set")
    }

    fn record(&mut self, event: Event) {
        let now = self.ticket.updated_at;
        self.ticket.apply(&event, now);
        self.events.push(event);
    }

    fn set_requester(&mut self, person: &Person) -> Verdict {
        let settings = self.context.settings;
        let (to, organization) = match (self.known(person), person) {
            (_, Person::Address(address)) if settings.is_own_address(address) => {
                return failed("the requester would be an address of this help desk");
            }
            (Some(user), _) if user.suspended => return failed("the user is suspended"),
            (Some(user), _) if !user.active => return failed("the user was deactivated"),
            (Some(user), _) => (user.id, user.organization),
            (None, Person::Id(_)) => return failed("no user has this id"),
            (None, Person::Address(address)) => self.newcomer(address),
        };
        let from = self.ticket.requester;
        self.change(from == to, Event::RequesterChanged { from, to, organization })
    }

    fn known(&self, person: &Person) -> Option<&'a User> {
        match person {
            Person::Id(id) => self.context.snapshot.user(*id),
            Person::Address(address) => self.context.snapshot.user_by_address(address),
        }
    }

    fn newcomer(&mut self, address: &Address) -> (UserId, Option<OrganizationId>) {
        let organization = self.context.snapshot.directory.organization_of(address);
        let newcomer = Newcomer { name: None, address: address.clone(), organization };
        ((self.introduce)(newcomer), organization)
    }

    fn set_group(&mut self, name: &GroupName) -> Verdict {
        let directory = &self.context.snapshot.directory;
        let fits = |group: &&Group| match name {
            GroupName::Id(id) => group.id == *id,
            GroupName::Name(name) => group.name.to_lowercase() == name.to_lowercase(),
        };
        let mut found = directory.groups.values().filter(|group| group.active).filter(fits);
        let to = match (found.next(), found.next()) {
            (None, _) => return ignored("there is no such group"),
            (Some(_), Some(_)) => return ignored("more than one group has this name"),
            (Some(group), None) => group.id,
        };
        self.group_was_named = true;
        let from = self.ticket.group;
        self.change(from == Some(to), Event::GroupChanged { from, to: Some(to) })
    }

    fn set_assignee(&mut self, person: &Person) -> Verdict {
        let Some(agent) = self.known(person) else { return ignored("nobody here is that person") };
        self.assign(agent).unwrap_or_else(ignored)
    }

    /// Assigns the agent, in the ticket's group if they are a member, else in their default group.
    fn assign(&mut self, agent: &User) -> Result<Verdict, &'static str> {
        if !agent.is_agent() || agent.suspended || !agent.role.assignable {
            return Err("this person cannot be assigned tickets");
        }
        let from = self.ticket.group;
        let group = match from {
            Some(group) if agent.groups.contains(&group) => group,
            Some(_) if self.group_was_named => {
                return Err("the agent is not in the group that `#group` names");
            }
            _ => self.default_group(agent).ok_or("the agent is in no group")?,
        };
        if from != Some(group) {
            self.record(Event::GroupChanged { from, to: Some(group) });
        }
        let from = self.ticket.assignee;
        Ok(self.change(from == Some(agent.id), Event::AssigneeChanged { from, to: Some(agent.id) }))
    }

    fn default_group(&self, agent: &User) -> Option<GroupId> {
        let groups = &self.context.snapshot.directory.groups;
        agent.groups.iter().copied().find(|id| groups.get(id).is_some_and(|group| group.active))
    }

    fn set_status(&mut self, to: Status) -> Verdict {
        if to == Status::Solved && self.ticket.assignee.is_none() {
            if !self.context.settings.tickets.assign_solver {
                return ignored("a ticket without an assignee cannot be solved");
            }
            if let Err(because) = self.assign(self.context.author) {
                return ignored(&format!(
                    "the ticket has no assignee, and the author cannot be one: {because}"
                ));
            }
        }
        let from = self.ticket.status;
        self.change(from == to, Event::StatusChanged { from, to })
    }

    /// `#group` moved the ticket away from its assignee's groups, and no `#assignee` found a new one.
    fn drop_assignee_outside_group(&mut self) {
        let (Some(assignee), Some(group)) = (self.ticket.assignee, self.ticket.group) else { return };
        let is_member = |user: &User| user.groups.contains(&group);
        if self.group_was_named && !self.context.snapshot.user(assignee).is_some_and(is_member) {
            self.record(Event::AssigneeChanged { from: Some(assignee), to: None });
        }
    }

    /// A new ticket that gets an assignee is open, unless the same mail sets a status (§4, 21).
    fn open_newly_assigned(&mut self) {
        let was_assigned =
            self.ticket.assignee.is_some() && self.ticket.assignee != self.context.ticket.assignee;
        if self.ticket.status == Status::New && was_assigned {
            self.record(Event::StatusChanged { from: Status::New, to: Status::Open });
        }
    }
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
