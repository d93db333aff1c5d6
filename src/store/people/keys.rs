//! The stable keys of objects that files own, and the numbers behind them (`config_objects`).

use std::collections::BTreeSet;

use rusqlite::{Connection, Result};

use super::rows::{all, execute_one, first};

#[derive(Clone, Copy)]
pub(super) enum Kind {
    User,
    Group,
    Organization,
}

impl Kind {
    /// The word in `config_objects`.
    fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Group => "group",
            Self::Organization => "organization",
        }
    }
}

/// The object with this key, in force or not.
pub(super) fn find(conn: &Connection, kind: Kind, key: &str) -> Result<Option<i64>> {
    let sql = "SELECT object FROM config_objects WHERE kind = ?1 AND key = ?2";
    first(conn, sql, (kind.word(), key), |row| row.get(0))
}

/// Whether a key was ever mapped to this object.
pub(super) fn is_owned(conn: &Connection, kind: Kind, object: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM config_objects WHERE kind = ?1 AND object = ?2";
    conn.prepare_cached(sql)?.exists((kind.word(), object))
}

/// The key is in force, and means this object.
pub(super) fn assign(conn: &Connection, kind: Kind, key: &str, object: i64) -> Result<()> {
    execute_one(
        conn,
        "INSERT INTO config_objects (kind, key, object, active) VALUES (?1, ?2, ?3, 1)
         ON CONFLICT (kind, key) DO UPDATE SET active = 1",
        (kind.word(), key, object),
    )
}

/// The object with this key; a new key gets the number that `draw` hands out.
pub(super) fn numbered(conn: &Connection, kind: Kind, key: &str, draw: impl FnOnce() -> i64) -> Result<i64> {
    let object = find(conn, kind, key)?.unwrap_or_else(draw);
    assign(conn, kind, key, object)?;
    Ok(object)
}

/// Takes every other key of this kind out of force, and answers whose they were.
pub(super) fn retire<'a>(
    conn: &Connection,
    kind: Kind,
    kept: impl Iterator<Item = &'a str>,
) -> Result<Vec<i64>> {
    let kept: BTreeSet<&str> = kept.collect();
    let sql = "SELECT key, object FROM config_objects WHERE kind = ?1 AND active = 1";
    let in_force: Vec<(String, i64)> = all(conn, sql, [kind.word()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut dropped = Vec::new();
    for (key, object) in in_force.into_iter().filter(|(key, _)| !kept.contains(key.as_str())) {
        let sql = "UPDATE config_objects SET active = 0 WHERE kind = ?1 AND key = ?2";
        execute_one(conn, sql, (kind.word(), key))?;
        dropped.push(object);
    }
    Ok(dropped)
}
