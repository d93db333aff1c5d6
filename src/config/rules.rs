//! `config/triggers.toml`: triggers as `field operator value`, in the names of the ticketing API.
//!
//! A file is read whole: every mistake is reported with its line, what was found and what would be right, and a file
//! with a mistake gives no triggers. Templates are compiled here, so that a rule that was loaded can be rendered.

mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::domain::rule::{Action, Condition, Trigger};
use crate::template::Template;

use self::words::{Part, Words};

/// The standard set: what `config/triggers.toml` holds, and what runs where there is no such file.
pub const STANDARD_TRIGGERS: &str = include_str!("../../config/triggers.toml");

/// A rule larger than this is refused (reference/triggers-and-automations.md fact 11).
const RULE_MAX: usize = 65 * 1024;

/// One mistake in a rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFileError {
    pub file: String,
    pub line: usize,
    /// The rule and the place in it: `welcome.conditions.all[2].operator`.
    pub key: String,
    pub found: String,
    pub expected: String,
}

impl std::error::Error for RuleFileError {}

impl fmt::Display for RuleFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, key, found, expected } = self;
        write!(f, "{file}:{line}: {key}: found `{found}`, expected {expected}")
    }
}

/// Reads the triggers of a file, in its order. `file` is its name in messages.
///
/// # Errors
/// All mistakes, in the order of the file.
pub fn parse_triggers(file: &str, text: &str) -> Result<Vec<Trigger>, Vec<RuleFileError>> {
    let mut reader = Reader { file, text, errors: Vec::new() };
    let triggers = match DeTable::parse(text) {
        Ok(table) => reader.file(table.get_ref()),
        Err(error) => {
            reader.error(error.span().unwrap_or_default(), "toml", error.message(), "a TOML file");
            Vec::new()
        }
    };
    reader.errors.sort_by_key(|error| error.line);
    if reader.errors.is_empty() { Ok(triggers) } else { Err(reader.errors) }
}

struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    errors: Vec<RuleFileError>,
}

type Node<'t> = Spanned<DeValue<'t>>;

