//! The daemon's side of the spool: it takes letters in from the socket, and those that waited as files.
//!
//! Files are looked for at the start, when `deliver` rings after it has left one, and every few seconds.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::Permissions;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::seat::{Seat, Timed};
use super::{Letter, LetterError, Spool, largest_file};
use crate::clock::Clock;
use crate::domain::address::Address;
use crate::domain::ids::JournalId;
use crate::domain::mail::{Entrance, Envelope, TrustSource};
use crate::store::Signal;
use crate::telemetry;

/// The entrance that letters come in by.
pub const ENTRANCE: &str = "deliver";

/// Letters that are taken from the socket at a time: what bounds the memory for them.
const CREW: usize = 4;
/// A letter is there in all this time after the connection, or is not taken: whoever connects and says nothing holds up
/// one of the crew no longer.
const LETTER_TIME: Duration = Duration::from_secs(60);
const ANSWER_TIME: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// An answer is shorter.
const MAX_ANSWER: u64 = 64 * 1024;

/// What the daemon says about a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Committed, as this row of the journal.
    Kept(JournalId),
    /// Not kept: come again later.
    Trouble(String),
}

/// What becomes of a letter.
#[derive(Clone)]
pub struct Reception {
    pub clock: Clock,
    /// What the entrance may be believed.
    pub trust: TrustSource,
    /// Whom a letter is for that names nobody.
    pub recipient: Address,
    pub max_message_size: usize,
    /// Takes a mail into the journal as the other entrances do, under the same pressure.
    pub keep: Arc<dyn Fn(Envelope, Vec<u8>) -> Result<JournalId, String> + Send + Sync>,
    /// The same for the mail of a file, by its name.
    pub keep_spooled: Arc<KeepSpooled>,
}

pub type KeepSpooled = dyn Fn(&str, Envelope, Vec<u8>) -> Result<JournalId, NotNow> + Send + Sync;

/// Why the mail of a file waits on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// There is no place for it yet. That is told elsewhere, once for all mail.
    Pressed,
    Trouble(String),
}

/// The threads that take letters in.
#[derive(Debug)]
pub struct Door {
    spool: Spool,
    shutdown: CancellationToken,
    bell: Arc<Signal>,
    seats: Vec<Arc<Seat>>,
    crew: Vec<JoinHandle<()>>,
}

impl Door {
    /// Opens the socket, and takes in what waits.
    ///
    /// # Errors
    /// If the socket cannot be made, or a thread not started.
    pub fn open(spool: Spool, reception: Reception) -> io::Result<Self> {
        let socket = Arc::new(listen(&spool)?);
        let mut door = Self {
            spool,
            shutdown: CancellationToken::new(),
            bell: Arc::default(),
            seats: std::iter::repeat_with(Arc::default).take(CREW).collect(),
            crew: Vec::new(),
        };
        for seat in door.seats.clone() {
            let (socket, reception) = (Arc::clone(&socket), reception.clone());
            let (shutdown, bell) = (door.shutdown.clone(), Arc::clone(&door.bell));
            door.spawn("deliver-socket", move || attend(&socket, &seat, &reception, &shutdown, &bell))?;
        }
        let (spool, shutdown, bell) = (door.spool.clone(), door.shutdown.clone(), Arc::clone(&door.bell));
        door.spawn("deliver-spool", move || watch(&spool, &reception, &shutdown, &bell))?;
        Ok(door)
    }

    /// Each letter that was sent to its end is still taken in; the others are asked to come again.
    pub fn close(self) {
        self.shutdown.cancel();
        self.bell.ring();
        for seat in &self.seats {
            seat.hear_no_more();
        }
        for _ in 0..CREW {
            drop(UnixStream::connect(self.spool.socket()));
        }
        for thread in self.crew {
            drop(thread.join());
        }
        let _ = std::fs::remove_file(self.spool.socket());
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.crew.push(std::thread::Builder::new().name(name.to_owned()).spawn(work)?);
        Ok(())
    }
}

