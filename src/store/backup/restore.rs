//! Restores a backup into an empty directory, as a new epoch.
//!
//! What happened after the backup is not known any more, but others remember it: ids were given out, mails were sent.
//! **Invariant:** no id is given out that may have been given out after the backup: sequences go on far ahead.
//! **Invariant:** nothing is sent that may have been sent: mails that were queued, and those that follow from mail that was
//! not decided yet, are held for a person.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::super::outbox::OutboxState;
use super::super::{Books, Depth, Store, keys, open, sequences};
use super::{BackupError, DATA, FORMAT, MANIFEST, Manifest, SPOOL};
use super::{at, copy, entry, make_directory, sync_directories};
use crate::domain::time::{SECOND, Timestamp};

/// How far ahead ids go on at least: more than an account gives out between two backups.
const JUMP: i64 = 1_000_000;
/// How much farther for each millisecond since the backup was made: more than an account gives out in it, as each id is
/// a row. So a second restore of one backup goes on beyond all that was given out after the first.
const JUMP_PER_MS: i64 = 2;
/// No farther than this, whatever the clock says (it is reached after eight years): ids stay below 2^40, where the
/// longest address ends that holds two of them.
const LONGEST_JUMP: i64 = 1 << 39;

/// What a restore has done.
#[derive(Clone, Debug)]
pub struct Restored {
    pub made_at: Timestamp,
    /// Counts the restores of the account, from 1.
    pub epoch: i64,
    /// Mails that are held for a person.
    pub held: u64,
    /// Letters of `deliver` that wait in the directory's spool.
    pub letters: usize,
    pub books: Books,
}

/// Makes a data directory of a backup.
///
/// # Errors
/// If the backup is damaged, the directory is not empty, or a file cannot be written. What is there of it then is not
/// opened by anybody.
pub fn restore(backup: &Path, data: &Path, now: Timestamp) -> Result<Restored, BackupError> {
    let manifest = verified(backup)?;
    if data.exists() && data.read_dir().map_err(at(data))?.next().is_some() {
        return Err(BackupError::NotEmpty(data.to_owned()));
    }
    open::make_directory(data).map_err(at(data))?;
    // The database comes first under a name that keeps others from opening the directory, and last under its own.
    let (unfinished, database) = (data.join(open::RESTORING), data.join(open::DATABASE));
    copy(&backup.join(DATA).join(open::DATABASE), &unfinished)?;
    let (epoch, held) = begin_epoch(&unfinished, manifest.made_at, now)?;
    for entry in &manifest.files {
        let Ok(path) = entry.path.strip_prefix(DATA) else { continue };
        if path == Path::new(open::DATABASE) || path == Path::new(keys::FILE_NAME) {
            continue;
        }
        let target = data.join(path);
        target.parent().map_or(Ok(()), make_directory)?;
        copy(&backup.join(&entry.path), &target)?;
    }
    copy(&backup.join(DATA).join(keys::FILE_NAME), &data.join(keys::FILE_NAME))?;
    sync_directories(data)?;
    std::fs::rename(&unfinished, &database).map_err(at(&database))?;
    sync_directories(data)?;
    let books = Store::open_read_only(data)?.books(Depth::Database)?;
    let spool = Path::new(DATA).join(SPOOL);
    let letters = manifest.files.iter().filter(|entry| entry.path.starts_with(&spool)).count();
    Ok(Restored { made_at: manifest.made_at, epoch, held, letters, books })
}

