//! Plays a journey: writes the mails of its steps, and collects what leaves.

use std::collections::BTreeMap;

use postern::domain::ids::CommentId;
use postern::domain::ticket::Visibility;
use postern::pipeline::report::MailReport;
use proptest::test_runner::TestCaseError;

use crate::desk::{Desk, Letter, Sent};
use crate::journey::{About, Journey, Quote, Reference, Step, Then, Trust};

pub struct Player {
    pub desk: Desk,
    /// What was written so far, one entry for each comment.
    pub written: Vec<Written>,
    /// Of each promised mail, the people its ticket showed when it was promised.
    pub participants: BTreeMap<i64, Vec<String>>,
    pub tally: Tally,
    mails: Vec<Sent>,
    /// The own words of each mail, by its Message-ID.
    words: BTreeMap<String, String>,
}

/// A comment, by the words that stand in it alone.
pub struct Written {
    pub comment: CommentId,
    pub words: String,
    pub message_id: String,
    /// An operator made it private after others may have seen it.
    pub hidden: bool,
}

/// How often each thing happened that the property is about.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    pub fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub fn assert_all_above(&self, least: usize) {
        let wanted = [
            "public",
            "private",
            "suspended",
            "repeats-private-comment",
            "recovered",
            "hidden",
            "cancelled",
            "to a customer",
            "to an agent",
            "note sent to an agent",
            "customer told of a ticket with notes",
        ];
        for what in wanted {
            assert!(self.0.get(what).is_some_and(|count| *count > least), "{what}: {self:?}");
        }
    }
}

impl Player {
    pub fn new(journey: &Journey) -> Self {
        Self {
            desk: Desk::with(|config| journey.account.apply(config)),
            written: Vec::new(),
            participants: BTreeMap::new(),
            tally: Tally::default(),
            mails: Vec::new(),
            words: BTreeMap::new(),
        }
    }

    pub fn play(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let words = words(self.words.len(), if step.short { 3 } else { 7 });
        let letter = self.letter(step, &words);
        self.words.insert(letter.message_id.clone(), words);
        let report = self.receive(&letter)?;
        match step.then {
            Then::Post => self.post()?,
            Then::Nothing => {}
            Then::Hide => self.hide_newest(&report),
            Then::Recover => self.recover_all()?,
            Then::Repeat => drop(self.receive(&letter)?),
            Then::Hour => self.desk.wait(61),
        }
        Ok(())
    }

    fn receive(&mut self, letter: &Letter) -> Result<MailReport, TestCaseError> {
        let promised = self.desk.outbox().len();
        let report = self.desk.receive(letter);
        self.tally.count(report.visibility.unwrap_or(report.state));
        if report.rule.as_deref() == Some("repeats-private-comment") {
            self.tally.count("repeats-private-comment");
        }
        self.note(report.comment, &letter.message_id);
        self.check_promises(promised, report.comment, report.ticket, report.created_ticket)?;
        Ok(report)
    }

    fn note(&mut self, comment: Option<i64>, message_id: &str) {
        let words = self.words[message_id].clone();
        let message_id = message_id.to_owned();
        let written = |id| Written { comment: CommentId(id), words, message_id, hidden: false };
        self.written.extend(comment.map(written));
    }

    pub fn post(&mut self) -> Result<(), TestCaseError> {
        let mails = self.desk.post();
        self.check_mails(&mails)?;
        self.mails.extend(mails);
        Ok(())
    }

    fn hide_newest(&mut self, report: &MailReport) {
        let Some(ticket) = report.ticket.filter(|_| report.state == "comment") else { return };
        let comments = self.desk.ticket(ticket).comments;
        let newest = comments.iter().rev().find(|comment| comment.visibility == Visibility::Public);
        let Some(comment) = newest else { return };
        self.desk.make_private(comment.id);
        self.tally.count("hidden");
        for written in self.written.iter_mut().filter(|written| written.comment == comment.id) {
            written.hidden = true;
        }
    }

    fn recover_all(&mut self) -> Result<(), TestCaseError> {
        for held in self.desk.held() {
            let promised = self.desk.outbox().len();
            let Ok(report) = self.desk.pipeline.recover(held.id) else { continue };
            self.tally.count("recovered");
            let row = self.desk.journal(held.journal.0);
            let (comment, ticket) = (row.comment.map(|id| id.0), row.ticket.map(|id| id.0));
            self.note(comment, &row.message_id.unwrap());
            self.check_promises(promised, comment, ticket, report["created_ticket"] == true)?;
        }
        Ok(())
    }

