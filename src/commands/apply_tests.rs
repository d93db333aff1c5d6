//! Applying command blocks: reference/mail-api.md §9, and the system rules behind it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::commands::parse;
use crate::domain::ids::{Salt, TicketId};
use crate::domain::people::{Organization, Role};
use crate::domain::snapshot::Directory;
use crate::domain::ticket::{Priority, TicketType};
use crate::domain::time::Timestamp;

const RITA: UserId = UserId(1);
const ADA: UserId = UserId(2);
const JAKE: UserId = UserId(3);
const SUPPORT: GroupId = GroupId(1);
const BILLING: GroupId = GroupId(2);
const NEWCOMER: UserId = UserId(100);

/// The cast: Rita the customer; Ada in Support; Jake in Billing; Lena, a light agent; Sven, suspended; Nora, an
/// agent in no group; Olga, an agent dropped from the configuration.
struct World {
    ticket: Ticket,
    author: UserId,
    settings: Settings,
    snapshot: Snapshot,
    introduced: Vec<Newcomer>,
}

impl World {
    fn new() -> Self {
        let people = [
            (1, "rita", Role::end_user(), vec![]),
            (2, "ada", Role::agent(), vec![SUPPORT]),
            (3, "jake", Role::agent(), vec![BILLING]),
            (4, "lena", Role::light_agent(), vec![SUPPORT]),
            (5, "sven", Role::end_user(), vec![]),
            (6, "nora", Role::agent(), vec![]),
            (7, "olga", Role::agent(), vec![SUPPORT]),
        ];
        let users: BTreeMap<_, _> = people
            .into_iter()
            .map(|(id, name, role, groups)| {
                let user = User {
                    id: UserId(id),
                    name: name.to_owned(),
                    role,
                    addresses: vec![Address::parse(&format!("{name}@x.example")).unwrap()],
                    organization: None,
                    groups,
                    suspended: name == "sven",
                    active: name != "olga",
                    version: 1,
                };
                (user.id, user)
            })
            .collect();
        let by_address = users.values().map(|user| (user.addresses[0].clone(), user.id)).collect();
        let group =
            |id, name: &str, active| (id, Group { id, name: name.to_owned(), private: false, active });
        let organization = Organization {
            id: OrganizationId(9),
            name: "Cust".to_owned(),
            domains: vec!["cust.example".to_owned()],
            shared_tickets: false,
            shared_comments: false,
            active: true,
        };
        let directory = Directory {
            version: 1,
            agents: BTreeMap::new(),
            groups: BTreeMap::from([
                group(SUPPORT, "Support", true),
                group(BILLING, "Billing", true),
                group(GroupId(3), "Old", false),
                group(GroupId(4), "Twin", true),
                group(GroupId(5), "twin", true),
            ]),
            organizations: BTreeMap::from([(organization.id, organization)]),
        };
        let mut ticket = Ticket::blank(TicketId(1), Salt([0; 16]), RITA, Timestamp(0));
        ticket.status = Status::Open;
        Self {
            ticket,
            author: ADA,
            settings: Settings::for_address("support@own.example").unwrap(),
            snapshot: Snapshot { users, by_address, directory: Arc::new(directory), ..Snapshot::default() },
            introduced: Vec::new(),
        }
    }

