//! The read door.

use std::collections::BTreeSet;

use postern::domain::fate::{Fate, SuspensionCause};
use postern::domain::ids::{CommentId, JournalId, TicketId, UserId};
use postern::domain::mail::MessageId;
use postern::domain::people::{Role, User};
use postern::domain::plan::{MailRecord, Write};
use postern::domain::snapshot::{EarlierMail, KnownMessage, Lookup, MailKey, PrivatePrint, SenderTrust};
use postern::domain::ticket::{Comment, Ticket, Visibility};
use postern::domain::time::DAY;
use postern::store::rows::{digest_hash, message_hash};
use postern::store::snapshot;
use rusqlite::Connection;

use crate::world::*;

fn tickets<const N: usize>(ids: [i64; N]) -> Lookup {
    Lookup { tickets: ids.into_iter().map(TicketId).collect(), ..Lookup::default() }
}

/// The Message-ID of a mail that we sent.
fn sent(text: &str, ticket: TicketId, visibility: Visibility) -> Write {
    Write::InsertMessageId { message_id: id(text), ticket, visibility }
}

/// Receives a mail that becomes a comment, or none if it shows nothing.
fn receive(conn: &Connection, journal: i64, text: &str, ticket: TicketId, shows: Option<Visibility>) {
    let journal = JournalId(journal);
    accept(conn, journal, NOW);
    let record = MailRecord { message_id: Some(id(text)), ..record(journal) };
    let became = shows.map(|_| CommentId(1000 + journal.0));
    let added = shows.zip(became).map(|(visibility, id)| {
        Write::InsertComment(Comment { journal: Some(journal), ..comment(id, ticket, visibility) })
    });
    let settled =
        Write::SettleJournal { journal, record: Some(record), fate: Fate::Done { ticket, comment: became } };
    write(conn, added.into_iter().chain([settled]).collect());
}

fn known(conn: &Connection, text: &str) -> Option<KnownMessage> {
    let lookup = Lookup { message_ids: BTreeSet::from([id(text)]), ..Lookup::default() };
    look(conn, &lookup).message_ids.remove(&id(text))
}

#[test]
fn an_address_finds_its_user_in_any_case_and_only_those_asked_for() {
    let conn = desk();
    let asked = [address("CUSTOMER@example.net"), address("nobody@example.net")];
    let found = look(&conn, &Lookup { addresses: BTreeSet::from(asked.clone()), ..Lookup::default() });
    assert_eq!(found.user_by_address(&asked[0]), Some(&stored_user(&conn, CUSTOMER)));
    assert_eq!(found.user_by_address(&asked[1]), None);
    assert_eq!(found.users.len(), 1);
}

#[test]
fn a_ticket_brings_everybody_it_refers_to() {
    let found = look(&desk(), &tickets([TICKET.0]));
    assert_eq!(found.users.keys().copied().collect::<Vec<_>>(), [CUSTOMER, COLLEAGUE, AGENT]);
    assert_eq!(found.tickets[&TICKET].ticket, ticket(TICKET));
}

#[test]
fn an_unknown_ticket_is_simply_not_there() {
    let found = look(&desk(), &tickets([99]));
    assert!(found.tickets.is_empty() && found.users.is_empty());
}

#[test]
fn merged_tickets_are_followed_ten_hops_and_no_further() {
    let conn = desk();
    for number in 10..30 {
        let merged = Ticket { merged_into: Some(TicketId(number + 1)), ..ticket(TicketId(number)) };
        write(&conn, vec![Write::PutTicket(merged)]);
    }
    let found = look(&conn, &tickets([10]));
    assert_eq!(found.tickets.keys().map(|id| id.0).collect::<Vec<_>>(), (10..=20).collect::<Vec<_>>());
}

#[test]
fn tickets_merged_in_a_circle_end() {
    let conn = desk();
    for (from, to) in [(10, 11), (11, 10)] {
        let merged = Ticket { merged_into: Some(TicketId(to)), ..ticket(TicketId(from)) };
        write(&conn, vec![Write::PutTicket(merged)]);
    }
    assert_eq!(look(&conn, &tickets([10])).tickets.len(), 2);
}