    fn letter(&self, step: &Step, words: &str) -> Letter {
        let id = format!("letter-{:04}@mail.example", self.words.len());
        let is_agent = step.who.ends_with("@acme.example");
        let own: Vec<&Sent> =
            self.mails.iter().filter(|mail| mail.recipient.to_string() == step.who).collect();
        let answered = match step.about {
            About::Something => None,
            About::OwnMail(back) => own.iter().rev().nth(back).or(own.last()).copied(),
            About::AnybodysMail(back) => self.mails.iter().rev().nth(back),
        };
        let text =
            if step.command.is_empty() { words.to_owned() } else { format!("{}\n{words}", step.command) };
        let mut about_it =
            own.iter().rev().filter(|mail| answered.is_some_and(|sent| sent.row.ticket == mail.row.ticket));
        let pasted = step.pastes.filter(|_| step.forged.is_none()).and_then(|back| about_it.nth(back));
        let text = pasted.map_or(text.clone(), |other| format!("{text}\n\n{}", content(other)));
        let mut letter = match answered {
            None => Letter::from(step.who, &id, &text),
            Some(sent) => answer(step, sent, &id, &text, is_agent),
        };
        letter.date = Some(self.desk.pipeline.clock.now());
        letter.from = step.forged.unwrap_or(step.who).to_owned();
        letter.reply_to = step.reply_to.map(str::to_owned);
        letter.cc.extend(step.cc.map(str::to_owned));
        if step.plants
            && let Some(other) = own.first()
        {
            let token = token_line(other);
            letter.text.push_str(&format!("\n\n{token}"));
            letter.html = letter.html.map(|html| format!("{html}<p>{token}</p>"));
        }
        match step.trust {
            Trust::Nobody => letter,
            // Nobody vouches for a forged From.
            Trust::Upstream if step.forged.is_some() => letter,
            Trust::Upstream => letter.trusted(),
            Trust::Failed => failed(letter),
        }
    }
}

fn failed(letter: Letter) -> Letter {
    let domain = letter.from.rsplit('@').next().unwrap().to_owned();
    let top = vec![format!("Authentication-Results: mx.acme.example; dmarc=fail header.from={domain}")];
    Letter { top, trust: "authserv-id=mx.acme.example".to_owned(), ..letter }
}

fn answer(step: &Step, sent: &Sent, id: &str, text: &str, is_agent: bool) -> Letter {
    let mut letter = Letter::answer(sent, id, text).written_as(step.who);
    let plain = letter.to[0].split('+').next().unwrap().split('@').next().unwrap().to_owned();
    let domain = letter.to[0].rsplit('@').next().unwrap().to_owned();
    let without_token = format!("{plain}@{domain}");
    match step.reference {
        Reference::All => {}
        Reference::Address if letter.to[0].contains('+') => {
            (letter.in_reply_to, letter.references) = (None, vec![])
        }
        Reference::Address => {}
        Reference::Header => letter.to = vec![without_token],
        Reference::Body => {
            (letter.in_reply_to, letter.references) = (None, vec![]);
            letter.to = vec![without_token];
            letter.text.push_str(&format!("\n\n> {}", token_line(sent)));
        }
    }
    if step.to_all {
        let shown = sent.message.to.iter().chain(&sent.message.cc).map(|mailbox| mailbox.address.to_string());
        letter.to.extend(shown.filter(|address| address != step.who));
    }
    // Who is no agent quotes only what was sent to them: what an agent gave away is out of our hands.
    let may_quote = is_agent || sent.recipient.to_string() == step.who;
    if may_quote && step.forged.is_none() { quote(letter, sent, step.quote) } else { letter }
}

fn quote(letter: Letter, sent: &Sent, style: Quote) -> Letter {
    const SAID: &str = "On Mon, 2 Mar 2026 at 10:00, Acme Support <support@acme.example> wrote:";
    let (own, full) = (letter.text.clone(), sent.message.text.full.clone());
    let marked = |text: &str| text.lines().map(|line| format!("> {line}")).collect::<Vec<_>>().join("\n");
    let text = match style {
        Quote::None => own,
        Quote::Below => format!("{own}\n\n{SAID}\n{}\n", marked(&full)),
        Quote::Above => format!("{}\n\n{own}\n", marked(&full)),
        Quote::Between => {
            let lines: Vec<&str> = full.lines().collect();
            let (before, after) = lines.split_at(lines.len() / 2);
            format!("{}\n\n{own}\n\n{}\n", marked(&before.join("\n")), marked(&after.join("\n")))
        }
        Quote::Part => {
            let longest = full.lines().max_by_key(|line| line.len()).unwrap_or_default();
            format!("{own}\n\n> {longest}\n")
        }
        Quote::Wrapped => {
            let words: Vec<&str> = full.split_whitespace().collect();
            let lines: Vec<String> = words.chunks(3).map(|chunk| format!("> {}", chunk.join(" "))).collect();
            format!("{own}\n\n{SAID}\n{}\n", lines.join("\n"))
        }
        Quote::Outlook => format!("{own}\n\n-----Original Message-----\nFrom: Acme Support\n\n{full}\n"),
        Quote::Unmarked => format!("{own}\n\n{full}\n"),
        Quote::Html => {
            let own = own.replace('\n', "<br>");
            let html = format!("<div>{own}</div><blockquote type=\"cite\">{}</blockquote>", sent.html());
            return Letter { html: Some(html), ..letter };
        }
    };
    Letter { text, ..letter }
}

/// What a mail says, without the lines that every mail of ours has.
fn content(sent: &Sent) -> String {
    let of_every_mail = |line: &&str| !["##", "--", "["].iter().any(|start| line.starts_with(start));
    sent.message.text.full.lines().filter(of_every_mail).collect::<Vec<_>>().join("\n")
}

/// `[TOKEN]`, as it stands at the end of a mail.
fn token_line(sent: &Sent) -> String {
    let text = &sent.message.text.full;
    text.lines().rev().find(|line| line.starts_with('[')).unwrap().to_owned()
}

/// Words that nobody else writes: 3 make a short note, 7 have more than 40 letters.
fn words(number: usize, count: usize) -> String {
    let mut state = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut word = || {
        let letters = (0..7).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'a' + (state % 26) as u8)
        });
        letters.collect::<String>()
    };
    (0..count).map(|_| word()).collect::<Vec<_>>().join(" ")
}
