//! The journal: every mail we said 250 to, and what became of it.
//!
//! **Invariants:** [`Store::accept`] returns an id only after the raw mail and its envelope were committed, so the
//! reply to DATA may follow it and nothing before it. Ids ascend in the order of commits, so that who reads on from
//! an id misses nothing. A row has exactly one state at any time.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use tokio::sync::oneshot;

use super::blobs::record_blob;
use super::queue::{self, Answer, Outcome, Priority, heard};
use super::rows;
use super::{Signal, Store, StoreError, WriteError};
use crate::domain::fate::Fate;
use crate::domain::ids::JournalId;
use crate::domain::mail::Envelope;
use crate::domain::snapshot::JournalEntry;
use crate::domain::time::Timestamp;
use crate::telemetry;

/// Raw mail up to this size lies in the database, larger in `blobs/`. A file costs two flushes of its own and the making of names:
/// with mails of 100 KB the database takes twice as many in the same time (docs/decisions/0004).
const INLINE_BYTES: usize = 256 * 1024;

/// The failure that makes a mail `failed(crashed)`.
const LAST_ATTEMPT: u32 = 3;
const CRASHED: &str = "crashed";

/// Why a mail was not accepted. Both are temporary: the sender keeps it and comes again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// 452
    #[error("the disk is full")]
    Full,
    /// 451
    #[error("the mail could not be stored: {0}")]
    Storage(String),
}

/// A mail that nobody decided yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub row: JournalId,
    /// Bytes of the raw mail.
    pub size: u64,
}

/// How a mail came to have a row.
enum Kept {
    New(JournalId),
    /// It was taken in before.
    Before(JournalId),
}

/// A raw mail on its way into a row.
#[derive(Clone)]
struct Raw {
    bytes: Vec<u8>,
    /// Its name on the disk already, if it is larger than what a row holds.
    blob: Option<[u8; 32]>,
}

/// Is given each mail once it is kept, in the order of acceptance; says whether it took it.
type Watcher = Box<dyn Fn(JournalEntry) -> bool + Send + Sync>;

/// Whom the writer tells of mail that was kept.
#[derive(Default)]
pub(super) struct Arrivals {
    pub(super) bell: Arc<Signal>,
    watcher: RwLock<Option<Watcher>>,
}

impl Store {
    /// Keeps a mail. When this returns an id, 250 is the truth. The wait does not block the runtime's threads.
    pub async fn accept(&self, envelope: Envelope, raw: Vec<u8>) -> Result<JournalId, AcceptError> {
        let began = Instant::now();
        let entrance = envelope.entrance.name.clone();
        let raw = if raw.len() > INLINE_BYTES {
            let store = self.clone();
            tokio::task::spawn_blocking(move || store.put_if_large(raw))
                .await
                .map_err(|error| AcceptError::Storage(error.to_string()))??
        } else {
            Raw { bytes: raw, blob: None }
        };
        let answer = self.queue_mail(envelope, raw, None)?;
        let kept = heard(answer.await)?;
        telemetry::message_accepted(&entrance, began.elapsed());
        Ok(kept)
    }

    /// The same for callers that are not on a runtime.
    pub fn accept_blocking(&self, envelope: &Envelope, raw: Vec<u8>) -> Result<JournalId, AcceptError> {
        let began = Instant::now();
        let raw = self.put_if_large(raw)?;
        let kept = heard(self.queue_mail(envelope.clone(), raw, None)?.blocking_recv())?;
        telemetry::message_accepted(&envelope.entrance.name, began.elapsed());
        Ok(kept)
    }

    /// Keeps a mail that waited as the file of this name. A name that was taken in before answers the id of then, so a
    /// crash before the file is gone makes no second mail.
    pub fn accept_spooled(
        &self,
        name: &str,
        envelope: &Envelope,
        raw: Vec<u8>,
    ) -> Result<JournalId, AcceptError> {
        let began = Instant::now();
        let raw = self.put_if_large(raw)?;
        let kept = heard(self.queue_mail(envelope.clone(), raw, Some(name.to_owned()))?.blocking_recv())?;
        telemetry::message_accepted(&envelope.entrance.name, began.elapsed());
        Ok(kept)
    }

