//! A backup: database, blobs, keys, letters that wait and configuration as one set that proves itself.
//!
//! ```text
//! DIR/manifest.json   every file with its length and SHA-256; written last: without it there is no backup
//! DIR/data/           a data directory: postern.db, keys.json, blobs/…, spool/….mail; commands that read work on it
//! DIR/config/         the configuration files that were in force
//! ```
//!
//! **Invariant:** the database is of one instant, and every blob that it counts on is there: blobs are on the disk before
//! a row names them, and never change. The keys are read after the database, so they verify all of its tokens.
//! **Invariant:** a backup that does not match its manifest is not restored.

mod make;
mod restore;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{OpenError, StoreError};
use crate::domain::time::Timestamp;

pub use make::{Begun, Made, Sources, begin};
pub use restore::{Restored, restore};

pub(super) use make::remove_staged;

const MANIFEST: &str = "manifest.json";
const DATA: &str = "data";
const CONFIG: &str = "config";
/// The letters of `deliver`, in the data directory.
const SPOOL: &str = "spool";

/// The shape of the manifest and of the directory.
const FORMAT: u32 = 1;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    /// The version of Postern that made it.
    pub version: String,
    pub made_at: Timestamp,
    /// By path.
    pub files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// From the backup's directory on.
    pub path: PathBuf,
    pub size: u64,
    pub sha256: String,
}

/// Why there is no backup, or why one was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("`{path}`: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error("`{0}` is there already; name a directory that is not there yet")]
    Exists(PathBuf),
    #[error("`{0}` is not empty; a backup is restored into an empty directory only")]
    NotEmpty(PathBuf),
    #[error("`{0}` is no backup: it has no manifest.json, which is written last")]
    NoManifest(PathBuf),
    #[error("the manifest of `{path}` cannot be read: {error}")]
    Manifest { path: PathBuf, error: serde_json::Error },
    #[error("the backup has format {found}, this version knows {FORMAT}; use the version that made it")]
    Format { found: u32 },
    #[error("the backup is damaged: {0}; use another one")]
    Damaged(String),
    #[error("{needed} bytes are needed beside the database, {free} are free; make room and try again")]
    NoRoom { needed: u64, free: u64 },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for BackupError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |error| BackupError::File { path: path.to_owned(), error }
}

/// Makes a directory for its owner only.
fn make_directory(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(at(path))
}

/// Copies a file, for its owner only, and returns when the copy is on the disk.
fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut source = File::open(from).map_err(at(from))?;
    let mut options = OpenOptions::new();
    let mut target = options.write(true).create_new(true).mode(0o600).open(to).map_err(at(to))?;
    io::copy(&mut source, &mut target).and_then(|_| target.sync_all()).map_err(at(to))
}

/// What the manifest says of a file.
fn entry(root: &Path, path: PathBuf) -> Result<Entry, BackupError> {
    let place = root.join(&path);
    let mut file = File::open(&place).map_err(at(&place))?;
    let (mut hash, mut size, mut piece) = (Sha256::new(), 0, vec![0; 128 * 1024]);
    loop {
        let read = file.read(&mut piece).map_err(at(&place))?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
        size += read as u64;
    }
    Ok(Entry { path, size, sha256: HEXLOWER.encode(&hash.finalize()) })
}

/// All files below a directory, by path from `root` on.
fn files_below(root: &Path, directory: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let (mut files, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        for child in directory.read_dir().map_err(at(&directory))? {
            let path = child.map_err(at(&directory))?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.extend(path.strip_prefix(root).map(Path::to_owned));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Returns when the names in all directories from `directory` down are on the disk.
fn sync_directories(directory: &Path) -> Result<(), BackupError> {
    for child in directory.read_dir().map_err(at(directory))? {
        let path = child.map_err(at(directory))?.path();
        if path.is_dir() {
            sync_directories(&path)?;
        }
    }
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))
}
