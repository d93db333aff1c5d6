//! The write door.

use std::collections::BTreeSet;

use postern::domain::event::{Actor, Audit, AuditEvent, CommandOutcome, Event};
use postern::domain::fate::{Fate, SuspensionCause};
use postern::domain::ids::{
    AuditId, CommentId, JournalId, NotificationId, OrganizationId, Salt, SuspendedId, TicketId, UserId,
};
use postern::domain::people::{Role, User};
use postern::domain::plan::{Plan, Precondition, Write};
use postern::domain::snapshot::{PrivatePrint, SuspendedTicket, WholePrint};
use postern::domain::ticket::{
    AttachmentRef, Channel, Comment, Flag, Priority, Status, Ticket, TicketType, Visibility,
};
use postern::domain::time::{DAY, Timestamp};
use postern::domain::trace::Trace;
use postern::store::commit::{self, Conflict};
use postern::store::rows::tickets;
use proptest::prelude::*;
use rusqlite::Connection;

use crate::world::*;

fn held(suspended: SuspendedId, journal: JournalId) -> SuspendedTicket {
    SuspendedTicket {
        id: suspended,
        journal,
        cause: SuspensionCause::OtherUserUpdate,
        detail: "somebody else's ticket".to_owned(),
        author: Some(address("stranger@example.org")),
        author_name: Some("A Stranger".to_owned()),
        subject: "Re: your ticket".to_owned(),
        ticket: Some(TICKET),
        created_at: NOW,
        trace: Trace::default(),
    }
}

/// The desk with mail 1 pending, mail 2 held, and mail 3 delivered today.
fn busy_desk() -> Connection {
    let conn = desk();
    accept(&conn, JournalId(1), NOW);
    accept(&conn, JournalId(2), NOW);
    write(&conn, vec![Write::InsertSuspended(held(SuspendedId(1), JournalId(2)))]);
    deliver(&conn, record(JournalId(3)), NOW);
    conn
}

#[expect(clippy::result_large_err, reason = "nobody passes it on in a test")]
fn apply(conn: &Connection, precondition: &Precondition) -> Result<(), Conflict> {
    let marker = Write::PutTicket(ticket(TicketId(77)));
    let plan = Plan { preconditions: vec![precondition.clone()], writes: vec![marker] };
    commit::apply(conn, &plan, NOW).unwrap()
}

fn check(holding: Precondition, failing: Precondition) {
    let conn = busy_desk();
    assert_eq!(apply(&conn, &failing), Err(Conflict { precondition: failing.clone() }), "{failing:?}");
    assert_eq!(count(&conn, "tickets WHERE id = 77"), 0, "a plan that conflicts writes nothing");
    assert_eq!(apply(&conn, &holding), Ok(()), "{holding:?}");
    assert_eq!(count(&conn, "tickets WHERE id = 77"), 1);
}

#[test]
fn a_ticket_that_changed_since_it_was_read_is_a_conflict() {
    let version = |ticket, version| Precondition::TicketVersion { ticket, version };
    check(version(TICKET, 1), version(TICKET, 2));
    check(version(TicketId(5), 0), version(TicketId(5), 1));
    check(version(TICKET, 1), version(TICKET, 0));
}

#[test]
fn a_person_who_changed_since_they_were_read_is_a_conflict() {
    let version = |user, version| Precondition::UserVersion { user, version };
    check(version(CUSTOMER, 1), version(CUSTOMER, 2));
}

#[test]
fn a_directory_that_changed_since_it_was_read_is_a_conflict() {
    // The agent of the desk made version 2.
    check(Precondition::DirectoryVersion(2), Precondition::DirectoryVersion(1));
}

#[test]
fn an_address_that_belongs_to_somebody_by_now_is_a_conflict_in_any_case() {
    let unknown = |text| Precondition::AddressUnknown(address(text));
    check(unknown("nobody@example.net"), unknown("Customer@EXAMPLE.net"));
}

#[test]
fn a_mail_that_is_no_longer_pending_is_a_conflict() {
    check(Precondition::JournalPending(JournalId(1)), Precondition::JournalPending(JournalId(3)));
    check(Precondition::JournalPending(JournalId(1)), Precondition::JournalPending(JournalId(99)));
}

#[test]
fn a_held_mail_that_was_let_in_is_a_conflict() {
    let still_held = Precondition::SuspendedHeld(SuspendedId(1));
    check(still_held.clone(), Precondition::SuspendedHeld(SuspendedId(99)));
    let conn = busy_desk();
    write(&conn, vec![Write::ReleaseSuspended(SuspendedId(1))]);
    assert_eq!(apply(&conn, &still_held), Err(Conflict { precondition: still_held }));
}

