//! Triggers over updates: the cases of reference/triggers-and-automations.md part J, by number, and that any set of
//! triggers comes to an end.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postern::config::rules::{STANDARD_TRIGGERS, parse_triggers};
use postern::domain::address::Address;
use postern::domain::event::{Actor, Event};
use postern::domain::ids::{GroupId, Salt, TicketId, UserId};
use postern::domain::people::{Group, Role, User};
use postern::domain::rule::{KnownPeople, NotificationTarget, Trigger};
use postern::domain::snapshot::{Directory, Snapshot};
use postern::domain::ticket::{Channel, Priority, Status, Ticket, Visibility};
use postern::domain::time::Timestamp;
use postern::rules::{RuleRun, UpdateContext, run};
use proptest::prelude::*;

const KIM: UserId = UserId(1);
const ANA: UserId = UserId(10);
const BOB: UserId = UserId(11);
const LEE: UserId = UserId(12);
const BILLING: GroupId = GroupId(1);
const PLUMBING: GroupId = GroupId(2);
const NOW: Timestamp = Timestamp(1_000_000);

/// Kim is a customer; Ana (billing) and Bob (plumbing) are agents; Lee is a light agent in billing.
fn people() -> Snapshot {
    let user = |id, name: &str, role, groups: &[GroupId]| User {
        id,
        name: name.to_owned(),
        role,
        addresses: vec![Address::parse(&format!("{name}@desk.example")).unwrap()],
        organization: None,
        groups: groups.to_vec(),
        suspended: false,
        active: true,
        version: 1,
    };
    let group = |id, name: &str| (id, Group { id, name: name.to_owned(), private: false, active: true });
    let agents = [
        user(ANA, "ana", Role::agent(), &[BILLING]),
        user(BOB, "bob", Role::agent(), &[PLUMBING]),
        user(LEE, "lee", Role::light_agent(), &[BILLING]),
    ];
    let directory = Directory {
        agents: agents.into_iter().map(|agent| (agent.id, agent)).collect(),
        groups: BTreeMap::from([group(BILLING, "Billing"), group(PLUMBING, "Plumbing")]),
        ..Directory::default()
    };
    let kim = user(KIM, "kim", Role::end_user(), &[]);
    Snapshot { users: BTreeMap::from([(KIM, kim)]), directory: Arc::new(directory), ..Snapshot::default() }
}

/// An update of Kim's ticket, and what the rules made of it.
struct Update {
    before: Option<Ticket>,
    after: Ticket,
    comment: Option<Visibility>,
    actor: Option<UserId>,
    via: Channel,
}

fn ticket() -> Ticket {
    let mut ticket = Ticket::blank(TicketId(7), Salt([0; 16]), KIM, Timestamp(0));
    ticket.subject = "Printer on fire".to_owned();
    ticket.via = Channel::Mail;
    ticket
}

impl Update {
    /// A mail that creates the ticket, with a public comment.
    fn creation(actor: UserId) -> Self {
        let after = Ticket { public_comments: 1, comments: 1, ..ticket() };
        Self {
            before: None,
            after,
            comment: Some(Visibility::Public),
            actor: Some(actor),
            via: Channel::Mail,
        }
    }

    /// A mail with a public comment on `before`.
    fn comment(actor: UserId, before: Ticket) -> Self {
        let after = Ticket { public_comments: before.public_comments + 1, ..before.clone() };
        Self {
            before: Some(before),
            after,
            comment: Some(Visibility::Public),
            actor: Some(actor),
            via: Channel::Mail,
        }
    }

    fn private(mut self) -> Self {
        self.after.public_comments -= 1;
        self.comment = Some(Visibility::Private);
        self
    }

    fn changing(mut self, change: impl FnOnce(&mut Ticket)) -> Self {
        change(&mut self.after);
        self
    }

    fn run(mut self, triggers: &[Trigger]) -> (RuleRun, Ticket) {
        let snapshot = people();
        let ctx = UpdateContext {
            before: self.before.as_ref(),
            comment: self.comment,
            actor: self.actor,
            via: self.via,
            people: KnownPeople { snapshot: &snapshot, newcomers: &[] },
            now: NOW,
        };
        let run = run(&ctx, &mut self.after, triggers);
        (run, self.after)
    }
}

