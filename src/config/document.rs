//! A TOML file read so that all its faults are told at once, each with its line and its key.
//!
//! Serde stops at the first fault; so what it stopped at is taken out of the document and the rest is read again,
//! until it passes. **Invariant:** a document with a fault yields no value, so nothing runs on half a file.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, IntoDeserializer};
use serde_path_to_error::Segment;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// One fault of a configuration file: where it is, what was found, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    pub file: PathBuf,
    /// Counted from 1; none if the fault is of the file as a whole.
    pub line: Option<usize>,
    /// Like `server.max_recipients`; empty if the fault lies in no key.
    pub key: String,
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A file's name and text, to say where in it something is.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub file: &'a Path,
    pub text: &'a str,
}

impl Source<'_> {
    /// The fault of the value at `span`.
    #[must_use]
    pub fn fault(&self, span: &Range<usize>, key: &str, message: impl Into<String>) -> ConfigError {
        let before = self.text.as_bytes().iter().take(span.start);
        ConfigError {
            file: self.file.to_owned(),
            line: Some(before.filter(|byte| **byte == b'\n').count().saturating_add(1)),
            key: key.to_owned(),
            message: message.into(),
        }
    }
}

/// More faults than this help nobody.
const MAX_FAULTS: usize = 50;

/// Reads a TOML document; every fault is added to `faults`.
pub fn read<T: DeserializeOwned>(source: Source<'_>, faults: &mut Vec<ConfigError>) -> Option<T> {
    let (table, syntax) = DeTable::parse_recoverable(source.text);
    if !syntax.is_empty() {
        let fault =
            |error: &toml::de::Error| source.fault(&error.span().unwrap_or(0..0), "", error.message());
        faults.extend(syntax.iter().take(MAX_FAULTS).map(fault));
        return None;
    }
    let mut found = Vec::new();
    let value = read_table(source, table, &mut found);
    // The faults of a table come in no order of their own.
    found.sort_by_key(|fault| fault.line);
    let value = value.filter(|_| found.is_empty());
    faults.append(&mut found);
    value
}

fn read_table<T: DeserializeOwned>(
    source: Source<'_>,
    table: Spanned<DeTable<'_>>,
    faults: &mut Vec<ConfigError>,
) -> Option<T> {
    let span = table.span();
    let mut table = table.into_inner();
    let mut taken: Vec<Vec<Step>> = Vec::new();
    while faults.len() < MAX_FAULTS {
        let root = Spanned::new(span.clone(), DeValue::Table(table.clone()));
        let fault = match serde_path_to_error::deserialize(root.into_deserializer()) {
            Ok(value) => return Some(value),
            Err(fault) => fault,
        };
        let path = steps(fault.path());
        // What is missing here may be what was taken out before: no fault of its own.
        let is_consequence =
            taken.iter().any(|earlier| earlier.len() > path.len() && earlier.starts_with(&path));
        if !is_consequence {
            let span = fault.inner().span().unwrap_or(0..0);
            faults.push(source.fault(&span, &key_of(&path), explain(fault.inner().message())));
        }
        let place = entry_of(&path);
        if !take_out(&mut table, place) {
            return None;
        }
        // An entry of a list is taken out as a whole, so nothing of it can be missed.
        if place.len() == path.len() {
            taken.push(path);
        }
    }
    None
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

fn steps(path: &serde_path_to_error::Path) -> Vec<Step> {
    let step = |segment: &Segment| match segment {
        Segment::Map { key } if key.starts_with("$__") => None, // how toml passes spans
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().filter_map(step).collect()
}

/// `people.addresses`: without the position of the entry, which the line tells better.
fn key_of(path: &[Step]) -> String {
    let keys = path.iter().filter_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Index(_) => None,
    });
    keys.collect::<Vec<_>>().join(".")
}

/// The piece to take out for the fault at `path`: the entry of a list as a whole, else the key.
fn entry_of(path: &[Step]) -> &[Step] {
    let entry = path.iter().position(|step| matches!(step, Step::Index(_)));
    entry.and_then(|index| path.get(..=index)).unwrap_or(path)
}

