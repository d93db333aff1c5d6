//! Fixture folders: a mail (or a story of mails), the tickets before, and what must come of it.
//!
//! `postern explain FOLDER` and the tests play the same folder through the whole pipeline, in a store of its own. The
//! format is told in `fixtures/README.md`.

mod file;
mod letters;
mod placeholders;
mod stage;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::pipeline::report::MailReport;
use crate::store::queries::TicketView;

pub use file::{CommentSetup, Envelope, Expected, ExpectedTicket, SettingsOverride, TicketSetup};

/// A story: who is there, what was before, and the mails in order.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub title: String,
    /// The folder with the account's configuration and customers.
    pub account: PathBuf,
    /// The time of acceptance of the first mail; each further one comes a minute later.
    pub now: crate::domain::time::Timestamp,
    pub settings: SettingsOverride,
    pub tickets: Vec<TicketSetup>,
    pub steps: Vec<StepSetup>,
}

/// One mail of the story.
#[derive(Clone, Debug)]
pub struct StepSetup {
    /// `input.eml`, or `01-input.eml` and so on.
    pub name: String,
    /// The raw mail; `%{…}` placeholders stand for tokens and Message-IDs.
    pub mail: Vec<u8>,
    pub envelope: Envelope,
    pub expected: Expected,
}

/// What came of the story.
#[derive(Clone, Debug, Serialize)]
pub struct Played {
    pub steps: Vec<PlayedStep>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PlayedStep {
    pub name: String,
    #[serde(flatten)]
    pub report: MailReport,
    /// The ticket after the mail, if it has one.
    pub ticket_after: Option<TicketView>,
    /// Mails promised because of it: `rule -> recipient`.
    pub promised: Vec<String>,
    /// Names of the events of the update, in order.
    pub events: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    #[error("{file}: {what}")]
    File { file: PathBuf, what: String },
    #[error("{0}")]
    Stage(String),
}

/// Reads a fixture folder.
///
/// # Errors
/// Names the file and what is wrong in it: missing, unreadable, or with a key that is not known.
pub fn load(folder: &Path) -> Result<Scenario, ScenarioError> {
    file::load(folder)
}

/// Plays the story in a store that goes away.
///
/// # Errors
/// If the stage cannot be set: an unknown person, a placeholder that names nothing, a store that fails.
pub fn play(scenario: &Scenario) -> Result<Played, ScenarioError> {
    stage::play(scenario)
}

impl Scenario {
    /// How what was played differs from what was expected; empty if it does not.
    #[must_use]
    pub fn differences(&self, played: &Played) -> Vec<String> {
        let steps = self.steps.iter().zip(&played.steps);
        let differing = steps.flat_map(|(setup, step)| {
            setup
                .expected
                .differences(step)
                .into_iter()
                .map(|difference| format!("{}: {difference}", setup.name))
        });
        differing.collect()
    }
}