/// The manifest, if the backup is what it says.
fn verified(backup: &Path) -> Result<Manifest, BackupError> {
    let path = backup.join(MANIFEST);
    let text = std::fs::read(&path).map_err(|_| BackupError::NoManifest(backup.to_owned()))?;
    let unreadable = |error| BackupError::Manifest { path: backup.to_owned(), error };
    let manifest: Manifest = serde_json::from_slice(&text).map_err(unreadable)?;
    if manifest.format != FORMAT {
        return Err(BackupError::Format { found: manifest.format });
    }
    for expected in &manifest.files {
        let damaged = |what: &str| BackupError::Damaged(format!("`{}` {what}", expected.path.display()));
        // A manifest from elsewhere must not make us read or write elsewhere.
        if !expected.path.components().all(|part| matches!(part, std::path::Component::Normal(_))) {
            return Err(damaged("leads out of it"));
        }
        let found = entry(backup, expected.path.clone()).map_err(|_| damaged("cannot be read"))?;
        if found != *expected {
            return Err(damaged("is not what the manifest says"));
        }
    }
    for needed in [open::DATABASE, keys::FILE_NAME] {
        let needed: PathBuf = [DATA, needed].iter().collect();
        if !manifest.files.iter().any(|entry| entry.path == needed) {
            return Err(BackupError::Damaged(format!("the manifest does not name `{}`", needed.display())));
        }
    }
    Ok(manifest)
}

fn jump(made_at: Timestamp, now: Timestamp) -> i64 {
    let age_ms = now.since(made_at).max(0) / (SECOND / 1_000);
    age_ms.saturating_mul(JUMP_PER_MS).saturating_add(JUMP).min(LONGEST_JUMP)
}

/// Answers the new epoch and how many mails are held.
fn begin_epoch(database: &Path, made_at: Timestamp, now: Timestamp) -> Result<(i64, u64), BackupError> {
    let mut conn = Connection::open(database)?;
    open::bring_up_to_date(&mut conn, database, now)?;
    let tx = Transaction::new(&mut conn, TransactionBehavior::Immediate)?;
    tx.execute(
        "UPDATE account SET epoch = epoch + 1, held_below = COALESCE((SELECT MAX(id) FROM journal), 0) + 1",
        [],
    )?;
    sequences::jump(&tx, jump(made_at, now))?;
    let held = tx.execute(
        "UPDATE outbox SET state = ?1, detail = 'restored' WHERE state IN ('queued', 'sending')",
        [OutboxState::Held.word()],
    )?;
    let epoch = tx.query_row("SELECT epoch FROM account", [], |row| row.get(0))?;
    tx.commit()?;
    conn.close().map_err(|(_, error)| error)?;
    Ok((epoch, held as u64))
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, begin};
    use super::*;
    use crate::domain::ids::Fresh;
    use crate::domain::time::DAY;
    use crate::store::Options;

    const MADE: Timestamp = Timestamp(1_800_000_000 * SECOND);

    /// A backup of an account, beside which there is room for others.
    fn backup() -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        let store = Store::open(&data, Options::new(MADE)).unwrap();
        let backup = place.path().join("backup");
        let begun = begin(&backup).unwrap();
        let staged = store.copy_database(0).unwrap();
        begun.finish(&Sources { data: &data, staged: &staged, config: &[] }, MADE).unwrap();
        store.close();
        (place, backup)
    }

    #[test]
    fn a_second_restore_of_one_backup_gives_out_none_of_the_ids_of_the_first() {
        let (place, backup) = backup();
        let first_ticket = |name: &str, age: i64| {
            let data = place.path().join(name);
            restore(&backup, &data, MADE.plus(age)).unwrap();
            let store = Store::open(&data, Options::new(MADE)).unwrap();
            let id = store.fresh().unwrap().ticket().0;
            store.close();
            id
        };
        let (first, second) = (first_ticket("first", DAY), first_ticket("second", DAY + 60 * SECOND));
        assert!(first > JUMP && second - first >= 100_000, "{first} and {second}");
    }

    #[test]
    fn no_clock_makes_ids_go_back_or_beyond_what_an_address_can_hold() {
        assert_eq!(jump(MADE, Timestamp(0)), JUMP);
        assert!(jump(MADE, MADE.plus(8 * 365 * DAY)) < LONGEST_JUMP);
        assert_eq!(jump(MADE, Timestamp(i64::MAX)), LONGEST_JUMP);
    }
}
