//! Mail on its way from `postern deliver` to the journal.
//!
//! One directory holds all that the mail server's user needs to reach: the socket of the daemon, and files for the time
//! when none runs. Both take the same form, a [`Letter`]. The socket takes letters and nothing else, so whoever may
//! write here can hand mail in and cannot give orders (those are `control`'s).
//!
//! | file | what it does |
//! |---|---|
//! | `letter` | a mail with its envelope, as bytes |
//! | `door` | the daemon's side: the socket, and taking in what waits |
//! | `seat` | one conversation of the socket, and its time |
//!
//! **Invariant:** a letter is on the disk, under its final name, before `deliver` says that it is kept; a file without
//! that name was never promised to anybody.
//! **Invariant:** the name of a file is never given twice, and the journal remembers the names it took in
//! (`Store::accept_spooled`): a crash between the commit and the removal of the file makes no second mail.
//! **Invariant:** only what a member of the directory wrote is read: no symlink, no second name of another file, no
//! file of a stranger; and nothing is put into or taken from a directory that everybody may write to.

pub mod door;
mod letter;
mod seat;

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use rustix::fs::OFlags;

use crate::domain::time::{DAY, SECOND, Timestamp};

pub use door::Answer;
use letter::MAX_HEAD;
pub use letter::{Letter, LetterError};

/// The socket, in the directory.
const SOCKET: &str = "deliver.sock";
/// A letter that is complete.
const KEPT: &str = "mail";
/// One that is being written.
const PARTIAL: &str = "part";

/// The largest mail that is taken from a file, unless `max_message_size` allows more than half of it: far above what
/// `deliver` puts there, so that mail stays welcome after the limit was lowered.
const LARGEST_FILE: usize = 256 * 1024 * 1024;

/// `deliver` waits this long for each step of the daemon: longer than the daemon lets another one hold it up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The directory, checked.
#[derive(Clone, Debug)]
pub struct Spool {
    dir: PathBuf,
    owner: u32,
    group: u32,
    /// Members of the group may hand mail in as well.
    shared: bool,
}

