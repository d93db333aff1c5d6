//! Everything that must outlive the process: SQLite, blobs and keys in one data directory.
//!
//! **Invariants**
//! - SQL lives here and nowhere else.
//! - One process writes; in it, one thread (`writer`). Nobody is told that something is kept before it is.
//! - Ids are never used twice; what a read sees is of one instant.
//!
//! | file | business |
//! |---|---|
//! | `open` | lock, migrations, keys, unclean stops |
//! | `writer`, `queue` | jobs, groups, commits, flushes |
//! | `checkpoint` | the WAL stays short |
//! | `readers` | read-only connections |
//! | `sequences` | ids and salts |
//! | `journal` | accepted mail |
//! | `blobs` | bytes in files |
//! | `inwork` | which mail was in work when the process died |
//! | `backup` | the account as one verified set of files, and back |
//! | `levels` | how full everything is, by cheap questions |
//! | `books` | the proof that nothing was lost |
//! | `keys` | the secrets of tokens and fingerprints |
//! | `snapshot`, `commit` | the two doors of every decision: what it reads, what it writes |
//! | `run` | snapshot ► function ► commit ► again on a conflict |
//! | `outbox` | promised mail: claim, record, retry |
//! | `people` | makes the stored people equal to what files say |
//! | `queries` | what commands and programs read |
//! | `desk` | what commands and the start of the daemon ask beyond one row |
//! | `rows` | rows to domain values and back |
//! | `signal` | wakes plain threads |
//! | `errors` | what can go wrong |

pub mod backup;
pub mod commit;
pub mod outbox;
pub mod people;
pub mod queries;
pub mod rows;
pub mod snapshot;

mod blobs;
mod books;
mod checkpoint;
mod desk;
mod errors;
mod inwork;
mod journal;
mod keys;
mod levels;
mod open;
mod queue;
mod readers;
mod run;
mod sequences;
mod signal;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, Transaction};

use self::blobs::Blobs;
use self::checkpoint::{Checkpointer, WalKeeper, WalPages};
use self::inwork::InWork;
use self::journal::Arrivals;
use self::readers::Readers;
use self::sequences::Sequences;
use self::writer::{Setup, WalFile, Writer};
use crate::domain::ids::JournalId;
use crate::domain::snapshot::Directory;
use crate::domain::time::Timestamp;
use crate::telemetry;

pub use self::books::{Books, Depth};
pub use self::desk::{RenderedLate, RetryAnswer, temporary_directory};
pub use self::errors::{StoreError, WriteError};
pub use self::inwork::{InWorkGuard, Recovered};
pub use self::journal::{AcceptError, Pending};
pub use self::keys::{KeyError, KeyFile, KeyState, Secret, TokenKey};
pub use self::levels::{Levels, Tally};
pub use self::open::OpenError;
pub use self::queue::{MailGuard, Priority};
pub use self::run::RunError;
pub use self::sequences::FreshIds;
pub use self::signal::Signal;
pub use self::writer::WriterStats;

/// How a store is opened for writing.
#[derive(Clone, Debug)]
pub struct Options {
    pub durability: Durability,
    /// Dates what opening makes: keys, the account, mails given up after a crash.
    pub now: Timestamp,
    /// The WAL never grows beyond this by more than one group of jobs.
    pub wal_cap_bytes: u64,
    /// Called when nobody can say whether a commit is kept, after everybody was told so. Must end the process.
    pub on_in_doubt: fn(&str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// What is answered is on the disk.
    Full,
    /// For a store that is thrown away, as of a replay: no fsync.
    Scratch,
}

/// One open data directory. A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    keys: Mutex<KeyFile>,
    blobs: Blobs,
    readers: Arc<Readers>,
    arrivals: Arc<Arrivals>,
    recovered: Recovered,
    /// Agents, groups and organizations as last read.
    directory: Mutex<Option<Arc<Directory>>>,
    /// Changes made beside others hold it for reading; one that is made alone holds it for writing.
    turns: RwLock<()>,
    /// Copies of the database that were begun.
    copies: AtomicU64,
    /// `None` if the store was opened for reading only.
    write: Option<WriteSide>,
}

#[derive(Debug)]
struct WriteSide {
    writer: Writer,
    checkpointer: Checkpointer,
    sequences: Arc<Sequences>,
    inwork: InWork,
    pages: WalPages,
    wal_cap: u32,
    /// Held until the store is closed.
    lock: Mutex<Option<File>>,
}

impl Options {
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { durability: Durability::Full, now, wal_cap_bytes: 128 << 20, on_in_doubt: leave }
    }
}