impl fmt::Debug for Reception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reception").field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl Answer {
    pub(super) fn read(from: impl Read) -> io::Result<Self> {
        let mut line = String::new();
        BufReader::new(from.take(MAX_ANSWER)).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Reception {
    fn envelope(&self, letter: &Letter) -> Envelope {
        let mut recipients = letter.recipients.clone();
        if recipients.is_empty() {
            recipients.push(self.recipient.clone());
        }
        Envelope {
            entrance: Entrance { name: ENTRANCE.to_owned(), trust: self.trust.clone() },
            client: None,
            helo: None,
            reverse_path: letter.reverse_path.clone(),
            recipients,
            accepted_at: self.clock.now(),
        }
    }

    fn largest_file(&self) -> usize {
        largest_file(self.max_message_size)
    }

    fn take(&self, letter: Letter) -> Result<JournalId, String> {
        (self.keep)(self.envelope(&letter), letter.raw)
    }
}

/// The socket, for all who may write to the directory. Only the holder of the data directory gets here, so a socket
/// that is there was left by a daemon that died.
fn listen(spool: &Spool) -> io::Result<UnixListener> {
    let path = spool.socket();
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    if spool.shared && std::fs::symlink_metadata(&path)?.gid() != spool.group {
        chown(&path, None, Some(spool.group))?;
    }
    std::fs::set_permissions(&path, Permissions::from_mode(if spool.shared { 0o660 } else { 0o600 }))?;
    Ok(listener)
}

fn attend(
    socket: &UnixListener,
    seat: &Seat,
    reception: &Reception,
    shutdown: &CancellationToken,
    bell: &Signal,
) {
    loop {
        // Seated before the look at `shutdown`: whoever closes the door finds the stream, or is seen here.
        let arrived = socket.accept().map(|(stream, _)| seat.take(stream));
        if shutdown.is_cancelled() {
            return;
        }
        match arrived {
            Ok(stream) => {
                answer(&stream, reception, bell);
                seat.leave();
            }
            // Out of descriptors, most likely: waiting helps, turning in a circle does not.
            Err(error) => {
                telemetry::store_trouble("taking a letter from the socket", &error.to_string());
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }
}

fn answer(stream: &UnixStream, reception: &Reception, bell: &Signal) {
    let mut reader = BufReader::new(Timed::new(stream, LETTER_TIME));
    if reader.fill_buf().is_ok_and(<[u8]>::is_empty) {
        // Who says nothing has left a file.
        bell.ring();
        return;
    }
    let letter = Letter::read(&mut reader, reception.max_message_size);
    let taken = letter.map_err(|error| error.to_string()).and_then(|letter| reception.take(letter));
    let answer = match taken {
        Ok(journal) => {
            telemetry::deliver_kept(journal, None);
            Answer::Kept(journal)
        }
        Err(why) => {
            telemetry::deliver_refused(&why);
            Answer::Trouble(why)
        }
    };
    let mut line = serde_json::to_string(&answer).unwrap_or_default();
    line.push('\n');
    // Who left meanwhile comes again with the same mail, which is then found to be a duplicate.
    let _ = Timed::new(stream, ANSWER_TIME).write_all(line.as_bytes());
}

fn watch(spool: &Spool, reception: &Reception, shutdown: &CancellationToken, bell: &Signal) {
    let mut told = BTreeSet::new();
    if let Err(error) = spool.sweep(reception.clock.now()) {
        telemetry::store_trouble("sweeping the spool", &error.to_string());
    }
    while !shutdown.is_cancelled() {
        let rings = bell.rings();
        match take_all(spool, reception, shutdown, &mut told) {
            Ok(()) | Err(NotNow::Pressed) => {}
            Err(NotNow::Trouble(error)) => telemetry::store_trouble("taking mail from the spool", &error),
        }
        let _ = bell.wait(rings, LOOK_EVERY);
    }
}

/// Takes in what waits, oldest first. A file that cannot be read is left for a person, who is told once; an error
/// means that nothing is taken now, and ends the round.
fn take_all(
    spool: &Spool,
    reception: &Reception,
    shutdown: &CancellationToken,
    told: &mut BTreeSet<String>,
) -> Result<(), NotNow> {
    for name in spool.waiting().map_err(|error| NotNow::Trouble(error.to_string()))? {
        if shutdown.is_cancelled() {
            return Ok(());
        }
        let left = match spool.read(&name, reception.largest_file()) {
            Ok(letter) => take_in(spool, reception, &name, letter)?.err(),
            Err(LetterError::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = left
            && told.insert(name.clone())
        {
            telemetry::spool_left(&name, &why);
        }
    }
    Ok(())
}

/// The outer error is of the store, the inner one of the file.
fn take_in(
    spool: &Spool,
    reception: &Reception,
    name: &str,
    letter: Letter,
) -> Result<Result<(), String>, NotNow> {
    let journal = (reception.keep_spooled)(name, reception.envelope(&letter), letter.raw)?;
    // The journal has it. A file that stays is met again, and known.
    if let Err(error) = spool.remove(name) {
        return Ok(Err(format!("it is kept as mail {journal}, and cannot be removed: {error}")));
    }
    telemetry::deliver_kept(journal, Some(name));
    Ok(Ok(()))
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
