//! Promised mails: what is claimed, what is cancelled and why, and what is never lost.

use postern::domain::ids::{NotificationId, OutboxId, TicketId, UserId};
use postern::domain::people::{Role, User};
use postern::domain::plan::{Notification, NotificationContent, OutboxEntry, RecipientRole, Write};
use postern::domain::ticket::{Status, Visibility};
use postern::domain::time::{HOUR, MINUTE, SECOND, Timestamp};
use postern::store::outbox::{
    Budget, Cancelled, Claimed, Claims, OutboxState, Retry, Terms, claim, find_by_reverse_path, next_due,
    record_dead, record_retry, record_sent, release, release_orphans, retry, set_rendered,
};
use postern::store::queries::{outbox_list, outbox_show};
use postern::store::rows::people::update_user;
use rusqlite::Connection;

use crate::world::*;

const LEASE: i64 = 15 * MINUTE;
const TERMS: Terms = Terms { limit: 100, lease: LEASE, budget: Budget { per_ticket: 5, per_recipient: 20 } };

/// Promises one mail of a notification of its own.
fn promise(conn: &Connection, number: i64, role: RecipientRole, change: impl FnOnce(&mut Notification)) {
    promise_at(conn, NOW, outbox(OutboxId(number), NotificationId(number), role), change);
}

fn promise_at(conn: &Connection, at: Timestamp, entry: OutboxEntry, change: impl FnOnce(&mut Notification)) {
    let mut firing =
        Notification { created_at: at, ticket: entry.ticket, ..notification(entry.notification) };
    change(&mut firing);
    write_at(conn, vec![Write::InsertNotification(firing), Write::InsertOutbox(entry)], at);
}

fn as_is(_: &mut Notification) {}

fn automatic(notification: &mut Notification) {
    notification.automatic = true;
}

fn private(notification: &mut Notification) {
    notification.visibility = Visibility::Private;
    notification.comments = vec![PUBLIC, NOTE];
}

fn claim_at(conn: &Connection, now: Timestamp) -> Vec<Claimed> {
    claim(conn, now, TERMS).unwrap().claimed
}

fn state(conn: &Connection, number: i64) -> (String, Option<String>) {
    let shown = outbox_show(conn, OutboxId(number)).unwrap().unwrap();
    (shown.mail.state.to_owned(), shown.mail.detail)
}

fn cancelled(reason: &str) -> (String, Option<String>) {
    ("cancelled".to_owned(), Some(reason.to_owned()))
}

/// The mail of this role is sent while nothing changed, and cancelled for this reason after the change.
fn check(role: RecipientRole, firing: fn(&mut Notification), change: impl FnOnce(&Connection), reason: &str) {
    let untouched = desk();
    promise(&untouched, 1, role, firing);
    assert_eq!(claim_at(&untouched, NOW).len(), 1, "{role:?} is told while nothing changed");

    let conn = desk();
    promise(&conn, 1, role, firing);
    change(&conn);
    assert_eq!(claim_at(&conn, NOW), []);
    assert_eq!(state(&conn, 1), cancelled(reason), "{role:?}");
    assert_eq!(claim_at(&conn, NOW.plus(HOUR)), [], "a cancelled mail stays cancelled");
}

fn change_user(conn: &Connection, id: UserId, change: impl FnOnce(&mut User)) {
    let mut user = stored_user(conn, id);
    change(&mut user);
    update_user(conn, &user).unwrap();
}

#[test]
fn a_claimed_mail_comes_with_everything_it_takes_to_send_it() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Cc, as_is);
    let entry = outbox(OutboxId(1), NotificationId(1), RecipientRole::Cc);
    let expected = Claimed { entry, notification: notification(NotificationId(1)), attempts: 1 };
    assert_eq!(claim_at(&conn, NOW), [expected]);
}

#[test]
fn a_comment_made_private_while_its_mail_waits_is_not_sent() {
    let hide = |conn: &Connection| write(conn, vec![Write::MakeCommentPrivate(PUBLIC)]);
    check(RecipientRole::Requester, as_is, hide, "comment_made_private");
    check(RecipientRole::Cc, as_is, hide, "comment_made_private");
    check(RecipientRole::Author, as_is, hide, "comment_made_private");
}

