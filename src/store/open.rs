//! Opening a data directory: the lock, the database and its migrations, the key file, the mark of an unclean stop.
//!
//! **Invariants:** one process writes (flock on `lock`); a database that another program, a newer version or a lost
//! key file makes doubtful is not opened; the key file is on the disk before the database has a schema.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::Durability;
use super::keys::{KeyError, KeyFile};
use crate::domain::time::Timestamp;

pub(super) const DATABASE: &str = "postern.db";
/// The database while a backup is being restored.
pub(super) const RESTORING: &str = "postern.db.restoring";
const LOCK: &str = "lock";
const RUNNING: &str = "running";

/// `PSTN`: the database says whose it is.
const APPLICATION_ID: i64 = 0x5053_544e;

/// Each is run once, in order; `user_version` counts those that were.
const MIGRATIONS: [&str; 8] = [
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_spool_and_failed.sql"),
    include_str!("migrations/0003_held.sql"),
    include_str!("migrations/0004_levels.sql"),
    include_str!("migrations/0005_known_by_message_id.sql"),
    include_str!("migrations/0006_budget.sql"),
    include_str!("migrations/0007_the_journal_says.sql"),
    include_str!("migrations/0008_trace_runs.sql"),
];

const WRITABLE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Statements that each connection keeps prepared.
const PREPARED_STATEMENTS: usize = 128;

/// Why a data directory was not opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "`{dir}` is in use by process {holder}; stop it first, or let it do the work over its control socket"
    )]
    Locked { dir: PathBuf, holder: String },
    #[error("`{0}` holds no database; start `postern serve` once, or name the data directory with --data")]
    Missing(PathBuf),
    #[error(
        "`{path}` is not a Postern database: its application id is {found:#x}, expected {APPLICATION_ID:#x}"
    )]
    Foreign { path: PathBuf, found: i64 },
    #[error(
        "a backup was being restored into `{0}` and that did not end; empty the directory and restore it again"
    )]
    HalfRestored(PathBuf),
    #[error("`{0}` is not a database")]
    NotADatabase(PathBuf),
    #[error(
        "the database has schema {found}, this version knows {known}; use the version that wrote it, or a newer one"
    )]
    Newer { found: i64, known: usize },
    #[error(
        "the database has schema {found}, this version needs {known}; start `postern serve` to bring it up to date"
    )]
    Older { found: i64, known: usize },
    #[error(
        "`{0}` has a database and no key file; put `keys.json` back from a backup: without it no ticket reference verifies"
    )]
    KeysMissing(PathBuf),
    #[error("the journal mode is `{0}`, expected `wal`; the data directory must lie on a local file system")]
    NoWal(String),
    #[error(
        "the process before did not stop in order, and what it wrote last cannot be copied into the database: {0}; try again when the disk has room and no other program reads the database"
    )]
    Unsettled(#[source] rusqlite::Error),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("cannot open the database: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("cannot use the data directory: {0}")]
    Io(#[from] io::Error),
}

/// A data directory that is ours alone until `lock` is dropped.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) lock: File,
    pub(super) conn: Connection,
    pub(super) keys: KeyFile,
    /// The process before us did not close the store.
    pub(super) unclean: bool,
}

/// Takes the directory, makes what is not there yet and brings the schema up to date.
pub(super) fn open(dir: &Path, durability: Durability, now: Timestamp) -> Result<Opened, OpenError> {
    make_directory(dir)?;
    let lock = take_lock(dir)?;
    if dir.join(RESTORING).exists() {
        return Err(OpenError::HalfRestored(dir.to_owned()));
    }
    owners_file(&dir.join(DATABASE))?;
    let mut conn = Connection::open_with_flags(dir.join(DATABASE), WRITABLE)?;
    // Before anything is set: a database that is not ours must stay as it is.
    let version = schema_version(&conn, &dir.join(DATABASE))?;
    let keys = match (KeyFile::load(dir), version) {
        (Ok(keys), _) => keys,
        (Err(error), 0) if is_missing(&error) => {
            let keys = KeyFile::generate(now)?;
            keys.save(dir, durability)?;
            keys
        }
        (Err(error), _) if is_missing(&error) => return Err(OpenError::KeysMissing(dir.to_owned())),
        (Err(error), _) => return Err(error.into()),
    };
    configure(&conn, durability)?;
    migrate(&mut conn, version, now)?;
    let unclean = dir.join(RUNNING).exists();
    if unclean {
        settle_wal(&conn)?;
    }
    owners_file(&dir.join(RUNNING))?;
    Ok(Opened { lock, conn, keys, unclean })
}

/// Migrates a database that nobody has opened yet: what a restore has copied.
pub(super) fn bring_up_to_date(conn: &mut Connection, path: &Path, now: Timestamp) -> Result<(), OpenError> {
    conn.pragma_update(None, "foreign_keys", true)?;
    let version = schema_version(conn, path)?;
    Ok(migrate(conn, version, now)?)
}

