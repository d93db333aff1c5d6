//! The published decision table of comment privacy, row by row through the whole pipeline: a mail is written as the row
//! says, accepted into a store, decided and committed; what is asserted is the stored comment, or the held mail.
//!
//! Each row is played in every form that fits its column `match`: `enc` with the token in the address and with the token
//! in the quoted body, `hdr` as an answer to a mail of ours and as one to a mail that we received.
//!
//! The table follows the published one, but for these rows:
//!
//! | row | published | here | why |
//! |--:|---|---|---|
//! | 10 | the forwarded text is public, the agent's own a note | one public comment with both | a forward is not split: who forwards, publishes |
//! | 16, 20 | flag inferred | public, flagged | a public rule 4 for a CC who left the requester off is flagged |
//! | 35 | private, 7 | public, 10 | `#public` overrides what is only a default; see `SWITCHES` for the literal reading |
//! | 48, 61 | private | private, flagged | every outcome of rule 1 is flagged |
//! | 49 | private, 1a not met | the same, and no flag | rule F speaks, not rule 1 |
//! | 63, 64, 66 | cannot edit | can edit | rule 0: whoever is taken for an end user may edit their own request |
//! | 70 | public, flagged | suspended | nothing vouches that the sender may write for the agent in Reply-To |
//! | 72, 73 | – | flagged `recovered` too | agents see which comments came out of the suspended queue |
//! | 73 | not said why it was held | held as automatic mail | rule 2 does not hold a requester's mail |
//!
//! An agent is only believed at an entrance that authenticates (column `in`: `auth`), and so is a member of a shared
//! organization, or whoever wants to add a CC; everybody else comes by an entrance that believes nobody (`open`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::Write as _;
use std::path::Path;

use postern::domain::settings::{AgentRequester, EndUserMailOnPrivateTicket, FollowerReplies};
use postern::scenario::{
    self, CommentSetup, Envelope, Expected, PlayedStep, Scenario, SettingsOverride, StepSetup, TicketSetup,
};

