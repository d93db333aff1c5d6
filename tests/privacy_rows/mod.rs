//! One row of the decision table: as text, as a mail with the ticket before it, and against what came of it.

use std::fmt::Write as _;
use std::path::Path;

use postern::domain::settings::{AgentRequester, EndUserMailOnPrivateTicket, FollowerReplies};
use postern::scenario::{
    CommentSetup, Envelope, Expected, PlayedStep, Scenario, SettingsOverride, StepSetup, TicketSetup,
};

/// How the mail names its ticket.
#[derive(Clone, Copy, Debug)]
pub enum Form {
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
pub struct Row {
    pub number: u32,
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

/// The rows of a table, its first line left out.
pub fn rows(table: &str) -> impl Iterator<Item = Row> {
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
    pub fn forms(&self) -> &'static [Form] {
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

    pub fn scenario(&self, form: Form) -> Scenario {
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
    pub fn differences(&self, form: Form, step: &PlayedStep) -> Vec<String> {
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
        compare("rule", &self.rule, settling.map_or("-", |step| &*step.check));
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