#[test]
fn a_comment_made_private_between_two_attempts_is_not_sent() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Requester, as_is);
    assert_eq!(claim_at(&conn, NOW).len(), 1);
    record_retry(&conn, OutboxId(1), "451 later", NOW.plus(MINUTE)).unwrap();
    write(&conn, vec![Write::MakeCommentPrivate(PUBLIC)]);
    assert_eq!(claim_at(&conn, NOW.plus(MINUTE)), []);
    assert_eq!(state(&conn, 1), cancelled("comment_made_private"));
}

#[test]
fn a_comment_made_private_is_still_sent_to_agents_except_where_they_are_told_as_customers() {
    let conn = desk();
    write(&conn, vec![Write::MakeCommentPrivate(PUBLIC)]);
    change_ticket(&conn, |ticket| {
        ticket.ccs.insert(AGENT);
    });
    promise(&conn, 1, RecipientRole::Assignee, as_is);
    let as_cc = OutboxEntry {
        as_role: RecipientRole::Cc,
        ..outbox(OutboxId(2), NotificationId(2), RecipientRole::Agent)
    };
    promise_at(&conn, NOW, as_cc, as_is);
    let sent: Vec<i64> = claim_at(&conn, NOW).iter().map(|claimed| claimed.entry.id.0).collect();
    assert_eq!(sent, [1]);
    assert_eq!(state(&conn, 2), cancelled("comment_made_private"));
}

#[test]
fn who_cannot_or_may_not_be_mailed_any_more_is_not() {
    let because = "undeliverable";
    let customer = RecipientRole::Requester;
    check(customer, as_is, |conn| change_user(conn, CUSTOMER, |user| user.suspended = true), because);
    check(customer, as_is, |conn| change_user(conn, CUSTOMER, |user| user.active = false), because);
    let moved = |user: &mut User| user.addresses = vec![address("elsewhere@example.net")];
    check(customer, as_is, |conn| change_user(conn, CUSTOMER, moved), because);
}

#[test]
fn who_no_longer_has_the_role_is_not_told() {
    let because = "no_longer_concerned";
    let ticket = |change: fn(&mut postern::domain::ticket::Ticket)| {
        move |conn: &Connection| change_ticket(conn, change)
    };
    check(RecipientRole::Requester, as_is, ticket(|ticket| ticket.requester = AGENT), because);
    check(RecipientRole::Cc, as_is, ticket(|ticket| ticket.ccs.clear()), because);
    check(RecipientRole::Follower, as_is, ticket(|ticket| ticket.followers.clear()), because);
    check(RecipientRole::Assignee, as_is, ticket(|ticket| ticket.assignee = None), because);
    let leave = |conn: &Connection| change_user(conn, AGENT, |user| user.groups.clear());
    check(RecipientRole::GroupMember, as_is, leave, because);
    let demote = |conn: &Connection| change_user(conn, AGENT, |user| user.role = Role::end_user());
    check(RecipientRole::GroupMember, as_is, demote, because);
}

#[test]
fn a_private_notification_is_sent_to_agents_only() {
    let demote = |conn: &Connection| change_user(conn, AGENT, |user| user.role = Role::end_user());
    for role in [RecipientRole::Agent, RecipientRole::Assignee, RecipientRole::Follower] {
        check(role, private, demote, "private");
    }
    let conn = desk();
    promise(&conn, 1, RecipientRole::Requester, private);
    promise(&conn, 2, RecipientRole::Author, private);
    assert_eq!(claim_at(&conn, NOW), []);
    assert_eq!((state(&conn, 1), state(&conn, 2)), (cancelled("private"), cancelled("private")));
}

#[test]
fn a_closed_ticket_and_a_cc_who_became_requester_change_nothing() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Requester, as_is);
    promise(&conn, 2, RecipientRole::Cc, as_is);
    change_ticket(&conn, |ticket| {
        ticket.status = Status::Closed;
        ticket.requester = COLLEAGUE;
        ticket.ccs = [CUSTOMER].into();
    });
    assert_eq!(claim_at(&conn, NOW).len(), 2);
}

#[test]
fn a_mail_is_claimed_once_and_the_oldest_first() {
    let conn = desk();
    for (number, later) in [(1, 2), (2, 0), (3, 1)] {
        let entry = outbox(OutboxId(number), NotificationId(number), RecipientRole::Requester);
        promise_at(&conn, NOW.plus(later * SECOND), entry, as_is);
    }
    let now = NOW.plus(MINUTE);
    let claim_two = || {
        let claims = claim(&conn, now, Terms { limit: 2, ..TERMS }).unwrap();
        claims.claimed.iter().map(|mail| mail.entry.id.0).collect::<Vec<i64>>()
    };
    assert_eq!((claim_two(), claim_two()), (vec![2, 3], vec![1]));
    assert_eq!(claim_at(&conn, now), []);
}

