//! SQL rows to domain values and back: the only place that knows how a value is written in a column.
//!
//! **Invariant:** a column that cannot be read is an error, never a default: a fact that could not be loaded
//! delays a message, and nothing guesses (DESIGN §1).
//! **Invariant:** everything here runs inside the caller's transaction and starts none.

pub mod mail;
pub mod people;
pub mod tickets;
pub(in crate::store) mod trace;

use rusqlite::types::Type;
use rusqlite::{Connection, Params, Result, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::domain::address::Address;
use crate::domain::fate::{DiscardReason, Fate, SuspensionCause};
use crate::domain::ids::{CommentId, TicketId};
use crate::domain::mail::MessageId;
use crate::domain::time::Timestamp;

/// The 64-bit hash a Message-ID is indexed by. Two ids may share it: compare the text too.
#[must_use]
pub fn message_hash(id: &MessageId) -> i64 {
    digest_hash(&Sha256::digest(id.0.as_bytes()).into())
}

/// The 64 bits a digest is indexed by. Two digests may share them: compare the whole.
#[must_use]
pub fn digest_hash(digest: &[u8; 32]) -> i64 {
    let (first, _) = digest.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    i64::from_be_bytes(*first)
}

/// The four columns that say what became of a mail.
#[derive(Debug)]
pub struct FateColumns {
    pub state: &'static str,
    pub detail: Option<String>,
    pub ticket: Option<i64>,
    pub comment: Option<i64>,
}

#[must_use]
pub fn fate_columns(fate: &Fate) -> FateColumns {
    let (detail, ticket, comment) = match fate {
        Fate::Pending => (None, None, None),
        Fate::Done { ticket, comment } => (None, Some(ticket.0), comment.map(|id| id.0)),
        Fate::Suspended(cause) => (Some(cause.name().to_owned()), None, None),
        Fate::Discarded(reason) => (Some(reason.name().to_owned()), None, None),
        Fate::Failed { error } => (Some(error.clone()), None, None),
    };
    FateColumns { state: fate.state(), detail, ticket, comment }
}

/// Reads the columns `state`, `detail`, `ticket` and `comment` of a journal row.
///
/// # Errors
/// If they do not make one fate.
pub fn fate(row: &Row<'_>) -> Result<Fate> {
    let state: String = row.get("state")?;
    Ok(match state.as_str() {
        "pending" => Fate::Pending,
        "done" => Fate::Done {
            ticket: TicketId(row.get("ticket")?),
            comment: row.get::<_, Option<i64>>("comment")?.map(CommentId),
        },
        "suspended" => Fate::Suspended(word(row, "detail", SuspensionCause::from_name)?),
        "discarded" => Fate::Discarded(word(row, "detail", DiscardReason::from_name)?),
        "failed" => Fate::Failed { error: row.get::<_, Option<String>>("detail")?.unwrap_or_default() },
        other => return Err(unreadable("state", other)),
    })
}

/// A column that holds one of a closed set of words.
pub(in crate::store) fn word<T>(row: &Row<'_>, column: &str, read: impl Fn(&str) -> Option<T>) -> Result<T> {
    let text: String = row.get(column)?;
    read(&text).ok_or_else(|| unreadable(column, &text))
}

pub(in crate::store) fn optional_word<T>(
    row: &Row<'_>,
    column: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| read(&text).ok_or_else(|| unreadable(column, &text))).transpose()
}

pub(in crate::store) fn address(row: &Row<'_>, column: &str) -> Result<Address> {
    word(row, column, |text| Address::parse(text).ok())
}

pub(in crate::store) fn optional_address(row: &Row<'_>, column: &str) -> Result<Option<Address>> {
    optional_word(row, column, |text| Address::parse(text).ok())
}

pub(in crate::store) fn message_id(row: &Row<'_>, column: &str) -> Result<MessageId> {
    row.get(column).map(MessageId)
}

pub(in crate::store) fn time(row: &Row<'_>, column: &str) -> Result<Timestamp> {
    row.get(column).map(Timestamp)
}

pub(in crate::store) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| unfit(column_index(row, column), column, &error))
}

/// A text column whose text is not what it should be.
fn unfit(index: usize, column: &str, why: &dyn std::fmt::Display) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, format!("column `{column}`: {why}").into())
}

pub(in crate::store) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// 64 unsigned bits as SQLite keeps them.
pub(in crate::store) fn signed(bits: u64) -> i64 {
    bits.cast_signed()
}

/// Every row of a query, through `read`.
pub(in crate::store) fn all<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    conn.prepare_cached(sql)?.query_map(params, read)?.collect()
}

/// The first row of a query, through `read`, if there is one.
pub(in crate::store) fn first<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

pub(in crate::store) fn execute(conn: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    conn.prepare_cached(sql)?.execute(params)
}

/// For writes that must hit exactly one row: anything else means that the plan and the store disagree.
pub(in crate::store) fn execute_one(conn: &Connection, sql: &str, params: impl Params) -> Result<()> {
    match execute(conn, sql, params)? {
        1 => Ok(()),
        changed => Err(rusqlite::Error::StatementChangedRows(changed)),
    }
}

fn unreadable(column: &str, found: &str) -> rusqlite::Error {
    // The text may be an address or an error of ours: the report names the column and the length only.
    let why = format!("column `{column}` holds {} characters that are no word of it", found.chars().count());
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, why.into())
}

fn column_index(row: &Row<'_>, column: &str) -> usize {
    row.as_ref().column_index(column).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fate_in: &Fate) {
        let conn = Connection::open_in_memory().unwrap();
        let columns = fate_columns(fate_in);
        let read = conn.query_row(
            "SELECT ?1 AS state, ?2 AS detail, ?3 AS ticket, ?4 AS comment",
            (columns.state, columns.detail, columns.ticket, columns.comment),
            fate,
        );
        assert_eq!(read.unwrap(), *fate_in);
    }

    #[test]
    fn every_fate_comes_back_as_it_was_written() {
        check(&Fate::Pending);
        check(&Fate::Done { ticket: TicketId(7), comment: Some(CommentId(9)) });
        check(&Fate::Done { ticket: TicketId(7), comment: None });
        check(&Fate::Failed { error: "crashed".to_owned() });
        SuspensionCause::ALL.into_iter().for_each(|cause| check(&Fate::Suspended(cause)));
        DiscardReason::ALL.into_iter().for_each(|reason| check(&Fate::Discarded(reason)));
    }

    #[test]
    fn a_word_nobody_knows_is_an_error_and_not_a_default() {
        let conn = Connection::open_in_memory().unwrap();
        let sql = "SELECT 'suspended' AS state, 'mystery' AS detail, NULL AS ticket, NULL AS comment";
        assert!(conn.query_row(sql, [], fate).is_err());
    }
}