impl Spool {
    /// Opens the directory, or makes it, for its owner alone, where its parent is there already: a slip in a path must
    /// not make a place that nobody looks at.
    ///
    /// # Errors
    /// If it is not there and cannot be made, is no directory, or everybody may write to it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let explain = |error: io::Error| {
            io::Error::new(error.kind(), format!("the spool `{}`: {error}", dir.display()))
        };
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => sync(dir.parent().unwrap_or(dir)).map_err(explain)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let why = "its directory is not there; start `postern serve` once, or name the right one with `--data`";
                return Err(explain(io::Error::new(error.kind(), why)));
            }
            Err(error) => return Err(explain(error)),
        }
        let found = std::fs::metadata(dir).map_err(explain)?;
        if !found.is_dir() {
            return Err(explain(io::Error::other("found a file, expected a directory")));
        }
        if found.mode() & 0o002 != 0 {
            let why =
                format!("found mode {:o}, expected one that lets only owner and group write", found.mode());
            return Err(explain(io::Error::other(why)));
        }
        let shared = found.mode() & 0o020 != 0;
        Ok(Self { dir: dir.to_owned(), owner: found.uid(), group: found.gid(), shared })
    }

    /// Hands a letter to the daemon. `None` when no daemon listens; an error leaves open whether it was kept.
    #[must_use]
    pub fn hand_over(&self, letter: &Letter) -> Option<io::Result<Answer>> {
        let stream = UnixStream::connect(self.socket()).ok()?;
        Some(converse(&stream, letter))
    }

    /// Keeps a letter until a daemon takes it in; returns its name once it is on the disk.
    ///
    /// # Errors
    /// If it could not be written: then nothing of it is there.
    pub fn put(&self, letter: &Letter, now: Timestamp) -> io::Result<String> {
        let name = fresh_name(now)?;
        self.keep(&name, letter, sync)?;
        // Should a daemon have started meanwhile, it looks at once.
        drop(UnixStream::connect(self.socket()));
        Ok(name)
    }

    fn keep(&self, name: &str, letter: &Letter, sync: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
        let (partial, kept) = (self.path(name, PARTIAL), self.path(name, KEPT));
        let written = self.write(&partial, letter).and_then(|()| {
            std::fs::rename(&partial, &kept)?;
            sync(&self.dir)
        });
        if written.is_err() {
            // Under either name: the mail server sends it again, and a file that stayed would be a second mail.
            let _ = std::fs::remove_file(&partial);
            let _ = std::fs::remove_file(&kept);
        }
        written
    }

    fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET)
    }

    fn path(&self, name: &str, kind: &str) -> PathBuf {
        self.dir.join(format!("{name}.{kind}"))
    }

    fn write(&self, path: &Path, letter: &Letter) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        self.give(&file)?;
        let mut out = BufWriter::new(&file);
        letter.write(&mut out)?;
        out.flush()?;
        file.sync_all()
    }

    /// Lets the daemon read the file, whoever writes it: root gives it away, a member of the group shares it.
    fn give(&self, file: &File) -> io::Result<()> {
        let found = file.metadata()?;
        if found.uid() == self.owner || fchown(file, Some(self.owner), Some(self.group)).is_ok() {
            return Ok(());
        }
        if found.gid() != self.group {
            fchown(file, None, Some(self.group))?;
        }
        file.set_permissions(Permissions::from_mode(0o640))
    }

    /// The names of the letters that wait, oldest first.
    fn waiting(&self) -> io::Result<Vec<String>> {
        let mut names = self.names(KEPT)?;
        names.sort();
        Ok(names)
    }

    fn names(&self, kind: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(kind)?.strip_suffix('.'));
            names.extend(name.map(str::to_owned));
        }
        Ok(names)
    }

    /// Copies the letters that wait into a directory, made for them, and answers what is not copied and why: that would
    /// not be taken in either. What was taken in meanwhile is not missed: the journal has it.
    ///
    /// # Errors
    /// If one cannot be copied.
    pub fn copy_waiting(&self, to: &Path, max_message_size: usize) -> io::Result<Vec<String>> {
        let limit = largest_file(max_message_size);
        let mut left = Vec::new();
        for name in self.waiting()? {
            let mut letter = match self.open_letter(&name, limit) {
                Ok(letter) => letter,
                Err(LetterError::Io(error)) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    left.push(format!("`{}`: {error}", self.path(&name, KEPT).display()));
                    continue;
                }
            };
            DirBuilder::new().mode(0o700).recursive(true).create(to)?;
            let target = to.join(format!("{name}.{KEPT}"));
            let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
            io::copy(&mut letter, &mut target)?;
            target.sync_all()?;
        }
        Ok(left)
    }

    /// Reads no more than `limit` for the mail: a sparse file says any size, and costs its writer nothing.
    fn read(&self, name: &str, limit: usize) -> Result<Letter, LetterError> {
        let file = self.open_letter(name, limit)?;
        Letter::read(&mut BufReader::new(file), limit).map_err(|error| match error {
            LetterError::TooLarge { found, limit } => LetterError::Huge { found, limit },
            other => other,
        })
    }

    /// Opens what a member of the directory wrote, and nothing else.
    fn open_letter(&self, name: &str, limit: usize) -> Result<File, LetterError> {
        let mut options = OpenOptions::new();
        // Neither a symlink nor a pipe that nobody writes to may hold us up.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = options.read(true).custom_flags(flags.bits().cast_signed()).open(self.path(name, KEPT))?;
        let found = file.metadata()?;
        self.check(&found)?;
        if found.len() > MAX_HEAD.saturating_add(limit as u64) {
            return Err(LetterError::Huge { found: found.len(), limit });
        }
        Ok(file)
    }

    fn check(&self, file: &Metadata) -> Result<(), LetterError> {
        let ours = self.shared || file.uid() == self.owner || file.uid() == 0;
        let strange = match (file.is_file(), file.nlink(), ours) {
            (false, ..) => "found something else, expected a file",
            (_, 2.., _) => "the file has a second name",
            (.., false) => "the file belongs to somebody who may not write here",
            _ => return Ok(()),
        };
        Err(LetterError::Strange(strange))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name, KEPT))?;
        sync(&self.dir)
    }

    /// Removes what was being written a day ago: whoever wrote it is gone, and said that nothing was kept.
    fn sweep(&self, now: Timestamp) -> io::Result<()> {
        for name in self.names(PARTIAL)? {
            let path = self.path(&name, PARTIAL);
            let written = std::fs::symlink_metadata(&path)?.mtime().saturating_mul(SECOND);
            if now.0.saturating_sub(written) > DAY {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn converse(stream: &UnixStream, letter: &Letter) -> io::Result<Answer> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut out = BufWriter::new(stream);
    let written = letter.write(&mut out).and_then(|()| out.flush());
    // A daemon that refuses early reads no further; its answer says more than the broken pipe.
    match Answer::read(stream) {
        Ok(answer) => Ok(answer),
        Err(error) => Err(written.err().unwrap_or(error)),
    }
}

/// Sorts by time, and is never given twice, whatever clock, process ids and machines do.
fn fresh_name(now: Timestamp) -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!("{:020}-{}", now.0.max(0), HEXLOWER.encode(&random)))
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What a file of the spool may weigh, for a daemon with this limit.
fn largest_file(max_message_size: usize) -> usize {
    max_message_size.saturating_mul(2).max(LARGEST_FILE)
}

#[cfg(test)]
mod tests;
