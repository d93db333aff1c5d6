//! The whole truth table of comment privacy, held against an oracle of its own.
//!
//! Each combination of facts is decided with every setting at its default and with each single setting changed.
//! With `POSTERN_EXHAUSTIVE=1` every combination of settings takes part too (meant for a release build).
//! The oracle follows the pseudo code of the published list from top to bottom, with the decisions of DESIGN §6,
//! and shares nothing with the list it checks.

use std::collections::BTreeMap;

use postern::domain::settings::{EndUserMailOnPrivateTicket, FollowerReplies};
use postern::privacy::{Answer, AuthorKind, Command, Decision, Facts, Outcome, decide, rules};

const COMBINATIONS_OF_FACTS: u32 = 1 << 18;

#[test]
fn every_combination_of_facts_is_decided_as_the_oracle_says() {
    let exhaustive = std::env::var("POSTERN_EXHAUSTIVE").is_ok_and(|value| value == "1");
    let settings = if exhaustive { every_setting() } else { each_setting_changed_once() };
    let order: Vec<&str> = rules().map(|rule| rule.name).collect();
    let settles: BTreeMap<&str, Option<Outcome>> = rules().map(|rule| (rule.name, rule.settles)).collect();
    let mut settled = vec![0_u64; order.len()];
    for setting in &settings {
        for bits in 0..COMBINATIONS_OF_FACTS {
            let facts = facts_from(bits, setting);
            let decision = decide(&facts);
            assert_eq!((decision.outcome, decision.rule, decision.flagged), oracle(&facts), "{facts:#?}");
            let place = check_trace(&decision, &order, &facts);
            assert_eq!(settles[decision.rule], Some(decision.outcome), "{facts:#?}");
            settled[place] += 1;
        }
    }
    println!("{} decisions ({} combinations of settings)", settled.iter().sum::<u64>(), settings.len());
    for (rule, count) in order.iter().zip(&settled) {
        println!("{count:>10} {rule}");
        assert_eq!(*count == 0, settles[rule].is_none(), "how often {rule} settled");
    }
}

/// The trace follows the list, only its last step settles, and that step is the decision. Returns its place.
fn check_trace(decision: &Decision, order: &[&str], facts: &Facts) -> usize {
    let mut place = 0;
    let mut settled = None;
    for (step, rule) in decision.trace.steps().zip(order) {
        assert_eq!(settled, None, "a step after the one that settled: {facts:#?}");
        assert_eq!(step.rule, *rule, "{facts:#?}");
        assert!(!step.answer.because().is_empty(), "{rule} gives no reason");
        if let Answer::Settle(outcome, _) = step.answer {
            settled = Some((outcome, step.rule));
        }
        place += 1;
    }
    assert_eq!(decision.trace.steps().count(), place, "{facts:#?}");
    assert_eq!(settled, Some((decision.outcome, decision.rule)), "{facts:#?}");
    place - 1
}

#[test]
fn nothing_that_speaks_for_privacy_makes_an_agents_comment_more_public() {
    for setting in each_setting_changed_once() {
        for bits in 0..COMBINATIONS_OF_FACTS {
            let facts = facts_from(bits, &setting);
            if facts.author_kind != AuthorKind::Agent {
                continue;
            }
            let before = publicity(&facts);
            let more_private = [
                Facts { repeats_private_comment: true, ..facts },
                Facts { ticket_is_private: true, ..facts },
                Facts { command: Command::Note, ..facts },
                Facts { notified_comment_was_private: true, ..facts },
            ];
            for after in more_private {
                assert!(publicity(&after) <= before, "from {facts:#?}\nto {after:#?}");
            }
        }
    }
}

fn publicity(facts: &Facts) -> u8 {
    match decide(facts).outcome {
        Outcome::Suspended => 0,
        Outcome::Private => 1,
        Outcome::Public => 2,
    }
}

