//! Triggers and notifications through the whole pipeline: who is really mailed, and what they read.
//!
//! Cases by number: `j…` of reference/triggers-and-automations.md part J, `c…` of reference/ccs-and-followers.md §9.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod desk;

use desk::{Desk, Letter, Sent};
use postern::config::Config;
use postern::config::rules::parse_triggers;
use postern::domain::ids::UserId;
use postern::domain::people::{Role, User};
use postern::domain::plan::{Plan, Write};
use postern::domain::snapshot::Lookup;
use postern::pipeline::report::MailReport;

const ADA: &str = "ada@acme.example";
const BEN: &str = "ben@acme.example";
const LIA: &str = "lia@acme.example";
const RITA: &str = "rita@example.net";
const CARL: &str = "carl@example.net";
const OTTO: &str = "otto@example.org";

/// A ticket of Rita's that is Ada's to answer, in a desk where all that was due is sent.
struct Story {
    desk: Desk,
    ticket: i64,
    mails: Vec<Sent>,
    number: u32,
}

impl Story {
    fn new() -> Self {
        Self::with(&[], |_| {})
    }

    fn with(ccs: &[&str], change: impl FnOnce(&mut Config)) -> Self {
        let mut desk = Desk::with(|config| {
            let assign = r#"{ field = "assignee_id", value = "ada@acme.example" }"#;
            first(config, &[("assigns", CREATED, assign)]);
            change(config);
        });
        let first = Letter::from(RITA, "rita-0@example.net", "My printer burns.").trusted();
        let first = ccs.iter().fold(first, |letter, cc| letter.cc(cc));
        let ticket = desk.receive(&first).ticket.unwrap();
        let mails = desk.post();
        let mut story = Self { desk, ticket, mails, number: 0 };
        story.answers(ADA, "Please unplug it.", &[]);
        story
    }

    fn id(&mut self) -> String {
        self.number += 1;
        format!("mail-{}@mail.example", self.number)
    }

    /// `who` answers the newest mail they got about the ticket, to the support address and these people.
    fn answers(&mut self, who: &str, text: &str, others: &[&str]) -> (MailReport, Vec<String>) {
        let id = self.id();
        let own = |mail: &&Sent| mail.recipient.to_string() == who && mail.row.ticket.0 == self.ticket;
        let newest = self.mails.iter().rev().find(own).unwrap_or_else(|| panic!("{who} got no mail"));
        let letter = Letter::answer(newest, &id, text).trusted();
        self.receives(&others.iter().fold(letter, |letter, other| letter.cc(other)))
    }

    /// What came of a mail, and whom it promised what.
    fn receives(&mut self, letter: &Letter) -> (MailReport, Vec<String>) {
        let before = self.desk.outbox().len();
        let report = self.desk.receive(letter);
        let promised = self.desk.promised_since(before);
        let mails = self.desk.post();
        self.mails.extend(mails);
        (report, promised)
    }

    fn tags(&self) -> Vec<String> {
        self.desk.ticket(self.ticket).tags.into_iter().collect()
    }
}

const TO_REQUESTER: &str = "notify-requester-of-comment-update";

fn comment_update(people: &[&str]) -> Vec<String> {
    people.iter().map(|person| format!("{TO_REQUESTER} -> {person}")).collect()
}

/// Triggers of `(key, all, actions)` before the standard ones.
fn first(config: &mut Config, rules: &[(&str, &str, &str)]) {
    let one = |(key, all, actions): &(&str, &str, &str)| {
        format!(
            "[[triggers]]\nkey = \"{key}\"\ntitle = \"{key}\"\nconditions.all = [{all}]\nactions = [{actions}]\n"
        )
    };
    let text: String = rules.iter().map(one).collect();
    config.triggers.splice(0..0, parse_triggers("triggers.toml", &text).unwrap());
}

const CREATED: &str = r#"{ field = "update_type", value = "Create" }"#;
const CHANGED: &str = r#"{ field = "update_type", value = "Change" }"#;

// ---- Which triggers fire -------------------------------------------------------------------------------------------