    fn assigned(mut self, assignee: UserId, group: GroupId) -> Self {
        self.ticket.assignee = Some(assignee);
        self.ticket.group = Some(group);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn apply(&mut self, text: &str) -> Applied {
        let context = ApplyContext {
            ticket: &self.ticket,
            author: &self.snapshot.users[&self.author],
            snapshot: &self.snapshot,
            settings: &self.settings,
        };
        let introduced = &mut self.introduced;
        apply(&parse(text), context, &mut |newcomer| {
            introduced.push(newcomer);
            NEWCOMER
        })
    }

    /// Applies the text; then what became of the ticket, in one line.
    fn after(&mut self, text: &str) -> String {
        let result = self.apply(text);
        if let Some(detail) = result.suspend {
            assert!(result.events.is_empty(), "a held mail changes nothing");
            return format!("suspended: {detail}");
        }
        let before = self.ticket.clone();
        let mut ticket = self.ticket.clone();
        for event in &result.events {
            ticket.apply(event, Timestamp(1));
        }
        let mut words = Vec::new();
        if ticket.requester != before.requester {
            words.push(format!("requester={}", ticket.requester));
        }
        if ticket.group != before.group {
            words.push(format!("group={}", ticket.group.unwrap()));
        }
        if ticket.assignee != before.assignee {
            words
                .push(format!("assignee={}", ticket.assignee.map_or("none".to_owned(), |id| id.to_string())));
        }
        words.extend(ticket.ticket_type.map(|value| format!("type={}", value.word())));
        words.extend(ticket.priority.map(|value| format!("priority={}", value.word())));
        words.extend(ticket.tags.iter().map(|tag| format!("+{tag}")));
        if ticket.status != before.status {
            words.push(format!("status={}", ticket.status.word()));
        }
        words.join(" ")
    }

    /// `name outcome` of each command.
    fn outcomes(&mut self, text: &str) -> Vec<String> {
        let result = self.apply(text);
        let outcome = |event| match event {
            Event::Command { name, outcome, because } => {
                assert!(!because.is_empty());
                format!("{name} {}", format!("{outcome:?}").to_lowercase())
            }
            other => panic!("{other:?} is no outcome"),
        };
        result.outcomes.into_iter().map(outcome).collect()
    }
}

#[track_caller]
fn check(mut world: World, text: &str, expected: &str) {
    assert_eq!(world.after(text), expected, "applying {text:?}");
}

// The numbers are those of reference/mail-api.md §9.

#[test]
fn case_1_an_assignee_and_solved_in_one_mail() {
    check(
        World::new(),
        "#status solved\n#assignee jake@x.example\n\ntext",
        "group=2 assignee=3 status=solved",
    );
}

#[test]
fn case_2_solved_on_an_assigned_ticket() {
    check(World::new().assigned(ADA, SUPPORT), "#solved", "status=solved");
}

#[test]
fn case_3_solved_without_an_assignee_is_ignored_or_assigns_the_author() {
    check(World::new(), "#solved", "");
    let assign_solver = |world: &mut World| world.settings.tickets.assign_solver = true;
    check(World::new().with(assign_solver), "#solved", "group=1 assignee=2 status=solved");
    check(World::new().with(assign_solver).with(|world| world.author = UserId(6)), "#solved", "");
    check(World::new().with(assign_solver), "#group Billing\n#solved", "group=2");
}

#[test]
fn cases_5_to_8_wishes_about_privacy_change_no_property_and_have_an_outcome() {
    check(World::new(), "#note\n#public true\ntext", "");
    assert_eq!(World::new().outcomes("#public\n#note\ntext"), ["public ignored", "note applied"]);
    assert_eq!(
        World::new().outcomes("#public false\n#public true\ntext"),
        ["public applied", "public ignored"]
    );
    assert_eq!(World::new().outcomes("#public\ntext"), ["public applied"]);
}

#[test]
fn case_9_a_command_below_text_changes_nothing() {
    check(World::new().assigned(ADA, SUPPORT), "text\n#solved", "");
}

#[test]
fn case_10_a_command_after_an_unknown_word_is_applied() {
    check(World::new().assigned(ADA, SUPPORT), "#frobnicate yes\n#solved", "status=solved");
}

#[test]
fn case_10b_a_command_after_a_line_that_is_none_is_not_applied() {
    check(World::new().assigned(ADA, SUPPORT), "#1 issue is login\ntext\n#solved", "");
}

#[test]
fn case_11_a_status_that_mail_may_not_set_is_ignored() {
    for status in ["closed", "new", "hold"] {
        check(World::new().assigned(ADA, SUPPORT), &format!("#status {status}"), "");
        assert_eq!(World::new().outcomes(&format!("#status {status}")), ["status ignored"]);
    }
}

#[test]
fn cases_12_and_13_spaces_and_case_are_lenient() {
    check(World::new(), "#status   pending", "status=pending");
    check(World::new().assigned(ADA, SUPPORT), "#SOLVED", "status=solved");
}

#[test]
fn cases_14_and_15_end_users_and_light_agents_may_not_command() {
    let world = World::new();
    let may = |id| may_command(&world.snapshot.users[&UserId(id)]);
    assert!(may(2), "an agent");
    assert!(!may(1), "an end user");
    assert!(!may(4), "a light agent");
    assert!(!may(5), "somebody suspended");
    assert!(!may(7), "a former agent");
}

#[test]
fn case_16_an_unknown_requester_becomes_a_user_of_their_organization() {
    let mut world = World::new();
    assert_eq!(world.after("#requester new@cust.example\ntext"), "requester=100");
    let address = Address::parse("new@cust.example").unwrap();
    assert_eq!(world.introduced, [Newcomer { name: None, address, organization: Some(OrganizationId(9)) }]);
    check(World::new(), "#requester jake@x.example", "requester=3");
    check(World::new(), "#requester 3", "requester=3");
    check(World::new(), "#requester rita@x.example", "");
}

#[test]
fn case_17_a_requester_it_may_not_name_holds_the_mail() {
    let own = "suspended: `#requester`: the requester would be an address of this help desk";
    check(World::new(), "#requester support@own.example", own);
    check(World::new(), "#requester SUPPORT+idABC@own.example\n#solved", own);
    check(World::new(), "#requester sven@x.example", "suspended: `#requester`: the user is suspended");
    check(World::new(), "#requester olga@x.example", "suspended: `#requester`: the user was deactivated");
    check(World::new(), "#requester 999", "suspended: `#requester`: no user has this id");
    check(World::new(), "#requester nobody", "");
    let mut world = World::new();
    assert_eq!(world.outcomes("#requester 999\n#solved"), ["requester failed"]);
    assert!(world.introduced.is_empty());
}

#[test]
fn case_18_a_forward_gets_requester_and_group() {
    check(World::new(), "#requester rick@b.example\n#group billing\n\n-- forwarded", "requester=100 group=2");
}

#[test]
fn case_19_tags_add_up() {
    let tagged = |world: &mut World| {
        world.ticket.tags.insert("old".to_owned());
    };
    check(World::new().with(tagged), "#tags vip, refund urgent-case", "+old +refund +urgent-case +vip");
    check(World::new().with(tagged), "#tags a OLD\n#tag: b", "+a +b +old");
}

#[test]
fn case_22_properties_are_set_on_whatever_ticket_is_given() {
    check(World::new(), "#priority high\n#type task\ntext", "type=task priority=high");
}

#[test]
fn a_bad_value_does_not_hinder_the_others() {
    check(World::new(), "#status done\n#priority\n#urgent\ntext", "priority=urgent");
    assert_eq!(World::new().outcomes("#status done\n#urgent"), ["priority applied", "status ignored"]);
}

#[test]
fn the_last_usable_line_wins() {
    check(World::new(), "#low\n#urgent\n#priority high\n#priority x", "priority=high");
    let outcomes = World::new().outcomes("#low\n#urgent\n#priority x");
    assert_eq!(outcomes, ["priority ignored", "priority applied", "priority ignored"]);
}

#[test]
fn what_is_so_already_is_applied_and_makes_no_event() {
    let mut world = World::new().assigned(ADA, SUPPORT).with(|world| {
        world.ticket.priority = Some(Priority::Low);
        world.ticket.ticket_type = Some(TicketType::Task);
        world.ticket.tags.insert("vip".to_owned());
    });
    let text = "#requester 1\n#group Support\n#assignee 2\n#task\n#low\n#tags vip\n#open";
    assert!(world.apply(text).events.is_empty());
    assert!(world.outcomes(text).iter().all(|outcome| outcome.ends_with(" applied")));
}

#[test]
fn a_group_is_found_by_id_or_name_if_it_is_active_and_the_only_one() {
    check(World::new(), "#group 2", "group=2");
    check(World::new(), "#group BILLING", "group=2");
    for group in ["Nowhere", "Old", "3", "Twin"] {
        check(World::new(), &format!("#group {group}"), "");
    }
}

#[test]
fn only_agents_who_may_be_assigned_are() {
    for person in
        ["rita@x.example", "lena@x.example", "nora@x.example", "olga@x.example", "new@cust.example", "999"]
    {
        check(World::new(), &format!("#assignee {person}"), "");
    }
}

#[test]
fn an_agent_outside_the_named_group_is_dropped_and_the_group_kept() {
    check(World::new(), "#group Billing\n#assignee ada@x.example", "group=2");
    check(
        World::new().assigned(ADA, SUPPORT),
        "#group Billing\n#assignee ada@x.example",
        "group=2 assignee=none",
    );
    check(
        World::new().assigned(ADA, SUPPORT),
        "#group Billing\n#assignee jake@x.example",
        "group=2 assignee=3",
    );
}

#[test]
fn an_agent_outside_the_current_group_takes_the_ticket_to_their_default_group() {
    check(World::new().assigned(ADA, SUPPORT), "#assignee jake@x.example", "group=2 assignee=3");
}

#[test]
fn moving_a_ticket_to_another_group_drops_an_assignee_outside_it_so_it_cannot_be_solved() {
    check(World::new().assigned(ADA, SUPPORT), "#group Billing\n#solved", "group=2 assignee=none");
    check(World::new().assigned(JAKE, BILLING), "#group Billing\n#solved", "status=solved");
}

#[test]
fn assigning_a_new_ticket_opens_it_unless_a_status_is_given() {
    let fresh = || World::new().with(|world| world.ticket.status = Status::New);
    check(fresh(), "#assignee ada@x.example", "group=1 assignee=2 status=open");
    check(fresh(), "#assignee ada@x.example\n#pending", "group=1 assignee=2 status=pending");
    check(fresh(), "#assignee ada@x.example\n#status closed", "group=1 assignee=2 status=open");
    check(fresh(), "#group Billing", "group=2");
}

#[test]
fn a_role_without_edit_rights_may_still_ask_for_a_note() {
    let text = "#requester support@own.example\n#high\n#solved\n#note\ntext";
    let mut world = World::new().assigned(ADA, SUPPORT).with(|world| {
        world.snapshot.users.get_mut(&ADA).unwrap().role.edit_ticket_properties = false;
    });
    let outcomes = ["requester ignored", "priority ignored", "status ignored", "note applied"];
    assert_eq!(world.outcomes(text), outcomes);
    check(world, text, "");
}