/// The list, written down once more from the published pseudo code.
fn oracle(f: &Facts) -> (Outcome, &'static str, bool) {
    use Outcome::{Private, Public, Suspended};
    let update = f.updating_ticket;
    let mut agent = f.author_kind == AuthorKind::Agent;
    let mut can_edit = if update { f.author_can_edit_ticket } else { true };
    if agent && f.agent_treated_as_end_user {
        agent = false;
        can_edit = true;
    }
    let encoded_id = if f.recovered { true } else { f.identified_by_encoded_id };

    if update && !can_edit {
        match (encoded_id, agent) {
            (true, true) if !(f.author_is_assignee || f.author_is_follower || f.author_is_cc) => {
                return (Private, "agent-outside-ticket", true);
            }
            (true, false) if !(f.author_is_requester || f.author_is_cc) => {
                return (Private, "end-user-outside-ticket", true);
            }
            (true, _) => {}
            (false, _) => return (Suspended, "outsider-without-encoded-id", false),
        }
    }
    let dropped = f.author_is_cc && !f.requester_is_direct_recipient;
    if dropped && !f.cc_comments_public {
        return (Private, "cc-drops-requester", false);
    }
    if dropped && f.recipients_beyond_support_addresses {
        return (Private, "cc-writes-to-others", false);
    }
    let private_ticket = update && f.ticket_is_private;
    if !agent {
        return match f.end_user_mail_on_private_ticket {
            EndUserMailOnPrivateTicket::Private if private_ticket => (Private, "private-ticket", false),
            _ => (Public, "end-user", dropped),
        };
    }
    if !f.role_may_comment_publicly {
        return (Private, "role-cannot-comment-publicly", false);
    }
    let only_follower =
        f.author_is_follower && [f.author_is_requester, f.author_is_assignee, f.author_is_cc] == [false; 3];
    let followers_write_privately = match f.follower_replies {
        FollowerReplies::Private => true,
        FollowerReplies::Mirror => f.notified_comment_was_private,
        FollowerReplies::AsAgent => false,
    };
    if only_follower && followers_write_privately {
        return (Private, "follower-reply", false);
    }
    if matches!(f.command, Command::Note | Command::NotPublic) {
        return (Private, "note-command", false);
    }
    let public_by_command = f.public_command_overrides_default && matches!(f.command, Command::Public);
    if !(f.agent_comments_public_by_default || public_by_command) {
        return (Private, "agent-email-private-by-default", false);
    }
    if private_ticket {
        return (Private, "private-ticket", false);
    }
    if f.repeats_private_comment || f.notified_comment_was_private {
        return (Private, "repeats-private-comment", false);
    }
    (Public, "default-public", false)
}

#[derive(Clone, Copy, Debug)]
struct Setting {
    cc_comments_public: bool,
    agent_comments_public_by_default: bool,
    public_command_overrides_default: bool,
    follower_replies: FollowerReplies,
    end_user_mail_on_private_ticket: EndUserMailOnPrivateTicket,
}

const DOCUMENTED: Setting = Setting {
    cc_comments_public: false,
    agent_comments_public_by_default: true,
    public_command_overrides_default: true,
    follower_replies: FollowerReplies::Private,
    end_user_mail_on_private_ticket: EndUserMailOnPrivateTicket::Public,
};

fn each_setting_changed_once() -> Vec<Setting> {
    vec![
        DOCUMENTED,
        Setting { cc_comments_public: true, ..DOCUMENTED },
        Setting { agent_comments_public_by_default: false, ..DOCUMENTED },
        Setting { public_command_overrides_default: false, ..DOCUMENTED },
        Setting { follower_replies: FollowerReplies::Mirror, ..DOCUMENTED },
        Setting { follower_replies: FollowerReplies::AsAgent, ..DOCUMENTED },
        Setting { end_user_mail_on_private_ticket: EndUserMailOnPrivateTicket::Private, ..DOCUMENTED },
    ]
}

fn every_setting() -> Vec<Setting> {
    let follower_replies = [FollowerReplies::Private, FollowerReplies::Mirror, FollowerReplies::AsAgent];
    let on_private = [EndUserMailOnPrivateTicket::Public, EndUserMailOnPrivateTicket::Private];
    let mut all = Vec::new();
    for bits in 0..8_u32 {
        for follower_replies in follower_replies {
            for end_user_mail_on_private_ticket in on_private {
                all.push(Setting {
                    cc_comments_public: bits & 1 != 0,
                    agent_comments_public_by_default: bits & 2 != 0,
                    public_command_overrides_default: bits & 4 != 0,
                    follower_replies,
                    end_user_mail_on_private_ticket,
                });
            }
        }
    }
    all
}