fn load(text: &str) -> Vec<Trigger> {
    parse_triggers("triggers.toml", text).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn standard() -> Vec<Trigger> {
    load(STANDARD_TRIGGERS)
}

/// Triggers from `(key, all, any, actions)`, in TOML.
fn triggers(rules: &[(&str, &str, &str, &str)]) -> Vec<Trigger> {
    let one = |(key, all, any, actions): &(&str, &str, &str, &str)| {
        format!(
            "[[triggers]]\nkey = \"{key}\"\ntitle = \"{key}\"\nconditions.all = [{all}]\nconditions.any = [{any}]\n\
             actions = [{actions}]\n"
        )
    };
    load(&rules.iter().map(one).collect::<String>())
}

fn fired(run: &RuleRun) -> Vec<&str> {
    run.trace.steps.iter().filter(|step| step.answer == "fired").map(|step| &*step.check).collect()
}

fn tags(ticket: &Ticket) -> Vec<&str> {
    ticket.tags.iter().map(String::as_str).collect()
}

const CREATED: &str = r#"{ field = "update_type", value = "Create" }"#;
const TAG: &str = r#"{ field = "current_tags", value = "seen" }"#;
const MAIL: &str = r#"{ field = "notification_user", value = ["requester_and_ccs", "s", "b"] }"#;

#[test]
fn j1_a_trigger_above_sees_what_one_below_did_and_each_fires_once() {
    let rules = triggers(&[
        (
            "t2",
            r#"{ field = "priority", value = "high" }"#,
            "",
            r#"{ field = "current_tags", value = "vip" }"#,
        ),
        ("t1", CREATED, "", r#"{ field = "priority", value = "high" }"#),
    ]);
    let (run, ticket) = Update::creation(KIM).run(&rules);
    assert_eq!(fired(&run), ["t1", "t2"]);
    assert_eq!((ticket.priority, tags(&ticket)), (Some(Priority::High), vec!["vip"]));
    let by: Vec<&Actor> = run.events.iter().map(|event| &event.by).collect();
    assert_eq!(by, [&Actor::Rule { key: "t1".into() }, &Actor::Rule { key: "t2".into() }]);
}

#[test]
fn j2_two_triggers_that_undo_each_other_fire_once_each() {
    let rules = triggers(&[
        (
            "t1",
            r#"{ field = "current_tags", operator = "not_includes", value = "a" }"#,
            "",
            r#"{ field = "current_tags", value = "a" }"#,
        ),
        (
            "t2",
            r#"{ field = "current_tags", operator = "includes", value = "a" }"#,
            "",
            r#"{ field = "remove_tags", value = "a" }"#,
        ),
    ]);
    let (run, ticket) = Update::creation(KIM).run(&rules);
    assert_eq!(fired(&run), ["t1", "t2"]);
    assert!(ticket.tags.is_empty());
}

#[test]
fn j3_one_any_condition_is_enough() {
    let any = r#"{ field = "priority", value = "urgent" }, { field = "update_type", value = "Create" }"#;
    let (run, _) = Update::creation(KIM).run(&triggers(&[("t", "", any, TAG)]));
    assert_eq!(fired(&run), ["t"]);
}

#[test]
fn j4_all_conditions_without_any_of_the_any_are_not() {
    let any = r#"{ field = "priority", value = "urgent" }, { field = "status", value = "solved" }"#;
    let (run, ticket) = Update::creation(KIM).run(&triggers(&[("t", CREATED, any, TAG)]));
    assert!(fired(&run).is_empty() && ticket.tags.is_empty());
    assert_eq!(run.trace.steps[0].because, "none of its `any` conditions holds");
}

#[test]
fn j5_a_group_set_at_creation_changed() {
    let rules = triggers(&[("t", r#"{ field = "group_id", operator = "changed" }"#, "", TAG)]);
    assert!(fired(&Update::creation(KIM).run(&rules).0).is_empty());
    let (run, _) = Update::creation(KIM).changing(|ticket| ticket.group = Some(BILLING)).run(&rules);
    assert_eq!(fired(&run), ["t"]);
}

#[test]
fn j6_a_pending_ticket_that_a_mail_opened_changed_from_pending() {
    let pending = Ticket { status: Status::Pending, ..ticket() };
    for (operator, fires) in
        [("changed_from", true), ("value_previous", true), ("not_changed_from", false), ("changed_to", false)]
    {
        let condition = format!(r#"{{ field = "status", operator = "{operator}", value = "pending" }}"#);
        let rules = triggers(&[("t", &condition, "", TAG)]);
        let update = Update::comment(KIM, pending.clone()).changing(|ticket| ticket.status = Status::Open);
        assert_eq!(!fired(&update.run(&rules).0).is_empty(), fires, "{operator}");
    }
}

#[test]
fn j7_a_change_by_the_system_has_no_current_user() {
    let rules = triggers(&[
        (
            "changed",
            r#"{ field = "priority", operator = "changed" }, { field = "current_via_id", value = "rule" }"#,
            "",
            TAG,
        ),
        ("by-agent", r#"{ field = "role", value = "agent" }"#, "", TAG),
        ("by-end-user", r#"{ field = "role", value = "end_user" }"#, "", TAG),
    ]);
    let update = Update { actor: None, via: Channel::Rule, comment: None, ..Update::comment(ANA, ticket()) };
    let (run, _) = update.changing(|ticket| ticket.priority = Some(Priority::High)).run(&rules);
    assert_eq!(fired(&run), ["changed"]);
}

#[test]
fn j8_the_rest_runs_in_the_update_that_closes_a_ticket_and_nothing_after_it() {
    let rules = triggers(&[
        (
            "close",
            r#"{ field = "status", operator = "changed_to", value = "solved" }"#,
            "",
            r#"{ field = "status", value = "closed" }"#,
        ),
        ("tag", r#"{ field = "status", value = "closed" }"#, "", TAG),
        (
            "reopen",
            r#"{ field = "status", value = "closed" }"#,
            "",
            r#"{ field = "status", value = "open" }"#,
        ),
    ]);
    let update = Update::comment(ANA, ticket()).changing(|ticket| ticket.status = Status::Solved);
    let (run, closed) = update.run(&rules);
    assert_eq!((fired(&run), closed.status), (vec!["close", "tag", "reopen"], Status::Closed));
    let (run, _) = Update::comment(ANA, closed).run(&rules);
    assert!(fired(&run).is_empty() && run.events.is_empty());
}

#[test]
fn j21_set_tags_replaces_all_tags() {
    let rules = triggers(&[("t", CREATED, "", r#"{ field = "set_tags", value = "a b" }"#)]);
    let (run, ticket) =
        Update::creation(KIM).changing(|ticket| ticket.tags = ["c".to_owned()].into()).run(&rules);
    assert_eq!(tags(&ticket), ["a", "b"]);
    let set = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(run.events[0].event, Event::TagsChanged { added: set(&["a", "b"]), removed: set(&["c"]) });
}

#[test]
fn j23_a_ticket_that_an_agent_opened_is_announced_and_not_acknowledged() {
    let keys = |actor| fired(&Update::creation(actor).run(&standard()).0).join(" ");
    assert!(keys(ANA).contains("proactive-ticket") && !keys(ANA).contains("requester-of-received"));
    assert!(!keys(KIM).contains("proactive-ticket") && keys(KIM).contains("requester-of-received"));
}

#[test]
fn j24_a_note_is_not_mailed_to_the_customer() {
    let (run, _) = Update::comment(ANA, ticket()).private().run(&standard());
    assert_eq!(fired(&run), ["notify-assignee-of-comment-update"]);
    let targets: Vec<_> = run.notifications.iter().map(|intent| &intent.target).collect();
    assert_eq!(targets, [&NotificationTarget::Assignee]);
}

#[test]
fn j25_an_assignee_is_not_told_of_their_own_comment() {
    let assigned = Ticket { assignee: Some(ANA), group: Some(BILLING), status: Status::Open, ..ticket() };
    let (run, _) = Update::comment(ANA, assigned.clone()).run(&standard());
    assert_eq!(fired(&run), ["notify-requester-of-comment-update"]);
    let (run, _) = Update::comment(KIM, assigned).run(&standard());
    assert_eq!(fired(&run), ["notify-requester-of-comment-update", "notify-assignee-of-comment-update"]);
}

#[test]
fn j26_a_reply_to_a_solved_ticket_is_told_as_reopened_and_not_as_update() {
    let solved = Ticket { assignee: Some(ANA), group: Some(BILLING), status: Status::Solved, ..ticket() };
    let update = Update::comment(KIM, solved).changing(|ticket| ticket.status = Status::Open);
    let (run, _) = update.run(&standard());
    assert_eq!(fired(&run), ["notify-requester-of-comment-update", "notify-assignee-of-reopened-ticket"]);
}

#[test]
fn j30_without_a_public_comment_requester_and_ccs_get_no_mail_and_the_rest_happens() {
    let actions = format!("{MAIL}, {TAG}");
    let rules = triggers(&[("t", r#"{ field = "update_type", value = "Change" }"#, "", &actions)]);
    let (run, changed) = Update::comment(ANA, ticket()).private().run(&rules);
    assert_eq!((run.notifications.len(), tags(&changed)), (0, vec!["seen"]));
    let (run, _) = Update { comment: None, ..Update::comment(ANA, ticket()) }.run(&rules);
    assert_eq!(run.notifications.len(), 0);
    let (run, _) = Update::comment(ANA, ticket()).run(&rules);
    assert_eq!(run.notifications[0].target, NotificationTarget::RequesterAndCcs);
}

#[test]
fn the_first_reply_by_mail_takes_the_ticket_where_that_trigger_is_on() {
    let mut rules = standard();
    for rule in &mut rules {
        rule.active |= rule.key == "assign-first-responding-agent";
    }
    let (run, taken) = Update::comment(ANA, ticket()).run(&rules);
    assert_eq!((taken.assignee, taken.group, taken.status), (Some(ANA), Some(BILLING), Status::Open));
    assert!(run.events.iter().skip(1).all(|event| event.by == Actor::System));
    let (_, left) = Update::comment(LEE, ticket()).run(&rules);
    assert_eq!(left.assignee, None, "a light agent cannot be an assignee");
}

#[test]
fn a_group_that_the_assignee_is_not_in_unassigns_them() {
    let rules = triggers(&[("t", TAGGED, "", r#"{ field = "group_id", value = "plumbing" }"#)]);
    let before =
        Ticket { assignee: Some(ANA), group: Some(BILLING), tags: ["move".to_owned()].into(), ..ticket() };
    let (_, moved) = Update::comment(KIM, before).run(&rules);
    assert_eq!((moved.group, moved.assignee), (Some(PLUMBING), None));
}

const TAGGED: &str = r#"{ field = "current_tags", operator = "includes", value = "move" }"#;

#[test]
fn what_does_not_exist_equals_nothing_and_does_nothing() {
    let rules = triggers(&[
        ("is", r#"{ field = "assignee_id", value = "nobody@desk.example" }"#, "", TAG),
        ("is-not", r#"{ field = "group_id", operator = "is_not", value = "Nowhere" }"#, "", TAG),
        (
            "acts",
            CREATED,
            "",
            r#"{ field = "group_id", value = "Nowhere" }, { field = "assignee_id", value = "kim@desk.example" },
               { field = "follower", value = "kim@desk.example" },
               { field = "notification_user", value = ["nobody@desk.example", "s", "b"] }"#,
        ),
    ]);
    let (run, ticket) = Update::creation(KIM).run(&rules);
    assert_eq!(fired(&run), ["is-not", "acts"]);
    assert_eq!((ticket.group, ticket.assignee, run.notifications.len()), (None, None, 0));
    let ignored = run.trace.steps.iter().filter(|step| step.answer == "ignored").count();
    assert_eq!(ignored, 4, "each action says why it did nothing");
}

#[test]
fn less_than_urgent_is_every_ticket_that_is_not_urgent() {
    let less =
        triggers(&[("t", r#"{ field = "priority", operator = "less_than", value = "urgent" }"#, "", TAG)]);
    for (priority, fires) in [(None, true), (Some(Priority::High), true), (Some(Priority::Urgent), false)] {
        let (run, _) = Update::creation(KIM).changing(|ticket| ticket.priority = priority).run(&less);
        assert_eq!(!fired(&run).is_empty(), fires, "{priority:?}");
    }
}

/// Conditions and actions that set each other off.
fn any_trigger() -> impl Strategy<Value = (String, String)> {
    let condition = prop::sample::select(vec![
        CREATED,
        r#"{ field = "status", operator = "is_not", value = "open" }"#,
        r#"{ field = "status", operator = "less_than", value = "closed" }"#,
        r#"{ field = "priority", operator = "changed" }"#,
        r#"{ field = "assignee_id", operator = "is_not", value = "current_user" }"#,
        r#"{ field = "assignee_id", value = "" }"#,
        r#"{ field = "group_id", operator = "changed" }"#,
        r#"{ field = "current_tags", operator = "includes", value = "a" }"#,
        r#"{ field = "current_tags", operator = "not_includes", value = "a b" }"#,
        r#"{ field = "role", operator = "is_not", value = "agent" }"#,
    ]);
    let action = prop::sample::select(vec![
        r#"{ field = "status", value = "open" }"#,
        r#"{ field = "status", value = "closed" }"#,
        r#"{ field = "status", value = "solved" }"#,
        r#"{ field = "priority", value = "low" }"#,
        r#"{ field = "priority", value = "urgent" }"#,
        r#"{ field = "assignee_id", value = "ana@desk.example" }"#,
        r#"{ field = "assignee_id", value = "" }"#,
        r#"{ field = "group_id", value = "Plumbing" }"#,
        r#"{ field = "group_id", value = "" }"#,
        r#"{ field = "set_tags", value = "a" }"#,
        r#"{ field = "current_tags", value = "b" }"#,
        r#"{ field = "remove_tags", value = "a" }"#,
        r#"{ field = "follower", value = "bob@desk.example" }"#,
        MAIL,
    ]);
    (condition, prop::collection::vec(action, 1..4))
        .prop_map(|(condition, actions)| (condition.to_owned(), actions.join(", ")))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any set of triggers ends, each fires at most once, the ticket stays sound, and each event changed something.
    #[test]
    fn any_set_of_triggers_comes_to_an_end(
        rules in prop::collection::vec(any_trigger(), 1..12),
        created: bool,
        actor in prop::sample::select(vec![None, Some(KIM), Some(ANA), Some(LEE)]),
    ) {
        let keys: Vec<String> = (0..rules.len()).map(|n| format!("t{n}")).collect();
        let named: Vec<_> = keys.iter().zip(&rules).map(|(key, (all, actions))| (key.as_str(), all.as_str(), "", actions.as_str())).collect();
        let update = if created { Update::creation(KIM) } else { Update::comment(KIM, ticket()) };
        let start = update.after.clone();
        let (run, end) = Update { actor, ..update }.run(&triggers(&named));

        let fired = fired(&run);
        prop_assert_eq!(fired.iter().collect::<BTreeSet<_>>().len(), fired.len(), "one fired twice: {:?}", fired);
        prop_assert!(end.assignee.is_none() || end.group.is_some(), "an assignee without a group");
        prop_assert!(end.status != Status::New || end.assignee.is_none(), "an assigned ticket is still new");
        let mut replayed = start;
        for event in &run.events {
            let before = replayed.clone();
            replayed.apply(&event.event, NOW);
            prop_assert!(Ticket { updated_at: NOW, ..before } != replayed, "{:?} changed nothing", event);
        }
        prop_assert_eq!(Ticket { updated_at: NOW, ..replayed }, Ticket { updated_at: NOW, ..end });
    }
}