/// Unless a row says otherwise: the ticket is Rita's, in group Support, assigned to Ada, with Cora as CC; it has a public
/// comment of each of them. `R` is the requester's address, `R@home` their other one, `cc:R` the same in the Cc field.
///
/// The `rule` of a suspended mail is the one that held it, `-` if that was before the list. `flags` holds the flags of the
/// comment or the cause of the suspension. `also` is what else the row promises.
const TABLE: &str = "
|  # | kind    | match | in   | author | rel | edit | recipients           | settings, extras        | outcome   | rule                          | flags, cause              | also         |
|  1 | create  | -     | open | rita   | -   | -    | support              |                         | public    | end-user                      |                           |              |
|  2 | create  | -     | open | nina   | -   | -    | support              |                         | public    | end-user                      |                           | requester=nina |
|  3 | create  | -     | auth | rita   | -   | -    | support cc:colleague |                         | public    | end-user                      |                           | cc=colleague |
|  4 | create  | -     | auth | ben    | -   | -    | support              |                         | public    | default-public                |                           |              |
|  5 | create  | -     | auth | ben    | -   | -    | support              | S1=off                  | private   | agent-email-private-by-default |                          |              |
|  6 | create  | -     | auth | ben    | -   | -    | support              | #note                   | private   | note-command                  |                           |              |
|  7 | create  | -     | auth | ben    | -   | -    | support              | #public=false           | private   | note-command                  |                           |              |
|  8 | create  | -     | auth | lia    | -   | -    | support              |                         | private   | role-cannot-comment-publicly  |                           |              |
|  9 | create  | -     | auth | lia    | -   | -    | support              | #public=true            | private   | role-cannot-comment-publicly  |                           |              |
| 10 | create  | -     | auth | ben    | -   | -    | support              | forward                 | public    | default-public                |                           | whole-text   |
| 11 | update  | enc   | open | rita   | R   | yes  | support              |                         | public    | end-user                      |                           |              |
| 12 | update  | enc   | open | rita   | R   | yes  | support cora         |                         | public    | end-user                      |                           |              |
| 13 | update  | hdr   | open | rita   | R   | yes  | support              |                         | public    | end-user                      |                           |              |
| 14 | update  | enc   | open | carl   | C   | yes  | support              | S2=off                  | private   | cc-drops-requester            |                           | cc=carl      |
| 15 | update  | enc   | open | carl   | C   | yes  | support R            | S2=off                  | public    | end-user                      |                           |              |
| 16 | update  | enc   | open | carl   | C   | yes  | support              | S2=on                   | public    | end-user                      | cc_dropped_requester      |              |
| 17 | update  | enc   | open | carl   | C   | yes  | support cora         | S2=on                   | private   | cc-writes-to-others           |                           |              |
| 18 | update  | enc   | open | carl   | C   | yes  | support stranger     | S2=on                   | private   | cc-writes-to-others           |                           |              |
| 19 | update  | enc   | open | carl   | C   | yes  | support R stranger   | S2=on                   | public    | end-user                      |                           |              |
| 20 | update  | enc   | open | carl   | C   | yes  | support billing      | S2=on                   | public    | end-user                      | cc_dropped_requester      |              |
| 21 | update  | hdr   | open | carl   | C   | yes  | support              | S2=off                  | private   | cc-drops-requester            |                           |              |
| 22 | update  | hdr   | open | carl   | C   | yes  | support R            | S2=off                  | public    | end-user                      |                           |              |
| 23 | update  | enc   | open | carl   | C   | yes  | support cc:R         | S2=off                  | public    | end-user                      |                           |              |
| 24 | update  | enc   | open | carl   | C   | yes  | support R@home       | S2=off                  | public    | end-user                      |                           |              |
| 25 | update  | enc   | open | otto   | -   | no   | support              |                         | private   | end-user-outside-ticket       | outsider                  | no-cc=otto   |
| 26 | update  | hdr   | open | otto   | -   | no   | support              |                         | suspended | outsider-without-encoded-id   | other_user_update         |              |
| 27 | update  | enc   | open | nina   | -   | no   | support              |                         | private   | end-user-outside-ticket       | outsider                  | no-cc=nina   |
| 28 | update  | hdr   | open | nina   | -   | no   | support              |                         | suspended | outsider-without-encoded-id   | unknown_user_update       |              |
| 29 | update  | enc   | auth | sol    | -   | yes  | support              | of=sia                  | public    | end-user                      |                           |              |
| 30 | update  | hdr   | auth | sol    | -   | yes  | support              | of=sia                  | public    | end-user                      |                           |              |
| 31 | update  | enc   | auth | ron    | -   | no   | support              | of=rea                  | private   | end-user-outside-ticket       | outsider                  |              |
| 32 | update  | enc   | auth | ben    | A   | yes  | support              |                         | public    | default-public                |                           |              |
| 33 | update  | enc   | auth | ben    | A   | yes  | support R cora       |                         | public    | default-public                |                           |              |
| 34 | update  | enc   | auth | ben    | A   | yes  | support              | S1=off                  | private   | agent-email-private-by-default |                          |              |
| 35 | update  | enc   | auth | ben    | A   | yes  | support              | S1=off #public=true     | public    | default-public                |                           |              |
| 36 | update  | enc   | auth | ben    | A   | yes  | support              | #note                   | private   | note-command                  |                           |              |
| 37 | update  | enc   | auth | ben    | A   | yes  | support              | #public=false           | private   | note-command                  |                           |              |
| 38 | update  | enc   | auth | ben    | A   | yes  | support              | #public=true            | public    | default-public                |                           |              |
| 39 | update  | enc   | auth | ben    | A   | yes  | support              | #note #public=true      | private   | note-command                  |                           |              |
| 40 | update  | enc   | auth | ben    | A   | yes  | support              | private-ticket          | private   | private-ticket                |                           | is-private   |
| 41 | update  | enc   | auth | ben    | A   | yes  | support              | private-ticket #public=true | private | private-ticket              |                           | is-private   |
| 42 | update  | enc   | auth | ben    | A   | yes  | support              | quotes-note             | private   | repeats-private-comment       |                           |              |
| 43 | update  | enc   | auth | ben    | A   | yes  | support              | quotes-note #public=true | private  | repeats-private-comment       |                           |              |
| 44 | update  | enc   | auth | ben    | -   | yes  | support              |                         | public    | default-public                |                           |              |
| 45 | update  | hdr   | auth | ben    | -   | yes  | support              |                         | public    | default-public                |                           |              |
| 46 | update  | enc   | auth | gus    | -   | no   | support              |                         | private   | agent-outside-ticket          | outsider                  | no-cc=gus    |
| 47 | update  | hdr   | auth | gus    | -   | no   | support              |                         | suspended | outsider-without-encoded-id   | other_user_update         |              |
| 48 | update  | enc   | auth | gus    | -   | no   | support              | #public=true            | private   | agent-outside-ticket          | outsider                  |              |
| 49 | update  | enc   | auth | gus    | F   | no   | support              |                         | private   | follower-reply                |                           |              |
| 50 | update  | hdr   | auth | gus    | F   | no   | support              |                         | suspended | outsider-without-encoded-id   | other_user_update         |              |
| 51 | update  | enc   | auth | ben    | F   | yes  | support              |                         | private   | follower-reply                |                           |              |
| 52 | update  | enc   | auth | ben    | F   | yes  | support R cora       |                         | private   | follower-reply                |                           |              |
| 53 | update  | enc   | auth | ben    | F A | yes  | support              |                         | public    | default-public                |                           |              |
| 54 | update  | enc   | auth | gus    | C   | no   | support R            |                         | public    | default-public                |                           |              |
| 55 | update  | enc   | auth | gus    | C   | no   | support              | S2=off                  | private   | cc-drops-requester            |                           |              |
| 56 | update  | hdr   | auth | gus    | C   | no   | support R            |                         | suspended | outsider-without-encoded-id   | other_user_update         |              |
| 57 | update  | enc   | auth | ben    | C   | yes  | support              | S2=on                   | public    | default-public                |                           |              |
| 58 | update  | enc   | auth | ben    | C   | yes  | support stranger     | S2=on                   | private   | cc-writes-to-others           |                           |              |
| 59 | update  | enc   | auth | lia    | C   | yes  | support R            |                         | private   | role-cannot-comment-publicly  |                           |              |
| 60 | update  | enc   | auth | lia    | F   | yes  | support              |                         | private   | role-cannot-comment-publicly  |                           |              |
| 61 | update  | enc   | auth | lou    | -   | no   | support              |                         | private   | agent-outside-ticket          | outsider                  |              |
| 62 | update  | enc   | auth | nora   | -   | yes  | support              |                         | private   | role-cannot-comment-publicly  |                           |              |
| 63 | update  | enc   | auth | gus    | R   | yes  | support              | S5=hide-all             | public    | end-user                      |                           |              |
| 64 | update  | enc   | auth | gus    | R   | yes  | support              | S5=hide-private in=Vault | public   | end-user                      |                           |              |
| 65 | update  | enc   | auth | gus    | R   | yes  | support              | S5=hide-private         | public    | default-public                |                           |              |
| 66 | update  | enc   | auth | lou    | R   | yes  | support              | S5=hide-all             | public    | end-user                      |                           |              |
| 67 | update  | enc   | auth | lou    | R   | yes  | support              | S5=hide-all in=Billing  | private   | role-cannot-comment-publicly  |                           |              |
| 68 | update  | enc   | auth | nora   | R   | yes  | support              | S5=hide-all in=Billing  | private   | role-cannot-comment-publicly  |                           |              |
| 69 | update  | enc   | open | rita   | R   | yes  | support              | private-ticket          | public    | end-user                      |                           | is-public    |
| 70 | update  | enc   | auth | ben    | A   | -    | support              | reply-to-agent #note    | suspended | -                             | failed_email_authentication |            |
| 71 | update  | enc   | open | sam    | R   | -    | support              |                         | suspended | -                             | system_user               |              |
| 72 | recover | hdr   | open | otto   | -   | no   | support              |                         | private   | end-user-outside-ticket       | outsider recovered        | no-cc=otto   |
| 73 | recover | hdr   | open | rita   | R   | yes  | support              | automatic               | public    | end-user                      | recovered                 |              |
";

