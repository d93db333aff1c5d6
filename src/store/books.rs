//! The books: proof that each accepted mail has exactly one fate, and that what the fates promise is there.
//!
//! Everything is read in one transaction; only the files of `blobs/` are looked at after it.

use std::collections::BTreeMap;
use std::fmt;

use rusqlite::{Connection, Row};
use serde::Serialize;

use super::{Store, StoreError};

/// How many rows of one kind of problem are named; the rest is counted.
const NAMED: usize = 20;

/// What `postern audit` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Books {
    /// How often we said 250.
    pub accepted: u64,
    pub pending: u64,
    /// Became a ticket update.
    pub done: u64,
    pub suspended: u64,
    /// By reason.
    pub discarded: BTreeMap<String, u64>,
    pub failed: u64,
    /// Notifications promised, by state.
    pub outbox: BTreeMap<String, u64>,
    /// Accepted is the sum of the fates, and nothing is in `problems`.
    pub balanced: bool,
    pub problems: Vec<String>,
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |map: &BTreeMap<String, u64>| -> String {
            let entries: Vec<_> = map.iter().map(|(word, count)| format!("{word} {count}")).collect();
            if entries.is_empty() { "0".to_owned() } else { entries.join(", ") }
        };
        writeln!(f, "accepted   {}", self.accepted)?;
        writeln!(f, "  pending    {}", self.pending)?;
        writeln!(f, "  done       {}", self.done)?;
        writeln!(f, "  suspended  {}", self.suspended)?;
        writeln!(f, "  discarded  {}", listed(&self.discarded))?;
        writeln!(f, "  failed     {}", self.failed)?;
        writeln!(f, "outbox     {}", listed(&self.outbox))?;
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        f.write_str(if self.balanced { "the books balance" } else { "THE BOOKS DO NOT BALANCE" })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Rows and files.
    Books,
    /// Also SQLite's own check of the whole database, which takes its time.
    Database,
}

/// A question that finds the ids of rows which should not be, and what is wrong with them.
struct Check {
    problem: &'static str,
    sql: &'static str,
}

const CHECKS: &[Check] = &[
    Check {
        problem: "done mails without a ticket",
        sql: "SELECT j.id FROM journal j LEFT JOIN tickets t ON t.id = j.ticket
              WHERE j.state = 'done' AND t.id IS NULL",
    },
    Check {
        problem: "done mails whose comment is not there or not theirs",
        sql: "SELECT j.id FROM journal j LEFT JOIN comments c ON c.id = j.comment
              WHERE j.state = 'done' AND j.comment IS NOT NULL
                AND (c.id IS NULL OR c.journal IS NOT j.id OR c.ticket IS NOT j.ticket)",
    },
    Check {
        problem: "comments of mails that are not done or name no comment",
        sql: "SELECT c.id FROM comments c LEFT JOIN journal j ON j.id = c.journal
              WHERE c.journal IS NOT NULL AND (j.state IS NOT 'done' OR j.comment IS NULL)",
    },
    Check {
        problem: "mails with two comments on one ticket",
        sql: "SELECT journal FROM comments WHERE journal IS NOT NULL
              GROUP BY journal, ticket HAVING COUNT(*) > 1",
    },
    Check {
        problem: "suspended mails that are not held exactly once",
        sql:
            "SELECT id FROM journal WHERE state = 'suspended' AND 1 <>
              (SELECT COUNT(*) FROM suspended_tickets s WHERE s.journal = journal.id AND released_at IS NULL)",
    },
    Check {
        problem: "held tickets whose mail is not suspended",
        sql: "SELECT s.id FROM suspended_tickets s JOIN journal j ON j.id = s.journal
              WHERE s.released_at IS NULL AND j.state <> 'suspended'",
    },
    Check {
        problem: "mails whose bytes are not there",
        sql: "SELECT j.id FROM journal j LEFT JOIN journal_raw r ON r.journal = j.id
              WHERE j.blob IS NULL AND (r.journal IS NULL OR length(r.bytes) <> j.size)",
    },
    Check {
        problem: "mails and attachments whose blob has no row",
        sql: "SELECT j.id FROM journal j LEFT JOIN blobs b ON b.sha256 = j.blob
              WHERE j.blob IS NOT NULL AND b.sha256 IS NULL
              UNION ALL
              SELECT a.comment FROM attachments a LEFT JOIN blobs b ON b.sha256 = a.sha256
              WHERE b.sha256 IS NULL",
    },
    Check {
        problem: "notifications that nobody is to get",
        sql: "SELECT id FROM notifications n
              WHERE NOT EXISTS (SELECT 1 FROM outbox o WHERE o.notification = n.id)",
    },
];