impl Reader<'_> {
    fn file(&mut self, table: &DeTable) -> Vec<Trigger> {
        self.known_keys(table, "", &["triggers"]);
        let Some(list) = table.get("triggers") else { return Vec::new() };
        let Some(list) = self.array(list, "triggers") else { return Vec::new() };
        let mut seen = BTreeSet::new();
        let mut triggers = Vec::new();
        for node in list.iter() {
            let Some(trigger) = self.trigger(node) else { continue };
            if !seen.insert(trigger.key.clone()) {
                self.error(node.span(), "key", &trigger.key, "a key that no other trigger has");
            }
            triggers.push(trigger);
        }
        triggers
    }

    /// The trigger as far as it can be read; mistakes in it are noted.
    fn trigger(&mut self, node: &Node) -> Option<Trigger> {
        let table = self.table(node, "triggers")?;
        self.known_keys(table, "triggers", &["key", "title", "active", "conditions", "actions"]);
        let key = self.text(table, node, "triggers", "key")?;
        if !words::is_key(&key) {
            self.error(node.span(), "key", &key, "lower-case letters, digits, `-` and `_`");
        }
        let title = self.text(table, node, &key, "title").unwrap_or_default();
        let active = match table.get("active") {
            None => true,
            Some(active) => active.get_ref().as_bool().unwrap_or_else(|| {
                self.error(
                    active.span(),
                    &format!("{key}.active"),
                    &shown(active.get_ref()),
                    "true or false",
                );
                false
            }),
        };
        let (all, any) = self.conditions(table, node, &key);
        let actions = self.actions(table, node, &key);
        let trigger = Trigger { key, title, active, all, any, actions };
        let size = serde_json::to_string(&trigger).map_or(usize::MAX, |json| json.len());
        if size > RULE_MAX {
            let found = format!("{size} octets");
            self.error(node.span(), &trigger.key, &found, "a rule of at most 66560 octets");
        }
        Some(trigger)
    }

    fn conditions(&mut self, table: &DeTable, node: &Node, key: &str) -> (Vec<Condition>, Vec<Condition>) {
        let place = format!("{key}.conditions");
        let Some(conditions) = table.get("conditions") else {
            self.error(node.span(), &place, "nothing", "at least one condition");
            return Default::default();
        };
        let Some(lists) = self.table(conditions, &place) else { return Default::default() };
        self.known_keys(lists, &place, &["all", "any"]);
        let given = lists.values().filter_map(|list| list.get_ref().as_array()).any(|list| !list.is_empty());
        if !given {
            self.error(conditions.span(), &place, "nothing", "at least one condition");
        }
        let mut read = |name: &str| match lists.get(name) {
            Some(list) => self.each(list, &format!("{place}.{name}"), Self::condition),
            None => Vec::new(),
        };
        (read("all"), read("any"))
    }

    fn actions(&mut self, table: &DeTable, node: &Node, key: &str) -> Vec<Action> {
        let place = format!("{key}.actions");
        let Some(list) =
            table.get("actions").filter(|list| list.get_ref().as_array().is_none_or(|l| !l.is_empty()))
        else {
            self.error(node.span(), &place, "nothing", "at least one action");
            return Vec::new();
        };
        self.each(list, &place, Self::action)
    }

    fn condition(&mut self, node: &Node, place: &str) -> Option<Condition> {
        let table = self.table(node, place)?;
        self.known_keys(table, place, &["field", "operator", "value"]);
        let field = self.text(table, node, place, "field")?;
        let operator = match table.get("operator") {
            Some(_) => self.text(table, node, place, "operator")?,
            None => "is".to_owned(),
        };
        let value = match table.get("value") {
            Some(value) => Some(self.word(value, &format!("{place}.value"))?),
            None => None,
        };
        let words = Words { field: &field, operator: &operator, value: value.as_deref() };
        words::condition(&words).map_err(|wrong| self.wrong(wrong, &words, table, node, place)).ok()
    }

    fn action(&mut self, node: &Node, place: &str) -> Option<Action> {
        let table = self.table(node, place)?;
        self.known_keys(table, place, &["field", "value"]);
        let field = self.text(table, node, place, "field")?;
        let Some(value) = table.get("value") else {
            self.error(node.span(), &format!("{place}.value"), "nothing", "a value");
            return None;
        };
        if words::NOTIFICATIONS.contains(&field.as_str()) {
            return self.notification(&field, value, table, node, place);
        }
        let value = self.word(value, &format!("{place}.value"))?;
        let words = Words { field: &field, operator: "", value: Some(&value) };
        words::action(&words).map_err(|wrong| self.wrong(wrong, &words, table, node, place)).ok()
    }

    /// `value = [recipient, subject, body]`
    fn notification(
        &mut self,
        field: &str,
        value: &Node,
        table: &DeTable,
        node: &Node,
        place: &str,
    ) -> Option<Action> {
        const EXPECTED: &str = "[recipient, subject, body], three texts";
        let parts: Vec<(&Node, &str)> = match value.get_ref().as_array() {
            Some(parts) => parts.iter().filter_map(|part| Some((part, part.get_ref().as_str()?))).collect(),
            None => Vec::new(),
        };
        let count = value.get_ref().as_array().map_or(0, |parts| parts.len());
        let [(_, recipient), subject, body] = parts.as_slice() else {
            self.error(value.span(), &format!("{place}.value"), &shown(value.get_ref()), EXPECTED);
            return None;
        };
        if count != 3 {
            self.error(value.span(), &format!("{place}.value"), &format!("{count} values"), EXPECTED);
        }
        self.template(*subject, &format!("{place}.subject"));
        self.template(*body, &format!("{place}.body"));
        let words = Words { field, operator: "", value: Some(recipient) };
        words::notification(&words, subject.1, body.1)
            .map_err(|wrong| self.wrong(wrong, &words, table, node, place))
            .ok()
    }

    fn template(&mut self, (node, source): (&Node, &str), place: &str) {
        let Err(error) = Template::compile(source) else { return };
        let literal = self.text.get(node.span()).unwrap_or_default();
        // A text in three quotes starts on the line after them, if a line break follows them directly.
        let lines_before = ["\"\"\"\n", "'''\n", "\"\"\"\r\n", "'''\r\n"]
            .iter()
            .any(|opening| literal.starts_with(opening))
            .into();
        let in_template = if literal.starts_with("\"\"\"") || literal.starts_with("'''") {
            error.line.map_or(0, |line: usize| line.saturating_sub(1).saturating_add(lines_before))
        } else {
            0
        };
        let line = self.line(node.span().start).saturating_add(in_template);
        self.errors.push(RuleFileError {
            file: self.file.to_owned(),
            line,
            key: place.to_owned(),
            found: error.what,
            expected: "a template that can be rendered".to_owned(),
        });
    }

    fn wrong(&mut self, wrong: words::Wrong, words: &Words, table: &DeTable, node: &Node, place: &str) {
        let (name, found) = match wrong.part {
            Part::Field => ("field", words.field),
            Part::Operator => ("operator", words.operator),
            Part::Value => ("value", words.value.unwrap_or("nothing")),
        };
        let span = table.get(name).map_or_else(|| node.span(), Spanned::span);
        self.error(span, &format!("{place}.{name}"), found, &wrong.expected);
    }

    fn each<T>(
        &mut self,
        list: &Node,
        place: &str,
        read: impl Fn(&mut Self, &Node, &str) -> Option<T>,
    ) -> Vec<T> {
        let Some(items) = self.array(list, place) else { return Vec::new() };
        let mut found = Vec::new();
        for (index, item) in items.iter().enumerate() {
            found.extend(read(self, item, &format!("{place}[{index}]")));
        }
        found
    }

    fn text(&mut self, table: &DeTable, node: &Node, place: &str, name: &str) -> Option<String> {
        let value = table.get(name);
        let text = value.and_then(|value| value.get_ref().as_str()).filter(|text| !text.is_empty());
        if text.is_none() {
            let span = value.map_or_else(|| node.span(), Spanned::span);
            let found = value.map_or_else(|| "nothing".to_owned(), |value| shown(value.get_ref()));
            self.error(span, &format!("{place}.{name}"), &found, "a text");
        }
        text.map(str::to_owned)
    }

    /// A text, a number or true or false, as the word it is written with.
    fn word(&mut self, value: &Node, place: &str) -> Option<String> {
        let word = match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => Some(number.as_str().to_owned()),
            DeValue::Boolean(flag) => Some(flag.to_string()),
            _ => None,
        };
        if word.is_none() {
            self.error(value.span(), place, &shown(value.get_ref()), "a text, a number, or true or false");
        }
        word
    }

    fn table<'n, 't>(&mut self, node: &'n Node<'t>, place: &str) -> Option<&'n DeTable<'t>> {
        let table = node.get_ref().as_table();
        if table.is_none() {
            self.error(node.span(), place, &shown(node.get_ref()), "a table");
        }
        table
    }

    fn array<'n, 't>(&mut self, node: &'n Node<'t>, place: &str) -> Option<&'n DeArray<'t>> {
        let array = node.get_ref().as_array();
        if array.is_none() {
            self.error(node.span(), place, &shown(node.get_ref()), "a list");
        }
        array
    }

    fn known_keys(&mut self, table: &DeTable, place: &str, known: &[&str]) {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let expected = format!("one of {}", known.join(", "));
            let place = if place.is_empty() { "file" } else { place };
            self.error(key.span(), place, key.get_ref(), &expected);
        }
    }

    fn error(&mut self, span: Range<usize>, key: &str, found: &str, expected: &str) {
        self.errors.push(RuleFileError {
            file: self.file.to_owned(),
            line: self.line(span.start),
            key: key.to_owned(),
            found: found.chars().take(100).collect(),
            expected: expected.to_owned(),
        });
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.bytes().take(offset);
        before.filter(|byte| *byte == b'\n').count().saturating_add(1)
    }
}

/// What stands there, for a message.
fn shown(value: &DeValue) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        other => other.type_str().to_owned(),
    }
}

#[cfg(test)]
mod tests;