/// Rows whose answer a setting of ours turns, with that setting the other way.
const SWITCHES: &str = "
|  # | kind    | match | in   | author | rel | edit | recipients           | settings, extras        | outcome   | rule                          | flags, cause              | also         |
| 35 | update  | enc   | auth | ben    | A   | yes  | support              | S1=off #public=true override=off | private | agent-email-private-by-default |                 |              |
| 49 | update  | enc   | auth | gus    | F   | no   | support              | followers=as-agent      | public    | default-public                |                           |              |
| 51 | update  | enc   | auth | ben    | F   | yes  | support              | followers=mirror        | public    | default-public                |                           |              |
| 69 | update  | enc   | open | rita   | R   | yes  | support              | private-ticket private-tickets=stay | private | private-ticket       |                           | is-private   |
";

#[test]
fn the_rows_that_make_tickets_are_decided_as_published() {
    check(rows(TABLE).filter(|row| row.number <= 10));
}

#[test]
fn the_rows_about_customers_are_decided_as_published() {
    check(rows(TABLE).filter(|row| (11..=31).contains(&row.number)));
}

#[test]
fn the_rows_about_agents_are_decided_as_published() {
    check(rows(TABLE).filter(|row| (32..=62).contains(&row.number)));
}

#[test]
fn the_rows_about_hidden_notes_private_tickets_and_held_mail_are_decided_as_published() {
    check(rows(TABLE).filter(|row| row.number >= 63));
}

