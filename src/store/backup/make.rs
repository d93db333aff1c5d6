//! Makes a backup, beside the process that writes.
//!
//! Two steps, since they need different rights. The holder of the data directory copies the database inside of it, in one
//! read transaction and at the speed of its own disk: the copy ends however much is written meanwhile, and the writer
//! waits for nothing; only the WAL cannot begin anew until then, so its cap is higher for that long. The command, which has
//! put the letters that wait to where the backup is to be before, moves that copy there, adds the rest, and proves the whole.

use std::ffi::c_int;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::super::{Depth, Store, StoreError, blobs, keys, open};
use super::{BackupError, CONFIG, DATA, Entry, FORMAT, MANIFEST, Manifest, SPOOL};
use super::{at, copy, entry, files_below, make_directory, sync_directories};
use crate::domain::time::Timestamp;

/// Where the holder of the data directory copies to: `backup-1.tmp`.
const STAGED: (&str, &str) = ("backup-", ".tmp");

const ALL_PAGES: c_int = -1;

/// What a backup is made of.
#[derive(Clone, Debug)]
pub struct Sources<'a> {
    /// The data directory.
    pub data: &'a Path,
    /// What [`Store::copy_database`] answered.
    pub staged: &'a str,
    /// The configuration files: the main one first, others beside it or below.
    pub config: &'a [PathBuf],
}

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Made {
    pub manifest: Manifest,
    /// Of the account, and so of its copy: what `postern audit` finds wrong.
    pub problems: Vec<String>,
}

impl Store {
    /// Copies the database as it is now into a directory of its own inside the data directory; answers its name.
    /// At least `spare` bytes of the disk stay free.
    ///
    /// # Errors
    /// If there is no room for it, or the database cannot be read.
    pub fn copy_database(&self, spare: u64) -> Result<String, BackupError> {
        self.write_side()?;
        let (prefix, suffix) = STAGED;
        let number = self.0.copies.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("{prefix}{number}{suffix}");
        let directory = self.dir().join(&name);
        let copied = self.copy_into(&directory, spare);
        if copied.is_err() {
            let _ = std::fs::remove_dir_all(&directory);
        }
        copied.map(|()| name)
    }

    fn copy_into(&self, directory: &Path, spare: u64) -> Result<(), BackupError> {
        let source = open::connect_read_only(self.dir())?;
        let size = |name| source.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let needed =
            u64::try_from(size("page_count")? * size("page_size")?).unwrap_or(0).saturating_add(spare);
        let free = self.free_bytes().map_err(at(self.dir()))?;
        if free < needed {
            return Err(BackupError::NoRoom { needed, free });
        }
        make_directory(directory)?;
        let path = directory.join(open::DATABASE);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(at(&path))?;
        let mut target = Connection::open(&path)?;
        target.pragma_update(None, "synchronous", "OFF")?;
        let _long = self.0.readers.long_read();
        let step = Backup::new(&source, &mut target)?.step(ALL_PAGES)?;
        if step != StepResult::Done {
            return Err(StoreError::Failed(format!("the database could not be copied: {step:?}")).into());
        }
        // One file, which commands can read wherever it lies.
        target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
        target.close().map_err(|(_, error)| error)?;
        File::open(&path).and_then(|file| file.sync_all()).map_err(at(&path))
    }
}

/// A backup that is begun: letters that wait may be put into it, then the database is to be copied.
///
/// **Invariant:** letters come first. What was taken in before they were read is in the database, and what is taken in
/// later is in both: the journal remembers the names that it took, so it is taken in once.
#[derive(Debug)]
pub struct Begun {
    to: PathBuf,
}

/// Makes the directory `to` of a backup.
///
/// # Errors
/// If it is there already, or cannot be made.
pub fn begin(to: &Path) -> Result<Begun, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    make_directory(&to.join(DATA))?;
    Ok(Begun { to: to.to_owned() })
}

impl Begun {
    /// Where copies of the letters that wait belong.
    #[must_use]
    pub fn letters(&self) -> PathBuf {
        self.to.join(DATA).join(SPOOL)
    }

    /// Removes what there is of it.
    pub fn abandon(self) {
        let _ = std::fs::remove_dir_all(self.to);
    }

    /// Adds the rest and proves it. The staged copy is gone afterwards.
    ///
    /// # Errors
    /// If it cannot be made; what is there of it then has no manifest.
    pub fn finish(self, sources: &Sources<'_>, now: Timestamp) -> Result<Made, BackupError> {
        let staged = sources.data.join(sources.staged);
        let made = gather(sources, &staged, &self.to).and_then(|()| prove(&self.to, now));
        let _ = std::fs::remove_dir_all(staged);
        made
    }
}

/// Removes copies that nobody came for.
pub(in crate::store) fn remove_staged(data: &Path) -> std::io::Result<()> {
    let (prefix, suffix) = STAGED;
    for child in data.read_dir()? {
        let child = child?;
        let name = child.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(prefix) && name.ends_with(suffix)) {
            std::fs::remove_dir_all(child.path())?;
        }
    }
    Ok(())
}

fn gather(sources: &Sources<'_>, staged: &Path, to: &Path) -> Result<(), BackupError> {
    let data = to.join(DATA);
    let (copied, database) = (staged.join(open::DATABASE), data.join(open::DATABASE));
    if std::fs::rename(&copied, &database).is_err() {
        // On another file system.
        copy(&copied, &database)?;
    }
    copy(&sources.data.join(keys::FILE_NAME), &data.join(keys::FILE_NAME))?;
    for path in blobs_of(&database)? {
        keep_blob(sources.data, &data, &path)?;
    }
    keep_config(sources.config, &to.join(CONFIG))
}