#[test]
fn j1_a_trigger_above_sees_what_one_below_did_when_a_mail_creates_a_ticket() {
    let desk = Desk::with(|config| {
        let tag = r#"{ field = "current_tags", value = "vip" }"#;
        first(
            config,
            &[
                ("tags", r#"{ field = "priority", value = "high" }"#, tag),
                ("raises", CREATED, r#"{ field = "priority", value = "high" }"#),
            ],
        );
    });
    let report = desk.receive(&Letter::from(RITA, "rita-1@example.net", "Help."));
    assert_eq!(report.triggers[..2], ["raises", "tags"]);
    let ticket = desk.ticket(report.ticket.unwrap());
    assert_eq!((ticket.priority.unwrap().word(), ticket.tags), ("high", ["vip".to_owned()].into()));
}

#[test]
fn j2_two_triggers_that_undo_each_other_fire_once_each_and_the_mail_is_done() {
    let desk = Desk::with(|config| {
        let (add, remove) =
            (r#"{ field = "current_tags", value = "a" }"#, r#"{ field = "remove_tags", value = "a" }"#);
        let absent = r#"{ field = "current_tags", operator = "not_includes", value = "a" }"#;
        let present = r#"{ field = "current_tags", operator = "includes", value = "a" }"#;
        first(config, &[("adds", absent, add), ("removes", present, remove)]);
    });
    let report = desk.receive(&Letter::from(RITA, "rita-1@example.net", "Help."));
    assert_eq!(report.triggers[..2], ["adds", "removes"]);
    assert!(desk.ticket(report.ticket.unwrap()).tags.is_empty());
}

#[test]
fn j3_to_j6_conditions_read_what_the_mail_changed() {
    let check = |condition: &str, fires: bool| {
        let tag = r#"{ field = "current_tags", value = "seen" }"#;
        let condition = format!(r#"{{ field = "role", value = "end_user" }}, {CHANGED}, {condition}"#);
        let mut story = Story::with(&[], |config| first(config, &[("t", &condition, tag)]));
        story.answers(ADA, "#group billing\n#assignee ada@acme.example\n#note\nTo billing.", &[]);
        story.answers(ADA, "#pending\nPlease wait.", &[]);
        let status = story.desk.ticket(story.ticket).status.word();
        assert_eq!(status, "pending", "{condition}");
        let fired = story.answers(RITA, "I waited.", &[]).0.triggers.contains(&"t".to_owned());
        assert_eq!(fired, fires, "{condition}");
    };
    check(r#"{ field = "status", operator = "changed_from", value = "pending" }"#, true);
    check(r#"{ field = "status", operator = "changed_to", value = "open" }"#, true);
    check(r#"{ field = "status", operator = "not_changed" }"#, false);
    check(r#"{ field = "group_id", operator = "changed" }"#, false);
    check(r#"{ field = "requester_role", value = "end_user" }"#, true);
}

#[test]
fn j8_the_mail_that_closes_a_ticket_is_the_last_that_triggers_see() {
    let mut story = Story::with(&[], |config| {
        let solved = r#"{ field = "status", operator = "changed_to", value = "solved" }"#;
        let closed = r#"{ field = "status", value = "closed" }"#;
        let tag = r#"{ field = "current_tags", value = "archived" }"#;
        first(
            config,
            &[("closes", solved, r#"{ field = "status", value = "closed" }"#), ("tags", closed, tag)],
        );
    });
    let (report, promised) = story.answers(ADA, "#solved\nIt is out.", &[]);
    assert!(report.triggers.contains(&"closes".to_owned()) && report.triggers.contains(&"tags".to_owned()));
    assert_eq!((story.tags(), promised), (vec!["archived".to_owned()], comment_update(&[RITA])));
    assert_eq!(story.desk.ticket(story.ticket).status.word(), "closed");
    let (report, _) = story.answers(RITA, "It burns again.", &[]);
    assert!(report.created_ticket, "an answer to a closed ticket follows it up");
    let follow_up = story.desk.ticket(report.ticket.unwrap());
    assert_eq!(follow_up.follow_up_of.unwrap().0, story.ticket);
}

#[test]
fn j21_set_tags_replaces_the_tags_that_a_command_set() {
    let mut story = Story::with(&[], |config| {
        let high = r#"{ field = "priority", operator = "changed_to", value = "high" }"#;
        first(config, &[("t", high, r#"{ field = "set_tags", value = "a b" }"#)]);
    });
    story.answers(ADA, "#tags c\nHm.", &[]);
    assert_eq!(story.tags(), ["c"]);
    story.answers(ADA, "#priority high\nUrgent.", &[]);
    assert_eq!(story.tags(), ["a", "b"]);
}

// ---- Who is mailed -------------------------------------------------------------------------------------------------

#[test]
fn j23_a_ticket_that_an_agent_opens_for_a_customer_is_announced_and_not_acknowledged() {
    let mut story = Story::new();
    let (id, text) = (story.id(), "#requester rita@example.net\nYour new printer is here.");
    let (report, promised) = story.receives(&Letter::from(ADA, &id, text).trusted().cc(CARL));
    assert_eq!(report.visibility, Some("public"));
    let to_customers: Vec<_> = promised.iter().filter(|line| line.ends_with(".net")).collect();
    let announced = |person| format!("notify-requester-of-proactive-ticket -> {person}");
    assert_eq!(to_customers, [&announced(CARL), &announced(RITA)]);
    assert!(promised.iter().all(|line| !line.ends_with(ADA)), "{promised:?}");
}

#[test]
fn j24_and_c12_a_note_is_mailed_to_assignee_and_followers_alone() {
    let mut story = Story::with(&[CARL, BEN, LIA], |_| {});
    let (report, promised) = story.answers(BEN, "#note\nThe firmware, I guess.", &[]);
    assert_eq!(report.visibility, Some("private"));
    assert_eq!(
        promised,
        ["follower -> lia@acme.example", "notify-assignee-of-comment-update -> ada@acme.example"]
    );
}

#[test]
fn j25_the_assignees_own_comment_is_mailed_to_the_customer_and_not_to_the_assignee() {
    let mut story = Story::new();
    let (report, promised) = story.answers(ADA, "And wait a minute.", &[]);
    assert_eq!((report.visibility, promised), (Some("public"), comment_update(&[RITA])));
    let (_, promised) = story.answers(RITA, "I wait.", &[]);
    assert_eq!(promised, ["notify-assignee-of-comment-update -> ada@acme.example"]);
}

#[test]
fn j26_an_answer_to_a_solved_ticket_is_told_once_as_reopened() {
    let mut story = Story::new();
    story.answers(ADA, "#solved\nIt is out.", &[]);
    let (_, promised) = story.answers(RITA, "It burns again.", &[]);
    assert_eq!(promised, ["notify-assignee-of-reopened-ticket -> ada@acme.example"]);
    assert_eq!(story.desk.ticket(story.ticket).status.word(), "open");
}

#[test]
fn j27_the_receipt_repeats_nothing_of_what_a_stranger_wrote_whatever_its_template_asks() {
    let mut desk = Desk::with(|config| {
        let body = "A{{ticket.comments_formatted}}{{ticket.description}}{{ticket.latest_comment}}Z";
        let action = format!(r#"{{ field = "notification_user", value = ["requester_id", "s", "{body}"] }}"#);
        first(config, &[("receipt", CREATED, &action)]);
    });
    desk.receive(&Letter::from("victim@example.net", "spam@evil.example", "Buy at evil.example!"));
    let mails = desk.post();
    let receipt = mails.iter().find(|mail| mail.recipient.to_string() == "victim@example.net").unwrap();
    assert_eq!(receipt.row.rule, "receipt");
    assert!(receipt.message.text.full.contains("\nAZ\n"), "{}", receipt.message.text.full);
    let told = mails.iter().find(|mail| mail.recipient.to_string() == ADA).unwrap();
    assert!(told.message.text.full.contains("Buy at evil.example!"), "agents read it");
}

#[test]
fn j30_and_c15_without_a_public_comment_the_mail_is_left_out_and_the_rest_happens() {
    let both = r#"{ field = "current_tags", value = "seen" },
        { field = "notification_user", value = ["requester_and_ccs", "s", "b"] }"#;
    let mut story = Story::with(&[CARL], |config| first(config, &[("both", CHANGED, both)]));
    story.answers(ADA, "#note\nShe poured coffee.", &[]);
    assert_eq!(story.tags(), ["seen"]);
    let (report, promised) = story.answers(ADA, "#note\nBut do not say that.", &[]);
    assert_eq!((report.visibility, promised), (Some("private"), vec![]));
}

// ---- CCs and followers ---------------------------------------------------------------------------------------------

#[test]
fn c1_somebody_in_cc_is_mailed_the_next_public_comment() {
    let mut story = Story::with(&["new@example.net"], |_| {});
    assert_eq!(story.desk.ticket(story.ticket).ccs, ["new@example.net"]);
    let (_, promised) = story.answers(ADA, "Look at this.", &[]);
    assert_eq!(promised, comment_update(&["new@example.net", RITA]));
}

#[test]
fn c2_to_c4_who_may_not_become_a_cc_is_not_mailed_either() {
    let check = |change: fn(&mut Config), cc: &str, what: &str| {
        let mut story = Story::with(&[cc], change);
        assert!(story.desk.ticket(story.ticket).ccs.is_empty(), "{what}");
        assert_eq!(story.answers(ADA, "Look at this.", &[]).1, comment_update(&[RITA]), "{what}");
    };
    check(
        |config| config.settings.collaborators.end_users_may_add_ccs = false,
        CARL,
        "end users may add nobody",
    );
    check(|_| {}, "billing@acme.example", "a support address");
    check(|_| {}, "support+anything@acme.example", "a support address with a suffix");
    check(
        |config| config.settings.collaborators.cc_blocklist = vec!["example.net".to_owned()],
        CARL,
        "blocked",
    );
    check(|config| config.settings.collaborators.allow_ccs = false, CARL, "no CCs at all");
    check(|_| {}, "sam@example.org", "a suspended user");
}

#[test]
fn c6_an_agent_whom_an_agent_puts_in_cc_also_follows_and_gets_one_mail_of_each_comment() {
    let mut story = Story::new();
    let (_, promised) = story.answers(ADA, "Ben knows printers.", &[BEN]);
    let ticket = story.desk.ticket(story.ticket);
    assert_eq!((ticket.ccs, ticket.followers), (vec![BEN.to_owned()], vec![BEN.to_owned()]));
    let told = vec!["follower -> ben@acme.example".to_owned(), comment_update(&[RITA]).remove(0)];
    assert_eq!(promised, told, "what Ben follows comes with a token of his own, though he has Ada's mail");
    let (_, promised) = story.answers(ADA, "#note\nA word in private.", &[]);
    assert_eq!(promised, ["follower -> ben@acme.example"]);
    let (_, promised) = story.answers(ADA, "A word to all.", &[]);
    assert_eq!(promised, told);
}

#[test]
fn c8_a_stranger_brings_nobody_along() {
    let mut story = Story::new();
    let id = story.id();
    let to_rita = story.mails.iter().find(|mail| mail.recipient.to_string() == RITA).unwrap();
    let letter = Letter::answer(to_rita, &id, "Let me help.").written_as(OTTO).trusted().cc(CARL);
    let (report, promised) = story.receives(&letter);
    assert_eq!(report.rule.as_deref(), Some("end-user-outside-ticket"));
    assert!(story.desk.ticket(story.ticket).ccs.is_empty());
    assert_eq!(promised, ["notify-assignee-of-comment-update -> ada@acme.example"]);
}

#[test]
fn c9_and_c10_who_has_the_authors_own_mail_gets_no_copy_of_it() {
    let mut story = Story::with(&[CARL], |_| {});
    let to_ada = "notify-assignee-of-comment-update -> ada@acme.example".to_owned();
    let (_, promised) = story.answers(RITA, "Reply to all.", &[RITA, CARL]);
    assert_eq!(promised.as_slice(), std::slice::from_ref(&to_ada));
    let (_, promised) = story.answers(RITA, "Reply to the desk only.", &[]);
    assert_eq!(promised, [to_ada, comment_update(&[CARL])[0].clone()]);
}

#[test]
fn c13_and_c14_nobody_is_mailed_where_the_requester_cannot_be() {
    let mut story = Story::new();
    let nobody =
        story.desk.pipeline.store.run(&Lookup::default(), story.desk.pipeline.clock.now(), |_, fresh| {
            let user = User {
                id: fresh.user(),
                name: "By Phone".to_owned(),
                role: Role::end_user(),
                addresses: Vec::new(),
                organization: None,
                groups: Vec::new(),
                suspended: false,
                active: true,
                version: 0,
            };
            let id = user.id;
            Ok((Plan { preconditions: Vec::new(), writes: vec![Write::InsertUser(user)] }, id))
        });
    let UserId(by_phone) = nobody.unwrap();
    let text = format!("#requester {by_phone}\nThey called about the printer.");
    let id = story.id();
    let (report, promised) = story.receives(&Letter::from(ADA, &id, &text).trusted().cc(CARL));
    assert_eq!(report.commands, ["requester=applied"]);
    assert!(promised.iter().all(|line| line.ends_with("@acme.example")), "no address: {promised:?}");

    let id = story.id();
    let held = Letter::from("sam@example.org", &id, "Let me in.").trusted().cc(CARL);
    assert_eq!(story.receives(&held).0.cause.as_deref(), Some("system_user"));
    story.desk.pipeline.recover(story.desk.held()[0].id).unwrap();
    let mails = story.desk.post();
    let to_ada = mails.iter().find(|mail| mail.recipient.to_string() == ADA).unwrap();
    let id = story.id();
    let (report, promised) = story.receives(&Letter::answer(to_ada, &id, "No.").trusted());
    assert_eq!((report.visibility, promised), (Some("public"), vec![]), "suspended");
    assert_eq!(story.desk.ticket(report.ticket.unwrap()).ccs, [CARL]);
}

#[test]
fn c17_a_follower_is_told_of_others_comments_and_not_of_their_own() {
    let mut story = Story::new();
    story.answers(ADA, "#note\nBoth of you, please.", &[BEN, LIA]);
    let (report, promised) = story.answers(BEN, "#note\nI am on it.", &[]);
    assert_eq!(report.visibility, Some("private"));
    assert_eq!(
        promised,
        ["follower -> lia@acme.example", "notify-assignee-of-comment-update -> ada@acme.example"]
    );
}

#[test]
fn c18_becoming_a_follower_sends_no_mail() {
    let mut story = Story::with(&[], |config| {
        let high = r#"{ field = "priority", operator = "changed_to", value = "high" }"#;
        first(config, &[("t", high, r#"{ field = "follower", value = "ben@acme.example" }"#)]);
    });
    let (report, promised) = story.answers(ADA, "#priority high", &[]);
    assert_eq!((report.visibility, promised), (None, vec![]));
    assert_eq!(story.desk.ticket(story.ticket).followers, [BEN]);
}

#[test]
fn c19_each_of_thirty_ccs_gets_a_mail_of_their_own_that_shows_all() {
    let people: Vec<String> = (0..30).map(|number| format!("cc{number:02}@example.net")).collect();
    let ccs: Vec<&str> = people.iter().map(String::as_str).collect();
    let mut story = Story::with(&ccs, |_| {});
    let (_, promised) = story.answers(ADA, "Look at this.", &[]);
    assert_eq!(promised.len(), 31);
    let copies: Vec<&Sent> = story.mails.iter().filter(|mail| mail.row.rule == TO_REQUESTER).collect();
    let newest = &copies[copies.len() - 31..];
    for sent in newest {
        let shown = (sent.message.to.len(), sent.message.cc.len());
        assert_eq!(shown, (1, 30), "{}", sent.headers());
        assert_eq!(story.desk.foreign_tokens(sent), [""; 0]);
    }
}
