//! Files own people.

use postern::domain::ids::{GroupId, OrganizationId, TicketId, UserId};
use postern::domain::people::{GroupEntry, OrganizationEntry, People, PersonEntry, Role, User};
use postern::domain::plan::Write;
use postern::domain::ticket::Ticket;
use postern::store::people::{PeopleIds, SyncError, SyncReport, sync};
use postern::store::snapshot;
use rusqlite::Connection;

use crate::world::*;

/// Counts from 101, so that ids of files and of mail are told apart.
struct Ids(i64);

impl Ids {
    fn next(&mut self) -> i64 {
        self.0 += 1;
        self.0
    }
}

impl PeopleIds for Ids {
    fn user(&mut self) -> UserId {
        UserId(self.next())
    }
    fn group(&mut self) -> GroupId {
        GroupId(self.next())
    }
    fn organization(&mut self) -> OrganizationId {
        OrganizationId(self.next())
    }
}

fn person(key: &str, addresses: &[&str]) -> PersonEntry {
    PersonEntry {
        key: key.to_owned(),
        name: key.to_uppercase(),
        role: Role::agent(),
        addresses: addresses.iter().map(|text| address(text)).collect(),
        groups: Vec::new(),
        organization: None,
        suspended: false,
    }
}

fn file(people: Vec<PersonEntry>) -> People {
    People { people, ..People::default() }
}

fn run(conn: &Connection, people: &People) -> SyncReport {
    let next: i64 =
        conn.query_row("SELECT 100 + count(*) FROM config_objects", [], |row| row.get(0)).unwrap();
    sync(conn, people, &mut Ids(next), NOW).unwrap()
}

fn version(conn: &Connection) -> i64 {
    snapshot::directory_version(conn).unwrap()
}

fn owner(conn: &Connection, text: &str) -> Option<UserId> {
    postern::store::rows::people::owner(conn, &address(text)).unwrap()
}

fn full() -> People {
    People {
        groups: ["support", "sales"]
            .map(|key| GroupEntry { key: key.to_owned(), name: key.to_uppercase(), private: key == "sales" })
            .to_vec(),
        organizations: vec![OrganizationEntry {
            key: "acme".to_owned(),
            name: "Acme".to_owned(),
            domains: vec!["acme.example".to_owned()],
            shared_tickets: true,
            shared_comments: false,
        }],
        people: vec![PersonEntry {
            groups: vec!["sales".to_owned(), "support".to_owned()],
            organization: Some("acme".to_owned()),
            ..person("ada", &["ada@desk.example", "ada@home.example"])
        }],
    }
}

#[test]
fn what_a_file_names_is_there_with_all_its_parts() {
    let conn = empty();
    assert_eq!(run(&conn, &full()), SyncReport { added: 4, changed: 0, deactivated: 0 });
    let ada = stored_user(&conn, owner(&conn, "ada@desk.example").unwrap());
    let directory = snapshot::directory(&conn).unwrap();
    let names: Vec<&str> = ada.groups.iter().map(|id| directory.groups[id].name.as_str()).collect();
    assert_eq!(names, ["SALES", "SUPPORT"], "the default group first");
    assert_eq!(directory.organizations[&ada.organization.unwrap()].domains, ["acme.example"]);
    assert_eq!(directory.agents[&ada.id], ada);
    assert_eq!(ada.addresses, [address("ada@desk.example"), address("ada@home.example")]);
}

#[test]
fn the_same_file_again_changes_nothing_not_even_the_directory_version() {
    let conn = empty();
    run(&conn, &full());
    let before = version(&conn);
    assert_eq!(run(&conn, &full()), SyncReport::default());
    assert_eq!(version(&conn), before);
}

#[test]
fn a_changed_person_keeps_their_id_and_counts_one_version_more() {
    let conn = empty();
    run(&conn, &full());
    let before = (version(&conn), stored_user(&conn, owner(&conn, "ada@desk.example").unwrap()));
    let mut changed = full();
    changed.people[0].role = Role::light_agent();
    assert_eq!(run(&conn, &changed), SyncReport { added: 0, changed: 1, deactivated: 0 });
    let expected = User { role: Role::light_agent(), version: before.1.version + 1, ..before.1 };
    assert_eq!(stored_user(&conn, expected.id), expected);
    assert_eq!(version(&conn), before.0 + 1);
}

