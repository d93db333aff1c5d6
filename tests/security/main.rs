//! What an attacker, a machine or an accident must not achieve: stories through the whole pipeline, from the accepted
//! bytes to the composed ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

#[path = "../desk/mod.rs"]
mod desk;

mod claims;
mod copies;
mod held;
mod machines;
mod planted;
mod waiting;

use desk::{Desk, Letter, Sent};

const ADA: &str = "ada@acme.example";
const RITA: &str = "rita@example.net";
const CARL: &str = "carl@example.net";
const OTTO: &str = "otto@example.org";

/// Rita's ticket, which Ada took and answered publicly; Carl is in CC. Everything that was due is sent.
struct Story {
    desk: Desk,
    ticket: i64,
    mails: Vec<Sent>,
}

impl Story {
    fn new() -> Self {
        Self::in_desk(Desk::open())
    }

    fn in_desk(mut desk: Desk) -> Self {
        let first = Letter::from(RITA, "rita-1@example.net", "My printer burns.").cc(CARL).trusted();
        let ticket = desk.receive(&first).ticket.unwrap();
        let mut mails = desk.post();
        let takes = "#assignee ada@acme.example\nPlease unplug it.";
        let answer = Letter::answer(newest(&mails, ADA), "ada-1@acme.example", takes).trusted();
        assert_eq!(desk.receive(&answer).visibility, Some("public"));
        mails.extend(desk.post());
        Self { desk, ticket, mails }
    }

    fn newest(&self, recipient: &str) -> &Sent {
        newest(&self.mails, recipient)
    }

    fn post(&mut self) -> Vec<Sent> {
        let mails = self.desk.post();
        self.mails.extend(mails.clone());
        mails
    }

    /// Texts of the comments, each with its visibility.
    fn comments(&self) -> Vec<(String, &'static str)> {
        let ticket = self.desk.ticket(self.ticket);
        ticket.comments.into_iter().map(|comment| (comment.text, comment.visibility.word())).collect()
    }
}

fn newest<'a>(mails: &'a [Sent], recipient: &str) -> &'a Sent {
    let mut to = mails.iter().rev().filter(|mail| mail.recipient.to_string() == recipient);
    to.next().unwrap_or_else(|| panic!("{recipient} got no mail"))
}