#[test]
fn what_is_not_due_waits() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Requester, as_is);
    assert_eq!(claim_at(&conn, NOW.plus(-1)), []);
    assert_eq!(next_due(&conn).unwrap(), Some(NOW));
    assert_eq!(claim_at(&conn, NOW).len(), 1);
}

#[test]
fn a_sender_that_died_loses_its_lease_and_the_same_mail_goes_out_again() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Requester, as_is);
    let first = claim_at(&conn, NOW);
    assert_eq!(next_due(&conn).unwrap(), Some(NOW.plus(LEASE)));
    assert_eq!(claim_at(&conn, NOW.plus(LEASE - 1)), []);
    let second = claim_at(&conn, NOW.plus(LEASE));
    assert_eq!(second[0].entry, first[0].entry, "the same Message-ID");
    assert_eq!(second[0].attempts, 2);
}

#[test]
fn what_became_of_a_mail_is_recorded_and_only_by_its_sender() {
    let conn = desk();
    for number in 1..=4 {
        promise(&conn, number, RecipientRole::Requester, as_is);
    }
    assert!(record_sent(&conn, OutboxId(1), NOW).is_err(), "nobody claimed it");
    assert_eq!(claim_at(&conn, NOW).len(), 4);
    let later = NOW.plus(HOUR);
    record_sent(&conn, OutboxId(1), NOW).unwrap();
    record_retry(&conn, OutboxId(2), "451 later", later).unwrap();
    record_dead(&conn, OutboxId(3), "550 no such user", NOW).unwrap();
    release(&conn, &[OutboxId(4)], later, "connection refused").unwrap();
    let states: Vec<String> = (1..=4).map(|number| state(&conn, number).0).collect();
    assert_eq!(states, ["sent", "queued", "dead", "queued"]);
    assert_eq!(state(&conn, 3).1.unwrap(), "550 no such user");
    assert!(record_dead(&conn, OutboxId(1), "late news", NOW).is_err(), "sent is sent");

    let again: Vec<(i64, u32)> =
        claim_at(&conn, later).iter().map(|mail| (mail.entry.id.0, mail.attempts)).collect();
    assert_eq!(again, [(2, 2), (4, 1)], "a fault of the site costs no attempt");
}

#[test]
fn an_operator_retries_what_is_dead_cancelled_or_waiting_and_the_question_is_asked_again() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Requester, as_is);
    promise(&conn, 2, RecipientRole::Cc, as_is);
    change_ticket(&conn, |ticket| ticket.ccs.clear());
    claim_at(&conn, NOW);
    assert_eq!(retry(&conn, OutboxId(1), NOW).unwrap(), Retry::Refused, "it is being sent");
    record_dead(&conn, OutboxId(1), "550", NOW).unwrap();
    for number in [1, 2] {
        assert_eq!(retry(&conn, OutboxId(number), NOW).unwrap(), Retry::Queued);
    }
    assert_eq!(retry(&conn, OutboxId(1), NOW).unwrap(), Retry::Queued, "waiting");
    assert_eq!(claim_at(&conn, NOW).len(), 1);
    assert_eq!(state(&conn, 2), cancelled("no_longer_concerned"));
    record_sent(&conn, OutboxId(1), NOW).unwrap();
    assert_eq!(retry(&conn, OutboxId(1), NOW).unwrap(), Retry::Refused);
    assert_eq!(retry(&conn, OutboxId(99), NOW).unwrap(), Retry::Unknown);
}

