//! The files of a fixture folder. Unknown keys are refused; keys that are absent from `expected.toml` are not compared.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::domain::settings::{AgentRequester, EndUserMailOnPrivateTicket, FollowerReplies, Settings};
use crate::store::queries::{CommentView, TicketView};

use super::{PlayedStep, Scenario, ScenarioError, StepSetup};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    title: String,
    account: String,
    #[serde(default = "default_now")]
    now: String,
    #[serde(default)]
    envelope: Envelope,
    #[serde(default)]
    settings: SettingsOverride,
    #[serde(default)]
    tickets: Vec<TicketSetup>,
}

fn default_now() -> String {
    "2026-03-02T10:00:00Z".to_owned()
}

/// What the mail cannot say itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Envelope {
    /// `none`, `upstream` or `authserv-id=NAME`; without it nothing is believed.
    pub trust: Option<String>,
    /// Empty is the null reverse-path; without it the From address.
    pub reverse_path: Option<String>,
    /// Placeholders may stand here too; without it the default support address.
    pub recipients: Vec<String>,
    /// The mail was suspended and a person lets it in.
    pub recovered: bool,
}

/// Settings of this story that differ from the account's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SettingsOverride {
    pub cc_comments_public: Option<bool>,
    pub agent_comments_public_by_default: Option<bool>,
    pub public_command_overrides_default: Option<bool>,
    pub follower_replies: Option<FollowerReplies>,
    pub end_user_mail_on_private_ticket: Option<EndUserMailOnPrivateTicket>,
    pub agent_requester: Option<AgentRequester>,
    pub assign_solver: Option<bool>,
    pub copy_assignee_to_follow_up: Option<bool>,
    pub end_users_may_add_ccs: Option<bool>,
}

impl SettingsOverride {
    pub fn apply(&self, settings: &mut Settings) {
        fn set<T: Copy>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        let privacy = &mut settings.privacy;
        set(&mut privacy.cc_comments_public, self.cc_comments_public);
        set(&mut privacy.agent_comments_public_by_default, self.agent_comments_public_by_default);
        set(&mut privacy.public_command_overrides_default, self.public_command_overrides_default);
        set(&mut privacy.follower_replies, self.follower_replies);
        set(&mut privacy.end_user_mail_on_private_ticket, self.end_user_mail_on_private_ticket);
        set(&mut privacy.agent_requester, self.agent_requester);
        set(&mut settings.tickets.assign_solver, self.assign_solver);
        set(&mut settings.tickets.copy_assignee_to_follow_up, self.copy_assignee_to_follow_up);
        set(&mut settings.collaborators.end_users_may_add_ccs, self.end_users_may_add_ccs);
    }
}

/// A ticket that is there before the first mail. People are named by key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TicketSetup {
    pub name: String,
    pub subject: String,
    pub requester: String,
    pub assignee: Option<String>,
    pub group: Option<String>,
    pub ccs: Vec<String>,
    pub followers: Vec<String>,
    pub status: Option<String>,
    pub tags: Vec<String>,
    pub comments: Vec<CommentSetup>,
    /// The name of a ticket above, which this one was merged into.
    pub merged_into: Option<String>,
    /// Message-IDs of earlier mails about it: those of the public comments, in their order.
    pub message_ids: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommentSetup {
    pub author: String,
    /// `public` or `private`.
    pub visibility: String,
    pub text: String,
}

