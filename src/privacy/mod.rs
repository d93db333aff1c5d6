//! Who may see the comment: the ordered list of DESIGN §6.
//!
//! [`decide`] asks each check in turn; the first that settles ends the list, and the trace keeps every answer up to
//! there. It is pure, total and does not allocate.
//!
//! **Invariants.** The order of the checks is the specification; names and numbers are public. Every decision
//! settles exactly once, by its last step. No fact that speaks for privacy (a private ticket, a repeated private
//! comment, `#note`) makes an agent's comment more public. `tests/privacy_truth_table.rs` holds the list against
//! an oracle of its own.
//!
//! [`recall`] answers the one fact that needs more than a look at ticket and mail: whether the mail repeats a
//! private comment (rule 9).

mod checks;
mod facts;
mod normalise;
pub mod recall;
mod rolling;

use std::fmt::Write as _;

use serde::ser::{SerializeSeq, SerializeStruct};
use serde::{Serialize, Serializer};

use checks::{CHECKS, DEFAULT};
pub use facts::{AuthorKind, Command, Facts};

/// Settles who may see the comment. Always answers: `default-public` closes the list.
#[must_use]
pub fn decide(facts: &Facts) -> Decision {
    let mut trace = Trace::default();
    let mut steps = trace.0.iter_mut();
    for (check, place) in CHECKS.iter().zip(&mut steps) {
        let answer = (check.run)(facts);
        *place = Some(Step { rule: check.rule.name, answer });
        if let Answer::Settle(outcome, _) = answer {
            let flagged = is_flagged(&check.rule, facts);
            return Decision { outcome, rule: check.rule.name, flagged, trace };
        }
    }
    let answer = Answer::Settle(Outcome::Public, "nothing above settled it");
    if let Some(place) = steps.next() {
        *place = Some(Step { rule: DEFAULT.name, answer });
    }
    Decision { outcome: Outcome::Public, rule: DEFAULT.name, flagged: false, trace }
}

/// Whether an agent is warned: the author had no part in the ticket, or a CC wrote publicly behind the requester's
/// back.
fn is_flagged(settled_by: &Rule, facts: &Facts) -> bool {
    match settled_by.number {
        "1.1" | "1.2" => true,
        "4" => facts.cc_left_requester_off(),
        _ => false,
    }
}

/// Every rule in the order of the list, rule 0 and the default included.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    CHECKS.iter().map(|check| &check.rule).chain([&DEFAULT])
}

/// The rules as a Markdown table.
#[must_use]
pub fn rules_markdown() -> String {
    let mut table = String::from("| rule | name | what it says | outcome |\n|---|---|---|---|\n");
    for Rule { number, name, sentence, settles } in rules() {
        let outcome = settles.map_or("settles nothing", Outcome::word);
        let _ = writeln!(table, "| {number} | `{name}` | {sentence} | {outcome} |");
    }
    table
}

/// One rule as documents name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `1.1`, `F`: the number in the published list.
    pub number: &'static str,
    /// `agent-outside-ticket`: the name in traces, logs, the API and fixtures.
    pub name: &'static str,
    pub sentence: &'static str,
    /// The outcome it settles on, if it settles; rule 0 never does.
    pub settles: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Public,
    Private,
    /// No comment yet: a person looks first.
    Suspended,
}

impl Outcome {
    /// The word used in data: trace, log, API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Suspended => "suspended",
        }
    }
}

/// What was decided, by which rule, and every answer that led there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    pub outcome: Outcome,
    pub rule: &'static str,
    /// The comment carries a warning for agents.
    pub flagged: bool,
    pub trace: Trace,
}

/// The answers of all checks that were asked, in order; the last one settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace([Option<Step>; CHECKS.len() + 1]);

impl Trace {
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.0.iter().flatten()
    }
}

impl Serialize for Trace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.steps().count()))?;
        for step in self.steps() {
            list.serialize_element(step)?;
        }
        list.end()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub rule: &'static str,
    pub answer: Answer,
}

