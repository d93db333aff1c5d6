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

mod privacy_rows;

use std::fmt::Write as _;

use postern::scenario;
use privacy_rows::{Row, rows};

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