/// Each number below `COMBINATIONS_OF_FACTS` is one combination: a bit per fact, the lowest two for the command.
fn facts_from(bits: u32, setting: &Setting) -> Facts {
    let command = match bits & 3 {
        0 => Command::None,
        1 => Command::Note,
        2 => Command::Public,
        _ => Command::NotPublic,
    };
    let is = |place: u32| bits & (1 << place) != 0;
    Facts {
        command,
        author_kind: if is(2) { AuthorKind::Agent } else { AuthorKind::EndUser },
        updating_ticket: is(3),
        identified_by_encoded_id: is(4),
        recovered: is(5),
        author_can_edit_ticket: is(6),
        author_is_requester: is(7),
        author_is_assignee: is(8),
        author_is_cc: is(9),
        author_is_follower: is(10),
        agent_treated_as_end_user: is(11),
        role_may_comment_publicly: is(12),
        requester_is_direct_recipient: is(13),
        recipients_beyond_support_addresses: is(14),
        repeats_private_comment: is(15),
        ticket_is_private: is(16),
        notified_comment_was_private: is(17),
        cc_comments_public: setting.cc_comments_public,
        agent_comments_public_by_default: setting.agent_comments_public_by_default,
        public_command_overrides_default: setting.public_command_overrides_default,
        follower_replies: setting.follower_replies,
        end_user_mail_on_private_ticket: setting.end_user_mail_on_private_ticket,
    }
}