/// What must come of a mail. Absent keys are not compared.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// `public`, `private`, `suspended`, `discarded`, or `no-comment`.
    pub outcome: Option<String>,
    pub rule: Option<String>,
    /// The privacy list's answers, in order: `end-user: settle`.
    pub trace: Option<Vec<String>>,
    /// The admission checks that did not just pass: `out-of-office: settle`, or `waived` for a recovered mail.
    pub admission: Option<Vec<String>>,
    pub flags: Option<Vec<String>>,
    pub cause: Option<String>,
    pub identified_by: Option<String>,
    pub created_ticket: Option<bool>,
    pub comment_text: Option<String>,
    /// The file names of what is attached to the comment.
    pub attachments: Option<Vec<String>>,
    /// Event names in order.
    pub events: Option<Vec<String>>,
    /// `rule -> recipient`, sorted.
    pub notifications: Option<Vec<String>>,
    /// Each mail command with its outcome: `solved=applied`.
    pub commands: Option<Vec<String>>,
    pub ticket: Option<ExpectedTicket>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedTicket {
    pub subject: Option<String>,
    /// `closed_ticket` for a follow-up.
    pub via: Option<String>,
    pub status: Option<String>,
    pub is_public: Option<bool>,
    pub requester: Option<String>,
    pub assignee: Option<String>,
    pub group: Option<String>,
    pub priority: Option<String>,
    pub r#type: Option<String>,
    pub tags: Option<Vec<String>>,
    pub ccs: Option<Vec<String>>,
    pub followers: Option<Vec<String>>,
}

impl Expected {
    /// Everything that came of a mail, in the words of `expected.toml`.
    #[must_use]
    pub fn found(step: &PlayedStep) -> Self {
        let report = &step.report;
        let ticket = step.ticket_after.as_ref();
        let comment = ticket
            .zip(report.comment)
            .and_then(|(ticket, id)| ticket.comments.iter().find(|comment| comment.id.0 == id));
        Self {
            outcome: Some(outcome(step)),
            rule: Some(report.rule.clone().unwrap_or_default()),
            trace: Some(answers(step, "privacy", |_| true)),
            admission: Some(answers(step, "admission", |answer| answer != "pass")),
            flags: Some(report.flags.iter().map(|flag| (*flag).to_owned()).collect()),
            cause: Some(report.cause.clone().unwrap_or_default()),
            identified_by: Some(report.identified_by.unwrap_or("none").to_owned()),
            created_ticket: Some(report.created_ticket),
            comment_text: Some(comment.map(|comment| comment.text.clone()).unwrap_or_default()),
            attachments: Some(comment.into_iter().flat_map(attachment_names).collect()),
            events: Some(step.events.clone()),
            notifications: Some(step.promised.clone()),
            commands: Some(report.commands.clone()),
            ticket: ticket.map(ExpectedTicket::found),
        }
    }

    /// What differs, one sentence each.
    #[must_use]
    pub fn differences(&self, step: &PlayedStep) -> Vec<String> {
        let mut differences = Vec::new();
        differ("", &table(self), &table(&Self::found(step)), &mut differences);
        differences
    }

    /// What came of the mail, for the keys that are expected: as the file would have to read.
    #[must_use]
    pub fn corrected(&self, step: &PlayedStep) -> String {
        let found = named_in(&table(self), table(&Self::found(step)));
        toml::to_string_pretty(&found).unwrap_or_default()
    }
}

impl ExpectedTicket {
    fn found(ticket: &TicketView) -> Self {
        Self {
            subject: Some(ticket.subject.clone()),
            via: Some(ticket.via.word().to_owned()),
            status: Some(ticket.status.word().to_owned()),
            is_public: Some(ticket.is_public),
            requester: Some(ticket.requester.clone()),
            assignee: Some(ticket.assignee.clone().unwrap_or_default()),
            group: Some(ticket.group.clone().unwrap_or_default()),
            priority: Some(ticket.priority.map(|priority| priority.word().to_owned()).unwrap_or_default()),
            r#type: Some(ticket.ticket_type.map(|kind| kind.word().to_owned()).unwrap_or_default()),
            tags: Some(ticket.tags.iter().cloned().collect()),
            ccs: Some(ticket.ccs.clone()),
            followers: Some(ticket.followers.clone()),
        }
    }
}

fn attachment_names(comment: &CommentView) -> impl Iterator<Item = String> {
    comment.attachments.iter().map(|attachment| attachment.name.clone().unwrap_or_default())
}

fn table(values: &Expected) -> Table {
    Table::try_from(values).unwrap_or_default()
}