#[test]
fn the_same_mail_delivered_meanwhile_is_a_conflict() {
    let since = |author: &str, digest, newest_known: Option<i64>| Precondition::NotDeliveredSince {
        author: address(author),
        message_id: record(JournalId(3)).message_id,
        digest: [digest; 32],
        newest_known: newest_known.map(JournalId),
    };
    check(since("customer@example.net", 5, Some(3)), since("customer@example.net", 5, None));
    check(since("customer@example.net", 6, None), since("customer@example.net", 5, Some(2)));
    check(since("colleague@example.net", 5, None), since("Customer@example.net", 5, None));
}

#[test]
fn a_delivery_older_than_the_window_never_conflicts_since_no_snapshot_would_show_it() {
    let conn = desk();
    deliver(&conn, record(JournalId(1)), NOW.plus(-31 * DAY));
    let precondition = Precondition::NotDeliveredSince {
        author: address("customer@example.net"),
        message_id: record(JournalId(1)).message_id,
        digest: [5; 32],
        newest_known: None,
    };
    assert_eq!(apply(&conn, &precondition), Ok(()));
}

#[test]
fn a_conflict_never_says_a_whole_address() {
    let conflict = Conflict { precondition: Precondition::AddressUnknown(address("customer@example.net")) };
    assert_eq!(conflict.to_string(), "`c***@example.net` belongs to somebody by now");
}

#[test]
fn a_mail_is_settled_once() {
    let conn = busy_desk();
    let fate = Fate::Suspended(SuspensionCause::Loop);
    let again = Plan {
        preconditions: Vec::new(),
        writes: vec![Write::SettleJournal {
            journal: JournalId(3),
            record: Some(record(JournalId(3))),
            fate,
        }],
    };
    assert!(commit::apply(&conn, &again, NOW).is_err());
}

#[test]
fn a_comment_made_private_remembers_that_it_was_public() {
    let conn = desk();
    write(&conn, vec![Write::MakeCommentPrivate(PUBLIC), Write::MakeCommentPrivate(NOTE)]);
    let private = |id: CommentId, was_public: i64| {
        count(
            &conn,
            &format!("comments WHERE id = {id} AND visibility = 'private' AND was_public = {was_public}"),
        )
    };
    assert_eq!((private(PUBLIC, 1), private(NOTE, 0)), (1, 1));
}

#[test]
fn a_comment_comes_back_with_its_attachments_in_order() {
    let conn = desk();
    let attachment = |name: Option<&str>, byte| AttachmentRef {
        name: name.map(str::to_owned),
        media_type: "image/png".to_owned(),
        inline: byte == 1,
        content_id: name.map(|_| "part1@example.net".to_owned()),
        sha256: [byte; 32],
        size: 1 << 40,
    };
    let full = Comment {
        flags: Flag::ALL.iter().copied().collect(),
        attachments: vec![attachment(Some("b.png"), 1), attachment(None, 2), attachment(Some("a.png"), 1)],
        ..comment(CommentId(9), TICKET, Visibility::Private)
    };
    write(&conn, vec![Write::InsertComment(full.clone())]);
    let comments = tickets::newest_comments(&conn, TICKET, 100, usize::MAX).unwrap();
    let note = comment(NOTE, TICKET, Visibility::Private);
    assert_eq!(comments, vec![comment(PUBLIC, TICKET, Visibility::Public), note, full]);
    assert_eq!(count(&conn, "blobs"), 2, "the same bytes are one blob");
}

#[test]
fn a_fingerprint_comes_back_bit_for_bit() {
    let conn = desk();
    let print = PrivatePrint {
        comment: Some(NOTE),
        windows: vec![0, 1, u64::MAX - 1, u64::MAX],
        whole: Some(WholePrint { chars: 17, hash: u64::MAX }),
        attachments: vec![[1; 32], [255; 32]],
    };
    write(&conn, vec![Write::InsertPrivatePrint { ticket: TICKET, print: print.clone() }]);
    assert_eq!(tickets::private_prints(&conn, TICKET).unwrap(), vec![print.clone()]);

    let nameless = PrivatePrint { comment: None, ..print };
    let write = Write::InsertPrivatePrint { ticket: TICKET, print: nameless };
    let plan = Plan { preconditions: Vec::new(), writes: vec![write] };
    assert!(commit::apply(&conn, &plan, NOW).is_err());
}

#[test]
fn every_event_comes_back_as_it_was_written_and_under_its_name() {
    let conn = desk();
    let events = every_event();
    let audit = Audit {
        events: events
            .into_iter()
            .map(|event| AuditEvent { by: Actor::Rule { key: "notify".to_owned() }, event })
            .collect(),
        actor: Actor::System,
        via: Channel::Rule,
        ..audit(AuditId(2), TICKET)
    };
    write(&conn, vec![Write::InsertAudit(audit.clone())]);
    assert_eq!(tickets::audits(&conn, TICKET).unwrap().last(), Some(&audit));
    assert_eq!(count(&conn, "events WHERE type = 'comment_made_private'"), 1);
    assert_eq!(count(&conn, "events WHERE type = '' OR type IS NULL"), 0);
}

