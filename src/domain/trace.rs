//! The one way any decision explains itself. Names are public vocabulary.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Nearly all words of a trace stand in the program; copying them for each mail would cost more than the checks.
pub type Word = Cow<'static, str>;

/// Every check that looked at a mail or a change, in order, with its answer and its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Trace {
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Who answered: `duplicate`, `author`, `identify`, `authenticate`, `admission`, `commands`, `privacy`, `access`, `triggers`.
    pub stage: Word,
    /// The check's name: `cc-drops-requester`, `address-token`, …
    pub check: Word,
    /// `pass`, `settle`, or a word of the stage: `found`, `ignored`, `applied`, `withheld`, …
    pub answer: Word,
    /// Why, in words an agent would use. Never body text, tokens or whole addresses.
    pub because: Word,
}

impl Trace {
    pub fn push(
        &mut self,
        stage: &'static str,
        check: impl Into<Word>,
        answer: &'static str,
        because: impl Into<Word>,
    ) {
        self.steps.push(Step {
            stage: stage.into(),
            check: check.into(),
            answer: answer.into(),
            because: because.into(),
        });
    }

    pub fn extend(&mut self, other: Self) {
        self.steps.extend(other.steps);
    }
}