/// Where ids come from, and where they end up: none may be at or above what its sequence hands out next.
const NUMBERED: [(&str, &str); 10] = [
    ("audit", "audits"),
    ("comment", "comments"),
    ("group", "groups"),
    ("journal", "journal"),
    ("notification", "notifications"),
    ("organization", "organizations"),
    ("outbox", "outbox"),
    ("suspended", "suspended_tickets"),
    ("ticket", "tickets"),
    ("user", "users"),
];

/// A file of `blobs/` that the database counts on.
struct Promised {
    sha: [u8; 32],
    size: u64,
}

impl Store {
    /// Counts and proves, as of one instant.
    pub fn books(&self, depth: Depth) -> Result<Books, StoreError> {
        let (mut books, promised) = self.read(|tx| {
            let mut books = count(tx)?;
            for check in CHECKS {
                books.problems.extend(run(tx, check)?);
            }
            books.problems.extend(ids_to_come(tx)?);
            if depth == Depth::Database {
                books.problems.extend(database_problems(tx)?);
            }
            Ok::<_, StoreError>((books, promised_files(tx)?))
        })?;
        let missing = promised.iter().filter(|file| self.blob_size(&file.sha) != Some(file.size));
        let names = missing.map(|file| data_encoding::HEXLOWER.encode(&file.sha)).collect();
        books.problems.extend(name_some("blobs whose file is not there or not as long", names));
        books.balanced = books.accepted == books.sum() && books.problems.is_empty();
        Ok(books)
    }
}

impl Books {
    /// The books of nothing, which balance.
    #[must_use]
    pub fn empty() -> Self {
        Self { balanced: true, ..Self::default() }
    }

    /// Adds the books of another store. They balance together if each did alone.
    pub fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.pending += other.pending;
        self.done += other.done;
        self.suspended += other.suspended;
        self.failed += other.failed;
        for (mine, theirs) in [(&mut self.discarded, other.discarded), (&mut self.outbox, other.outbox)] {
            for (word, rows) in theirs {
                *mine.entry(word).or_default() += rows;
            }
        }
        self.balanced &= other.balanced;
        self.problems.extend(other.problems);
    }

    fn sum(&self) -> u64 {
        self.pending + self.done + self.suspended + self.discarded.values().sum::<u64>() + self.failed
    }
}

fn count(tx: &Connection) -> rusqlite::Result<Books> {
    let accepted = tx.query_row("SELECT COUNT(*) FROM journal", [], |row| number(row, 0))?;
    let mut books = Books { accepted, ..Books::default() };
    let states = "SELECT state, COUNT(*) FROM journal WHERE state <> 'discarded' GROUP BY state";
    for (state, rows) in counts(tx, states)? {
        match state.as_str() {
            "pending" => books.pending = rows,
            "done" => books.done = rows,
            "suspended" => books.suspended = rows,
            "failed" => books.failed = rows,
            other => books.problems.push(format!("{rows} mails in the unknown state `{other}`")),
        }
    }
    books.discarded = counts(
        tx,
        "SELECT COALESCE(detail, 'unknown'), COUNT(*) FROM journal WHERE state = 'discarded' GROUP BY detail",
    )?;
    books.outbox = counts(tx, "SELECT state, COUNT(*) FROM outbox GROUP BY state")?;
    Ok(books)
}

fn counts(conn: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<String, u64>> {
    conn.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, number(row, 1)?)))?.collect()
}

/// A column that counts something; SQLite has no unsigned numbers.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