#[test]
fn a_mail_whose_text_is_owed_waits_until_it_has_one() {
    let conn = desk();
    let content = NotificationContent::Unrendered {
        error: "unknown filter `shout`".to_owned(),
        subject_template: "{{ ticket.title }}".to_owned(),
        body_template: "{{ ticket.title | shout }}".to_owned(),
        values: serde_json::json!({ "ticket": { "title": "fire" } }),
    };
    promise(&conn, 1, RecipientRole::Requester, |firing| firing.content = content.clone());
    assert_eq!(claim_at(&conn, NOW), []);
    assert_eq!(next_due(&conn).unwrap(), None);
    assert_eq!(retry(&conn, OutboxId(1), NOW).unwrap(), Retry::Unrendered(NotificationId(1)));
    let stored = postern::store::rows::mail::notification(&conn, NotificationId(1)).unwrap().unwrap();
    assert_eq!(stored.content, content);

    set_rendered(&conn, NotificationId(1), "fire", "FIRE", "<p>FIRE</p>").unwrap();
    let claimed = claim_at(&conn, NOW);
    let rendered = NotificationContent::Rendered {
        subject: "fire".to_owned(),
        text: "FIRE".to_owned(),
        html: "<p>FIRE</p>".to_owned(),
    };
    assert_eq!(claimed[0].notification.content, rendered);
    assert!(set_rendered(&conn, NotificationId(1), "x", "x", "x").is_err(), "a mail never changes its text");
}

#[test]
fn a_bounce_finds_its_mail_in_any_case_and_the_first_counts() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Requester, as_is);
    let found = |text| find_by_reverse_path(&conn, &address(text)).unwrap();
    assert_eq!(found("BOUNCE+token1@desk.EXAMPLE"), Some(OutboxId(1)));
    assert_eq!(found("bounce+token9@desk.example"), None);
    for later in [1, 2] {
        write_at(
            &conn,
            vec![Write::MarkBounced { reverse_path: address("BOUNCE+token1@desk.EXAMPLE") }],
            Timestamp(later),
        );
    }
    let shown = outbox_show(&conn, OutboxId(1)).unwrap().unwrap();
    assert_eq!(shown.mail.bounced_at, Some(Timestamp(1).rfc3339()));
}

#[test]
fn a_claim_says_what_it_cancelled_and_why() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Cc, as_is);
    change_ticket(&conn, |ticket| ticket.ccs.clear());
    let cancelled = Cancelled {
        id: OutboxId(1),
        ticket: TICKET,
        recipient: address("colleague@example.net"),
        reason: "no_longer_concerned",
    };
    let expected = Claims { cancelled: vec![cancelled], ..Claims::default() };
    assert_eq!(claim(&conn, NOW, TERMS).unwrap(), expected);
    assert_eq!(claim(&conn, NOW, TERMS).unwrap(), Claims::default(), "it is said once");
}

#[test]
fn a_mail_with_a_comment_that_nobody_can_read_does_not_hold_up_the_others() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Requester, as_is);
    promise(&conn, 2, RecipientRole::Requester, |firing| firing.comments = Vec::new());
    conn.execute_batch("PRAGMA ignore_check_constraints = ON; UPDATE comments SET visibility = 'neither'")
        .unwrap();
    let claims = claim(&conn, NOW, TERMS).unwrap();
    assert_eq!(claims.claimed.iter().map(|mail| mail.entry.id.0).collect::<Vec<_>>(), [2]);
    assert_eq!(claims.unreadable.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [1]);
    assert_eq!(state(&conn, 1).0, "dead");
}

#[test]
fn one_row_that_nobody_can_read_does_not_hold_up_the_others() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Requester, as_is);
    promise(&conn, 2, RecipientRole::Requester, as_is);
    conn.execute("UPDATE notifications SET headers = '{' WHERE id = 1", []).unwrap();
    assert_eq!(claim_at(&conn, NOW).len(), 1);
    let dead = outbox_list(&conn, Some(OutboxState::Dead), 9).unwrap();
    assert_eq!(
        dead.iter().map(|mail| mail.id.0).collect::<Vec<_>>(),
        [1],
        "and is there for a person to see"
    );
}

/// Promises, claims and sends one mail; answers whether it went out.
fn sends(conn: &Connection, number: i64, at: Timestamp, change: fn(&mut Notification)) -> bool {
    sends_about(conn, number, TICKET, RecipientRole::Requester, at, change)
}

