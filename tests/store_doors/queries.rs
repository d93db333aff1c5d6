//! What people and programs are shown.

use postern::domain::fate::{Fate, SuspensionCause};
use postern::domain::ids::{CommentId, JournalId, NotificationId, OutboxId, SuspendedId, TicketId};
use postern::domain::people::User;
use postern::domain::plan::{RecipientRole, Write};
use postern::domain::snapshot::SuspendedTicket;
use postern::domain::ticket::{Status, Ticket};
use postern::domain::trace::Trace;
use postern::store::outbox::OutboxState;
use postern::store::queries::*;
use postern::store::rows::people::update_user;
use serde_json::{Value, json};

use crate::world::*;

/// Those of the value's keys that programs depend on.
fn pick(value: &Value, keys: &[&str]) -> Value {
    keys.iter().map(|key| ((*key).to_owned(), value[*key].clone())).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn a_ticket_is_shown_with_the_keys_programs_depend_on() {
    let conn = desk();
    let shown = serde_json::to_value(ticket_show(&conn, TICKET).unwrap().unwrap()).unwrap();
    let keys = [
        "id",
        "status",
        "is_public",
        "requester",
        "assignee",
        "group",
        "priority",
        "type",
        "tags",
        "ccs",
        "followers",
    ];
    assert_eq!(
        pick(&shown, &keys),
        json!({
            "id": 1, "status": "new", "is_public": true, "requester": "customer@example.net",
            "assignee": "agent@desk.example", "group": "Support", "priority": null, "type": null, "tags": [],
            "ccs": ["colleague@example.net"], "followers": ["agent@desk.example"],
        })
    );
    assert_eq!(
        pick(&shown["comments"][1], &["id", "author", "visibility", "rule", "flags", "text"]),
        json!({
            "id": 2, "author": "customer@example.net", "visibility": "private", "rule": "end-user",
            "flags": ["outsider"], "text": "comment 2",
        })
    );
    assert_eq!(ticket_show(&conn, TicketId(99)).unwrap(), None);
}

#[test]
fn somebody_without_an_address_is_shown_by_number() {
    let conn = desk();
    let nameless = User { addresses: Vec::new(), ..stored_user(&conn, COLLEAGUE) };
    update_user(&conn, &nameless).unwrap();
    assert_eq!(ticket_show(&conn, TICKET).unwrap().unwrap().ccs, ["user 2"]);
}

#[test]
fn tickets_are_listed_newest_first_by_status_up_to_a_limit() {
    let conn = desk();
    for (number, status) in [(2, Status::Open), (3, Status::New), (4, Status::Open)] {
        write(&conn, vec![Write::PutTicket(Ticket { status, ..ticket(TicketId(number)) })]);
    }
    let ids = |status, limit| {
        let lines = ticket_list(&conn, TicketFilter { status, limit }).unwrap();
        lines.iter().map(|line| line.id.0).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 3), [4, 3, 2]);
    assert_eq!(ids(Some(Status::New), 9), [3, 1]);
}

#[test]
fn a_comment_is_explained_by_the_trace_and_events_of_its_update() {
    let conn = desk();
    write(&conn, vec![Write::MakeCommentPrivate(PUBLIC)]);
    let explained = comment_explain(&conn, PUBLIC).unwrap().unwrap();
    assert!(explained.was_public);
    assert_eq!(explained.rule, "end-user");
    assert_eq!(explained.audit, audits_of_ticket(&conn, TICKET).unwrap()[0]);
    assert_eq!(explained.audit.trace.steps[0].because, "the author is an end user");
    assert_eq!(explained.audit.events.len(), 1);
    assert_eq!(comment_explain(&conn, CommentId(99)).unwrap(), None);
}

#[test]
fn held_mail_is_listed_until_a_person_decides() {
    let conn = desk();
    accept(&conn, JournalId(1), NOW);
    let held = SuspendedTicket {
        id: SuspendedId(1),
        journal: JournalId(1),
        cause: SuspensionCause::FailedEmailAuthentication,
        detail: "nobody vouches for the author".to_owned(),
        author: Some(address("agent@desk.example")),
        author_name: None,
        subject: "Re: fire".to_owned(),
        ticket: Some(TICKET),
        created_at: NOW,
        trace: Trace::default(),
    };
    let fate = Fate::Suspended(held.cause);
    let journal = JournalId(1);
    let settle = Write::SettleJournal { journal, record: Some(record(journal)), fate };
    write(&conn, vec![Write::InsertSuspended(held), settle]);
    let listed = suspended_list(&conn, 10).unwrap();
    let value = serde_json::to_value(&listed).unwrap();
    assert_eq!(
        pick(&value[0], &["id", "cause", "cause_id", "author", "ticket", "released_at"]),
        json!({
            "id": 1, "cause": "failed_email_authentication", "cause_id": 26, "author": "agent@desk.example",
            "ticket": 1, "released_at": null,
        })
    );
    let mail = journal_show(&conn, JournalId(1)).unwrap().unwrap();
    assert_eq!(
        (mail.state.as_str(), mail.detail.as_deref()),
        ("suspended", Some("failed_email_authentication"))
    );
    assert_eq!((mail.suspended, mail.audits), (vec![SuspendedId(1)], vec![]));

    write(&conn, vec![Write::ReleaseSuspended(SuspendedId(1))]);
    assert_eq!(suspended_list(&conn, 10).unwrap(), []);
    let shown = suspended_show(&conn, SuspendedId(1)).unwrap().unwrap();
    assert_eq!(shown.released_at, Some(NOW.rfc3339()));
}

#[test]
fn a_decided_mail_is_shown_with_what_became_of_it() {
    let conn = desk();
    deliver(&conn, record(JournalId(1)), NOW);
    let shown = serde_json::to_value(journal_show(&conn, JournalId(1)).unwrap().unwrap()).unwrap();
    assert_eq!(
        pick(&shown, &["state", "detail", "ticket", "comment", "message_id", "trust", "token_ticket"]),
        json!({
            "state": "done", "detail": null, "ticket": 1, "comment": 1, "message_id": "mail@example.net",
            "trust": "authenticated", "token_ticket": 1,
        })
    );
    assert_eq!(journal_show(&conn, JournalId(9)).unwrap(), None);
}

#[test]
fn promised_mails_are_listed_by_state_and_never_show_a_secret() {
    let conn = desk();
    let entry = |number, role| Write::InsertOutbox(outbox(OutboxId(number), NotificationId(1), role));
    write(
        &conn,
        vec![
            Write::InsertNotification(notification(NotificationId(1))),
            entry(1, RecipientRole::Requester),
            entry(2, RecipientRole::Cc),
        ],
    );
    let ids = |state| outbox_list(&conn, state, 10).unwrap().iter().map(|mail| mail.id.0).collect::<Vec<_>>();
    assert_eq!(ids(Some(OutboxState::Queued)), [2, 1]);
    assert_eq!(ids(Some(OutboxState::Sent)), [0_i64; 0]);
    let shown = serde_json::to_value(outbox_show(&conn, OutboxId(2)).unwrap().unwrap()).unwrap();
    assert_eq!(
        pick(&shown, &["recipient", "role", "state", "rule", "visibility", "text", "error"]),
        json!({
            "recipient": "colleague@example.net", "role": "cc", "state": "queued", "rule": "notify-requester",
            "visibility": "public", "text": "comment 1", "error": null,
        })
    );
    let text = shown.to_string();
    for secret in ["ABC", "TOKEN", "token"] {
        assert!(!text.contains(secret), "`{secret}` is in {text}");
    }
}