/// The files that the database counts on.
fn blobs_of(database: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let conn = Connection::open(database)?;
    let mut select = conn.prepare("SELECT sha256 FROM blobs")?;
    let digests = select.query_map([], |row| row.get::<_, [u8; 32]>(0))?;
    let paths = digests.map(|sha| sha.map(|sha| blobs::relative_path(&sha)));
    Ok(paths.collect::<rusqlite::Result<_>>()?)
}

/// A second name for the file if both lie on one file system, as blobs never change; else a copy. A blob that is gone
/// does not keep the rest from being saved: the books of the backup name it.
fn keep_blob(data: &Path, backup: &Path, path: &Path) -> Result<(), BackupError> {
    let (from, to) = (data.join(path), backup.join(path));
    if !from.exists() {
        return Ok(());
    }
    to.parent().map_or(Ok(()), make_directory)?;
    std::fs::hard_link(&from, &to).or_else(|_| copy(&from, &to))
}

fn keep_config(files: &[PathBuf], to: &Path) -> Result<(), BackupError> {
    make_directory(to)?;
    let Some(folder) = files.first().and_then(|file| file.parent()) else { return Ok(()) };
    for file in files {
        let target = to.join(file.strip_prefix(folder).unwrap_or(file));
        target.parent().map_or(Ok(()), make_directory)?;
        copy(file, &target)?;
    }
    Ok(())
}

/// Reads all of it again, and writes the manifest when the rest is on the disk.
fn prove(to: &Path, now: Timestamp) -> Result<Made, BackupError> {
    let files = files_below(to, to)?.into_iter().map(|path| entry(to, path));
    let files: Vec<Entry> = files.collect::<Result<_, _>>()?;
    let mut problems = Store::open_read_only(&to.join(DATA))?.books(Depth::Database)?.problems;
    let blob = |entry: &&Entry| entry.path.starts_with(Path::new(DATA).join(blobs::FOLDER));
    let spoiled = files.iter().filter(blob).filter(|entry| !entry.path.ends_with(&entry.sha256));
    problems.extend(
        spoiled.map(|entry| format!("`{}` holds other bytes than its name says", entry.path.display())),
    );

    let version = env!("CARGO_PKG_VERSION").to_owned();
    let manifest = Manifest { format: FORMAT, version, made_at: now, files };
    let path = to.join(MANIFEST);
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|error| BackupError::Manifest { path: to.to_owned(), error })?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(at(&path))?;
    sync_directories(to)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(at(&path))?;
    let parent = std::path::absolute(to).map_err(at(to))?.parent().map(Path::to_owned).unwrap_or_default();
    File::open(&parent).and_then(|parent| parent.sync_all()).map_err(at(&parent))?;
    Ok(Made { manifest, problems })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Options, Priority, WriteError};

    const SMALL_CAP: u64 = 1 << 20;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { wal_cap_bytes: SMALL_CAP, ..Options::new(Timestamp(0)) };
        let store = Store::open(dir.path(), options).unwrap();
        (dir, store)
    }

    /// Writes more than the cap while another connection reads.
    fn write_beside_a_reader(store: &Store) -> Result<(), StoreError> {
        let reader = open::connect_read_only(store.dir()).unwrap();
        reader.execute_batch("BEGIN; SELECT COUNT(*) FROM users").unwrap();
        write(store)
    }

    fn write(store: &Store) -> Result<(), StoreError> {
        for id in 0..40 {
            let job = move |tx: &rusqlite::Transaction<'_>| {
                tx.execute(
                    "INSERT INTO blobs (sha256, size, created_at) VALUES (randomblob(50000), ?1, 0)",
                    [id],
                )
                .map(drop)
            };
            store.write(Priority::Other, job).map_err(WriteError::flatten)?;
        }
        Ok(())
    }

    #[test]
    fn the_log_may_outgrow_its_cap_while_the_database_is_copied_and_no_longer() {
        let (_dir, store) = store();
        {
            let _long = store.0.readers.long_read();
            write_beside_a_reader(&store).unwrap();
        }
        let grown = store.wal_pages();
        assert!(u64::from(grown) * 4096 > SMALL_CAP, "{grown} pages");
        write(&store).unwrap();
        write(&store).unwrap();
        assert!(store.wal_pages() < grown, "{} of {grown} pages", store.wal_pages());
        assert_eq!(write_beside_a_reader(&store), Err(StoreError::Full));
    }

    #[test]
    fn a_copy_that_would_eat_the_reserve_is_not_begun() {
        let (dir, store) = store();
        let refused = store.copy_database(u64::MAX / 2).unwrap_err().to_string();
        assert!(refused.contains("make room and try again"), "{refused}");
        assert!(!dir.path().join("backup-0.tmp").exists());
    }

    #[test]
    fn a_copy_that_nobody_came_for_is_removed_at_the_next_start() {
        let (dir, store) = store();
        let staged = dir.path().join(store.copy_database(0).unwrap());
        assert!(staged.join(open::DATABASE).exists());
        store.close();
        drop(store);
        Store::open(dir.path(), Options::new(Timestamp(0))).unwrap().close();
        assert!(!staged.exists());
    }
}
