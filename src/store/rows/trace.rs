//! The column `trace`.
//!
//! Nearly all steps of nearly all traces are sentences of the program, the same ones in the same order: such a run is kept once, in
//! `trace_runs`, and stands in the column by its number. What a step says of one mail alone stands in the column itself. Written
//! out for each mail, the trace would be most of what a short mail leaves in the database.

use std::borrow::Cow;

use rusqlite::{Connection, Result, Row};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{first, json, to_json, unfit};
use crate::domain::trace::{Step, Trace};

const COLUMN: &str = "trace";

/// One item of the column.
#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Run(i64),
    Step([&'a str; 4]),
}

/// The same, read back. Steps that are objects, as they once were written, can be read too.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredItem {
    Run(i64),
    Step(Step),
}

/// The text to store for a trace. Runs that nobody had before are stored with it.
pub(in crate::store) fn column(conn: &Connection, trace: &Trace) -> Result<String> {
    let mut items = Vec::new();
    for run in trace.steps.chunk_by(|one, next| is_of_the_program(one) && is_of_the_program(next)) {
        let steps: Vec<_> = run.iter().map(words).collect();
        match run.iter().all(is_of_the_program) {
            true => items.push(Item::Run(run_id(conn, &steps)?)),
            false => items.extend(steps.into_iter().map(Item::Step)),
        }
    }
    to_json(&items)
}

/// The trace that a row's column stands for.
pub(in crate::store) fn read(conn: &Connection, row: &Row<'_>) -> Result<Trace> {
    let mut steps = Vec::new();
    for item in json::<Vec<StoredItem>>(row, COLUMN)? {
        match item {
            StoredItem::Step(step) => steps.push(step),
            StoredItem::Run(id) => steps.extend(steps_of_run(conn, id)?),
        }
    }
    Ok(Trace { steps })
}

fn words(step: &Step) -> [&str; 4] {
    [&step.stage, &step.check, &step.answer, &step.because]
}

/// Nothing in it was made for one mail.
fn is_of_the_program(step: &Step) -> bool {
    let Step { stage, check, answer, because } = step;
    [stage, check, answer, because].into_iter().all(|word| matches!(word, Cow::Borrowed(_)))
}

fn run_id(conn: &Connection, steps: &[[&str; 4]]) -> Result<i64> {
    let steps = to_json(&steps)?;
    let digest = Sha256::digest(steps.as_bytes());
    let (key, _) = digest.split_at(digest.len() / 2);
    if let Some(id) = first(conn, "SELECT id FROM trace_runs WHERE key = ?1", [key], |row| row.get(0))? {
        return Ok(id);
    }
    let insert = "INSERT INTO trace_runs (key, steps) VALUES (?1, ?2) RETURNING id";
    conn.prepare_cached(insert)?.query_row((key, steps), |row| row.get(0))
}

/// An error if there is no such run: a trace is never shown in part.
fn steps_of_run(conn: &Connection, id: i64) -> Result<Vec<Step>> {
    let steps = first(conn, "SELECT steps FROM trace_runs WHERE id = ?1", [id], |row| json(row, "steps"))?;
    steps.ok_or_else(|| unfit(0, COLUMN, &format_args!("there is no run `{id}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../migrations/0008_trace_runs.sql")).unwrap();
        conn
    }

    fn read_text(conn: &Connection, column: &str) -> Result<Trace> {
        conn.query_row("SELECT ?1 AS trace", [column], |row| read(conn, row))
    }

    /// A trace that says the same of every mail but for one step.
    fn trace_of(ticket: i64) -> Trace {
        let mut trace = Trace::default();
        trace.push("authenticate", "sender", "none", "this entrance believes nobody");
        trace.push("author", "from", "found", "From names the author");
        trace.push("identify", "address-token", "found", format!("it names ticket {ticket}"));
        trace.push("privacy", "end-user", "settle", "the author is an end user");
        trace
    }

    #[test]
    fn what_every_mail_says_is_kept_once_and_what_one_says_stays_with_it() {
        let conn = database();
        let first = column(&conn, &trace_of(1)).unwrap();
        let second = column(&conn, &trace_of(2)).unwrap();
        assert_eq!(first, r#"[1,["identify","address-token","found","it names ticket 1"],2]"#);
        assert_eq!(second, r#"[1,["identify","address-token","found","it names ticket 2"],2]"#);
        assert_eq!(read_text(&conn, &first).unwrap(), trace_of(1));
        assert_eq!(read_text(&conn, &second).unwrap(), trace_of(2));
    }

    #[test]
    fn a_trace_of_nothing_is_nothing() {
        let conn = database();
        assert_eq!(column(&conn, &Trace::default()).unwrap(), "[]");
        assert_eq!(read_text(&conn, "[]").unwrap(), Trace::default());
    }

    #[test]
    fn traces_of_earlier_versions_are_read() {
        let conn = database();
        let words = r#"[["author","from","found","From names the author"]]"#;
        let named =
            r#"[{"stage":"author","check":"from","answer":"found","because":"From names the author"}]"#;
        let mut expected = Trace::default();
        expected.push("author", "from", "found", "From names the author");
        assert_eq!(read_text(&conn, words).unwrap(), expected);
        assert_eq!(read_text(&conn, named).unwrap(), expected);
    }

    #[test]
    fn a_run_that_is_not_there_is_an_error() {
        let error = read_text(&database(), "[7]").unwrap_err().to_string();
        assert!(error.contains("column `trace`: there is no run `7`"), "{error}");
    }

    #[test]
    fn what_a_failed_job_took_back_is_stored_again_by_the_next() {
        let conn = database();
        conn.execute_batch("SAVEPOINT job").unwrap();
        let lost = column(&conn, &trace_of(1)).unwrap();
        conn.execute_batch("ROLLBACK TO job; RELEASE job").unwrap();
        assert!(read_text(&conn, &lost).is_err());
        let kept = column(&conn, &trace_of(1)).unwrap();
        assert_eq!(read_text(&conn, &kept).unwrap(), trace_of(1));
    }
}
