//! Text to commands (reference/mail-api.md §1). Works on what the author wrote in this mail; quoted history is
//! cut away before. Total: every text gives a block, most of them an empty one.
//!
//! ```abnf
//! block   = *( blank / cmdline )            ; from the first line
//! cmdline = *WSP "#" name [":"] [ 1*WSP value ] *WSP EOL
//! name    = 1*32( ALPHA / "_" / "-" )
//! value   = 1*200( any character )
//! ```

use std::collections::BTreeSet;

use crate::domain::address::Address;
use crate::domain::ids::{GroupId, UserId};
use crate::domain::ticket::{Priority, Status, TicketType};

use super::{COMMANDS, Command, Definition, GroupName, Kind, Person, PrivacyCommand};

const MAX_NAME_CHARS: usize = 32;
const MAX_VALUE_CHARS: usize = 200;

/// The commands at the top of a mail, and the text without them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandBlock {
    /// In the order they were written.
    pub commands: Vec<ParsedCommand>,
    /// The text without the lines of known commands; unknown `#words` stay.
    pub body: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedCommand {
    pub definition: &'static Definition,
    pub command: Command,
}

impl CommandBlock {
    /// What the block says about visibility. Private wins: `#note` over all, then anything but a plain
    /// `#public` or `#public true`.
    #[must_use]
    pub fn privacy_command(&self) -> PrivacyCommand {
        let says = |wish: &Command| self.commands.iter().any(|parsed| parsed.command == *wish);
        if says(&Command::Note) {
            PrivacyCommand::Note
        } else if says(&Command::Public(false)) {
            PrivacyCommand::NotPublic
        } else if says(&Command::Public(true)) {
            PrivacyCommand::Public
        } else {
            PrivacyCommand::None
        }
    }

    /// The people that the commands name: what the store must be asked before [`super::apply()`].
    #[must_use]
    pub fn lookup(&self) -> (BTreeSet<Address>, BTreeSet<UserId>) {
        let mut addresses = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for parsed in &self.commands {
            match &parsed.command {
                Command::Requester(Person::Address(address))
                | Command::Assignee(Person::Address(address)) => {
                    addresses.insert(address.clone());
                }
                Command::Requester(Person::Id(id)) | Command::Assignee(Person::Id(id)) => {
                    ids.insert(*id);
                }
                _ => {}
            }
        }
        (addresses, ids)
    }
}

/// Reads the block of commands at the top of `text`.
#[must_use]
pub fn parse(text: &str) -> CommandBlock {
    let mut commands = Vec::new();
    let mut body: Vec<&str> = Vec::new();
    // Lines that look like commands nobody knows: skipped if a known one follows, else the block ended there.
    let mut doubtful: Vec<&str> = Vec::new();
    let mut lines = text.lines();
    for line in lines.by_ref() {
        match read_line(line) {
            Line::Blank => {}
            Line::Unknown => doubtful.push(line),
            Line::Known(command) => {
                commands.push(command);
                body.append(&mut doubtful);
            }
            Line::NoteWithText(command, rest) => {
                commands.push(command);
                body.append(&mut doubtful);
                body.push(rest);
                break;
            }
            Line::Text => {
                doubtful.push(line);
                break;
            }
        }
    }
    if commands.is_empty() {
        return CommandBlock { commands, body: text.trim().to_owned() };
    }
    body.append(&mut doubtful);
    body.extend(lines);
    CommandBlock { commands, body: body.join("\n").trim().to_owned() }
}

enum Line<'a> {
    Blank,
    Known(ParsedCommand),
    /// A wish for a note with the text on the same line: private, and the text is kept.
    NoteWithText(ParsedCommand, &'a str),
    Unknown,
    Text,
}

fn read_line(line: &str) -> Line<'_> {
    let line = line.trim_matches(is_space);
    if line.is_empty() {
        return Line::Blank;
    }
    let Some(rest) = line.strip_prefix('#') else { return Line::Text };
    let is_name_char = |c: char| c.is_ascii_alphabetic() || c == '_' || c == '-';
    let (name, rest) = rest.split_at(rest.find(|c| !is_name_char(c)).unwrap_or(rest.len()));
    let (colon, value) = match rest.strip_prefix(':') {
        Some(value) => (true, value),
        None => (false, rest),
    };
    let separated = colon || value.is_empty() || value.starts_with(is_space);
    let starts_with_letter = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !starts_with_letter || name.len() > MAX_NAME_CHARS || !separated {
        return Line::Text;
    }
    let value = value.trim_matches(is_space);
    let Some((definition, short)) = definition_of(name) else {
        return if colon { Line::Text } else { Line::Unknown };
    };
    match short {
        // Surplus text after a short form: most likely prose, and prose is not lost (§1.1).
        Some(_) if !value.is_empty() => Line::Text,
        Some(word) => Line::Known(ParsedCommand { definition, command: read_value(definition, word) }),
        None => read_command(definition, value),
    }
}