#[test]
fn the_settings_of_ours_turn_the_rows_they_are_about() {
    check(rows(SWITCHES));
}

#[test]
fn the_table_has_each_of_the_73_rows_once_and_in_order() {
    let numbers: Vec<u32> = rows(TABLE).map(|row| row.number).collect();
    assert_eq!(numbers, (1..=73).collect::<Vec<u32>>());
}

/// Plays each row in each of its forms.
fn check(rows: impl Iterator<Item = Row>) {
    let mut differences = String::new();
    let mut played = 0;
    for row in rows {
        for &form in row.forms() {
            let scenario = row.scenario(form);
            let outcome =
                scenario::play(&scenario).unwrap_or_else(|error| panic!("row {}: {error}", row.number));
            for difference in row.differences(form, &outcome.steps[0]) {
                let _ = writeln!(differences, "row {} ({form:?}): {difference}", row.number);
            }
            played += 1;
        }
    }
    assert!(played > 0, "nothing was played");
    assert!(differences.is_empty(), "{differences}");
}

/// How the mail names its ticket.
#[derive(Clone, Copy, Debug)]
enum Form {
    NewTicket,
    AddressToken,
    BodyToken,
    AnswersOurs,
    AnswersReceived,
}

impl Form {
    fn identified_by(self) -> Option<&'static str> {
        match self {
            Self::NewTicket => None,
            Self::AddressToken => Some("address-token"),
            Self::BodyToken => Some("body-token"),
            Self::AnswersOurs | Self::AnswersReceived => Some("header"),
        }
    }
}

#[derive(Clone, Debug)]
struct Row {
    number: u32,
    kind: String,
    matched: String,
    entrance: String,
    author: String,
    relation: Vec<String>,
    can_edit: String,
    recipients: Vec<String>,
    extras: Vec<String>,
    outcome: String,
    rule: String,
    flags: Vec<String>,
    also: Vec<String>,
}