/// What a check says, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Pass(&'static str),
    Settle(Outcome, &'static str),
}

impl Answer {
    /// `pass` or `settle`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Settle(..) => "settle",
        }
    }

    #[must_use]
    pub fn because(self) -> &'static str {
        match self {
            Self::Pass(because) | Self::Settle(_, because) => because,
        }
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut step = serializer.serialize_struct("Step", 3)?;
        step.serialize_field("rule", self.rule)?;
        step.serialize_field("answer", self.answer.word())?;
        step.serialize_field("because", self.answer.because())?;
        step.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY_OF_THE_ASSIGNEE: &str = r#"{
        "updating_ticket": true, "identified_by_encoded_id": true, "recovered": false,
        "author_kind": "agent", "author_can_edit_ticket": true, "author_is_requester": false,
        "author_is_assignee": true, "author_is_cc": false, "author_is_follower": false,
        "agent_treated_as_end_user": false, "role_may_comment_publicly": true,
        "requester_is_direct_recipient": false, "recipients_beyond_support_addresses": false,
        "command": "note", "repeats_private_comment": false,
        "ticket_is_private": false, "notified_comment_was_private": false
    }"#;

    #[test]
    fn settings_that_are_not_given_are_at_their_documented_default() {
        use crate::domain::settings::PrivacySettings;
        let facts: Facts = serde_json::from_str(REPLY_OF_THE_ASSIGNEE).unwrap();
        let account = PrivacySettings::default();
        assert_eq!(facts.cc_comments_public, account.cc_comments_public);
        assert_eq!(facts.agent_comments_public_by_default, account.agent_comments_public_by_default);
        assert_eq!(facts.public_command_overrides_default, account.public_command_overrides_default);
        assert_eq!(facts.follower_replies, account.follower_replies);
        assert_eq!(facts.end_user_mail_on_private_ticket, account.end_user_mail_on_private_ticket);
    }

    #[test]
    fn a_decision_reads_as_documented() {
        let facts: Facts = serde_json::from_str(REPLY_OF_THE_ASSIGNEE).unwrap();
        let decision = serde_json::to_value(decide(&facts)).unwrap();
        assert_eq!(decision["outcome"], "private");
        assert_eq!(decision["rule"], "note-command");
        assert_eq!(decision["flagged"], false);
        let trace = decision["trace"].as_array().unwrap();
        assert_eq!(trace.len(), 10);
        let last = serde_json::json!({
            "rule": "note-command", "answer": "settle", "because": "the author wrote `#note`"
        });
        assert_eq!(trace.last(), Some(&last));
    }

    #[test]
    fn the_list_has_the_published_names_and_numbers_in_order() {
        let listed: Vec<_> = rules().map(|rule| format!("{} {}", rule.number, rule.name)).collect();
        assert_eq!(
            listed,
            [
                "0 agent-requester-hidden-notes",
                "1.1 agent-outside-ticket",
                "1.2 end-user-outside-ticket",
                "2 outsider-without-encoded-id",
                "3.1 cc-drops-requester",
                "3.2 cc-writes-to-others",
                "4 end-user",
                "5 role-cannot-comment-publicly",
                "F follower-reply",
                "6 note-command",
                "7 agent-email-private-by-default",
                "8 private-ticket",
                "9 repeats-private-comment",
                "10 default-public",
            ]
        );
    }

    #[test]
    fn each_check_is_documented_by_its_number_and_sentence() {
        let comments = include_str!("checks.rs").replace("\n/// ", " ");
        for rule in rules() {
            let comment = format!("Rule {}. {}", rule.number, rule.sentence);
            assert!(comments.contains(&comment), "no comment in checks.rs says `{comment}`");
        }
    }

    #[test]
    fn the_generated_table_has_a_line_for_each_rule() {
        let table = rules_markdown();
        assert_eq!(table.lines().count(), 2 + rules().count());
        assert!(
            table.contains(
                "| 8 | `private-ticket` | An update of a private ticket stays private. | private |"
            )
        );
    }
}
