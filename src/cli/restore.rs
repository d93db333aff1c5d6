//! `postern restore`: a backup becomes a data directory, in a new epoch.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::backup::failure;
use super::output::{self, Exit, Failure};
use crate::clock::Clock;
use crate::store::backup;

#[derive(Debug, Args)]
pub struct Restore {
    /// What `postern backup` made
    backup: PathBuf,
    /// The data directory to make; not there yet, or empty
    directory: PathBuf,
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Restore) -> Result<Exit, Failure> {
    let restored =
        backup::restore(&command.backup, &command.directory, Clock::system().now()).map_err(failure)?;
    let answer = json!({
        "data": command.directory,
        "made_at": restored.made_at.rfc3339(),
        "epoch": restored.epoch,
        "held": restored.held,
        "letters": restored.letters,
        "books": restored.books,
    });
    let text = format!(
        "`{data}` is the account as of {made_at}, in epoch {epoch}\n\
         {held} mails that were to be sent are held, as they may have been sent since: `postern outbox list --state held`\n\
         {letters} letters of `deliver` wait in `{spool}` for the daemon; if its spool is elsewhere, move them there\n\
         the configuration of then is in `{config}`\n{books}",
        data = command.directory.display(),
        made_at = restored.made_at.rfc3339(),
        epoch = restored.epoch,
        held = restored.held,
        letters = restored.letters,
        spool = command.directory.join("spool").display(),
        config = command.backup.join("config").display(),
        books = restored.books,
    );
    output::done(command.json, &answer, &text)?;
    Ok(if restored.books.balanced { Exit::OK } else { Exit::NO })
}
