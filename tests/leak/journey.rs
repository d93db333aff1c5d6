//! Random accounts and random stories.

use postern::config::Config;
use postern::config::rules::parse_triggers;
use postern::domain::settings::{AgentRequester, EndUserMailOnPrivateTicket, FollowerReplies};
use proptest::prelude::*;
use proptest::sample::select;

/// Everybody who writes. The first ones write more.
pub const PEOPLE: [&str; 15] = [
    "rita@example.net",
    "ada@acme.example",
    "carl@example.net",
    "ben@acme.example",
    "cora@example.net",
    "lia@acme.example",
    "otto@example.org",
    "gus@acme.example",
    "rita@home.example.net",
    "nora@acme.example",
    "lou@acme.example",
    "sam@example.org",
    "sia@shared.example",
    "sol@shared.example",
    "stranger@nowhere.example",
];

#[derive(Clone, Debug)]
pub struct Journey {
    pub account: Account,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Account {
    switches: [bool; 12],
    follower_replies: FollowerReplies,
    agent_requester: AgentRequester,
    greedy: Greedy,
}

/// A trigger that asks for everything there is, before or behind the standard ones.
#[derive(Clone, Copy, Debug)]
enum Greedy {
    No,
    First,
    Last,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub who: &'static str,
    pub about: About,
    pub reference: Reference,
    pub quote: Quote,
    pub command: &'static str,
    /// To everybody whom the answered mail shows.
    pub to_all: bool,
    pub cc: Option<&'static str>,
    pub trust: Trust,
    /// The From address, if it is not the writer's.
    pub forged: Option<&'static str>,
    pub reply_to: Option<&'static str>,
    /// A token from another mail the writer has stands in the text.
    pub plants: bool,
    /// The writer repeats what another mail about the ticket said, counted from the newest.
    pub pastes: Option<usize>,
    /// The text has 12 to 39 characters.
    pub short: bool,
    pub then: Then,
}

#[derive(Clone, Copy, Debug)]
pub enum About {
    Something,
    /// A mail the writer got, counted from the newest.
    OwnMail(usize),
    /// A mail that somebody else got, and passed on.
    AnybodysMail(usize),
}

#[derive(Clone, Copy, Debug)]
pub enum Reference {
    All,
    Address,
    Body,
    Header,
}

#[derive(Clone, Copy, Debug)]
pub enum Quote {
    None,
    Below,
    Above,
    Between,
    Part,
    Wrapped,
    Outlook,
    Unmarked,
    Html,
}

#[derive(Clone, Copy, Debug)]
pub enum Trust {
    Nobody,
    Upstream,
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub enum Then {
    Post,
    Nothing,
    /// An operator makes the newest public comment private, before its mails leave.
    Hide,
    /// A person lets in everything that is held.
    Recover,
    /// The same mail is delivered once more.
    Repeat,
    Hour,
}

pub fn journeys() -> impl Strategy<Value = Journey> {
    let scene = prop_oneof![
        5 => prop::collection::vec(steps(), 1..4),
        2 => (steps(), steps(), steps()).prop_map(|(opens, notes, answers)| note_and_answer(opens, notes, answers)),
    ];
    let scenes = prop::collection::vec(scene, 3..6);
    (accounts(), scenes).prop_map(|(account, scenes)| Journey { account, steps: scenes.concat() })
}

/// A customer asks, an agent takes the ticket and writes a note, and another answers the customer, with what the
/// agent's mails hold of the note.
fn note_and_answer(opens: Step, notes: Step, answers: Step) -> Vec<Step> {
    let by_agent = |step: Step, who, command| Step {
        who,
        about: About::OwnMail(0),
        command,
        trust: Trust::Upstream,
        forged: None,
        reply_to: None,
        then: Then::Post,
        ..step
    };
    let opens = Step { who: PEOPLE[0], about: About::Something, forged: None, then: Then::Post, ..opens };
    let takes = by_agent(notes.clone(), "ben@acme.example", "#assignee ben@acme.example");
    let notes = by_agent(notes, "ada@acme.example", "#note");
    let answers = by_agent(answers, "ben@acme.example", "#public");
    vec![opens, takes, notes, Step { about: About::OwnMail(1), pastes: Some(0), ..answers }]
}

fn accounts() -> impl Strategy<Value = Account> {
    let follower_replies =
        select(vec![FollowerReplies::Private, FollowerReplies::Mirror, FollowerReplies::AsAgent]);
    let agent_requester =
        select(vec![AgentRequester::ShowAll, AgentRequester::HideOnPrivateGroups, AgentRequester::HideAll]);
    let greedy = select(vec![Greedy::No, Greedy::First, Greedy::Last]);
    (any::<[bool; 12]>(), follower_replies, agent_requester, greedy).prop_map(
        |(switches, follower_replies, agent_requester, greedy)| Account {
            switches,
            follower_replies,
            agent_requester,
            greedy,
        },
    )
}

fn people() -> impl Strategy<Value = &'static str> {
    prop_oneof![5 => 0..6_usize, 2 => 0..PEOPLE.len()].prop_map(|at| PEOPLE[at])
}

fn steps() -> impl Strategy<Value = Step> {
    let about = prop_oneof![
        2 => Just(About::Something),
        7 => (0..4_usize).prop_map(About::OwnMail),
        1 => (0..12_usize).prop_map(About::AnybodysMail),
    ];
    let reference = prop_oneof![
        4 => Just(Reference::All),
        1 => Just(Reference::Address),
        1 => Just(Reference::Body),
        1 => Just(Reference::Header),
    ];
    let quote = select(vec![
        Quote::None,
        Quote::Below,
        Quote::Below,
        Quote::Above,
        Quote::Between,
        Quote::Part,
        Quote::Wrapped,
        Quote::Outlook,
        Quote::Unmarked,
        Quote::Html,
    ]);
    let command = select(vec![
        "",
        "",
        "",
        "",
        "#note",
        "#note",
        "#public",
        "#public false",
        "#solved",
        "#assignee ada@acme.example",
        "#assignee gus@acme.example",
        "#requester carl@example.net",
        "#requester ben@acme.example",
        "#group vault",
    ]);
    let trust = prop_oneof![6 => Just(Trust::Upstream), 2 => Just(Trust::Nobody), 1 => Just(Trust::Failed)];
    let then = prop_oneof![
        8 => Just(Then::Post),
        3 => Just(Then::Nothing),
        1 => Just(Then::Hide),
        1 => Just(Then::Recover),
        1 => Just(Then::Repeat),
        1 => Just(Then::Hour),
    ];
    let rarely = || prop::option::weighted(0.08, people());
    let pastes = prop::option::weighted(0.15, 0..4_usize);
    let odd = (rarely(), rarely(), prop::bool::weighted(0.1), prop::bool::weighted(0.25), pastes);
    let plain = (people(), about, reference, quote, command);
    (plain, any::<bool>(), prop::option::weighted(0.3, people()), trust, odd, then).prop_map(
        |(
            (who, about, reference, quote, command),
            to_all,
            cc,
            trust,
            (forged, reply_to, plants, short, pastes),
            then,
        )| Step {
            who,
            about,
            reference,
            quote,
            command,
            to_all,
            cc,
            trust,
            forged,
            reply_to,
            plants,
            pastes,
            short,
            then,
        },
    )
}

impl Account {
    pub fn apply(&self, config: &mut Config) {
        let [
            cc,
            private_mail,
            override_off,
            keep_private,
            ccs,
            followers,
            adds,
            light,
            auto,
            names,
            line,
            tight,
        ] = self.switches;
        let settings = &mut config.settings;
        settings.privacy.cc_comments_public = cc;
        settings.privacy.agent_comments_public_by_default = !(private_mail && keep_private);
        settings.privacy.public_command_overrides_default = !override_off;
        settings.privacy.follower_replies = self.follower_replies;
        settings.privacy.agent_requester = self.agent_requester;
        if keep_private {
            settings.privacy.end_user_mail_on_private_ticket = EndUserMailOnPrivateTicket::Private;
        }
        // Without CCs and followers there is less to leak: mostly on.
        settings.collaborators.allow_ccs = ccs || adds;
        settings.collaborators.allow_followers = followers || auto;
        settings.collaborators.end_users_may_add_ccs = adds;
        settings.collaborators.light_agents_may_be_ccs = light;
        settings.collaborators.cced_agent_becomes_follower = auto;
        settings.notifications.personalised = names;
        if line {
            settings.notifications.delimiter = None;
        }
        if !tight {
            settings.notifications.budget_per_ticket = 1000;
            settings.notifications.budget_per_recipient = 1000;
        }
        let greedy = parse_triggers("triggers.toml", GREEDY).unwrap();
        match self.greedy {
            Greedy::No => {}
            Greedy::First => drop(config.triggers.splice(0..0, greedy)),
            Greedy::Last => config.triggers.extend(greedy),
        }
    }
}

const GREEDY: &str = r#"
[[triggers]]
key = "greedy-participants"
title = "Everything to requester and CCs"
conditions.all = [{ field = "comment_is_public", value = "true" }]
actions = [{ field = "notification_user", value = ["requester_and_ccs", "{{ticket.title}}: {{ticket.latest_comment}}", "{{ticket.description}} {{ticket.comments_formatted}} {{ticket.follower_names}}"] }]

[[triggers]]
key = "greedy-requester"
title = "Everything to the requester"
conditions.all = [{ field = "status", operator = "is_not", value = "closed" }]
actions = [{ field = "notification_user", value = ["requester_id", "{{ticket.latest_comment_rich}}", "<p>{{ticket.latest_comment_html}}</p>{% for comment in ticket.comments %}<p>{{comment.author.name}}: {{comment.value}}</p>{% endfor %}"] }]

[[triggers]]
key = "greedy-author"
title = "Everything to the author"
conditions.all = [{ field = "status", operator = "is_not", value = "closed" }]
actions = [{ field = "notification_user", value = ["current_user", "s {{ticket.latest_comment_formatted}}", "{{ticket.latest_comment}} {{ticket.public_comments_formatted}} {{ticket.verbatim_description}}"] }]
"#;