/// Exit 75 (EX_TEMPFAIL): started again, the process finds in the WAL what was kept.
fn leave(why: &str) {
    telemetry::store_in_doubt(why);
    // A moment for the sessions to say 451; a client that hears nothing comes again as well.
    std::thread::sleep(Duration::from_millis(200));
    std::process::exit(75);
}

impl Store {
    /// Opens the data directory for this process alone, and makes what is not there yet.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let mut opened = open::open(dir, options.durability, options.now)?;
        let blobs = Blobs::new(dir, options.durability);
        blobs.prepare()?;
        backup::remove_staged(dir)?;
        let inwork = InWork::open(dir)?;
        let recovered = inwork.recover(&opened.conn, opened.unclean, options.now)?;
        outbox::release_orphans(&opened.conn, options.now)?;

        let (sequences, covered) = Sequences::load(&opened.conn)?;
        let sequences = Arc::new(sequences);
        let readers = Arc::new(Readers::new(dir));
        let checkpointer = Checkpointer::start(dir, options.durability)?;
        let pages = WalPages::watch(&mut opened.conn)?;
        let keeper = WalKeeper::new(
            pages.clone(),
            options.wal_cap_bytes,
            Arc::clone(&readers),
            &checkpointer,
            &opened.conn,
        )?;
        let wal_cap = keeper.cap();
        let wal = WalFile::open(&opened.conn, options.durability)?;
        open::leave_flushing(&opened.conn, options.durability)?;
        let writer = Writer::start(Setup {
            conn: opened.conn,
            sequences: Arc::clone(&sequences),
            covered,
            wal,
            keeper,
            on_in_doubt: options.on_in_doubt,
        })?;
        let lock = Mutex::new(Some(opened.lock));
        let write = WriteSide { writer, checkpointer, sequences, inwork, pages, wal_cap, lock };
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            keys: Mutex::new(opened.keys),
            blobs,
            readers,
            arrivals: Arc::default(),
            recovered,
            directory: Mutex::default(),
            turns: RwLock::default(),
            copies: AtomicU64::new(0),
            write: Some(write),
        })))
    }

    /// Opens the data directory beside the process that writes. Every write answers [`StoreError::ReadOnly`].
    pub fn open_read_only(dir: &Path) -> Result<Self, OpenError> {
        let keys = open::check_readable(dir)?;
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            keys: Mutex::new(keys),
            blobs: Blobs::new(dir, Durability::Full),
            readers: Arc::new(Readers::new(dir)),
            arrivals: Arc::default(),
            recovered: Recovered::default(),
            directory: Mutex::default(),
            turns: RwLock::default(),
            copies: AtomicU64::new(0),
            write: None,
        })))
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    #[must_use]
    pub fn recovered(&self) -> &Recovered {
        &self.0.recovered
    }

    /// Runs `question` in one short read transaction: all it sees is of one instant.
    pub fn read<T, E: From<rusqlite::Error>>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.0.readers.read(question)
    }

    /// Runs `job` on the writer thread and waits until it is on the disk. Not for async code, nor for a job itself.
    pub fn write<T, E, J>(&self, priority: Priority, job: J) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        J: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.write_then(priority, job, |_| {})
    }

    /// The same; `after` is called once the job is on the disk (to wake somebody, say), even if
    /// nobody waits for the answer any more. It must be quick.
    pub fn write_then<T, E, J, A>(&self, priority: Priority, job: J, after: A) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        J: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
        A: FnOnce(&T) + Send + 'static,
    {
        let writer = self.writer().map_err(WriteError::Store)?;
        let (work, answer) = queue::answered(job, after);
        writer.queue().submit(priority, work);
        answer.blocking_recv().unwrap_or(Err(WriteError::Store(StoreError::Closed)))
    }

    /// The same for async code: a full queue answers [`StoreError::Busy`].
    pub async fn write_async<T, E, J>(&self, priority: Priority, job: J) -> Result<T, WriteError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        J: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let (work, answer) = queue::answered(job, |_| {});
        self.writer().map_err(WriteError::Store)?.queue().try_submit(priority, work);
        answer.await.unwrap_or(Err(WriteError::Store(StoreError::Closed)))
    }

    /// To be held by an SMTP session from MAIL to the reply to its message: while others send, a commit may wait a little for them.
    pub fn begin_mail(&self) -> Result<MailGuard, StoreError> {
        Ok(self.writer()?.queue().begin_mail())
    }

    /// A source of ids and salts, for one thread.
    pub fn fresh(&self) -> Result<FreshIds, StoreError> {
        Ok(FreshIds::new(self.sequences()?))
    }

    /// Rings after each mail that was accepted and that no watcher took ([`Store::watch_mail`]).
    #[must_use]
    pub fn subscribe(&self) -> Arc<Signal> {
        Arc::clone(&self.0.arrivals.bell)
    }

    /// Holds a mail against the process: if it dies before the guard, the mail has one more attempt at the next start.
    pub fn in_work(&self, id: JournalId) -> Result<InWorkGuard, StoreError> {
        Ok(self.write_side()?.inwork.begin(id))
    }

    /// Keeps bytes as a file; returns their SHA-256 when they are on the disk. The job that refers to them notes
    /// it in the table `blobs`.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<[u8; 32], StoreError> {
        self.write_side()?;
        // Whatever keeps new bytes from the disk may be mended: nothing that was kept is damaged by it.
        self.0.blobs.put(bytes).map_err(|error| match StoreError::from(error) {
            StoreError::Damaged(what) => StoreError::Failed(what),
            other => other,
        })
    }

    /// Whether these bytes were kept by this process of late, and nobody has taken them away since: then they need not be put
    /// again.
    #[must_use]
    pub fn has_blob(&self, sha: &[u8; 32], size: usize) -> bool {
        self.0.blobs.has(sha, size as u64)
    }

    /// The bytes with this SHA-256, checked.
    pub fn blob(&self, sha: &[u8; 32]) -> Result<Vec<u8>, StoreError> {
        Ok(self.0.blobs.get(sha)?)
    }

    fn blob_size(&self, sha: &[u8; 32]) -> Option<u64> {
        self.0.blobs.size(sha)
    }

    #[must_use]
    pub fn keys(&self) -> KeyFile {
        lock(&self.0.keys).clone()
    }

    /// Makes a new token key the active one; those before still verify.
    pub fn rotate_key(&self, now: Timestamp) -> Result<KeyFile, KeyError> {
        self.change_keys(|keys| keys.rotated(now))
    }

    /// Lets a retired token key verify nothing any more.
    pub fn revoke_key(&self, id: u8) -> Result<KeyFile, KeyError> {
        self.change_keys(|keys| keys.revoked(id))
    }

    #[must_use]
    pub fn writer_stats(&self) -> WriterStats {
        self.0.write.as_ref().map(|write| write.writer.stats()).unwrap_or_default()
    }

    /// Pages that lie in the WAL, as of the last commit.
    #[must_use]
    pub fn wal_pages(&self) -> u32 {
        self.0.write.as_ref().map_or(0, |write| write.pages.get())
    }

    /// Finishes what waits, copies the WAL into the database and leaves the directory to others. Later writes answer
    /// [`StoreError::Closed`]. Dropping the last handle does the same.
    pub fn close(&self) {
        self.0.close();
    }

    fn change_keys(
        &self,
        change: impl FnOnce(&KeyFile) -> Result<KeyFile, KeyError>,
    ) -> Result<KeyFile, KeyError> {
        self.write_side().map_err(|error| KeyError::Io(std::io::Error::other(error)))?;
        let mut keys = lock(&self.0.keys);
        let changed = change(&keys)?;
        changed.save(&self.0.dir, Durability::Full)?;
        *keys = changed.clone();
        Ok(changed)
    }

    fn write_side(&self) -> Result<&WriteSide, StoreError> {
        self.0.write.as_ref().ok_or(StoreError::ReadOnly)
    }

    fn writer(&self) -> Result<&Writer, StoreError> {
        Ok(&self.write_side()?.writer)
    }

    fn sequences(&self) -> Result<Arc<Sequences>, StoreError> {
        Ok(Arc::clone(&self.write_side()?.sequences))
    }
}

impl Inner {
    fn close(&self) {
        self.readers.close();
        let Some(write) = &self.write else { return };
        let conn = write.writer.stop();
        write.checkpointer.stop();
        if let Some(conn) = conn {
            let emptied = conn.wal_checkpoint_v2(None::<&str>, CheckpointMode::TRUNCATE);
            drop(conn);
            // Else the next start does it.
            match emptied {
                Err(error) => telemetry::store_trouble("emptying the WAL", &error.to_string()),
                Ok(_) => {
                    if let Err(error) = open::mark_clean(&self.dir) {
                        telemetry::store_trouble("marking a clean stop", &error.to_string());
                    }
                }
            }
        }
        lock(&write.lock).take();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// A mutex that a panicking thread held is as good as before: what it guards is changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