/// Copies the WAL of a process that died into the database and starts it anew. What a failed flush left in memory alone reads as if it
/// were kept; commits that are written behind it would be lost with it at a power cut.
fn settle_wal(conn: &Connection) -> Result<(), OpenError> {
    conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE).map(drop).map_err(OpenError::Unsettled)
}

/// For commands that only read: makes nothing, and takes no lock.
pub(super) fn check_readable(dir: &Path) -> Result<KeyFile, OpenError> {
    if !dir.join(DATABASE).exists() {
        return Err(OpenError::Missing(dir.to_owned()));
    }
    let version = schema_version(&connect_read_only(dir)?, &dir.join(DATABASE))?;
    if usize::try_from(version) != Ok(MIGRATIONS.len()) {
        return Err(OpenError::Older { found: version, known: MIGRATIONS.len() });
    }
    KeyFile::load(dir).map_err(|error| match is_missing(&error) {
        true => OpenError::KeysMissing(dir.to_owned()),
        false => error.into(),
    })
}

/// A connection that may write, to a database that was opened before.
pub(super) fn connect(dir: &Path, durability: Durability) -> Result<Connection, OpenError> {
    let conn = Connection::open_with_flags(dir.join(DATABASE), WRITABLE)?;
    configure(&conn, durability)?;
    Ok(conn)
}

/// Makes a connection durable; its WAL is checkpointed by `checkpoint` alone.
fn configure(conn: &Connection, durability: Durability) -> Result<(), OpenError> {
    // First of all: going over to WAL syncs too.
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Scratch => "OFF",
    };
    conn.pragma_update(None, "synchronous", synchronous)?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::NoWal(mode));
    }
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    // What a job may have to undo is kept in memory, not in a file.
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // Negative: KiB. The writer alone gets a cache worth the name. A larger one costs more than it saves, with a million comments
    // too: SQLite walks all of it after each commit in which a tree grew a page.
    conn.pragma_update(None, "cache_size", -4_000)?;
    keep_statements(conn)?;
    Ok(())
}

/// From now on a COMMIT only writes; who commits flushes the WAL. Checkpoints still flush what they need.
pub(super) fn leave_flushing(conn: &Connection, durability: Durability) -> rusqlite::Result<()> {
    match durability {
        Durability::Full => conn.pragma_update(None, "synchronous", "NORMAL"),
        Durability::Scratch => Ok(()),
    }
}

pub(super) fn connect_read_only(dir: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(dir.join(DATABASE), flags)?;
    keep_statements(&conn)?;
    Ok(conn)
}

/// Prepares each statement once. Without the planner's stability guarantee SQLite prepares those that a partial index
/// might serve anew for each set of values.
fn keep_statements(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// The store was closed in order: the next start needs to suspect nobody.
pub(super) fn mark_clean(dir: &Path) -> io::Result<()> {
    std::fs::remove_file(dir.join(RUNNING))
}

/// Makes the directory so that a power cut cannot take it away with all that is in it.
pub(super) fn make_directory(dir: &Path) -> io::Result<()> {
    let dir = std::path::absolute(dir)?;
    let missing: Vec<&Path> = dir.ancestors().take_while(|path| !path.exists()).collect();
    DirBuilder::new().mode(0o700).recursive(true).create(&dir)?;
    for parent in missing.iter().filter_map(|made| made.parent()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn take_lock(dir: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut lock = options.open(dir.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            lock.read_to_string(&mut holder)?;
            return Err(OpenError::Locked { dir: dir.to_owned(), holder: holder.trim().to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
}

/// Makes the file, for nobody else to read, unless it is there.
fn owners_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

/// The schema the database has; 0 if it has none yet. Refuses what is not ours and what is newer than we are.
fn schema_version(conn: &Connection, path: &Path) -> Result<i64, OpenError> {
    let application = conn.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0));
    let application = application.map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => OpenError::NotADatabase(path.to_owned()),
        _ => error.into(),
    })?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = conn.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let empty = application == 0 && version == 0 && tables == 0;
    if application != APPLICATION_ID && !empty {
        return Err(OpenError::Foreign { path: path.to_owned(), found: application });
    }
    if usize::try_from(version).is_ok_and(|version| version > MIGRATIONS.len()) {
        return Err(OpenError::Newer { found: version, known: MIGRATIONS.len() });
    }
    Ok(version)
}

/// Runs the migrations that were not run yet, all in one transaction.
fn migrate(conn: &mut Connection, from: i64, now: Timestamp) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or(0);
    if done >= MIGRATIONS.len() {
        return Ok(());
    }
    let tx = Transaction::new(conn, TransactionBehavior::Immediate)?;
    for migration in MIGRATIONS.iter().skip(done) {
        tx.execute_batch(migration)?;
    }
    if done == 0 {
        tx.execute(
            "INSERT INTO account (id, epoch, directory_version, created_at) VALUES (1, 1, 1, ?1)",
            [now.0],
        )?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    tx.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    tx.commit()
}

fn is_missing(error: &KeyError) -> bool {
    matches!(error, KeyError::Io(error) if error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
