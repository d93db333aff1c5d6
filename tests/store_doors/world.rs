//! A small help desk in memory, and the values the tests write into it.

use std::collections::BTreeSet;
use std::sync::Arc;

use postern::domain::address::{Address, Mailbox};
use postern::domain::event::{Actor, Audit, AuditEvent, Event};
use postern::domain::fate::Fate;
use postern::domain::ids::{
    AuditId, CommentId, GroupId, JournalId, NotificationId, OutboxId, Salt, TicketId, UserId,
};
use postern::domain::mail::MessageId;
use postern::domain::people::{Role, User};
use postern::domain::plan::{
    MailRecord, Notification, NotificationContent, OutboxEntry, Plan, RecipientRole, Write,
};
use postern::domain::snapshot::{Lookup, SenderTrust, Snapshot};
use postern::domain::ticket::{Channel, Comment, Flag, Ticket, Visibility};
use postern::domain::time::{DAY, Timestamp};
use postern::domain::trace::Trace;
use postern::store::{commit, snapshot};
use rusqlite::Connection;

pub const NOW: Timestamp = Timestamp(100 * DAY);

pub const CUSTOMER: UserId = UserId(1);
pub const COLLEAGUE: UserId = UserId(2);
pub const AGENT: UserId = UserId(3);
pub const TICKET: TicketId = TicketId(1);
pub const PUBLIC: CommentId = CommentId(1);
pub const NOTE: CommentId = CommentId(2);
pub const GROUP: GroupId = GroupId(1);

/// An empty account.
pub fn empty() -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/migrations");
    let mut migrations: Vec<_> = folder.read_dir().unwrap().map(|file| file.unwrap().path()).collect();
    migrations.sort();
    for migration in migrations {
        conn.execute_batch(&std::fs::read_to_string(migration).unwrap()).unwrap();
    }
    let account = "INSERT INTO account (id, epoch, directory_version, created_at) VALUES (1, 1, 1, 0)";
    conn.execute(account, []).unwrap();
    conn.execute("INSERT INTO groups VALUES (1, 'Support', 0, 1)", []).unwrap();
    conn
}

/// A customer's ticket: a colleague in CC, an agent who is assignee and follower; one public comment, one note.
pub fn desk() -> Connection {
    let conn = empty();
    write(
        &conn,
        vec![
            Write::InsertUser(user(CUSTOMER, "customer@example.net", Role::end_user())),
            Write::InsertUser(user(COLLEAGUE, "colleague@example.net", Role::end_user())),
            Write::InsertUser(User {
                groups: vec![GROUP],
                ..user(AGENT, "agent@desk.example", Role::agent())
            }),
            Write::PutTicket(ticket(TICKET)),
            Write::InsertComment(comment(PUBLIC, TICKET, Visibility::Public)),
            Write::InsertComment(comment(NOTE, TICKET, Visibility::Private)),
            Write::InsertAudit(audit(AuditId(1), TICKET)),
        ],
    );
    conn
}

/// Commits these writes, which must not conflict.
pub fn write(conn: &Connection, writes: Vec<Write>) {
    write_at(conn, writes, NOW);
}

pub fn write_at(conn: &Connection, writes: Vec<Write>, now: Timestamp) {
    let plan = Plan { preconditions: Vec::new(), writes };
    commit::apply(conn, &plan, now).unwrap().unwrap();
}

pub fn look(conn: &Connection, lookup: &Lookup) -> Snapshot {
    snapshot::load(conn, lookup, Arc::default()).unwrap()
}

pub fn stored_user(conn: &Connection, id: UserId) -> User {
    let lookup = Lookup { users: BTreeSet::from([id]), ..Lookup::default() };
    look(conn, &lookup).users.remove(&id).unwrap()
}

pub fn stored_ticket(conn: &Connection, id: TicketId) -> Ticket {
    let lookup = Lookup { tickets: BTreeSet::from([id]), ..Lookup::default() };
    look(conn, &lookup).tickets.remove(&id).unwrap().ticket
}

/// Changes the desk's ticket and commits it.
pub fn change_ticket(conn: &Connection, change: impl FnOnce(&mut Ticket)) {
    let mut ticket = stored_ticket(conn, TICKET);
    change(&mut ticket);
    write(conn, vec![Write::PutTicket(ticket)]);
}

