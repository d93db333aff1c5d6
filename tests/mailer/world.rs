//! A help desk that has promised some mails, in a data directory of its own.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use postern::clock::Clock;
use postern::domain::address::{Address, Mailbox};
use postern::domain::event::{Actor, Audit};
use postern::domain::ids::{AuditId, NotificationId, OutboxId, Salt, TicketId, UserId};
use postern::domain::mail::MessageId;
use postern::domain::people::{Role, User};
use postern::domain::plan::{Notification, NotificationContent, OutboxEntry, Plan, RecipientRole, Write};
use postern::domain::ticket::{Channel, Ticket, Visibility};
use postern::domain::time::{DAY, Timestamp};
use postern::domain::trace::Trace;
use postern::mailer::smarthost::{Smarthost, Timeouts, Tls};
use postern::mailer::transport::{Outgoing, Transport};
use postern::mailer::{Mailer, Round, Settings};
use postern::outbox::compose::{Letterhead, compose};
use postern::store::outbox::{Budget, Claimed, Terms, claim, next_due};
use postern::store::queries::{OutboxView, outbox_show};
use postern::store::{Durability, Options, RenderedLate, RetryAnswer, Store, commit};
use tempfile::TempDir;
use tokio::sync::Notify;

/// 2026-11-21T10:12:00Z
pub const NOW: Timestamp = Timestamp(1_795_255_920_000_000);
const TICKET: TicketId = TicketId(42);
const BUDGET: Budget = Budget { per_ticket: 5, per_recipient: 20 };

pub struct Desk {
    pub directory: TempDir,
    pub store: Store,
    pub clock: Clock,
    pub bell: Arc<Notify>,
}

impl Desk {
    /// Has promised one mail to each: row 1 to the requester, the others to CCs.
    pub fn promising(recipients: &[&str]) -> Self {
        let desk = Self::open(tempfile::tempdir().unwrap());
        let rendered = NotificationContent::Rendered {
            subject: "Re: The printer is on fire".to_owned(),
            text: "Please unplug it.\n.\n.. and step back.".to_owned(),
            html: "<p>Please unplug it.</p>".to_owned(),
        };
        desk.promise(recipients, rendered);
        desk
    }

    pub fn open(directory: TempDir) -> Self {
        let options = Options { durability: Durability::Scratch, ..Options::new(NOW) };
        let store = Store::open(directory.path(), options).unwrap();
        Self { directory, store, clock: Clock::manual(NOW), bell: Arc::default() }
    }

    /// As after a crash: nothing in memory is left.
    pub fn reopened(self) -> Self {
        self.store.close();
        Self::open(self.directory)
    }

    pub fn promise(&self, recipients: &[&str], content: NotificationContent) {
        let users: Vec<User> = recipients.iter().zip(1..).map(|(to, number)| user(number, to)).collect();
        let ticket = Ticket {
            ccs: users.iter().skip(1).map(|user| user.id).collect::<BTreeSet<_>>(),
            ..Ticket::blank(TICKET, Salt([7; 16]), UserId(1), NOW)
        };
        let audit = Audit {
            id: AuditId(1),
            ticket: TICKET,
            actor: Actor::System,
            via: Channel::System,
            journal: None,
            created_at: NOW,
            events: Vec::new(),
            trace: Trace::default(),
        };
        let rows = users.iter().map(|user| Write::InsertOutbox(row(user)));
        let firing = Notification { content, ..notification(recipients) };
        let writes = users
            .iter()
            .cloned()
            .map(Write::InsertUser)
            .chain([Write::PutTicket(ticket), Write::InsertAudit(audit), Write::InsertNotification(firing)])
            .chain(rows)
            .collect();
        let plan = Plan { preconditions: Vec::new(), writes };
        let conflict = aside(|| self.store.tell(move |db| commit::apply(db, &plan, NOW))).unwrap();
        assert!(conflict.is_ok(), "{conflict:?}");
    }

    pub fn mailer(&self, transport: Transport) -> Mailer {
        self.mailer_with(transport, 1)
    }

    pub fn mailer_with(&self, transport: Transport, concurrency: usize) -> Mailer {
        let settings = Settings {
            transport,
            letterhead: letterhead(),
            budget: BUDGET,
            concurrency,
            give_up_after: 5 * DAY,
        };
        Mailer::new(self.store.clone(), self.clock.clone(), settings, Arc::clone(&self.bell))
    }

    pub async fn run_once(&self, smarthost: &Smarthost) -> Round {
        self.mailer(Transport::Smarthost(smarthost.clone())).run_once().await.unwrap()
    }

    pub fn row(&self, id: i64) -> OutboxView {
        self.store.ask(|db| outbox_show(db, OutboxId(id))).unwrap().unwrap().mail
    }