/// Compares what is wanted with what was found; keys that are not wanted are not looked at.
fn differ(prefix: &str, wanted: &Table, found: &Table, differences: &mut Vec<String>) {
    for (key, wanted) in wanted {
        match (wanted, found.get(key)) {
            (Value::Table(wanted), Some(Value::Table(found))) => {
                differ(&format!("{prefix}{key}."), wanted, found, differences);
            }
            (wanted, Some(found)) if wanted == found => {}
            (wanted, found) => {
                let found = found.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                differences.push(format!("{prefix}{key}: expected {wanted}, found {found}"));
            }
        }
    }
}

fn named_in(wanted: &Table, found: Table) -> Table {
    let named = found.into_iter().filter_map(|(key, value)| {
        let value = match (wanted.get(&key)?, value) {
            (Value::Table(wanted), Value::Table(found)) => Value::Table(named_in(wanted, found)),
            (_, value) => value,
        };
        Some((key, value))
    });
    named.collect()
}

fn outcome(step: &PlayedStep) -> String {
    let report = &step.report;
    match (report.visibility, report.state) {
        (Some(visibility), _) => visibility.to_owned(),
        (None, "comment") => "no-comment".to_owned(),
        (None, state) => state.to_owned(),
    }
}

/// The answers of one stage's list: `end-user: settle`.
fn answers(step: &PlayedStep, stage: &str, telling: fn(&str) -> bool) -> Vec<String> {
    let steps = step.report.trace.steps.iter().filter(|step| step.stage == stage && telling(&step.answer));
    steps.map(|step| format!("{}: {}", step.check, step.answer)).collect()
}

pub(super) fn load(folder: &Path) -> Result<Scenario, ScenarioError> {
    let file: ScenarioFile = read_toml(&folder.join("scenario.toml"))?;
    let now = crate::clock::parse_instant(&file.now)
        .map_err(|error| fault(&folder.join("scenario.toml"), error.to_string()))?;
    let steps = steps(folder, &file.envelope)?;
    Ok(Scenario {
        title: file.title,
        account: account_folder(folder, &file.account)?,
        now,
        settings: file.settings,
        tickets: file.tickets,
        steps,
    })
}

/// `input.eml` with `expected.toml`, or `01-input.eml` with `01-expected.toml` and, if the envelope differs,
/// `01-envelope.toml`, and so on.
fn steps(folder: &Path, envelope: &Envelope) -> Result<Vec<StepSetup>, ScenarioError> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map_err(|error| fault(folder, error.to_string()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with("input.eml"))
        .collect();
    names.sort();
    if names.is_empty() {
        return Err(fault(folder, "there is no `input.eml`".to_owned()));
    }
    let step = |name: String| {
        let prefix = name.trim_end_matches("input.eml").to_owned();
        let own_envelope = folder.join(format!("{prefix}envelope.toml"));
        let envelope = if own_envelope.is_file() { read_toml(&own_envelope)? } else { envelope.clone() };
        let path = folder.join(&name);
        Ok(StepSetup {
            mail: std::fs::read(&path).map_err(|error| fault(&path, error.to_string()))?,
            envelope,
            expected: read_toml(&folder.join(format!("{prefix}expected.toml")))?,
            name,
        })
    };
    names.into_iter().map(step).collect()
}

/// `accounts/NAME` in the first folder above that has it.
fn account_folder(folder: &Path, name: &str) -> Result<PathBuf, ScenarioError> {
    let candidates = folder.ancestors().map(|above| above.join("accounts").join(name));
    let found = candidates.into_iter().find(|candidate| candidate.is_dir());
    found.ok_or_else(|| fault(folder, format!("no folder above holds `accounts/{name}`")))
}

pub(super) fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, ScenarioError> {
    let text = std::fs::read_to_string(path).map_err(|error| fault(path, error.to_string()))?;
    toml::from_str(&text).map_err(|error| fault(path, error.to_string()))
}

pub(super) fn fault(file: &Path, what: String) -> ScenarioError {
    ScenarioError::File { file: file.to_owned(), what }
}