/// The command a word stands for; the second part is the value if the word is a short form.
fn definition_of(word: &str) -> Option<(&'static Definition, Option<&'static str>)> {
    let same = |other: &&&str| other.eq_ignore_ascii_case(word);
    COMMANDS.iter().find_map(|command| {
        if std::iter::once(&command.name).chain(command.aliases).any(|name| same(&name)) {
            return Some((command, None));
        }
        let short = command.values.iter().filter(|_| command.short_forms).find(same)?;
        Some((command, Some(*short)))
    })
}

fn read_command<'a>(definition: &'static Definition, value: &'a str) -> Line<'a> {
    let known = |command| ParsedCommand { definition, command };
    let (first, rest) = match value.split_once(is_space) {
        Some((first, rest)) => (first, rest.trim_start_matches(is_space)),
        None => (value, ""),
    };
    match definition.kind {
        Kind::Note if !value.is_empty() => Line::NoteWithText(known(Command::Note), value),
        Kind::Public if !rest.is_empty() && unquoted(first).eq_ignore_ascii_case("false") => {
            Line::NoteWithText(known(Command::Public(false)), rest)
        }
        // One word is a value, good or bad; a sentence is prose, as after a short form.
        Kind::Public | Kind::Status | Kind::Priority | Kind::Type if !rest.is_empty() => Line::Text,
        _ if value.chars().count() > MAX_VALUE_CHARS => Line::Text,
        _ => Line::Known(known(read_value(definition, unquoted(value)))),
    }
}

fn read_value(definition: &Definition, value: &str) -> Command {
    let expected = || {
        let because = if value.is_empty() { "it has no value" } else { "it does not take this value" };
        Command::Unusable { because: format!("{because}, expected {}", definition.values.join(" or ")) }
    };
    let listed = definition.values.iter().any(|word| word.eq_ignore_ascii_case(value));
    let command = match definition.kind {
        Kind::Requester => read_person(value).map(Command::Requester),
        Kind::Assignee => read_person(value).map(Command::Assignee),
        Kind::Group => read_group(value).map(Command::Group),
        Kind::Tags => read_tags(value).map(Command::Tags),
        Kind::Type => TicketType::from_word(value).map(Command::Type),
        Kind::Priority => Priority::from_word(value).map(Command::Priority),
        // `new`, `hold` and `closed` are statuses, but not for a mail to set.
        Kind::Status => Status::from_word(value).filter(|_| listed).map(Command::Status),
        Kind::Public => Some(Command::Public(value.is_empty() || value.eq_ignore_ascii_case("true"))),
        Kind::Note => Some(Command::Note),
    };
    command.unwrap_or_else(expected)
}

/// All digits are an id; with an `@` it is an address (§4, 18).
fn read_person(value: &str) -> Option<Person> {
    if let Some(id) = read_id(value) {
        return Some(Person::Id(UserId(id)));
    }
    first_address(value).map(Person::Address)
}

fn read_group(value: &str) -> Option<GroupName> {
    if let Some(id) = read_id(value) {
        return Some(GroupName::Id(GroupId(id)));
    }
    let name: Vec<_> = value.split(is_space).filter(|word| !word.is_empty()).collect();
    (!name.is_empty()).then(|| GroupName::Name(name.join(" ")))
}

fn read_tags(value: &str) -> Option<BTreeSet<String>> {
    let tags: BTreeSet<_> = value
        .split(|c| is_space(c) || c == ',')
        .map(|tag| unquoted(tag).to_lowercase())
        .filter(|tag| !tag.is_empty())
        .collect();
    (!tags.is_empty()).then_some(tags)
}

fn read_id(value: &str) -> Option<i64> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten()
}

/// The first address in `jake@x.com`, `Jake <jake@x.com>` or what mail programs make of a link:
/// `jake@x.com<mailto:jake@x.com>`, `[jake@x.com](mailto:jake@x.com)`.
fn first_address(value: &str) -> Option<Address> {
    let is_border = |c: char| is_space(c) || "<>()[]\"',;".contains(c);
    value
        .split(is_border)
        .map(|word| word.strip_prefix("mailto:").unwrap_or(word))
        .find(|word| word.contains('@'))
        .and_then(|word| Address::parse(word).ok())
}

/// White space, no-break spaces among it, and the invisible characters that mail programs leave.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{ad}')
}

/// The value without one pair of quotes around it, straight or typographic.
fn unquoted(value: &str) -> &str {
    const PAIRS: [(char, char); 5] = [
        ('"', '"'),
        ('\'', '\''),
        ('\u{201c}', '\u{201d}'),
        ('\u{201e}', '\u{201c}'),
        ('\u{2018}', '\u{2019}'),
    ];
    let inner = |(open, close)| value.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    PAIRS.into_iter().find_map(inner).map_or(value, |inner| inner.trim_matches(is_space))
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
