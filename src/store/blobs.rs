//! Bytes kept as files, named by their SHA-256: `blobs/aa/aabb…`.
//!
//! **Invariant:** when [`Blobs::put`] returns, the bytes are on the disk under their name: temporary file, fsync,
//! rename, fsync of the directory, all by this process. A file that stands there (a crash, a bad disk) is replaced.
//! What is read is checked against its name. Nothing is deleted yet.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::{Durability, lock};
use crate::domain::time::Timestamp;

/// How many files of late are remembered as being on the disk.
const REMEMBERED: usize = 1_024;
/// How long it is believed that such a file is still there.
const LOOKED_AT_FOR: Duration = Duration::from_secs(1);
/// Where they lie in the data directory.
pub(super) const FOLDER: &str = "blobs";

/// The place of a blob, from the data directory on.
pub(super) fn relative_path(sha: &[u8; 32]) -> PathBuf {
    Path::new(FOLDER).join(below_root(sha))
}

fn below_root(sha: &[u8; 32]) -> PathBuf {
    let [first, ..] = sha;
    Path::new(&format!("{first:02x}")).join(HEXLOWER.encode(sha))
}

/// The content-addressed files of one data directory.
#[derive(Debug)]
pub(super) struct Blobs {
    root: PathBuf,
    durability: Durability,
    /// The two-digit directories that are known to be on the disk.
    shards: Mutex<BTreeSet<u8>>,
    temporary: AtomicU64,
    put: Mutex<Put>,
}

/// Files that this process has put of late: the logo of every mail need not be synced again.
#[derive(Debug, Default)]
struct Put {
    /// With the time somebody looked whether it was there.
    known: HashMap<[u8; 32], Instant>,
    /// The same, oldest first.
    order: VecDeque<[u8; 32]>,
}

impl Blobs {
    pub(super) fn new(dir: &Path, durability: Durability) -> Self {
        Self {
            root: dir.join(FOLDER),
            durability,
            shards: Mutex::default(),
            temporary: AtomicU64::new(0),
            put: Mutex::default(),
        }
    }

    /// Makes the directory and removes what a stop in the middle of a [`Blobs::put`] left behind.
    pub(super) fn prepare(&self) -> io::Result<()> {
        match std::fs::remove_dir_all(self.temporaries()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        DirBuilder::new().mode(0o700).recursive(true).create(self.temporaries())?;
        self.sync_directory(&self.root)?;
        self.root.parent().map_or(Ok(()), |dir| self.sync_directory(dir))
    }

    /// Keeps the bytes and returns their SHA-256. Putting the same bytes again changes nothing.
    pub(super) fn put(&self, bytes: &[u8]) -> io::Result<[u8; 32]> {
        let sha: [u8; 32] = Sha256::digest(bytes).into();
        let path = self.path(&sha);
        if lock(&self.put).known.contains_key(&sha) && std::fs::read(&path).is_ok_and(|kept| kept == bytes) {
            return Ok(sha);
        }
        // Should the directory's sync fail now, an earlier success says nothing of the new name.
        lock(&self.put).forget(&sha);
        self.write(&sha, &path, bytes)?;
        lock(&self.put).remember(sha);
        Ok(sha)
    }

    /// Whether this process has put such a file of late, and it was still there a moment ago. Its bytes are not read again.
    pub(super) fn has(&self, sha: &[u8; 32], size: u64) -> bool {
        let looked_at = lock(&self.put).known.get(sha).copied();
        match looked_at {
            None => false,
            Some(at) if at.elapsed() < LOOKED_AT_FOR => true,
            Some(_) => {
                let there = self.size(sha) == Some(size);
                if there && let Some(at) = lock(&self.put).known.get_mut(sha) {
                    *at = Instant::now();
                }
                there
            }
        }
    }

    /// A file with equal bytes that is there already is replaced too: the sync of its name may have failed, which the
    /// system reports only once, so that a second sync would say that all is well. It is not removed: a row may name it.
    fn write(&self, sha: &[u8; 32], path: &Path, bytes: &[u8]) -> io::Result<()> {
        let shard = self.shard(*sha)?;
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.temporaries().join(number.to_string());
        self.write_file(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path)).inspect_err(
            |_| {
                // Nobody will look for it; a disk that is full needs the room.
                let _ = std::fs::remove_file(&temporary);
            },
        )?;
        self.sync_directory(&shard)
    }

