//! `postern backup`: the account as one verified set of files, made while the daemon works.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::output::{self, Exit, Failure};
use super::{Place, world};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::Request;
use crate::spool::Spool;
use crate::store::backup::{self, BackupError, Sources};

#[derive(Debug, Args)]
pub struct Backup {
    /// The directory to make; it must not be there yet
    directory: PathBuf,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Backup) -> Result<Exit, Failure> {
    let to = &command.directory;
    let config = world::load_config(&command.place)?;
    let begun = backup::begin(to).map_err(failure)?;
    let copied = copy_letters(&config, &begun.letters())
        .and_then(|left| Ok((left, world::write(&command.place, Request::CopyDatabase)?)));
    let (left, copied) = match copied {
        Ok(copied) => copied,
        Err(why) => {
            begun.abandon();
            return Err(why);
        }
    };
    let staged = copied.get("staged").and_then(serde_json::Value::as_str).unwrap_or_default();
    let sources = Sources { data: &config.data, staged, config: &config.files };
    let mut made = begun.finish(&sources, Clock::system().now()).map_err(failure)?;

    made.problems.extend(left.iter().map(|left| format!("a letter is not in the backup: {left}")));
    let bytes: u64 = made.manifest.files.iter().map(|file| file.size).sum();
    let files = made.manifest.files.len();
    let answer = json!({
        "backup": to,
        "made_at": made.manifest.made_at.rfc3339(),
        "files": files,
        "bytes": bytes,
        "problems": made.problems,
    });
    let mut text = format!("`{}` holds {files} files of {bytes} bytes", to.display());
    for problem in &made.problems {
        text.push_str(&format!("\nproblem of the account, and so of the backup: {problem}"));
    }
    output::done(command.json, &answer, &text)?;
    Ok(if made.problems.is_empty() { Exit::OK } else { Exit::NO })
}

/// Letters for which `deliver` has said that they are kept, and which no daemon has taken in. Answers what is left out.
fn copy_letters(config: &Config, to: &Path) -> Result<Vec<String>, Failure> {
    let spool = config.spool_directory();
    let copied = match spool.try_exists() {
        Ok(false) => return Ok(Vec::new()),
        Ok(true) => {
            Spool::open(&spool).and_then(|spool| spool.copy_waiting(to, config.server.max_message_size))
        }
        Err(error) => Err(error),
    };
    copied.map_err(|error| {
        Failure::new(Exit::TEMPORARY, format!("the letters in `{}`: {error}", spool.display()))
    })
}

/// How a backup fails: what only a person can mend, or what may be better later.
pub(super) fn failure(error: BackupError) -> Failure {
    let exit = match &error {
        BackupError::Exists(_) | BackupError::NotEmpty(_) => Exit::USAGE,
        BackupError::NoManifest(_)
        | BackupError::Manifest { .. }
        | BackupError::Format { .. }
        | BackupError::Damaged(_) => Exit::DATA,
        _ => Exit::TEMPORARY,
    };
    Failure::new(exit, error.to_string())
}