#[test]
fn what_a_file_drops_is_inactive_and_comes_back_with_the_same_ids() {
    let conn = empty();
    run(&conn, &full());
    let ada = stored_user(&conn, owner(&conn, "ada@desk.example").unwrap());
    assert_eq!(run(&conn, &People::default()).deactivated, 4);
    let dropped = stored_user(&conn, ada.id);
    assert!(!dropped.active && !dropped.is_agent());
    assert_eq!(dropped.addresses, ada.addresses, "history keeps its name");
    let directory = snapshot::directory(&conn).unwrap();
    assert!(directory.agents.is_empty());
    assert!(directory.groups.values().filter(|group| group.id != GROUP).all(|group| !group.active));
    assert!(directory.organizations.values().all(|organization| !organization.active));

    assert_eq!(run(&conn, &full()), SyncReport { added: 0, changed: 4, deactivated: 0 });
    assert_eq!(stored_user(&conn, ada.id), User { version: ada.version + 2, ..ada });
}

#[test]
fn somebody_met_through_mail_becomes_the_person_with_their_tickets() {
    let conn = desk();
    run(&conn, &file(vec![person("cleo", &["cleo@desk.example", "Customer@example.net"])]));
    let cleo = stored_user(&conn, CUSTOMER);
    assert_eq!((cleo.name.as_str(), cleo.role, cleo.version), ("CLEO", Role::agent(), 2));
    assert_eq!(cleo.addresses, [address("cleo@desk.example"), address("customer@example.net")]);
    assert_eq!(stored_ticket(&conn, TICKET).requester, CUSTOMER);
}

#[test]
fn addresses_of_two_people_met_through_mail_go_to_the_first_of_them() {
    let conn = desk();
    run(&conn, &file(vec![person("cleo", &["colleague@example.net", "customer@example.net"])]));
    assert_eq!(owner(&conn, "customer@example.net"), Some(COLLEAGUE));
    assert_eq!(stored_user(&conn, CUSTOMER).addresses, []);
    assert_eq!(stored_user(&conn, CUSTOMER).version, 2, "plans that read the old addresses conflict");
}

#[test]
fn a_user_that_a_file_named_is_never_somebody_else() {
    let conn = desk();
    run(&conn, &file(vec![person("cleo", &["customer@example.net"])]));
    // The file renames the key: a new person takes the address, and Cleo's history stays Cleo's.
    run(&conn, &file(vec![person("cleopatra", &["customer@example.net"])]));
    let new = owner(&conn, "customer@example.net").unwrap();
    assert_ne!(new, CUSTOMER);
    assert!(stored_user(&conn, new).active && !stored_user(&conn, CUSTOMER).active);
}

#[test]
fn an_address_moves_between_persons_whatever_their_order_in_the_file() {
    for reversed in [false, true] {
        let conn = empty();
        let mut before =
            vec![person("a", &["a@x.example", "shared@x.example"]), person("b", &["b@x.example"])];
        let mut after =
            vec![person("a", &["a@x.example"]), person("b", &["b@x.example", "shared@x.example"])];
        if reversed {
            before.reverse();
            after.reverse();
        }
        run(&conn, &file(before));
        run(&conn, &file(after));
        assert_eq!(owner(&conn, "shared@x.example"), owner(&conn, "b@x.example"));
        assert_eq!(stored_user(&conn, owner(&conn, "a@x.example").unwrap()).addresses.len(), 1);
    }
}

#[test]
fn a_file_that_contradicts_itself_is_refused_by_key() {
    let conn = empty();
    let refused = |people: &People| sync(&conn, people, &mut Ids(100), NOW).unwrap_err();
    let twice = file(vec![person("a", &["x@x.example"]), person("b", &["X@x.example"])]);
    assert!(
        matches!(refused(&twice), SyncError::AddressTwice { first, second, .. } if first == "a" && second == "b")
    );

    let grouped = PersonEntry { groups: vec!["nowhere".to_owned()], ..person("a", &[]) };
    assert_eq!(
        refused(&file(vec![grouped])).to_string(),
        "person `a` is in group `nowhere`, and there is no group with that key"
    );
    let employed = PersonEntry { organization: Some("nowhere".to_owned()), ..person("a", &[]) };
    assert!(matches!(refused(&file(vec![employed])), SyncError::UnknownOrganization { .. }));
}

#[test]
fn end_users_met_through_mail_that_no_file_names_stay_as_they_are() {
    let conn = desk();
    let before = stored_user(&conn, COLLEAGUE);
    run(&conn, &full());
    run(&conn, &People::default());
    assert_eq!(stored_user(&conn, COLLEAGUE), before);
    write(&conn, vec![Write::PutTicket(Ticket { requester: COLLEAGUE, ..ticket(TicketId(9)) })]);
}