    /// The bytes with this SHA-256; an error if they are not there or are not what the name says.
    pub(super) fn get(&self, sha: &[u8; 32]) -> io::Result<Vec<u8>> {
        let name = || HEXLOWER.encode(sha);
        let bytes = std::fs::read(self.path(sha))
            .map_err(|error| io::Error::new(error.kind(), format!("blob `{}`: {error}", name())))?;
        if Sha256::digest(&bytes).as_slice() != sha {
            let text = format!("blob `{}`: the file holds other bytes than its name says", name());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(bytes)
    }

    /// The length of the file with this name, if there is one; its bytes are not read.
    pub(super) fn size(&self, sha: &[u8; 32]) -> Option<u64> {
        std::fs::metadata(self.path(sha)).ok().map(|file| file.len())
    }

    fn path(&self, sha: &[u8; 32]) -> PathBuf {
        self.root.join(below_root(sha))
    }

    fn temporaries(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The directory for this digest, made durably before anything is put into it.
    fn shard(&self, [first, ..]: [u8; 32]) -> io::Result<PathBuf> {
        let path = self.root.join(format!("{first:02x}"));
        let mut shards = lock(&self.shards);
        if !shards.contains(&first) {
            DirBuilder::new().mode(0o700).recursive(true).create(&path)?;
            self.sync_directory(&self.root)?;
            shards.insert(first);
        }
        Ok(path)
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        match self.durability {
            Durability::Full => file.sync_all(),
            Durability::Scratch => Ok(()),
        }
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        match self.durability {
            Durability::Full => File::open(path)?.sync_all(),
            Durability::Scratch => Ok(()),
        }
    }
}

impl Put {
    fn remember(&mut self, sha: [u8; 32]) {
        if self.known.insert(sha, Instant::now()).is_none() {
            self.order.push_back(sha);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn forget(&mut self, sha: &[u8; 32]) {
        if self.known.remove(sha).is_some() {
            self.order.retain(|kept| kept != sha);
        }
    }
}

/// Notes in the transaction that `conn` is in that something refers to the blob; call it after it was put.
pub(super) fn record_blob(
    conn: &Connection,
    sha: &[u8; 32],
    size: u64,
    now: Timestamp,
) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO blobs (sha256, size, created_at) VALUES (?1, ?2, ?3) ON CONFLICT (sha256) DO NOTHING",
    )?
    .execute((sha, i64::try_from(size).unwrap_or(i64::MAX), now.0))
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(dir.path(), Durability::Full);
        blobs.prepare().unwrap();
        (dir, blobs)
    }

    #[test]
    fn bytes_come_back_by_their_digest_and_putting_twice_keeps_one_file() {
        let (_dir, blobs) = blobs();
        let sha = blobs.put(b"some bytes").unwrap();
        assert_eq!(blobs.put(b"some bytes").unwrap(), sha);
        assert_eq!(blobs.get(&sha).unwrap(), b"some bytes");
        assert_eq!(blobs.size(&sha), Some(10));
        assert_eq!(std::fs::read_dir(blobs.path(&sha).parent().unwrap()).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(blobs.temporaries()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_with_other_bytes_is_noticed_and_mended() {
        let (_dir, blobs) = blobs();
        let sha = blobs.put(b"some bytes").unwrap();
        std::fs::write(blobs.path(&sha), b"same bytes").unwrap();
        assert_eq!(blobs.get(&sha).unwrap_err().kind(), io::ErrorKind::InvalidData);
        blobs.put(b"some bytes").unwrap();
        assert_eq!(blobs.get(&sha).unwrap(), b"some bytes");
    }

    #[test]
    fn a_file_whose_sync_nobody_here_saw_succeed_is_put_anew() {
        let (dir, blobs) = blobs();
        let sha = blobs.put(b"some bytes").unwrap();
        let path = blobs.path(&sha);
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
        let first = inode();
        blobs.put(b"some bytes").unwrap();
        assert_eq!(inode(), first);
        let later = Blobs::new(dir.path(), Durability::Full);
        later.prepare().unwrap();
        later.put(b"some bytes").unwrap();
        assert_ne!(inode(), first);
        assert_eq!(later.get(&sha).unwrap(), b"some bytes");
    }

    #[test]
    fn a_missing_blob_is_an_error_that_names_it() {
        let (_dir, blobs) = blobs();
        let error = blobs.get(&[0xab; 32]).unwrap_err();
        assert!(error.to_string().contains(&"ab".repeat(32)), "{error}");
        assert_eq!(blobs.size(&[0xab; 32]), None);
    }

    #[test]
    fn left_over_temporary_files_are_removed_at_the_next_start() {
        let (dir, blobs) = blobs();
        std::fs::write(blobs.temporaries().join("0"), b"half").unwrap();
        Blobs::new(dir.path(), Durability::Full).prepare().unwrap();
        assert_eq!(std::fs::read_dir(blobs.temporaries()).unwrap().count(), 0);
    }
}
