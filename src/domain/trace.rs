//! The one way any decision explains itself. Names are public vocabulary.

use serde::{Deserialize, Serialize};

/// Every check that looked at a mail or a change, in order, with its answer and its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trace {
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Who answered: `duplicate`, `author`, `identify`, `authenticate`, `admission`, `commands`, `privacy`, `access`, `triggers`.
    pub stage: String,
    /// The check's name: `cc-drops-requester`, `address-token`, …
    pub check: String,
    /// `pass`, `settle`, or a word of the stage: `found`, `ignored`, `applied`, `withheld`, …
    pub answer: String,
    /// Why, in words an agent would use. Never body text, tokens or whole addresses.
    pub because: String,
}

impl Trace {
    pub fn push(&mut self, stage: &str, check: &str, answer: &str, because: impl Into<String>) {
        self.steps.push(Step {
            stage: stage.to_owned(),
            check: check.to_owned(),
            answer: answer.to_owned(),
            because: because.into(),
        });
    }

    pub fn extend(&mut self, other: Self) {
        self.steps.extend(other.steps);
    }
}