fn every_event() -> Vec<Event> {
    let user = CUSTOMER;
    vec![
        Event::TicketCreated {
            subject: "s".to_owned(),
            requester: user,
            submitter: AGENT,
            recipient: Some(address("support@desk.example")),
            organization: Some(OrganizationId(4)),
            via: Channel::Mail,
            follow_up_of: Some(TicketId(3)),
        },
        Event::CommentAdded { comment: NOTE, author: user, visibility: Visibility::Private },
        Event::CommentMadePrivate { comment: PUBLIC },
        Event::StatusChanged { from: Status::New, to: Status::Open },
        Event::RequesterChanged { from: user, to: AGENT, organization: None },
        Event::AssigneeChanged { from: None, to: Some(AGENT) },
        Event::GroupChanged { from: Some(GROUP), to: None },
        Event::PriorityChanged { from: None, to: Some(Priority::High) },
        Event::TypeChanged { from: Some(TicketType::Task), to: None },
        Event::TagsChanged { added: BTreeSet::from(["a".to_owned()]), removed: BTreeSet::new() },
        Event::CcAdded { user },
        Event::FollowerAdded { user },
        Event::Notified { notification: NotificationId(1), recipients: vec![user] },
        Event::NotificationBounced { recipient: user },
        Event::Command { name: "note".to_owned(), outcome: CommandOutcome::Applied, because: String::new() },
        Event::Withheld { what: "cc".to_owned(), because: "b".to_owned() },
    ]
}

#[test]
fn a_user_comes_back_with_addresses_and_groups_in_order() {
    let conn = empty();
    conn.execute_batch(
        "INSERT INTO groups VALUES (2, 'Sales', 1, 1);
         INSERT INTO organizations VALUES (1, 'Example', '[]', 0, 0, 1);",
    )
    .unwrap();
    let full = User {
        addresses: vec![address("Zoe@example.net"), address("a@b\u{fc}cher.example")],
        organization: Some(OrganizationId(1)),
        groups: vec![postern::domain::ids::GroupId(2), GROUP],
        suspended: true,
        active: false,
        ..user(UserId(9), "unused@example.net", Role { key: "tier-2".to_owned(), ..Role::light_agent() })
    };
    write(&conn, vec![Write::InsertUser(full.clone())]);
    assert_eq!(stored_user(&conn, UserId(9)), full);
}

fn any_ticket() -> impl Strategy<Value = Ticket> {
    let words = (
        proptest::sample::select(Status::ALL),
        proptest::option::of(proptest::sample::select(Priority::ALL)),
        proptest::option::of(proptest::sample::select(TicketType::ALL)),
        proptest::sample::select(Channel::ALL),
    );
    let people = (
        proptest::sample::select(vec![CUSTOMER, COLLEAGUE, AGENT]),
        proptest::option::of(Just(AGENT)),
        proptest::collection::btree_set(proptest::sample::select(vec![CUSTOMER, COLLEAGUE, AGENT]), 0..3),
        proptest::collection::btree_set(proptest::sample::select(vec![CUSTOMER, COLLEAGUE, AGENT]), 0..3),
    );
    let rest = (
        any::<String>().prop_map(|text| text.replace('\0', "")),
        proptest::collection::btree_set("[a-z\u{e4}' -]{1,8}", 0..4),
        proptest::option::of(Just(address("support+x@desk.example"))),
        any::<(Option<i64>, Option<i64>, u32, u32, Option<i64>)>(),
    );
    (words, people, rest).prop_map(|(words, people, rest)| {
        let (follow_up_of, merged_into, comments, public_comments, solved_at) = rest.3;
        Ticket {
            status: words.0,
            priority: words.1,
            ticket_type: words.2,
            via: words.3,
            requester: people.0,
            assignee: people.1,
            ccs: people.2,
            followers: people.3,
            subject: rest.0,
            tags: rest.1,
            recipient: rest.2,
            follow_up_of: follow_up_of.map(TicketId),
            merged_into: merged_into.map(TicketId),
            comments,
            public_comments,
            solved_at: solved_at.map(Timestamp),
            ..Ticket::blank(TicketId(5), Salt([9; 16]), CUSTOMER, NOW)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_ticket_comes_back_after_an_insert_and_after_an_update(first in any_ticket(), second in any_ticket()) {
        let conn = desk();
        write(&conn, vec![Write::PutTicket(first.clone())]);
        prop_assert_eq!(stored_ticket(&conn, TicketId(5)), Ticket { version: 1, ..first });
        write(&conn, vec![Write::PutTicket(second.clone())]);
        prop_assert_eq!(stored_ticket(&conn, TicketId(5)), Ticket { version: 2, ..second });
    }
}

#[test]
fn the_salt_of_a_ticket_never_changes() {
    let conn = desk();
    change_ticket(&conn, |ticket| ticket.salt = Salt([0; 16]));
    assert_eq!(stored_ticket(&conn, TICKET).salt, Salt([7; 16]));
}