#[test]
fn the_fingerprints_of_merged_tickets_come_along_at_any_distance() {
    let conn = desk();
    let mut target = TICKET;
    for number in 10..25 {
        let merged = TicketId(number);
        let note = CommentId(number);
        let print = PrivatePrint { comment: Some(note), ..PrivatePrint::default() };
        write(
            &conn,
            vec![
                Write::PutTicket(Ticket { merged_into: Some(target), ..ticket(merged) }),
                Write::InsertComment(comment(note, merged, Visibility::Private)),
                Write::InsertPrivatePrint { ticket: merged, print },
            ],
        );
        target = merged;
    }
    let prints_of = |id: TicketId| {
        let found = look(&conn, &tickets([id.0]));
        found.tickets[&id].private_prints.iter().filter_map(|print| print.comment).collect::<Vec<_>>()
    };
    assert_eq!(prints_of(TICKET), (10..25).map(CommentId).collect::<Vec<_>>());
    assert_eq!(
        prints_of(TicketId(23)),
        [CommentId(23), CommentId(24)],
        "what was merged into it, not onwards"
    );
}

#[test]
fn a_long_conversation_brings_its_newest_hundred_comments_oldest_first() {
    let conn = desk();
    let writes = (3..=130).map(|number| comment(CommentId(number), TICKET, Visibility::Public));
    write(&conn, writes.map(Write::InsertComment).collect());
    let found = look(&conn, &tickets([TICKET.0]));
    let ids: Vec<i64> = found.tickets[&TICKET].comments.iter().map(|comment| comment.id.0).collect();
    assert_eq!(ids, (31..=130).collect::<Vec<_>>());
}

#[test]
fn a_thread_is_the_newest_twenty_ids_of_public_mails_received_oldest_first() {
    let conn = desk();
    let texts: Vec<String> = (0..30).map(|number| format!("{number}@example.net")).collect();
    for (number, text) in (1..).zip(&texts) {
        receive(&conn, number, text, TICKET, Some(Visibility::Public));
    }
    write(&conn, vec![sent("sent@desk.example", TICKET, Visibility::Public)]);
    receive(&conn, 31, "note@desk.example", TICKET, Some(Visibility::Private));
    receive(&conn, 32, "commands@desk.example", TICKET, None);
    let found = look(&conn, &tickets([TICKET.0]));
    let newest: Vec<MessageId> = texts[10..].iter().map(|text| id(text)).collect();
    assert_eq!(found.tickets[&TICKET].thread, newest);

    receive(&conn, 33, "29@example.net", TICKET, Some(Visibility::Public));
    assert_eq!(look(&conn, &tickets([TICKET.0])).tickets[&TICKET].thread, newest, "each once");
    write(&conn, vec![Write::MakeCommentPrivate(CommentId(1029))]);
    let newest: Vec<MessageId> = texts[9..28].iter().chain(&texts[29..]).map(|text| id(text)).collect();
    assert_eq!(look(&conn, &tickets([TICKET.0])).tickets[&TICKET].thread, newest, "hidden since");
}

#[test]
fn a_message_id_brings_its_ticket() {
    let conn = desk();
    receive(&conn, 1, "a@example.net", TICKET, None);
    let lookup = Lookup { message_ids: BTreeSet::from([id("a@example.net")]), ..Lookup::default() };
    assert!(look(&conn, &lookup).tickets.contains_key(&TICKET));
    assert_eq!(known(&conn, "A@example.net"), None, "Message-IDs compare byte for byte");
}

#[test]
fn a_message_id_with_the_same_hash_and_another_text_is_another_message() {
    let conn = desk();
    conn.execute(
        "INSERT INTO message_ids VALUES (?1, 'other@example.net', 1, 'private')",
        [message_hash(&id("a@example.net"))],
    )
    .unwrap();
    receive(&conn, 1, "another@example.net", TICKET, None);
    conn.execute("UPDATE journal SET message_hash = ?1", [message_hash(&id("a@example.net"))]).unwrap();
    assert_eq!(known(&conn, "a@example.net"), None);
}