fn rows(table: &str) -> impl Iterator<Item = Row> {
    table.trim().lines().skip(1).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 13, "{line}");
        let words =
            |cell: &str| cell.split_whitespace().filter(|word| *word != "-").map(str::to_owned).collect();
        Row {
            number: cells[0].parse().unwrap(),
            kind: cells[1].to_owned(),
            matched: cells[2].to_owned(),
            entrance: cells[3].to_owned(),
            author: cells[4].to_owned(),
            relation: words(cells[5]),
            can_edit: cells[6].to_owned(),
            recipients: words(cells[7]),
            extras: words(cells[8]),
            outcome: cells[9].to_owned(),
            rule: cells[10].to_owned(),
            flags: words(cells[11]),
            also: words(cells[12]),
        }
    })
}

/// Name and address as in `fixtures/accounts/acme`; Nina and the two others are not known there.
fn mailbox(key: &str) -> &'static str {
    match key {
        "rita" => "Rita Requester <rita@example.net>",
        "rita@home" => "Rita Requester <rita@home.example.net>",
        "carl" => "Carl Copied <carl@example.net>",
        "cora" => "Cora Copied <cora@example.net>",
        "otto" => "Otto Outsider <otto@example.org>",
        "sam" => "Sam Suspended <sam@example.org>",
        "sol" => "Sol Shared <sol@shared.example>",
        "ron" => "Ron Readonly <ron@readonly.example>",
        "nina" => "Nina New <nina@new.example>",
        "colleague" => "Cleo Colleague <cleo@example.net>",
        "stranger" => "Stan Stranger <stan@stranger.example>",
        "ben" => "Ben Agent <ben@acme.example>",
        "gus" => "Gus Groups <gus@acme.example>",
        "lia" => "Lia Light <lia@acme.example>",
        "lou" => "Lou Light <lou@acme.example>",
        "nora" => "Nora Notes <nora@acme.example>",
        "billing" => "Acme Billing <billing@acme.example>",
        other => panic!("no mailbox for `{other}`"),
    }
}

fn address(key: &str) -> &'static str {
    mailbox(key).split(['<', '>']).nth(1).unwrap()
}

const OWN_TEXT: &str = "Here is what I have to say about the printer.";
const NOTE: &str = "Internal: this customer poured coffee into the printer twice before.";
const FORWARDED: &str = "My printer burns, and nobody answers the telephone.";