/// The cases of the published decision table, by its row numbers. Rows 10, 70 and 71 are about what happens
/// before the list; row 35 follows `public_command_overrides_default`.
#[test]
fn the_published_cases_are_decided_as_published() {
    use AuthorKind::{Agent, EndUser};
    use Outcome::{Private, Public, Suspended};
    let update = Facts {
        updating_ticket: true,
        identified_by_encoded_id: true,
        author_can_edit_ticket: true,
        role_may_comment_publicly: true,
        ..facts_from(0, &DOCUMENTED)
    };
    let user = Facts { author_kind: EndUser, ..update };
    let agent = Facts { author_kind: Agent, ..update };
    let by_headers = |facts: Facts| Facts { identified_by_encoded_id: false, ..facts };
    let new =
        |facts: Facts| Facts { updating_ticket: false, author_can_edit_ticket: false, ..by_headers(facts) };
    let outside = |facts: Facts| Facts { author_can_edit_ticket: false, ..facts };
    let reply_all = |facts: Facts| Facts { requester_is_direct_recipient: true, ..facts };
    let to_others = |facts: Facts| Facts { recipients_beyond_support_addresses: true, ..facts };
    let light = |facts: Facts| Facts { role_may_comment_publicly: false, ..facts };
    let hidden = |facts: Facts| Facts { author_is_requester: true, agent_treated_as_end_user: true, ..facts };
    let s1_off = |facts: Facts| Facts { agent_comments_public_by_default: false, ..facts };
    let s2_on = |facts: Facts| Facts { cc_comments_public: true, ..facts };
    let with = |command: Command, facts: Facts| Facts { command, ..facts };
    let (note, public, not_public) = (Command::Note, Command::Public, Command::NotPublic);
    let requester = Facts { author_is_requester: true, ..user };
    let cc = Facts { author_is_cc: true, ..user };
    let assignee = Facts { author_is_assignee: true, ..agent };
    let follower = Facts { author_is_follower: true, ..agent };
    let agent_cc = Facts { author_is_cc: true, ..agent };
    let private = Facts { ticket_is_private: true, ..assignee };
    let quoting = Facts { repeats_private_comment: true, ..assignee };

    let cases: &[(u8, Facts, Outcome, &str)] = &[
        (1, new(user), Public, "end-user"),
        (3, to_others(new(user)), Public, "end-user"),
        (4, new(agent), Public, "default-public"),
        (5, s1_off(new(agent)), Private, "agent-email-private-by-default"),
        (6, with(note, new(agent)), Private, "note-command"),
        (7, with(not_public, new(agent)), Private, "note-command"),
        (8, light(new(agent)), Private, "role-cannot-comment-publicly"),
        (9, with(public, light(new(agent))), Private, "role-cannot-comment-publicly"),
        (11, requester, Public, "end-user"),
        (12, to_others(requester), Public, "end-user"),
        (13, by_headers(requester), Public, "end-user"),
        (14, cc, Private, "cc-drops-requester"),
        (15, to_others(reply_all(cc)), Public, "end-user"),
        (16, s2_on(cc), Public, "end-user"),
        (17, to_others(s2_on(cc)), Private, "cc-writes-to-others"),
        (19, to_others(reply_all(s2_on(cc))), Public, "end-user"),
        (21, by_headers(cc), Private, "cc-drops-requester"),
        (22, to_others(reply_all(by_headers(cc))), Public, "end-user"),
        (25, outside(user), Private, "end-user-outside-ticket"),
        (26, outside(by_headers(user)), Suspended, "outsider-without-encoded-id"),
        (29, user, Public, "end-user"),
        (30, by_headers(user), Public, "end-user"),
        (32, assignee, Public, "default-public"),
        (33, to_others(reply_all(assignee)), Public, "default-public"),
        (34, s1_off(assignee), Private, "agent-email-private-by-default"),
        (35, with(public, s1_off(assignee)), Public, "default-public"),
        (36, with(note, assignee), Private, "note-command"),
        (37, with(not_public, assignee), Private, "note-command"),
        (38, with(public, assignee), Public, "default-public"),
        (40, private, Private, "private-ticket"),
        (41, with(public, private), Private, "private-ticket"),
        (42, quoting, Private, "repeats-private-comment"),
        (43, with(public, quoting), Private, "repeats-private-comment"),
        (44, agent, Public, "default-public"),
        (45, by_headers(agent), Public, "default-public"),
        (46, outside(agent), Private, "agent-outside-ticket"),
        (47, outside(by_headers(agent)), Suspended, "outsider-without-encoded-id"),
        (48, with(public, outside(agent)), Private, "agent-outside-ticket"),
        (49, outside(follower), Private, "follower-reply"),
        (50, outside(by_headers(follower)), Suspended, "outsider-without-encoded-id"),
        (51, follower, Private, "follower-reply"),
        (52, to_others(reply_all(follower)), Private, "follower-reply"),
        (53, Facts { author_is_assignee: true, ..follower }, Public, "default-public"),
        (54, outside(to_others(reply_all(agent_cc))), Public, "default-public"),
        (55, outside(agent_cc), Private, "cc-drops-requester"),
        (56, outside(reply_all(by_headers(agent_cc))), Suspended, "outsider-without-encoded-id"),
        (57, s2_on(agent_cc), Public, "default-public"),
        (58, to_others(s2_on(agent_cc)), Private, "cc-writes-to-others"),
        (59, light(to_others(reply_all(agent_cc))), Private, "role-cannot-comment-publicly"),
        (60, light(follower), Private, "role-cannot-comment-publicly"),
        (61, light(outside(agent)), Private, "agent-outside-ticket"),
        (62, light(agent), Private, "role-cannot-comment-publicly"),
        (63, hidden(outside(agent)), Public, "end-user"),
        (65, Facts { author_is_requester: true, ..agent }, Public, "default-public"),
        (66, light(hidden(outside(agent))), Public, "end-user"),
        (67, light(Facts { author_is_requester: true, ..agent }), Private, "role-cannot-comment-publicly"),
        (69, Facts { ticket_is_private: true, ..requester }, Public, "end-user"),
        (72, Facts { recovered: true, ..outside(by_headers(user)) }, Private, "end-user-outside-ticket"),
        (73, Facts { recovered: true, ..outside(by_headers(requester)) }, Public, "end-user"),
    ];
    for (row, facts, outcome, rule) in cases {
        let decision = decide(facts);
        assert_eq!((decision.outcome, decision.rule), (*outcome, *rule), "row {row}");
        let flagged = matches!(row, 16 | 25 | 46 | 48 | 61 | 72);
        assert_eq!(decision.flagged, flagged, "row {row}");
    }
}
