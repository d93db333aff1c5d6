//! How commands speak: exit codes, errors, tables.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use crate::pipeline::Undone;

/// The exit code of a command (sysexits.h where it has a word for it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    pub const OK: Self = Self(0);
    /// The command did its work and the answer is no: books out of balance, a mail failed, a file is wrong.
    pub const NO: Self = Self(1);
    pub const USAGE: Self = Self(2);
    /// Input that cannot be read (EX_DATAERR).
    pub const DATA: Self = Self(65);
    /// Try again later: nothing was lost, nothing was taken (EX_TEMPFAIL).
    pub const TEMPORARY: Self = Self(75);
    /// The configuration is wrong (EX_CONFIG).
    pub const CONFIG: Self = Self(78);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// Why a command did not do its work.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Says it on standard error.
    pub fn report(&self) -> Exit {
        let _ = writeln!(std::io::stderr(), "postern: {}", self.message);
        self.exit
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::TEMPORARY, error.to_string())
    }
}

impl From<Undone> for Failure {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Refused(why) => Self::new(Exit::NO, why),
            Undone::Trouble(why) => Self::new(Exit::TEMPORARY, why),
        }
    }
}

impl From<crate::store::StoreError> for Failure {
    fn from(error: crate::store::StoreError) -> Self {
        Self::new(Exit::TEMPORARY, error.to_string())
    }
}

/// Writes text and a line end to standard output.
pub fn print(text: &str) -> Result<Exit, Failure> {
    match writeln!(std::io::stdout().lock(), "{}", text.trim_end_matches('\n')) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::OK),
    }
}

/// One JSON value on one line.
pub fn print_json(value: &impl Serialize) -> Result<Exit, Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::new(Exit::DATA, error.to_string()))?;
    print(&text)
}

/// Bytes as they are.
pub fn write(bytes: &[u8]) -> Result<Exit, Failure> {
    match std::io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::OK),
    }
}

/// How long ago something was, in its two largest units: `3d 4h`, `12m 5s`.
#[must_use]
pub fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let units =
        [("d", seconds / 86_400), ("h", seconds / 3_600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let from = units.iter().position(|(_, count)| *count > 0).unwrap_or(3);
    let words: Vec<_> =
        units.iter().skip(from).take(2).map(|(unit, count)| format!("{count}{unit}")).collect();
    words.join(" ")
}

/// What a command that writes has done: the answer for programs, or a sentence.
pub fn done(json: bool, answer: &serde_json::Value, text: &str) -> Result<Exit, Failure> {
    if json { print_json(answer) } else { print(text) }
}

/// Columns as wide as their widest cell, two blanks between them. Control characters of mails cannot reach the terminal.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let clean = |cell: &str| -> String {
        cell.chars().map(|c| if c.is_control() { ' ' } else { c }).take(120).collect()
    };
    let all: Vec<Vec<String>> = std::iter::once(head.iter().map(|cell| (*cell).to_owned()).collect())
        .chain(rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()))
        .collect();
    let columns = all.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| -> String {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}