#[test]
fn nobody_takes_over_a_conversation_by_repeating_its_message_ids() {
    let conn = desk();
    let other = TicketId(2);
    write(&conn, vec![Write::PutTicket(ticket(other))]);
    receive(&conn, 1, "a@example.net", TICKET, Some(Visibility::Public));
    receive(&conn, 2, "a@example.net", other, Some(Visibility::Public));
    assert_eq!(known(&conn, "a@example.net"), Some(KnownMessage { ticket: TICKET, sent: None }));

    accept(&conn, JournalId(4), NOW);
    receive(&conn, 5, "c@example.net", TICKET, Some(Visibility::Public));
    let let_in_late = MailRecord { message_id: Some(id("c@example.net")), ..record(JournalId(4)) };
    let fate = Fate::Done { ticket: other, comment: None };
    let settled = Write::SettleJournal { journal: JournalId(4), record: Some(let_in_late), fate };
    write_at(&conn, vec![settled], NOW.plus(DAY));
    assert_eq!(known(&conn, "c@example.net"), Some(KnownMessage { ticket: TICKET, sent: None }));

    receive(&conn, 3, "b@desk.example", other, Some(Visibility::Public));
    write(&conn, vec![sent("b@desk.example", TICKET, Visibility::Public)]);
    write(&conn, vec![sent("b@desk.example", other, Visibility::Private)]);
    let expected = KnownMessage { ticket: TICKET, sent: Some(Visibility::Public) };
    assert_eq!(known(&conn, "b@desk.example"), Some(expected));
}

#[test]
fn a_mail_that_joined_no_ticket_makes_its_message_id_known_of_none() {
    let conn = desk();
    accept(&conn, JournalId(1), NOW);
    assert_eq!(known(&conn, "mail@example.net"), None);
    let fate = Fate::Suspended(SuspensionCause::Loop);
    write(
        &conn,
        vec![Write::SettleJournal { journal: JournalId(1), record: Some(record(JournalId(1))), fate }],
    );
    assert_eq!(known(&conn, "mail@example.net"), None);
}

#[test]
fn a_message_id_is_private_if_any_mail_with_it_showed_a_private_comment() {
    let conn = desk();
    let showed = |visibility| sent("a@desk.example", TICKET, visibility);
    write(&conn, vec![showed(Visibility::Public), showed(Visibility::Private)]);
    assert_eq!(known(&conn, "a@desk.example").unwrap().sent, Some(Visibility::Private));
}

fn key() -> MailKey {
    MailKey {
        journal: JournalId(100),
        author: address("Customer@example.net"),
        message_id: Some(id("mail@example.net")),
        digest: [5; 32],
        accepted_at: NOW,
    }
}

fn earlier(conn: &Connection, key: MailKey) -> Vec<EarlierMail> {
    look(conn, &Lookup { mail: Some(key), ..Lookup::default() }).earlier
}

fn earlier_ids(conn: &Connection, key: MailKey) -> Vec<i64> {
    earlier(conn, key).into_iter().map(|mail| mail.journal.0).collect()
}

#[test]
fn an_earlier_delivery_comes_back_with_all_that_tells_a_duplicate() {
    let conn = desk();
    deliver(&conn, record(JournalId(1)), NOW.plus(-DAY));
    let expected = EarlierMail {
        journal: JournalId(1),
        by_author: true,
        message_id: Some(id("mail@example.net")),
        digest: [5; 32],
        fate: Fate::Done { ticket: TICKET, comment: Some(PUBLIC) },
        trust: SenderTrust::Authenticated,
        token_ticket: Some(TICKET),
    };
    assert_eq!(earlier(&conn, key()), [expected]);
}