fn sends_about(
    conn: &Connection,
    number: i64,
    ticket: TicketId,
    role: RecipientRole,
    at: Timestamp,
    change: fn(&mut Notification),
) -> bool {
    let entry = OutboxEntry { ticket, ..outbox(OutboxId(number), NotificationId(number), role) };
    promise_at(conn, at, entry, change);
    let claimed = claim_at(conn, at);
    claimed.iter().for_each(|mail| record_sent(conn, mail.entry.id, at).unwrap());
    if claimed.is_empty() {
        let detail: String = conn
            .query_row("SELECT detail FROM outbox WHERE id = ?1 AND state = 'cancelled'", [number], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(detail, "loop");
    }
    !claimed.is_empty()
}

#[test]
fn five_automatic_mails_an_hour_go_to_one_recipient_about_one_ticket() {
    let conn = desk();
    let went_out: Vec<bool> =
        (1..=7).map(|number| sends(&conn, number, NOW.plus(number * MINUTE), automatic)).collect();
    assert_eq!(went_out, [true, true, true, true, true, false, false]);
    assert!(
        sends_about(&conn, 8, TICKET, RecipientRole::Cc, NOW.plus(8 * MINUTE), automatic),
        "another person"
    );
    let hour_after_first = NOW.plus(HOUR + MINUTE);
    assert!(sends(&conn, 9, hour_after_first, automatic), "the first is an hour ago");
    assert!(!sends(&conn, 10, hour_after_first, automatic));
}

#[test]
fn an_agents_update_refills_the_budget_and_is_never_held_back() {
    let conn = desk();
    assert!((1..=5).all(|number| sends(&conn, number, NOW, automatic)));
    assert!(!sends(&conn, 6, NOW, automatic));
    assert!(sends(&conn, 7, NOW, as_is), "a human agent's update");
    assert!(
        (8..=12).all(|number| sends(&conn, number, NOW, automatic)),
        "refilled, even at the same instant"
    );
    assert!(!sends(&conn, 13, NOW, automatic));
}

#[test]
fn mails_claimed_together_share_the_budget() {
    let conn = desk();
    for number in 1..=8 {
        promise(&conn, number, RecipientRole::Requester, automatic);
    }
    assert_eq!(claim_at(&conn, NOW).len(), 5);
    assert_eq!(state(&conn, 8), cancelled("loop"));
}

fn with_tickets(conn: &Connection, tickets: std::ops::RangeInclusive<i64>) {
    write(conn, tickets.map(|number| Write::PutTicket(ticket(TicketId(number)))).collect());
}

#[test]
fn twenty_automatic_mails_an_hour_go_to_one_customer_about_all_tickets() {
    let conn = desk();
    with_tickets(&conn, 2..=30);
    let sent =
        |number, change| sends_about(&conn, number, TicketId(number), RecipientRole::Requester, NOW, change);
    assert!((1..=20).all(|number| sent(number, automatic)));
    assert!(!sent(21, automatic));
    assert!(sent(22, as_is));
    assert!(sent(23, automatic), "an agent's update refills this budget too");
}

#[test]
fn agents_have_no_budget_over_all_tickets() {
    let conn = desk();
    with_tickets(&conn, 2..=30);
    let sent = |number| sends_about(&conn, number, TicketId(number), RecipientRole::Assignee, NOW, automatic);
    assert!((1..=30).all(sent));
}

#[test]
fn the_words_of_the_states_are_those_of_the_schema() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Requester, as_is);
    for state in OutboxState::ALL {
        assert_eq!(conn.execute("UPDATE outbox SET state = ?1", [state.word()]), Ok(1));
        assert_eq!(OutboxState::from_word(state.word()), Some(state));
    }
}

#[test]
fn what_was_being_sent_for_the_first_time_when_the_process_died_is_sent_at_the_next_start() {
    let conn = desk();
    promise(&conn, 1, RecipientRole::Requester, as_is);
    promise(&conn, 2, RecipientRole::Requester, as_is);
    assert_eq!(claim_at(&conn, NOW).len(), 2);
    record_retry(&conn, OutboxId(2), "451 later", NOW).unwrap();
    assert_eq!(claim_at(&conn, NOW).len(), 1, "the second is tried for the second time");

    release_orphans(&conn, NOW.plus(SECOND)).unwrap();
    let again = claim_at(&conn, NOW.plus(SECOND));
    assert_eq!(
        again.iter().map(|mail| (mail.entry.id, mail.attempts)).collect::<Vec<_>>(),
        [(OutboxId(1), 2)]
    );
    let ids: Vec<_> = claim_at(&conn, NOW.plus(LEASE)).iter().map(|mail| mail.entry.id).collect();
    assert_eq!(ids, [OutboxId(2)], "the second waits for its lease to end");
}