impl Row {
    fn forms(&self) -> &'static [Form] {
        match self.matched.as_str() {
            "enc" => &[Form::AddressToken, Form::BodyToken],
            "hdr" => &[Form::AnswersOurs, Form::AnswersReceived],
            "-" => &[Form::NewTicket],
            other => panic!("`{other}` in column `match`"),
        }
    }

    fn has(&self, extra: &str) -> bool {
        self.extras.iter().any(|word| word == extra)
    }

    /// The value of `key=value`.
    fn value(&self, key: &str) -> Option<&str> {
        self.extras.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn is(&self, relation: &str) -> bool {
        self.relation.iter().any(|word| word == relation)
    }

    fn requester(&self) -> &str {
        if self.is("R") { &self.author } else { self.value("of").unwrap_or("rita") }
    }

    /// Whose copy the mail answers: participants have their own, others were shown the requester's.
    fn answered_copy(&self) -> &str {
        if self.relation.is_empty() { self.requester() } else { &self.author }
    }

    fn scenario(&self, form: Form) -> Scenario {
        let envelope = Envelope {
            trust: Some(if self.entrance == "auth" { "upstream" } else { "none" }.to_owned()),
            recipients: vec![self.support(form)],
            recovered: self.kind == "recover",
            ..Envelope::default()
        };
        let mail = self.mail(form).into_bytes();
        let step = StepSetup { name: "input.eml".into(), mail, envelope, expected: Expected::default() };
        Scenario {
            title: format!("row {}", self.number),
            account: Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/accounts/acme"),
            now: postern::clock::parse_instant("2026-03-02T10:00:00Z").unwrap(),
            settings: self.settings(),
            tickets: if self.kind == "create" { Vec::new() } else { vec![self.ticket()] },
            steps: vec![step],
        }
    }

    fn settings(&self) -> SettingsOverride {
        let switch = |key: &str| self.value(key).map(|value| value == "on");
        SettingsOverride {
            agent_comments_public_by_default: switch("S1"),
            cc_comments_public: switch("S2"),
            public_command_overrides_default: switch("override"),
            agent_requester: self.value("S5").map(|value| match value {
                "hide-all" => AgentRequester::HideAll,
                "hide-private" => AgentRequester::HideOnPrivateGroups,
                other => panic!("`S5={other}`"),
            }),
            follower_replies: self.value("followers").map(|value| match value {
                "as-agent" => FollowerReplies::AsAgent,
                "mirror" => FollowerReplies::Mirror,
                other => panic!("`followers={other}`"),
            }),
            end_user_mail_on_private_ticket: self
                .value("private-tickets")
                .map(|_| EndUserMailOnPrivateTicket::Private),
            ..SettingsOverride::default()
        }
    }

    fn ticket(&self) -> TicketSetup {
        let comment = |author: &str, visibility: &str, text: &str| CommentSetup {
            author: author.to_owned(),
            visibility: visibility.to_owned(),
            text: text.to_owned(),
        };
        let mut comments = vec![
            comment(self.requester(), "public", "The printer in the hall is on fire."),
            comment("ada", "public", "Please unplug it and tell us what you see."),
        ];
        if self.has("private-ticket") {
            comments = vec![comment("ada", "private", "Opened for the fire in the hall, not yet told.")];
        }
        if self.has("quotes-note") {
            comments.push(comment("ada", "private", NOTE));
        }
        let author_if = |relation: &str| self.is(relation).then(|| self.author.clone());
        TicketSetup {
            name: "printer".into(),
            subject: "Printer on fire".into(),
            requester: self.requester().to_owned(),
            assignee: author_if("A").or(Some("ada".into())),
            group: Some(self.value("in").unwrap_or("Support").to_owned()),
            ccs: author_if("C").into_iter().chain(["cora".to_owned()]).collect(),
            followers: author_if("F").into_iter().collect(),
            status: Some("open".into()),
            comments,
            message_ids: vec!["first@example.net".into()],
            ..TicketSetup::default()
        }
    }

    fn support(&self, form: Form) -> String {
        match form {
            Form::AddressToken => {
                format!("support+id%{{address:printer:{}}}@acme.example", self.answered_copy())
            }
            _ => "support@acme.example".into(),
        }
    }

    fn mail(&self, form: Form) -> String {
        let (mut to, mut cc) = (Vec::new(), Vec::new());
        for recipient in &self.recipients {
            let (field, name) = match recipient.strip_prefix("cc:") {
                Some(name) => (&mut cc, name),
                None => (&mut to, recipient.as_str()),
            };
            field.push(match name {
                "support" => self.support(form),
                "R" => mailbox(self.requester()).to_owned(),
                "R@home" => mailbox("rita@home").to_owned(),
                other => mailbox(other).to_owned(),
            });
        }
        let mut mail = format!("From: {}\n", mailbox(&self.author));
        let _ = writeln!(mail, "To: {}", to.join(", "));
        let mut field = |name: &str, value: &str| writeln!(mail, "{name}: {value}").unwrap();
        if !cc.is_empty() {
            field("Cc", &cc.join(", "));
        }
        if self.has("reply-to-agent") {
            field("Reply-To", "Ada Agent <ada@home.example>");
        }
        if self.has("automatic") {
            field("Auto-Submitted", "auto-generated");
        }
        match form {
            Form::AnswersOurs => {
                field("In-Reply-To", &format!("<%{{message-id:printer:{}}}>", self.answered_copy()));
            }
            Form::AnswersReceived => field("References", "<first@example.net>"),
            Form::NewTicket | Form::AddressToken | Form::BodyToken => {}
        }
        field("Subject", if self.has("forward") { "Fwd: Printer on fire" } else { "Re: Printer on fire" });
        field("Date", "Mon, 02 Mar 2026 09:59:00 +0000");
        field("Message-ID", "<the-mail@example.net>");
        field("Content-Type", "text/plain; charset=utf-8");
        let _ = writeln!(mail, "\n{}", self.body(form));
        mail.replace('\n', "\r\n")
    }

    fn body(&self, form: Form) -> String {
        let mut body = String::new();
        for command in self.extras.iter().filter(|extra| extra.starts_with('#')) {
            let _ = writeln!(body, "{}", command.replace('=', " "));
        }
        let _ = writeln!(body, "{OWN_TEXT}");
        if self.has("forward") {
            let _ = writeln!(
                body,
                "\n---------- Forwarded message ----------\nFrom: {}\nSubject: Printer on fire\n\n{FORWARDED}",
                mailbox("rita")
            );
        }
        if self.has("quotes-note") {
            let _ = writeln!(body, "\nAda wrote:\n> {NOTE}");
        }
        if matches!(form, Form::BodyToken) {
            let _ = writeln!(body, "\n> Please unplug it.\n> [%{{body:printer:{}}}]", self.answered_copy());
        }
        body
    }

    /// How what came of the mail differs from the row.
    fn differences(&self, form: Form, step: &PlayedStep) -> Vec<String> {
        let mut differences = Vec::new();
        let mut compare = |what: &str, expected: &str, found: &str| {
            if expected != found {
                differences.push(format!("{what}: expected `{expected}`, found `{found}`"));
            }
        };
        let report = &step.report;
        let is_comment = report.state == "comment";
        compare("outcome", &self.outcome, report.visibility.unwrap_or(report.state));
        compare("identified by", form.identified_by().unwrap_or("-"), report.identified_by.unwrap_or("-"));
        let list: Vec<_> = report.trace.steps.iter().filter(|step| step.stage == "privacy").collect();
        let settling = list.last().filter(|step| step.answer == "settle");
        compare("rule", &self.rule, settling.map_or("-", |step| step.check.as_str()));
        if self.outcome == "suspended" {
            compare("cause", &self.flags.join(" "), report.cause.as_deref().unwrap_or("-"));
            compare("comment", "false", &is_comment.to_string());
        } else {
            compare("flags", &self.flags.join(" "), &report.flags.join(" "));
            compare("created", &(self.kind == "create").to_string(), &report.created_ticket.to_string());
        }
        if self.can_edit != "-" {
            let can_edit = list.iter().any(|step| step.because == "the author can edit the ticket");
            compare("can edit", &self.can_edit, if can_edit { "yes" } else { "no" });
        }
        if is_comment {
            self.compare_stored(step, &mut compare);
        }
        differences
    }

    /// The comment and the ticket as they stand in the store.
    fn compare_stored(&self, step: &PlayedStep, compare: &mut impl FnMut(&str, &str, &str)) {
        let ticket = step.ticket_after.as_ref().expect("a ticket");
        let id = step.report.comment.expect("a comment");
        let comment = ticket.comments.iter().find(|comment| comment.id.0 == id).expect("the comment");
        let flags: Vec<_> = comment.flags.iter().map(|flag| flag.word()).collect();
        compare("stored visibility", &self.outcome, comment.visibility.word());
        compare("stored rule", &self.rule, &comment.rule);
        compare("stored flags", &self.flags.join(" "), &flags.join(" "));
        compare("stored author", address(&self.author), &comment.author);
        compare("stored text", "true", &comment.text.contains(OWN_TEXT).to_string());
        for promise in &self.also {
            let (what, who) = promise.split_once('=').unwrap_or((promise, ""));
            let has_cc = || ticket.ccs.iter().any(|cc| cc == address(who));
            let holds = match what {
                "requester" => ticket.requester == address(who),
                "cc" => has_cc(),
                "no-cc" => !has_cc(),
                "whole-text" => comment.text.contains(FORWARDED) && ticket.comments.len() == 1,
                "is-private" => !ticket.is_public,
                "is-public" => ticket.is_public,
                other => panic!("`{other}` in column `also`"),
            };
            compare(promise, "true", &holds.to_string());
        }
    }
}