#[test]
fn earlier_mails_share_the_message_id_or_without_one_author_and_digest_newest_first() {
    let conn = desk();
    let other_id = Some(id("other@example.net"));
    let with = |journal, change: fn(&mut MailRecord)| {
        let mut record = record(JournalId(journal));
        change(&mut record);
        deliver(&conn, record, NOW.plus(journal - 50));
    };
    with(1, |record| record.digest = [6; 32]);
    with(2, |record| record.message_id = None);
    with(3, |record| record.author = Some(address("colleague@example.net")));
    with(4, |record| record.author = None);
    with(5, |record| (record.digest, record.message_id) = ([6; 32], None));
    let found = earlier(&conn, key());
    let found: Vec<_> = found.iter().map(|mail| (mail.journal.0, mail.by_author)).collect();
    assert_eq!(found, [(4, false), (3, false), (1, true)]);
    assert_eq!(earlier_ids(&conn, MailKey { message_id: None, ..key() }), [2]);
    assert_eq!(earlier_ids(&conn, MailKey { message_id: other_id, digest: [7; 32], ..key() }), [0_i64; 0]);
}

#[test]
fn earlier_mails_are_of_the_last_thirty_days_decided_and_not_the_mail_itself() {
    let conn = desk();
    deliver(&conn, record(JournalId(1)), NOW.plus(-30 * DAY - 1));
    deliver(&conn, record(JournalId(2)), NOW.plus(-30 * DAY));
    deliver(&conn, record(JournalId(100)), NOW);
    accept(&conn, JournalId(4), NOW);
    assert_eq!(earlier_ids(&conn, key()), [2]);
}

#[test]
fn a_copy_accepted_later_and_decided_first_makes_this_mail_the_second_delivery() {
    let conn = desk();
    deliver(&conn, record(JournalId(101)), NOW.plus(1));
    assert_eq!(earlier_ids(&conn, key()), [101]);
}

#[test]
fn equal_hashes_of_other_mails_are_no_earlier_delivery() {
    let conn = desk();
    let other = MailRecord { digest: [6; 32], message_id: Some(id("x@example.net")), ..record(JournalId(1)) };
    deliver(&conn, other, NOW);
    assert_eq!(
        conn.execute(
            "UPDATE journal SET digest_hash = ?1, message_hash = ?2",
            (digest_hash(&[5; 32]), message_hash(&id("mail@example.net"))),
        ),
        Ok(1)
    );
    assert_eq!(earlier(&conn, key()), []);
}

#[test]
fn the_directory_is_the_active_agents_all_groups_and_all_organizations() {
    let conn = desk();
    conn.execute("INSERT INTO organizations VALUES (1, 'Example', '[\"example.net\"]', 1, 0, 0)", [])
        .unwrap();
    let gone = User { active: false, ..user(UserId(8), "gone@desk.example", Role::agent()) };
    let resting = User { suspended: true, ..user(UserId(9), "resting@desk.example", Role::light_agent()) };
    write(&conn, vec![Write::InsertUser(gone), Write::InsertUser(resting.clone())]);

    let directory = snapshot::directory(&conn).unwrap();
    assert_eq!(directory.agents.keys().copied().collect::<Vec<_>>(), [AGENT, UserId(9)]);
    assert_eq!(directory.agents[&UserId(9)], resting);
    assert_eq!(directory.groups[&GROUP].name, "Support");
    assert_eq!(directory.organizations.values().next().unwrap().domains, ["example.net"]);
    assert_eq!(directory.version, snapshot::directory_version(&conn).unwrap());
    assert_eq!(directory.version, 4, "one for each agent");
}

#[test]
fn a_value_nobody_can_read_is_an_error_and_not_a_guess() {
    let conn = desk();
    conn.execute("UPDATE tickets SET status = 'mystery'", []).unwrap();
    assert!(snapshot::load(&conn, &tickets([TICKET.0]), std::sync::Arc::default()).is_err());
}

#[test]
fn which_tickets_a_mail_names_is_known_even_where_a_ticket_cannot_be_read() {
    let conn = desk();
    receive(&conn, 1, "<1@x>", TICKET, None);
    conn.execute("UPDATE comments SET flags = 'no list'", []).unwrap();
    let lookup = Lookup { message_ids: BTreeSet::from([id("<1@x>")]), ..Lookup::default() };
    assert!(snapshot::load(&conn, &lookup, std::sync::Arc::default()).is_err());
    assert_eq!(snapshot::tickets_named(&conn, &lookup), Ok(BTreeSet::from([TICKET])));
}