    pub fn states(&self, rows: RangeInclusive<i64>) -> Vec<&'static str> {
        rows.map(|id| self.row(id).state).collect()
    }

    pub fn claim(&self) -> Vec<Claimed> {
        let (now, terms) = (self.clock.now(), Terms { limit: 100, lease: DAY, budget: BUDGET });
        aside(|| self.store.tell(move |db| claim(db, now, terms))).unwrap().claimed
    }

    /// As `postern outbox retry` does.
    pub fn retry<E: Display>(
        &self,
        id: i64,
        render: impl FnOnce(&str, &str, &serde_json::Value) -> Result<RenderedLate, E> + Send,
    ) -> RetryAnswer {
        aside(|| self.store.retry_outbox(OutboxId(id), self.clock.now(), render)).unwrap()
    }

    /// These people are CCs no more.
    pub fn drop_ccs(&self, users: RangeInclusive<i64>) {
        let sql = "DELETE FROM collaborators WHERE user BETWEEN ?1 AND ?2";
        let dropped = aside(|| self.store.tell(move |db| db.execute(sql, (*users.start(), *users.end()))));
        assert!(dropped.unwrap() > 0);
    }

    /// Sleeps, without sleeping, until the next mail is due.
    pub fn wait_until_due(&self) -> Timestamp {
        let due = self.store.ask(next_due).unwrap().expect("something waits");
        self.clock.advance_to(due);
        due
    }
}

/// The store lets nobody wait for it on a thread that drives sockets.
fn aside<T: Send>(job: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(job).join().unwrap())
}

fn user(number: i64, to: &str) -> User {
    User {
        id: UserId(number),
        name: format!("User {number}"),
        role: Role::end_user(),
        addresses: vec![address(to)],
        organization: None,
        groups: Vec::new(),
        suspended: false,
        active: true,
        version: 1,
    }
}

pub fn letterhead() -> Letterhead {
    Letterhead {
        delimiter: Some("##- Please type your reply above this line -##".to_owned()),
        footer: "This mail is a service of Desk.".to_owned(),
        account_mark: "MARK".to_owned(),
    }
}

pub fn notification(recipients: &[&str]) -> Notification {
    let people: Vec<Mailbox> = recipients.iter().map(|to| mailbox("Somebody", to)).collect();
    Notification {
        id: NotificationId(1),
        ticket: TICKET,
        audit: AuditId(1),
        rule: "notify-requester".to_owned(),
        from: mailbox("Ana Ruiz (Desk Support)", "support@desk.example"),
        to: people.iter().take(1).cloned().collect(),
        cc: people.iter().skip(1).cloned().collect(),
        content: NotificationContent::Rendered {
            subject: "Re: The printer is on fire".to_owned(),
            text: "Please unplug it.".to_owned(),
            html: "<p>Please unplug it.</p>".to_owned(),
        },
        in_reply_to: Some(MessageId("abc123@mail.cust.example".to_owned())),
        references: vec![MessageId("root@desk.example".to_owned())],
        visibility: Visibility::Public,
        comments: Vec::new(),
        automatic: false,
        created_at: NOW,
    }
}

pub fn entry(number: i64, to: &str) -> OutboxEntry {
    row(&user(number, to))
}

fn row(user: &User) -> OutboxEntry {
    let number = user.id.0;
    OutboxEntry {
        id: OutboxId(number),
        notification: NotificationId(1),
        ticket: TICKET,
        user: user.id,
        recipient: user.addresses[0].clone(),
        message_id: MessageId(format!("row{number}@desk.example")),
        reply_to: mailbox("Desk Support", &format!("support+idTOKEN{number}@desk.example")),
        body_token: format!("TOKEN{number}"),
        reverse_path: address(&format!("bounce+verp{number}@desk.example")),
        as_role: if number == 1 { RecipientRole::Requester } else { RecipientRole::Cc },
    }
}

pub fn outgoing(claimed: &Claimed) -> Outgoing {
    Outgoing {
        id: claimed.entry.id,
        reverse_path: claimed.entry.reverse_path.clone(),
        recipient: claimed.entry.recipient.clone(),
        bytes: compose(&claimed.notification, &claimed.entry, &letterhead()).unwrap(),
    }
}

pub fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub fn mailbox(name: &str, text: &str) -> Mailbox {
    Mailbox { name: Some(name.to_owned()), address: address(text) }
}

/// Without TLS or login, with deadlines long enough for a busy machine.
pub fn smarthost(port: u16) -> Smarthost {
    Smarthost {
        host: "localhost".to_owned(),
        port,
        tls: Tls::None,
        login: None,
        hello: "desk.example".to_owned(),
        extra_root: None,
        timeouts: timeouts(Duration::from_secs(30)),
    }
}

pub fn timeouts(each: Duration) -> Timeouts {
    Timeouts { connect: each, command: each, final_dot: each }
}