    /// Mails after `after` that nobody decided yet, in the order they were accepted. Load each with [`Store::entry`].
    pub fn pending_after(&self, after: JournalId, limit: usize) -> Result<Vec<Pending>, StoreError> {
        self.read(|tx| {
            let mut select = tx.prepare_cached(
                "SELECT id, size FROM journal WHERE state = 'pending' AND id > ?1 ORDER BY id LIMIT ?2",
            )?;
            let rows = select.query_map((after.0, limit as i64), |row| {
                Ok(Pending { row: JournalId(row.get(0)?), size: row.get::<_, i64>(1)?.unsigned_abs() })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// How many mails nobody decided yet; counts no further than `most`.
    pub fn count_pending(&self, most: usize) -> Result<usize, StoreError> {
        self.read(|tx| {
            let sql = "SELECT COUNT(*) FROM (SELECT 1 FROM journal WHERE state = 'pending' LIMIT ?1)";
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let count: i64 = tx.prepare_cached(sql)?.query_row([most], |row| row.get(0))?;
            Ok(usize::try_from(count).unwrap_or(0))
        })
    }

    /// One accepted mail with its bytes. An error if they cannot be read or are not what was accepted.
    pub fn entry(&self, id: JournalId) -> Result<Option<JournalEntry>, StoreError> {
        let found = self.read(|tx| {
            let mut select = tx.prepare_cached(
                "SELECT envelope, state, detail, ticket, comment, attempts, blob, bytes
                 FROM journal LEFT JOIN journal_raw ON journal = id WHERE id = ?1",
            )?;
            select.query_row([id.0], |row| stored(id, row)).optional().map_err(StoreError::from)
        })?;
        let Some((mut entry, blob)) = found else { return Ok(None) };
        if let Some(sha) = blob {
            entry.raw = self.blob(&sha)?;
        }
        Ok(Some(entry))
    }

    /// Gives a pending mail up, with the reason; a person may look into it.
    pub fn mark_failed(&self, id: JournalId, error: String, now: Timestamp) -> Result<(), StoreError> {
        self.write(Priority::Other, move |tx| fail(tx, id, &error, now)).map_err(WriteError::flatten)
    }

    /// Makes a failed mail pending again, as if it had never been tried; false if it is not failed.
    pub fn retry_failed(&self, id: JournalId) -> Result<bool, StoreError> {
        let again = "UPDATE journal SET state = 'pending', detail = NULL, decided_at = NULL, attempts = 0
                     WHERE id = ?1 AND state = 'failed'";
        self.write(Priority::Other, move |tx| tx.execute(again, [id.0]).map(|changed| changed == 1))
            .map_err(WriteError::flatten)
    }

    /// Counts a failed try to decide a pending mail; the third one makes it `failed(crashed)`. Returns its fate.
    pub fn add_attempt(&self, id: JournalId, now: Timestamp) -> Result<Fate, StoreError> {
        self.write(Priority::Other, move |tx| count_attempt(tx, id, now)).map_err(WriteError::flatten)
    }

    /// Hands each mail that is kept from now on to `watcher`, with its bytes; whoever is not there in time, or says no, finds
    /// it among [`Store::pending_after`]. Where no watcher takes it, the bell of [`Store::subscribe`] rings. The watcher is
    /// called on a thread of the writer: it must be quick.
    pub fn watch_mail(&self, watcher: impl Fn(JournalEntry) -> bool + Send + Sync + 'static) {
        self.0.arrivals.set_watcher(Some(Box::new(watcher)));
    }

    /// Nobody is handed mail any more.
    pub fn unwatch_mail(&self) {
        self.0.arrivals.set_watcher(None);
    }

    fn put_if_large(&self, bytes: Vec<u8>) -> Result<Raw, AcceptError> {
        let blob = if bytes.len() > INLINE_BYTES { Some(self.put_blob(&bytes)?) } else { None };
        Ok(Raw { bytes, blob })
    }

    fn queue_mail(
        &self,
        envelope: Envelope,
        raw: Raw,
        spooled: Option<String>,
    ) -> Result<Answer<JournalId, rusqlite::Error>, AcceptError> {
        let json =
            serde_json::to_string(&envelope).map_err(|error| AcceptError::Storage(error.to_string()))?;
        let at = envelope.accepted_at;
        let sequences = self.sequences()?;
        let arrivals = Arc::clone(&self.0.arrivals);
        let (reply, answer) = oneshot::channel();
        // Shared by the job, which may be run again, and by whoever is told of it.
        let raw = Arc::new(raw);
        let kept_raw = Arc::clone(&raw);
        let work = queue::repeatable(
            move |tx| {
                if let Some(name) = &spooled
                    && let Some(before) = taken_in(tx, name)?
                {
                    return Ok(Kept::Before(before));
                }
                let id = sequences.journal();
                insert(tx, id, &json, at, &raw)?;
                if let Some(name) = &spooled {
                    tx.execute("INSERT INTO spooled (name, journal) VALUES (?1, ?2)", (name, id.0))?;
                }
                Ok(Kept::New(id))
            },
            move |kept: Outcome<Kept, rusqlite::Error>| {
                let kept = kept.map(|kept| match kept {
                    Kept::Before(id) => id,
                    Kept::New(id) => {
                        let raw = Arc::unwrap_or_clone(kept_raw).bytes;
                        arrivals.announce(JournalEntry {
                            id,
                            envelope,
                            raw,
                            fate: Fate::Pending,
                            attempts: 0,
                        });
                        id
                    }
                });
                // Whoever asked may be gone; the mail is kept all the same.
                let _ = reply.send(kept);
            },
        );
        self.writer()?.queue().try_submit(Priority::Journal, work);
        Ok(answer)
    }
}

impl Arrivals {
    fn set_watcher(&self, watcher: Option<Watcher>) {
        *self.watcher.write().unwrap_or_else(PoisonError::into_inner) = watcher;
    }

    fn announce(&self, entry: JournalEntry) {
        let watcher = self.watcher.read().unwrap_or_else(PoisonError::into_inner);
        if !watcher.as_ref().is_some_and(|takes| takes(entry)) {
            self.bell.ring();
        }
    }
}

impl std::fmt::Debug for Arrivals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrivals").field("bell", &self.bell).finish_non_exhaustive()
    }
}

/// Counts a failed try of a mail that still is pending, and gives it up after the last one.
pub(super) fn count_attempt(conn: &Connection, id: JournalId, now: Timestamp) -> rusqlite::Result<Fate> {
    conn.execute("UPDATE journal SET attempts = attempts + 1 WHERE id = ?1 AND state = 'pending'", [id.0])?;
    let attempts: u32 =
        conn.query_row("SELECT attempts FROM journal WHERE id = ?1", [id.0], |row| row.get(0))?;
    if attempts >= LAST_ATTEMPT {
        fail(conn, id, CRASHED, now)?;
    }
    conn.query_row("SELECT state, detail, ticket, comment FROM journal WHERE id = ?1", [id.0], rows::fate)
}

fn fail(conn: &Connection, id: JournalId, error: &str, now: Timestamp) -> rusqlite::Result<()> {
    conn.execute(
        "UPDATE journal SET state = 'failed', detail = ?2, decided_at = ?3 WHERE id = ?1 AND state = 'pending'",
        (id.0, error, now.0),
    )
    .map(drop)
}

/// The mail that a file of the spool became.
fn taken_in(conn: &Connection, name: &str) -> rusqlite::Result<Option<JournalId>> {
    rows::first(conn, "SELECT journal FROM spooled WHERE name = ?1", [name], |row| row.get(0).map(JournalId))
}

fn insert(
    tx: &Transaction<'_>,
    id: JournalId,
    envelope: &str,
    at: Timestamp,
    raw: &Raw,
) -> rusqlite::Result<()> {
    let size = raw.bytes.len();
    tx.prepare_cached(
        "INSERT INTO journal (id, accepted_at, envelope, size, blob, state) VALUES (?1, ?2, ?3, ?4, ?5, 'pending')",
    )?
    .execute((id.0, at.0, envelope, size as i64, raw.blob))?;
    match &raw.blob {
        None => tx
            .prepare_cached("INSERT INTO journal_raw (journal, bytes) VALUES (?1, ?2)")?
            .execute((id.0, &raw.bytes))
            .map(drop),
        Some(sha) => record_blob(tx, sha, size as u64, at),
    }
}

/// A row with its bytes, or with the name of the file that holds them.
fn stored(id: JournalId, row: &Row<'_>) -> rusqlite::Result<(JournalEntry, Option<[u8; 32]>)> {
    let envelope: String = row.get("envelope")?;
    let envelope = serde_json::from_str(&envelope).map_err(unreadable)?;
    let blob: Option<[u8; 32]> = row.get("blob")?;
    let raw = match (row.get::<_, Option<Vec<u8>>>("bytes")?, blob) {
        (Some(bytes), _) => bytes,
        (None, Some(_)) => Vec::new(),
        (None, None) => return Err(unreadable(format!("the bytes of mail {id} are not there"))),
    };
    Ok((JournalEntry { id, envelope, raw, fate: rows::fate(row)?, attempts: row.get("attempts")? }, blob))
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into())
}

impl From<StoreError> for AcceptError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::Full,
            other => Self::Storage(other.to_string()),
        }
    }
}