fn take_out(table: &mut DeTable<'_>, path: &[Step]) -> bool {
    match path {
        [Step::Key(key)] => table.remove(key.as_str()).is_some(),
        [Step::Key(key), Step::Index(index)] => match table.get_mut(key.as_str()).map(Spanned::get_mut) {
            Some(DeValue::Array(array)) => {
                let mut rest = DeArray::new();
                let others = array.iter().enumerate().filter(|(position, _)| position != index);
                others.for_each(|(_, value)| rest.push(value.clone()));
                let taken = rest.len() < array.len();
                *array = rest;
                taken
            }
            _ => false,
        },
        [Step::Key(key), rest @ ..] => match table.get_mut(key.as_str()).map(Spanned::get_mut) {
            Some(DeValue::Table(inner)) => take_out(inner, rest),
            _ => false,
        },
        _ => false,
    }
}

/// Serde's words in ours: keys, not fields; and what was probably meant.
fn explain(message: &str) -> String {
    let (kind, rest) = match message.split_once(" `") {
        Some(("unknown field", rest)) => ("unknown key", rest),
        Some(("unknown variant", rest)) => ("unknown value", rest),
        Some(("missing field", rest)) => return format!("the key `{rest} is missing"),
        _ => return plain_number(message),
    };
    let Some((found, expected)) = rest.split_once('`') else { return message.to_owned() };
    let known = expected.split('`').skip(1).step_by(2);
    let hint = nearest(found, known).map(|word| format!(", did you mean `{word}`?")).unwrap_or_default();
    let expected = expected.trim_start_matches(", ");
    if hint.is_empty() {
        format!("{kind} `{found}`, {expected}")
    } else {
        format!("{kind} `{found}`{hint} ({expected})")
    }
}

/// `expected u32` is no word for people who write files.
fn plain_number(message: &str) -> String {
    let integers = ["u8", "u16", "u32", "u64", "usize", "i64"];
    let rest = integers.iter().find_map(|name| message.strip_suffix(&format!("expected {name}")));
    rest.map_or_else(|| message.to_owned(), |rest| format!("{rest}expected a whole number"))
}

/// The known word that was probably meant.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |word: &str| strsim::normalized_damerau_levenshtein(found, word);
    known.into_iter().filter(|word| likeness(word) > 0.5).max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default, expecting = "a table")]
    struct File {
        desk: Desk,
        #[serde(rename = "people")]
        _people: Vec<Person>,
        relay: Option<Relay>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default, expecting = "a table")]
    struct Desk {
        lamps: Option<Spanned<u8>>,
        #[serde(rename = "colour")]
        _colour: Colour,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, expecting = "a table")]
    struct Person {
        #[serde(rename = "name")]
        _name: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, expecting = "a table")]
    struct Relay {
        #[serde(rename = "host")]
        _host: String,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Colour {
        #[default]
        Red,
        DarkGreen,
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let mut faults = Vec::new();
        let source = Source { file: Path::new("desk.toml"), text };
        let value: Option<File> = read(source, &mut faults);
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults, expected);
        assert_eq!(value.is_some(), expected.is_empty());
    }

    #[test]
    fn a_sound_document_is_read() {
        check("[desk]\nlamps = 2\ncolour = \"dark-green\"\n[[people]]\nname = \"Ada\"\n", &[]);
        check("", &[]);
    }

    #[test]
    fn every_fault_is_told_with_line_key_and_what_would_be_right() {
        check(
            "[desk]\nlamps = \"two\"\ncolour = \"dark-gren\"\nlmps = 2\n\n[[people]]\nnme = \"Ada\"\n\n[[people]]\n\n[chair]\n",
            &[
                "desk.toml:2: desk.lamps: invalid type: string \"two\", expected a whole number",
                "desk.toml:3: desk.colour: unknown value `dark-gren`, did you mean `dark-green`? (expected `red` or `dark-green`)",
                "desk.toml:4: desk.lmps: unknown key `lmps`, did you mean `lamps`? (expected `lamps` or `colour`)",
                "desk.toml:7: people.nme: unknown key `nme`, did you mean `name`? (expected `name`)",
                "desk.toml:9: people: the key `name` is missing",
                "desk.toml:11: chair: unknown key `chair`, expected one of `desk`, `people`, `relay`",
            ],
        );
    }

    #[test]
    fn a_key_with_a_fault_is_not_also_told_to_be_missing() {
        check(
            "[relay]\nhost = 1\n",
            &["desk.toml:2: relay.host: invalid type: integer `1`, expected a string"],
        );
        check("[relay]\n", &["desk.toml:1: relay: the key `host` is missing"]);
    }

    #[test]
    fn every_fault_of_the_syntax_is_told() {
        let unquoted = "string values must be quoted, expected literal string";
        check("a = b\nc =\n", &[&format!("desk.toml:1: {unquoted}"), &format!("desk.toml:2: {unquoted}")]);
    }
}
