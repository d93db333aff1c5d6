//! What must hold of every promise and of every mail that left.

use postern::domain::ids::TicketId;
use postern::domain::ticket::Visibility;
use postern::identify::Clue;
use postern::message::stripped;
use postern::store::queries::{CommentView, TicketView};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::desk::{Letter, Sent};
use crate::player::{Player, Written};

type Checked = Result<(), TestCaseError>;

impl Player {
    /// Of the mails that an update promised: none to its own author but the receipt, and one for each person.
    pub fn check_promises(
        &mut self,
        since: usize,
        comment: Option<i64>,
        ticket: Option<i64>,
        created: bool,
    ) -> Checked {
        let Some(ticket) = ticket else { return Ok(()) };
        let rows = self.desk.outbox().split_off(since);
        if rows.is_empty() {
            return Ok(());
        }
        let ticket = self.desk.ticket(ticket);
        let author =
            ticket.comments.iter().find(|one| Some(one.id.0) == comment).map(|one| one.author.clone());
        let mut told = std::collections::BTreeSet::new();
        for row in rows {
            let own = author.as_deref() == Some(row.recipient.as_str());
            let receipt = created && row.role == "requester" && !row.recipient.ends_with("@acme.example");
            prop_assert!(!own || receipt || row.role == "author", "mailed their own update: {row:?}");
            prop_assert!(told.insert(row.recipient.clone()), "told twice of one update: {row:?}");
            let shown = ticket.ccs.iter().chain([&ticket.requester]).cloned().collect();
            self.participants.insert(row.id.0, shown);
        }
        Ok(())
    }

    pub fn check_mails(&mut self, mails: &[Sent]) -> Checked {
        let tickets = self.desk.tickets();
        for row in self.desk.outbox() {
            if row.state == "cancelled" {
                self.tally.count("cancelled");
            }
        }
        for sent in mails {
            let is_agent = self.desk.person(&sent.recipient).is_some_and(|user| user.is_agent());
            self.tally.count(if is_agent { "to an agent" } else { "to a customer" });
            prop_assert_eq!(
                sent.recipient.to_string(),
                &*sent.row.recipient,
                "one envelope recipient: the row's"
            );
            prop_assert!(sent.message.defects.is_empty(), "{:?}: {:?}", sent.message.defects, sent.headers());
            prop_assert_eq!(self.desk.foreign_tokens(sent), [""; 0], "{}", sent.headers());
            self.check_people_shown(sent)?;
            if sent.row.id.0 % 4 == 0 {
                self.check_is_found(sent)?;
            }
            self.check_secrets(sent, is_agent, &tickets)?;
        }
        Ok(())
    }

    /// To and Cc show the participants, or the recipient alone: never a follower.
    fn check_people_shown(&self, sent: &Sent) -> Checked {
        let participants = &self.participants[&sent.row.id.0];
        for mailbox in sent.message.to.iter().chain(&sent.message.cc) {
            let address = mailbox.address.to_string();
            let known = address == sent.row.recipient || participants.contains(&address);
            prop_assert!(known, "{address} is shown to {}", sent.row.recipient);
        }
        Ok(())
    }

    /// A reply to the mail finds its ticket by its address, by its body and by its headers, each alone.
    fn check_is_found(&self, sent: &Sent) -> Checked {
        let author = self.desk.person(&sent.recipient).unwrap();
        let by = |letter: &Letter, clue: Clue| {
            let found = self.desk.identify(letter, &author);
            prop_assert_eq!(
                (found.ticket, found.by, found.token_bound_to_author),
                (Some(sent.row.ticket), clue, true),
                "{:?}",
                letter
            );
            Ok(())
        };
        let blank = Letter::from(&sent.row.recipient, "probe@example.net", "Thanks.");
        if sent.reply_to().contains('+') {
            by(&blank.clone().to(&[&sent.reply_to()]), Clue::AddressToken)?;
        }
        by(&blank.clone().quoting(sent), Clue::BodyToken)?;
        by(&Letter { html: Some(sent.html().to_owned()), ..blank.clone() }, Clue::BodyToken)?;
        by(&Letter { in_reply_to: Some(sent.message_id()), ..blank }, Clue::Header)
    }

    /// The property.
    fn check_secrets(&mut self, sent: &Sent, is_agent: bool, tickets: &[TicketView]) -> Checked {
        let comments: Vec<&CommentView> = tickets.iter().flat_map(|ticket| &ticket.comments).collect();
        let is_public = |comment: &CommentView| comment.visibility == Visibility::Public;
        let places = places(sent);
        let raw = String::from_utf8_lossy(&sent.raw).into_owned();
        let mut ticket_has_notes = false;
        for written in &self.written {
            let Some(comment) = comments.iter().find(|comment| comment.id == written.comment) else {
                continue;
            };
            if is_public(comment) {
                continue;
            }
            let secret = squashed(&written.words);
            // The same mail again, after it was public once.
            let is_copy = |other: &&Written| other.words == written.words && other.comment != written.comment;
            let copies = self.written.iter().filter(is_copy);
            if copies
                .flat_map(|copy| comments.iter().find(|one| one.id == copy.comment))
                .any(|one| is_public(one))
            {
                continue;
            }
            // A short note is known only as a whole (DESIGN §6, rule 9).
            if secret.len() < 40 && squashed(&comment.text) != secret {
                continue;
            }
            let in_mail = places.iter().any(|place| place.contains(&secret));
            if is_agent {
                if in_mail {
                    self.tally.count("note sent to an agent");
                }
                continue;
            }
            ticket_has_notes |= ticket_of(tickets, comment) == Some(sent.row.ticket);
            // What was public for a while may have been repeated by those who read it.
            let repeated =
                || comments.iter().any(|other| is_public(other) && squashed(&other.text).contains(&secret));
            prop_assert!(
                !in_mail || written.hidden && repeated(),
                "`{}` of private comment {} ({}) is in a mail to {}:\n{}",
                written.words,
                comment.id,
                comment.rule,
                sent.row.recipient,
                raw
            );
            let same_id = self.written.iter().filter(|other| other.message_id == written.message_id).count();
            prop_assert!(
                written.hidden || same_id > 1 || !raw.contains(&written.message_id),
                "the Message-ID of private comment {} is in a mail to {}:\n{}",
                comment.id,
                sent.row.recipient,
                raw
            );
        }
        if ticket_has_notes {
            self.tally.count("customer told of a ticket with notes");
        }
        Ok(())
    }
}

fn ticket_of(tickets: &[TicketView], comment: &CommentView) -> Option<TicketId> {
    tickets
        .iter()
        .find(|ticket| ticket.comments.iter().any(|one| one.id == comment.id))
        .map(|ticket| ticket.id)
}

/// Every part of a mail in a form in which neither wrapping, quoting, markup nor encoding hides anything.
fn places(sent: &Sent) -> Vec<String> {
    let message = &sent.message;
    let mailboxes = message.from.iter().chain(&message.reply_to).chain(&message.to).chain(&message.cc);
    let names: Vec<String> = mailboxes.filter_map(|mailbox| mailbox.name.clone()).collect();
    let without_encoding = String::from_utf8_lossy(&sent.raw).replace("=\r\n", "");
    [
        sent.headers(),
        message.subject.clone(),
        names.join(" "),
        message.text.full.clone(),
        sent.html().to_owned(),
        stripped(sent.html()),
        without_encoding,
    ]
    .iter()
    .map(|part| squashed(part))
    .collect()
}

fn squashed(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
