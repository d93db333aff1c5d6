//! The files of a fixture folder. Unknown keys are refused; keys that are absent from `expected.toml` are not compared.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::settings::{AgentRequester, EndUserMailOnPrivateTicket, FollowerReplies, Settings};

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
    /// Message-IDs of earlier mails about it.
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
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// `public`, `private`, `suspended`, `discarded`, or `no-comment`.
    pub outcome: Option<String>,
    pub rule: Option<String>,
    /// The privacy list's answers, in order: `end-user: settle`.
    pub trace: Option<Vec<String>>,
    pub flags: Option<Vec<String>>,
    pub cause: Option<String>,
    pub identified_by: Option<String>,
    pub created_ticket: Option<bool>,
    pub comment_text: Option<String>,
    /// Event names in order.
    pub events: Option<Vec<String>>,
    /// `rule -> recipient`, sorted.
    pub notifications: Option<Vec<String>>,
    /// Each mail command with its outcome: `solved=applied`.
    pub commands: Option<Vec<String>>,
    pub ticket: Option<ExpectedTicket>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedTicket {
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
    /// What differs, one sentence each.
    #[must_use]
    pub fn differences(&self, step: &PlayedStep) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, wanted: Option<String>, found: String| {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                differences.push(format!("{what}: expected `{wanted}`, found `{found}`"));
            }
        };
        let report = &step.report;
        let list = |values: &Option<Vec<String>>| values.as_ref().map(|values| values.join(" | "));
        compare("outcome", self.outcome.clone(), outcome(step));
        compare("rule", self.rule.clone(), report.rule.clone().unwrap_or_default());
        compare("trace", list(&self.trace), privacy_trace(step).join(" | "));
        compare("flags", list(&self.flags), report.flags.join(" | "));
        compare("cause", self.cause.clone(), report.cause.clone().unwrap_or_default());
        compare(
            "identified_by",
            self.identified_by.clone(),
            report.identified_by.unwrap_or("none").to_owned(),
        );
        compare(
            "created_ticket",
            self.created_ticket.map(|yes| yes.to_string()),
            report.created_ticket.to_string(),
        );
        compare("events", list(&self.events), step.events.join(" | "));
        compare("notifications", list(&self.notifications), step.promised.join(" | "));
        compare("commands", list(&self.commands), report.commands.join(" | "));
        let ticket = step.ticket_after.as_ref();
        let comment =
            ticket.zip(report.comment).and_then(|(ticket, id)| ticket.comments.iter().find(|c| c.id.0 == id));
        compare(
            "comment_text",
            self.comment_text.clone(),
            comment.map(|c| c.text.clone()).unwrap_or_default(),
        );
        if let (Some(wanted), Some(ticket)) = (&self.ticket, ticket) {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            compare("ticket.status", wanted.status.clone(), ticket.status.word().to_owned());
            compare(
                "ticket.is_public",
                wanted.is_public.map(|yes| yes.to_string()),
                ticket.is_public.to_string(),
            );
            compare("ticket.requester", wanted.requester.clone(), ticket.requester.clone());
            compare("ticket.assignee", wanted.assignee.clone(), text(&ticket.assignee));
            compare("ticket.group", wanted.group.clone(), text(&ticket.group));
            compare(
                "ticket.priority",
                wanted.priority.clone(),
                ticket.priority.map(|priority| priority.word().to_owned()).unwrap_or_default(),
            );
            compare(
                "ticket.type",
                wanted.r#type.clone(),
                ticket.ticket_type.map(|kind| kind.word().to_owned()).unwrap_or_default(),
            );
            compare(
                "ticket.tags",
                list(&wanted.tags),
                ticket.tags.iter().cloned().collect::<Vec<_>>().join(" | "),
            );
            compare("ticket.ccs", list(&wanted.ccs), ticket.ccs.join(" | "));
            compare("ticket.followers", list(&wanted.followers), ticket.followers.join(" | "));
        }
        differences
    }
}

fn outcome(step: &PlayedStep) -> String {
    let report = &step.report;
    match (report.visibility, report.state) {
        (Some(visibility), _) => visibility.to_owned(),
        (None, "comment") => "no-comment".to_owned(),
        (None, state) => state.to_owned(),
    }
}

/// The answers of the privacy list alone.
fn privacy_trace(step: &PlayedStep) -> Vec<String> {
    let steps = step.report.trace.steps.iter().filter(|step| step.stage == "privacy");
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