pub fn count(conn: &Connection, table: &str) -> i64 {
    conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

pub fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub fn mailbox(text: &str) -> Mailbox {
    Mailbox { name: Some("Somebody".to_owned()), address: address(text) }
}

pub fn id(text: &str) -> MessageId {
    MessageId(text.to_owned())
}

pub fn user(id: UserId, primary: &str, role: Role) -> User {
    User {
        id,
        name: format!("User {id}"),
        role,
        addresses: vec![address(primary)],
        organization: None,
        groups: Vec::new(),
        suspended: false,
        active: true,
        version: 1,
    }
}

pub fn ticket(id: TicketId) -> Ticket {
    Ticket {
        subject: "The printer is on fire".to_owned(),
        assignee: Some(AGENT),
        group: Some(GROUP),
        ccs: BTreeSet::from([COLLEAGUE]),
        followers: BTreeSet::from([AGENT]),
        via: Channel::Mail,
        comments: 2,
        public_comments: 1,
        version: 1,
        ..Ticket::blank(id, Salt([7; 16]), CUSTOMER, NOW)
    }
}

pub fn comment(id: CommentId, ticket: TicketId, visibility: Visibility) -> Comment {
    Comment {
        id,
        ticket,
        author: CUSTOMER,
        visibility,
        rule: "end-user".to_owned(),
        flags: BTreeSet::from([Flag::Outsider]),
        text: format!("comment {id}"),
        via: Channel::Mail,
        journal: None,
        created_at: NOW,
        attachments: Vec::new(),
    }
}

pub fn audit(id: AuditId, ticket: TicketId) -> Audit {
    let mut trace = Trace::default();
    trace.push("privacy", "end-user", "settle", "the author is an end user");
    let added = Event::CommentAdded { comment: PUBLIC, author: CUSTOMER, visibility: Visibility::Public };
    let by = Actor::User { id: CUSTOMER };
    Audit {
        id,
        ticket,
        actor: by.clone(),
        via: Channel::Mail,
        journal: None,
        created_at: NOW,
        events: vec![AuditEvent { by, event: added }],
        trace,
    }
}

/// Shows the public comment to everybody.
pub fn notification(id: NotificationId) -> Notification {
    Notification {
        id,
        ticket: TICKET,
        audit: AuditId(1),
        rule: "notify-requester".to_owned(),
        from: mailbox("support@desk.example"),
        to: vec![mailbox("customer@example.net")],
        cc: vec![mailbox("colleague@example.net")],
        content: NotificationContent::Rendered {
            subject: "Re: The printer is on fire".to_owned(),
            text: "comment 1".to_owned(),
            html: "<p>comment 1</p>".to_owned(),
        },
        in_reply_to: Some(id_of_root()),
        references: vec![id_of_root()],
        visibility: Visibility::Public,
        comments: vec![PUBLIC],
        automatic: false,
        created_at: NOW,
    }
}

fn id_of_root() -> MessageId {
    id("root@desk.example")
}

pub fn outbox(id: OutboxId, notification: NotificationId, role: RecipientRole) -> OutboxEntry {
    let (user, recipient) = match role {
        RecipientRole::Requester | RecipientRole::Author => (CUSTOMER, "customer@example.net"),
        RecipientRole::Cc => (COLLEAGUE, "colleague@example.net"),
        _ => (AGENT, "agent@desk.example"),
    };
    OutboxEntry {
        id,
        notification,
        ticket: TICKET,
        user,
        recipient: address(recipient),
        message_id: MessageId(format!("{id}@desk.example")),
        reply_to: mailbox("support+idABC@desk.example"),
        body_token: "ABC".to_owned(),
        reverse_path: address(&format!("bounce+TOKEN{id}@desk.example")),
        as_role: role,
    }
}

/// A mail that was accepted and waits for its decision.
pub fn accept(conn: &Connection, journal: JournalId, at: Timestamp) {
    let envelope = r#"{"entrance":{"name":"smtp","trust":{"kind":"none"}},"client":"192.0.2.1","helo":"mx",
        "reverse_path":null,"recipients":["support@desk.example"],"accepted_at":5}"#;
    conn.execute(
        "INSERT INTO journal (id, accepted_at, envelope, size, state) VALUES (?1, ?2, ?3, 9, 'pending')",
        (journal.0, at.0, envelope),
    )
    .unwrap();
}

pub fn record(journal: JournalId) -> MailRecord {
    MailRecord {
        journal,
        author: Some(address("customer@example.net")),
        message_id: Some(id("mail@example.net")),
        digest: [5; 32],
        trust: SenderTrust::Authenticated,
        token_ticket: Some(TICKET),
    }
}

/// A mail that was accepted at this time and has become a comment.
pub fn deliver(conn: &Connection, record: MailRecord, at: Timestamp) {
    accept(conn, record.journal, at);
    let fate = Fate::Done { ticket: TICKET, comment: Some(PUBLIC) };
    let journal = record.journal;
    write_at(conn, vec![Write::SettleJournal { journal, record: Some(record), fate }], at);
}