fn run(conn: &Connection, check: &Check) -> rusqlite::Result<Option<String>> {
    let mut select = conn.prepare(check.sql)?;
    let ids = select.query_map([], |row| row.get::<_, i64>(0).map(|id| id.to_string()))?;
    Ok(name_some(check.problem, ids.collect::<rusqlite::Result<_>>()?))
}

/// Ids that could be handed out a second time.
fn ids_to_come(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    for (sequence, table) in NUMBERED {
        let next = format!(
            "SELECT COALESCE(MAX(id), 0), COALESCE((SELECT next FROM sequences WHERE name = ?1), 1) FROM {table}"
        );
        let (last, next): (i64, i64) =
            conn.query_row(&next, [sequence], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if last >= next {
            problems.push(format!("the next {sequence} would get the id {next}, and {last} is taken"));
        }
    }
    Ok(problems)
}

fn database_problems(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    conn.pragma_query(None, "integrity_check", |row| {
        let line: String = row.get(0)?;
        if line != "ok" {
            problems.push(format!("integrity_check: {line}"));
        }
        Ok(())
    })?;
    conn.pragma_query(None, "foreign_key_check", |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        let id: Option<i64> = row.get(1)?;
        problems.push(format!("foreign_key_check: `{table}` row {id:?} refers to nothing in `{parent}`"));
        Ok(())
    })?;
    Ok(problems)
}

fn promised_files(conn: &Connection) -> rusqlite::Result<Vec<Promised>> {
    let mut select = conn.prepare("SELECT sha256, size FROM blobs")?;
    let files = select.query_map([], |row| Ok(Promised { sha: row.get(0)?, size: number(row, 1)? }))?;
    files.collect()
}

