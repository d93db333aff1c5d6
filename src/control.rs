//! Commands that write, wherever they run: inside the daemon over `control.sock`, or in the command's own process when no
//! daemon holds the data directory. Both run [`execute`]: there is one way to do each thing.
//!
//! The socket speaks one JSON object per line: a [`Request`] in, a [`Reply`] out. It is 0600 in a 0700 directory; whoever
//! can open it could as well open the database.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::ids::{CommentId, JournalId, OutboxId, SuspendedId};
use crate::pipeline::{Pipeline, Undone};

/// What can be asked of the process that holds the data directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    RecoverSuspended {
        id: i64,
    },
    DeleteSuspended {
        id: i64,
    },
    RetryOutbox {
        id: i64,
    },
    RetryFailed {
        id: i64,
    },
    /// Turn a public comment into an internal note; mails that hold it and still wait are not sent.
    MakeCommentPrivate {
        id: i64,
    },
    /// Copy the database inside of the data directory, for a backup.
    CopyDatabase,
    RotateKey,
    RevokeKey {
        id: u8,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    Done(Value),
    /// The request cannot be done, and asking again will not help.
    Refused(String),
    /// The store is in trouble: ask again later.
    Trouble(String),
}

/// The socket's place.
#[must_use]
pub fn socket_path(data: &Path) -> PathBuf {
    data.join("control.sock")
}

/// Asks the daemon, if one listens.
///
/// # Errors
/// `None` when nobody listens; an error when the daemon answered with something else than a reply.
pub fn ask(data: &Path, request: &Request) -> Option<std::io::Result<Reply>> {
    let stream = UnixStream::connect(socket_path(data)).ok()?;
    Some(converse(stream, request))
}

fn converse(mut stream: UnixStream, request: &Request) -> std::io::Result<Reply> {
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer)?)
}

/// Does what was asked, in this process.
#[must_use]
pub fn execute(pipeline: &Pipeline, request: Request) -> Reply {
    let done = match request {
        Request::RecoverSuspended { id } => pipeline.recover(SuspendedId(id)),
        Request::DeleteSuspended { id } => pipeline.delete_suspended(SuspendedId(id)),
        Request::RetryOutbox { id } => pipeline.retry_outbox(OutboxId(id)),
        Request::RetryFailed { id } => pipeline.retry_failed(JournalId(id)),
        Request::MakeCommentPrivate { id } => pipeline.make_comment_private(CommentId(id)),
        Request::CopyDatabase => pipeline.copy_database(),
        Request::RotateKey => pipeline.rotate_key(),
        Request::RevokeKey { id } => pipeline.revoke_key(id),
    };
    match done {
        Ok(value) => Reply::Done(value),
        Err(Undone::Refused(why)) => Reply::Refused(why),
        Err(Undone::Trouble(why)) => Reply::Trouble(why),
    }
}

/// Serves the control socket until `shutdown`: a thread per conversation, as few as there are operators.
///
/// # Errors
/// If the socket cannot be made.
pub fn serve(
    data: &Path,
    pipeline: Pipeline,
    shutdown: tokio_util::sync::CancellationToken,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    use std::os::unix::fs::PermissionsExt;
    let path = socket_path(data);
    // Only the holder of the lock gets here, so a socket that is there was left by a daemon that died.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        for stream in listener.incoming() {
            if shutdown.is_cancelled() {
                break;
            }
            let Ok(stream) = stream else { continue };
            let pipeline = pipeline.clone();
            let answered = std::thread::Builder::new()
                .name("control-conversation".to_owned())
                .spawn(move || answer(stream, &pipeline));
            drop(answered);
        }
        let _ = std::fs::remove_file(&path);
    })
}

/// Wakes a control thread that waits for its next conversation, so that it sees the shutdown.
pub fn wake(data: &Path) {
    drop(UnixStream::connect(socket_path(data)));
}

fn answer(stream: UnixStream, pipeline: &Pipeline) {
    let Ok(mut writer) = stream.try_clone() else { return };
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let reply = match serde_json::from_str(&line) {
            Ok(request) => execute(pipeline, request),
            Err(error) => Reply::Refused(format!("not a request: {error}")),
        };
        let text =
            serde_json::to_string(&reply).unwrap_or_else(|_| json!({"refused": "unwritable"}).to_string());
        if writer.write_all(format!("{text}\n").as_bytes()).is_err() {
            return;
        }
    }
}
