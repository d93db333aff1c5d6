//! Mail commands: `#command value` lines at the top of an agent's mail (reference/mail-api.md).
//!
//! Two halves, because a rule of privacy asks whether the author wrote `#note`: [`parse()`] reads the block
//! before privacy is decided, [`apply()`] turns it into events afterwards.
//!
//! **Invariant:** reading never fails and loses no text: what is not a command stays in the body.
//! **Invariant:** a wish for a note that was read in doubt (`#public maybe`, `#note some text`) is a wish for a
//! note; doubt is never public.
//! **Invariant:** whether the author may command is the caller's question ([`apply::may_command`] is the part
//! the role answers); commands of others are not stripped, they are those people's text.

pub mod apply;
pub mod parse;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::domain::address::Address;
use crate::domain::ids::{GroupId, UserId};
use crate::domain::ticket::{Priority, Status, TicketType};

pub use apply::{Applied, ApplyContext, apply, may_command};
pub use parse::{CommandBlock, parse};

/// A mail command as documented: what the parser accepts and the manual shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    pub kind: Kind,
    /// The word after `#`; the name in audits and logs.
    pub name: &'static str,
    /// Other spellings of the name.
    pub aliases: &'static [&'static str],
    /// The words it takes, or a description of its values in angle brackets. Empty: it takes none.
    pub values: &'static [&'static str],
    /// The values are words that also work alone: `#solved` is `#status solved`.
    pub short_forms: bool,
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Requester,
    Group,
    Assignee,
    Type,
    Priority,
    Tags,
    Status,
    Public,
    Note,
}

impl Kind {
    /// Wishes about the comment, not about the ticket; honoured for roles that may not edit properties.
    #[must_use]
    pub fn is_about_privacy(self) -> bool {
        matches!(self, Self::Public | Self::Note)
    }
}

/// Every mail command, in the order in which commands are applied, whatever their order in the mail:
/// `#solved` above `#assignee jake@example.net` still finds the assignee set.
pub const COMMANDS: &[Definition] = &[
    Definition {
        kind: Kind::Requester,
        name: "requester",
        aliases: &[],
        values: &["<user id>", "<mail address>"],
        short_forms: false,
        help: "Makes this person the requester; an unknown address becomes a new user. \
               A support address or a suspended user holds the whole mail for review.",
    },
    Definition {
        kind: Kind::Group,
        name: "group",
        aliases: &[],
        values: &["<group id>", "<group name>"],
        short_forms: false,
        help: "Assigns the ticket to the group; an assignee outside that group is dropped.",
    },
    Definition {
        kind: Kind::Assignee,
        name: "assignee",
        aliases: &[],
        values: &["<user id>", "<mail address>"],
        short_forms: false,
        help: "Assigns the ticket to the agent, in the ticket's group or the agent's default group. \
               Ignored if the agent is not in the group that `#group` names.",
    },
    Definition {
        kind: Kind::Type,
        name: "type",
        aliases: &[],
        values: &["question", "incident", "problem", "task"],
        short_forms: true,
        help: "Sets the type.",
    },
    Definition {
        kind: Kind::Priority,
        name: "priority",
        aliases: &[],
        values: &["low", "normal", "high", "urgent"],
        short_forms: true,
        help: "Sets the priority.",
    },
    Definition {
        kind: Kind::Tags,
        name: "tags",
        aliases: &["tag"],
        values: &["<tags, separated by spaces or commas>"],
        short_forms: false,
        help: "Adds tags; several `#tags` lines add up.",
    },
    Definition {
        kind: Kind::Status,
        name: "status",
        aliases: &[],
        values: &["open", "pending", "solved"],
        short_forms: true,
        help: "Sets the status. `solved` needs an assignee.",
    },
    Definition {
        kind: Kind::Public,
        name: "public",
        aliases: &[],
        values: &["true", "false"],
        short_forms: false,
        help: "Alone or with `true`: asks for a public comment. With anything else: for an internal note.",
    },
    Definition {
        kind: Kind::Note,
        name: "note",
        aliases: &[],
        values: &[],
        short_forms: false,
        help: "Makes the comment an internal note, whatever `#public` says.",
    },
];

/// One command with its value read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Requester(Person),
    Group(GroupName),
    Assignee(Person),
    Type(TicketType),
    Priority(Priority),
    Tags(BTreeSet<String>),
    Status(Status),
    Public(bool),
    Note,
    /// A known command whose value it does not take. Ignored; the others still run.
    Unusable {
        because: String,
    },
}

/// Whom a command names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Person {
    Id(UserId),
    Address(Address),
}

/// Which group a command names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupName {
    Id(GroupId),
    Name(String),
}

/// What the commands say about the comment's visibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivacyCommand {
    None,
    Note,
    Public,
    NotPublic,
}

/// The table of mail commands for the manual, in Markdown.
#[must_use]
pub fn commands_markdown() -> String {
    let mut page = String::from(
        "# Mail commands\n\n\
         An agent may set ticket properties at the top of a mail: one `#command value` per line, then the text.\n\
         The lines are taken out of the comment. Names and values may be written in any case; a colon after the\n\
         name is allowed. A later line wins over an earlier one of the same name, except that tags add up and a\n\
         wish for a note always wins. The block ends at the first line that is not a command.\n\n\
         Commands are applied in the order of this table.\n\n\
         | command | values | short forms | effect |\n|---|---|---|---|\n",
    );
    for command in COMMANDS {
        let names: Vec<_> =
            std::iter::once(&command.name).chain(command.aliases).map(|name| format!("`#{name}`")).collect();
        let values: Vec<_> = command.values.iter().map(|value| format!("`{value}`")).collect();
        let short: Vec<_> = command
            .values
            .iter()
            .filter(|_| command.short_forms)
            .map(|value| format!("`#{value}`"))
            .collect();
        let row = [names.join(", "), values.join(", "), short.join(", "), command.help.to_owned()];
        let _ = writeln!(page, "| {} |", row.join(" | "));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_commands_share_a_name_an_alias_or_a_short_form() {
        let mut seen = BTreeSet::new();
        for command in COMMANDS {
            let short = command.values.iter().filter(|_| command.short_forms);
            for word in std::iter::once(&command.name).chain(command.aliases).chain(short) {
                assert!(seen.insert(*word), "`#{word}` means two things");
            }
        }
    }

    #[test]
    fn the_manual_page_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mail-commands.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, commands_markdown()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert_eq!(committed, commands_markdown(), "run with UPDATE_DOCS=1 to write {path} anew");
    }
}