/// `done mails without a ticket: 4, 7 and 3 more`
fn name_some(problem: &str, names: Vec<String>) -> Option<String> {
    let more = names.len().saturating_sub(NAMED);
    let named: Vec<String> = names.into_iter().take(NAMED).collect();
    match (named.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(format!("{problem}: {}", named.join(", "))),
        (false, more) => Some(format!("{problem}: {} and {more} more", named.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::mail::{Entrance, Envelope, TrustSource};
    use crate::domain::time::Timestamp;
    use crate::store::{Options, Priority};

    /// Five mails with five fates, and all that they promise.
    const WORLD: &str = "
        INSERT INTO sequences (name, next) VALUES
            ('user', 2), ('ticket', 2), ('comment', 2), ('audit', 2), ('notification', 2), ('outbox', 2), ('suspended', 2);
        INSERT INTO users VALUES (1, 1, 'Rita', '{}', 0, NULL, 0, 1, 0);
        INSERT INTO tickets VALUES
            (1, 1, x'00', 'Help', 'new', 1, 1, NULL, NULL, NULL, NULL, NULL, NULL, 'mail', NULL, NULL, 1, 1, 0, 0, NULL);
        INSERT INTO comments VALUES (1, 1, 1, 'public', 0, 'end-user', '[]', 'hi', 'mail', 1, 0);
        INSERT INTO audits VALUES (1, 1, '{}', 'mail', 1, 0, '[]');
        INSERT INTO suspended_tickets VALUES (1, 2, 'loop', '', NULL, NULL, '', NULL, 0, '[]', NULL);
        INSERT INTO notifications VALUES (1, 1, 1, 'r', '{}', 's', 't', 'h', NULL, 'public', '[1]', 0, 0);
        INSERT INTO outbox VALUES
            (1, 1, 1, 1, 'a', 'a', 'requester', 'm', '{}', 't', 'b', 'queued', NULL, 0, 0, 0, 0, NULL, NULL);
        UPDATE journal SET state = 'done', ticket = 1, comment = 1 WHERE id = 1;
        UPDATE journal SET state = 'suspended', detail = 'loop' WHERE id = 2;
        UPDATE journal SET state = 'discarded', detail = 'duplicate' WHERE id = 3;
        UPDATE journal SET state = 'failed', detail = 'crashed' WHERE id = 4;";

    fn world() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::new(Timestamp(0))).unwrap();
        let envelope = Envelope {
            entrance: Entrance { name: "test".to_owned(), trust: TrustSource::None },
            client: None,
            helo: None,
            reverse_path: None,
            recipients: Vec::new(),
            accepted_at: Timestamp(0),
        };
        for size in [10, 10, 10, 10, 300_000] {
            store.accept_blocking(&envelope, vec![b'x'; size]).unwrap();
        }
        store.write(Priority::Other, |tx| tx.execute_batch(WORLD)).unwrap();
        (dir, store)
    }

    fn check(spoil: &'static str, expected: &[&str]) {
        let (_dir, store) = world();
        store.write(Priority::Other, move |tx| tx.execute_batch(spoil)).unwrap();
        let books = store.books(Depth::Books).unwrap();
        assert_eq!(books.problems, expected, "{spoil}");
        assert_eq!(books.balanced, expected.is_empty(), "{spoil}");
    }

    #[test]
    fn the_books_of_a_good_world_balance() {
        let (_dir, store) = world();
        let expected = Books {
            accepted: 5,
            pending: 1,
            done: 1,
            suspended: 1,
            discarded: BTreeMap::from([("duplicate".to_owned(), 1)]),
            failed: 1,
            outbox: BTreeMap::from([("queued".to_owned(), 1)]),
            balanced: true,
            problems: Vec::new(),
        };
        assert_eq!(store.books(Depth::Database).unwrap(), expected);
    }

    #[test]
    fn what_does_not_balance_is_named() {
        let not_theirs = "done mails whose comment is not there or not theirs: 1";
        check("UPDATE journal SET ticket = 9 WHERE id = 1", &["done mails without a ticket: 1", not_theirs]);
        check("UPDATE journal SET comment = 9 WHERE id = 1", &[not_theirs]);
        check("UPDATE comments SET journal = NULL", &[not_theirs]);
        check(
            "UPDATE comments SET journal = 4",
            &[not_theirs, "comments of mails that are not done or name no comment: 1"],
        );
        check(
            "UPDATE journal SET comment = NULL WHERE id = 1",
            &["comments of mails that are not done or name no comment: 1"],
        );
        check(
            "INSERT INTO comments SELECT 2, ticket, author, visibility, 0, rule, flags, text, via, journal, 0 FROM comments;
             UPDATE sequences SET next = 3 WHERE name = 'comment'",
            &["mails with two comments on one ticket: 1"],
        );
        let not_once = "suspended mails that are not held exactly once: 2";
        check("UPDATE suspended_tickets SET released_at = 1", &[not_once]);
        check(
            "INSERT INTO suspended_tickets SELECT 2, journal, cause, '', NULL, NULL, '', NULL, 0, '[]', NULL FROM suspended_tickets;
             UPDATE sequences SET next = 3 WHERE name = 'suspended'",
            &[not_once],
        );
        check(
            "UPDATE journal SET state = 'discarded' WHERE id = 2",
            &["held tickets whose mail is not suspended: 1"],
        );
        check("DELETE FROM journal_raw WHERE journal IN (3, 4)", &["mails whose bytes are not there: 3, 4"]);
        check(
            "UPDATE journal_raw SET bytes = x'00' WHERE journal = 4",
            &["mails whose bytes are not there: 4"],
        );
        check("DELETE FROM blobs", &["mails and attachments whose blob has no row: 5"]);
        check("DELETE FROM outbox", &["notifications that nobody is to get: 1"]);
        check(
            "INSERT INTO groups VALUES (5, 'Night shift', 0, 1)",
            &["the next group would get the id 1, and 5 is taken"],
        );
    }

    #[test]
    fn a_blob_file_that_is_gone_is_named() {
        let (dir, store) = world();
        std::fs::remove_dir_all(dir.path().join("blobs")).unwrap();
        let books = store.books(Depth::Books).unwrap();
        assert!(!books.balanced);
        assert!(books.problems[0].starts_with("blobs whose file is not there or not as long: "), "{books:?}");
    }

    #[test]
    fn many_problems_are_counted() {
        let names = (1..=23).map(|id| id.to_string()).collect();
        let text = name_some("mails that are lost", names).unwrap();
        assert!(text.ends_with("19, 20 and 3 more"), "{text}");
    }
}
