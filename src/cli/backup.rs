//! `postern backup`: the account as one verified set of files, made while the daemon works.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::output::{self, Exit, Failure};
use super::{Place, world};
use crate::clock::Clock;
use crate::control::Request;
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
    if to.exists() {
        return Err(failure(BackupError::Exists(to.clone())));
    }
    let config = world::load_config(&command.place)?;
    let copied = world::write(&command.place, Request::CopyDatabase)?;
    let staged = copied.get("staged").and_then(serde_json::Value::as_str).unwrap_or_default();
    let sources = Sources { data: &config.data, staged, config: &config.files };
    let made = backup::make(&sources, to, Clock::system().now()).map_err(failure)?;

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
