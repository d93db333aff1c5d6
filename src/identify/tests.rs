use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::domain::address::{Address, Mailbox};
use crate::domain::ids::OutboxId;
use crate::domain::mail::{Entrance, Envelope, InboundMessage, MessageId, TrustSource};
use crate::domain::settings::Settings;
use crate::domain::snapshot::{Lookup, TicketFile};
use crate::domain::ticket::Ticket;
use crate::domain::time::Timestamp;
use crate::domain::token::{KeyState, TokenKey};

const AGENT: i64 = 10;
const CUSTOMER: i64 = 20;

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// An account with tickets 1 to 4. Ticket 3 was merged into 1; ticket 4 follows up 2.
struct World {
    settings: Settings,
    keys: KeyRing,
    snapshot: Snapshot,
}

fn salt(ticket: i64) -> Salt {
    Salt([u8::try_from(ticket).unwrap(); 16])
}

fn world() -> World {
    let mut settings = Settings::for_address("support@desk.example").unwrap();
    let mut external = settings.support_addresses[0].clone();
    external.address = address("help@company.example");
    external.takes_suffix = false;
    settings.support_addresses.push(external);
    let key = TokenKey { id: 0, secret: [1; 32], state: KeyState::Active };
    let mut snapshot = Snapshot::default();
    for id in 1..=4 {
        let mut ticket = Ticket::blank(TicketId(id), salt(id), UserId(CUSTOMER), Timestamp(0));
        ticket.merged_into = (id == 3).then_some(TicketId(1));
        ticket.follow_up_of = (id == 4).then_some(TicketId(2));
        let file = TicketFile { ticket, comments: vec![], private_prints: vec![], thread: vec![] };
        snapshot.tickets.insert(TicketId(id), file);
    }
    let known = |ticket, sent| KnownMessage { ticket: TicketId(ticket), sent };
    let received = known(1, None);
    let sent_privately = known(1, Some(Visibility::Private));
    let of_unloaded = known(99, None);
    snapshot.message_ids.insert(MessageId("received@customer.example".into()), received);
    snapshot.message_ids.insert(MessageId("sent-privately@desk.example".into()), sent_privately);
    snapshot.message_ids.insert(MessageId("of-unloaded@customer.example".into()), of_unloaded);
    World { settings, keys: KeyRing::new("desk.example", vec![key]).unwrap(), snapshot }
}

impl World {
    fn mint(&self, purpose: Purpose, ticket: i64, recipient: i64, visibility: Rendered) -> String {
        let what = TicketRef { ticket: TicketId(ticket), recipient: UserId(recipient), visibility };
        self.keys.mint(purpose, &what, &salt(ticket))
    }

    fn at(&self, ticket: i64, recipient: i64) -> String {
        format!("support+id{}@desk.example", self.mint(Purpose::Address, ticket, recipient, Rendered::Public))
    }

    fn bracket(&self, ticket: i64, recipient: i64) -> String {
        format!("[{}]", self.mint(Purpose::Body, ticket, recipient, Rendered::Public))
    }

    fn id(&self, ticket: i64, recipient: i64, visibility: Rendered) -> String {
        format!("{}.7@desk.example", self.mint(Purpose::MessageId, ticket, recipient, visibility))
    }
}

/// A mail by what may name a ticket: whom it is to, its text, and its threading header.
#[derive(Default)]
struct Mail {
    to: Vec<String>,
    text: String,
    in_reply_to: Vec<String>,
    references: Vec<String>,
}

fn envelope(recipients: &[&str]) -> Envelope {
    Envelope {
        entrance: Entrance { name: "test".into(), trust: TrustSource::None },
        client: None,
        helo: None,
        reverse_path: Some(address("ada@customer.example")),
        recipients: recipients.iter().map(|text| address(text)).collect(),
        accepted_at: Timestamp(0),
    }
}

impl Mail {
    fn message(&self) -> InboundMessage {
        let ids = |texts: &[String]| texts.iter().cloned().map(MessageId).collect();
        let mut message = InboundMessage {
            in_reply_to: ids(&self.in_reply_to),
            references: ids(&self.references),
            to: self.to.iter().map(|to| Mailbox { name: None, address: address(to) }).collect(),
            subject: "Re: [#2] ticket 2".into(),
            ..InboundMessage::default()
        };
        message.text.full.clone_from(&self.text);
        message
    }

    fn identify(&self, world: &World, author: i64) -> Identification {
        let clues = clues(&self.message(), &envelope(&["support@desk.example"]), "", &world.settings);
        identify(&clues, Some(UserId(author)), &world.snapshot, &world.keys)
    }
}

/// What most tests look at: the ticket (0 for none), the clue, whether it counts as encoded ID, and ambiguity.
fn check(mail: &Mail, author: i64, expected: (i64, Clue, bool, bool)) -> Identification {
    let found = mail.identify(&world(), author);
    let ticket = found.ticket.map_or(0, |ticket| ticket.0);
    let got = (ticket, found.by, found.by_encoded_id, found.ambiguous);
    assert_eq!(got, expected, "{:#?}", found.trace);
    found
}

#[test]
fn each_kind_of_clue_names_its_ticket() {
    let w = world();
    let to = Mail { to: vec![w.at(1, CUSTOMER)], ..Mail::default() };
    check(&to, CUSTOMER, (1, Clue::AddressToken, true, false));
    let lower = Mail { to: vec![w.at(1, CUSTOMER).to_lowercase()], ..Mail::default() };
    check(&lower, CUSTOMER, (1, Clue::AddressToken, true, false));
    let body = Mail { text: format!("yes\n> {}", w.bracket(1, CUSTOMER)), ..Mail::default() };
    check(&body, CUSTOMER, (1, Clue::BodyToken, true, false));
    let ours = Mail { in_reply_to: vec![w.id(1, CUSTOMER, Rendered::Public)], ..Mail::default() };
    check(&ours, CUSTOMER, (1, Clue::Header, false, false));
    let theirs = Mail { references: vec!["received@customer.example".into()], ..Mail::default() };
    check(&theirs, CUSTOMER, (1, Clue::Header, false, false));
    let root = w.keys.root_message_id(TicketId(1), &salt(1)).0;
    check(&Mail { references: vec![root], ..Mail::default() }, CUSTOMER, (1, Clue::Header, false, false));
}

#[test]
fn what_is_no_clue_makes_a_new_ticket() {
    let w = world();
    let token = w.mint(Purpose::Body, 1, CUSTOMER, Rendered::Public);
    let external = w.at(1, CUSTOMER).replace("support", "help").replace("desk", "company");
    let elsewhere = w.at(1, CUSTOMER).replace("desk.example", "elsewhere.example");
    let as_address = format!("support+id{token}@desk.example");
    let unloaded = w.keys.mint(
        Purpose::Body,
        &TicketRef { ticket: TicketId(99), recipient: UserId(1), visibility: Rendered::None },
        &salt(99),
    );
    for mail in [
        Mail { text: "ticket 2, [#2], #2".into(), ..Mail::default() },
        Mail { text: format!("{token} without brackets"), ..Mail::default() },
        Mail { to: vec![external], ..Mail::default() },
        Mail { to: vec![elsewhere], ..Mail::default() },
        Mail { to: vec![as_address], ..Mail::default() },
        Mail { text: format!("[{unloaded}]"), ..Mail::default() },
        Mail { in_reply_to: vec!["never-seen@desk.example".into()], ..Mail::default() },
        Mail { in_reply_to: vec!["of-unloaded@customer.example".into()], ..Mail::default() },
    ] {
        let found = check(&mail, CUSTOMER, (0, Clue::None, false, false));
        assert_eq!((found.token_ticket, found.token_bound_to_author), (None, false));
    }
}

#[test]
fn a_forged_token_is_ignored_and_the_trace_does_not_show_it() {
    let w = world();
    let foreign =
        KeyRing::new("desk.example", vec![TokenKey { id: 0, secret: [2; 32], state: KeyState::Active }]);
    let what = TicketRef { ticket: TicketId(1), recipient: UserId(CUSTOMER), visibility: Rendered::Public };
    let token = foreign.unwrap().mint(Purpose::Body, &what, &salt(1));
    let found = Mail { text: format!("[{token}] {}", w.bracket(2, CUSTOMER)), ..Mail::default() };
    let found = found.identify(&w, CUSTOMER);
    assert_eq!(found.ticket, Some(TicketId(2)));
    assert_eq!(
        (found.trace.steps[0].check.as_ref(), found.trace.steps[0].answer.as_ref()),
        ("body-token", "ignored")
    );
    assert!(found.trace.steps.iter().all(|step| !step.because.contains(&token)));
}

#[test]
fn addresses_outrank_the_body_and_the_body_outranks_the_header() {
    let w = world();
    let references = vec![w.id(4, CUSTOMER, Rendered::Public)];
    let all =
        Mail { to: vec![w.at(1, CUSTOMER)], text: w.bracket(2, CUSTOMER), references, ..Mail::default() };
    let found = check(&all, CUSTOMER, (1, Clue::AddressToken, true, true));
    assert_eq!(found.token_ticket, Some(TicketId(1)));
    let without_address = Mail { to: vec![], ..all };
    check(&without_address, CUSTOMER, (2, Clue::BodyToken, true, true));
}

#[test]
fn a_header_and_a_token_that_agree_count_as_encoded_id() {
    let w = world();
    let references = vec![w.id(1, AGENT, Rendered::Public)];
    let mail = Mail { text: w.bracket(1, CUSTOMER), references, ..Mail::default() };
    check(&mail, AGENT, (1, Clue::Header, true, false));
}

#[test]
fn a_token_planted_in_text_that_an_agent_quotes_does_not_steer_the_reply() {
    let w = world();
    let planted = format!("Hello!\n> {}", w.bracket(2, CUSTOMER));
    let by_address = Mail { to: vec![w.at(1, AGENT)], text: planted.clone(), ..Mail::default() };
    let found = check(&by_address, AGENT, (1, Clue::AddressToken, true, false));
    assert!(found.token_bound_to_author);
    let above_the_own = Mail { text: format!("{planted}\n{}", w.bracket(1, AGENT)), ..Mail::default() };
    check(&above_the_own, AGENT, (1, Clue::BodyToken, true, false));
    let header_only = Mail {
        text: planted.clone(),
        in_reply_to: vec![w.id(1, AGENT, Rendered::Public)],
        ..Mail::default()
    };
    check(&header_only, AGENT, (1, Clue::Header, false, false));
    let against_an_address =
        Mail { to: vec![w.at(2, CUSTOMER)], text: w.bracket(1, AGENT), ..Mail::default() };
    check(&against_an_address, AGENT, (1, Clue::BodyToken, true, false));
    let nothing_of_the_agent = Mail { to: vec![w.at(1, CUSTOMER)], text: planted, ..Mail::default() };
    check(&nothing_of_the_agent, AGENT, (1, Clue::AddressToken, true, true));
}

#[test]
fn a_token_of_somebody_else_names_the_ticket_and_is_not_bound_to_the_author() {
    let mail = Mail { to: vec![world().at(1, AGENT)], ..Mail::default() };
    assert!(!check(&mail, CUSTOMER, (1, Clue::AddressToken, true, false)).token_bound_to_author);
    let clues = clues(&mail.message(), &envelope(&[]), "", &world().settings);
    let found = identify(&clues, None, &world().snapshot, &world().keys);
    assert_eq!((found.ticket, found.token_bound_to_author), (Some(TicketId(1)), false));
}

#[test]
fn the_envelope_outranks_the_header_fields_so_each_copy_goes_to_its_ticket() {
    let w = world();
    let mail = Mail { to: vec![w.at(1, CUSTOMER), w.at(2, CUSTOMER)], ..Mail::default() };
    for ticket in [1, 2] {
        let clues = clues(&mail.message(), &envelope(&[&w.at(ticket, CUSTOMER)]), "", &w.settings);
        let found = identify(&clues, Some(UserId(CUSTOMER)), &w.snapshot, &w.keys);
        assert_eq!((found.ticket, found.token_ticket), (Some(TicketId(ticket)), Some(TicketId(ticket))));
        assert!(found.ambiguous);
    }
}

#[test]
fn merges_are_followed_and_a_circle_of_them_ends() {
    let w = world();
    let mail = Mail { text: w.bracket(3, CUSTOMER), to: vec![w.at(1, CUSTOMER)], ..Mail::default() };
    check(&mail, CUSTOMER, (1, Clue::AddressToken, true, false));
    let mut circle = world();
    circle.snapshot.tickets.get_mut(&TicketId(1)).unwrap().ticket.merged_into = Some(TicketId(3));
    assert!(mail.identify(&circle, CUSTOMER).ticket.is_some());
    let mut gone = world();
    gone.snapshot.tickets.remove(&TicketId(1));
    let mail = Mail { text: w.bracket(3, CUSTOMER), ..Mail::default() };
    assert_eq!(mail.identify(&gone, CUSTOMER).ticket, Some(TicketId(3)), "the last one we know");
}

#[test]
fn a_follow_up_that_quotes_the_closed_ticket_is_not_ambiguous() {
    let w = world();
    let text = format!("{}\n>> {}", w.bracket(4, CUSTOMER), w.bracket(2, CUSTOMER));
    check(&Mail { text, ..Mail::default() }, CUSTOMER, (4, Clue::BodyToken, true, false));
    let text = format!("{}\n>> {}", w.bracket(2, CUSTOMER), w.bracket(4, CUSTOMER));
    check(&Mail { text, ..Mail::default() }, CUSTOMER, (2, Clue::BodyToken, true, true));
}

#[test]
fn an_answer_to_a_private_notification_is_known_as_one() {
    let w = world();
    let private = w.mint(Purpose::Body, 1, AGENT, Rendered::Private);
    let of_others = w.mint(Purpose::Body, 1, CUSTOMER, Rendered::Private);
    let in_reply_to = |id: String| Mail { in_reply_to: vec![id], ..Mail::default() };
    let in_thread = |id: String| Mail {
        in_reply_to: vec!["unknown@customer.example".into()],
        references: vec![id],
        text: w.bracket(1, AGENT),
        ..Mail::default()
    };
    let cases = [
        (Mail { text: format!("[{private}]"), ..Mail::default() }, true),
        (Mail { text: format!("{}\n>> [{private}]", w.bracket(1, AGENT)), ..Mail::default() }, true),
        (Mail { text: format!("{}\n>> [{of_others}]", w.bracket(1, AGENT)), ..Mail::default() }, false),
        (Mail { text: w.bracket(1, AGENT), ..Mail::default() }, false),
        (in_reply_to(w.id(1, AGENT, Rendered::Private)), true),
        (in_reply_to(w.id(1, AGENT, Rendered::Public)), false),
        (in_reply_to("sent-privately@desk.example".into()), true),
        (in_reply_to("received@customer.example".into()), false),
        (Mail { references: vec![w.id(1, AGENT, Rendered::Private)], ..Mail::default() }, true),
        (in_thread(w.id(1, AGENT, Rendered::Private)), false),
    ];
    for (at, (mail, expected)) in cases.iter().enumerate() {
        assert_eq!(mail.identify(&w, AGENT).notified_comment_was_private, *expected, "case {at}");
    }
}

#[test]
fn clues_ask_for_every_ticket_whose_salt_fits_and_for_no_other() {
    let w = world();
    let mut message = Mail {
        to: vec![w.at(1, CUSTOMER)],
        text: w.bracket(2, CUSTOMER),
        in_reply_to: vec![w.id(4, CUSTOMER, Rendered::Public)],
        references: vec!["old@customer.example".into()],
    }
    .message();
    message.message_id = Some(MessageId(w.id(3, CUSTOMER, Rendered::Public)));
    let path = w.keys.reverse_path(
        &TicketRef { ticket: TicketId(5), recipient: UserId(1), visibility: Rendered::None },
        &salt(5),
        OutboxId(7),
    );
    let found = clues(&message, &envelope(&[&path.unwrap().to_string()]), &w.bracket(6, 1), &w.settings);
    assert_eq!(found.claimed(), (1..=6).map(TicketId).collect());
    let asked = |salts: BTreeMap<TicketId, Salt>| {
        let mut lookup = Lookup::default();
        found.ask(&salts, &w.keys, &mut lookup);
        lookup
    };
    let lookup = asked((1..=6).map(|id| (TicketId(id), salt(id))).collect());
    assert_eq!(lookup.tickets, (1..=6).map(TicketId).collect());
    assert_eq!(lookup.message_ids.len(), 2);
    let others = asked((1..=6).map(|id| (TicketId(id), salt(id + 1))).collect());
    assert_eq!(others.tickets, BTreeSet::new(), "a claim that does not fit loads nothing");
}

#[test]
fn a_flood_of_clues_is_bounded() {
    let w = world();
    let flood: Vec<String> = (0..5000).map(|at| format!("{at}@customer.example")).collect();
    let to = (1..200).map(|recipient| w.at(1, recipient)).collect();
    let mail = Mail { to, references: flood.clone(), in_reply_to: flood, text: String::new() };
    let found = clues(&mail.message(), &envelope(&[]), "", &w.settings);
    assert_eq!((found.references.len(), found.address.len()), (100, 50));
}

mod own {
    use super::*;

    fn sent() -> TicketRef {
        TicketRef { ticket: TicketId(1), recipient: UserId(CUSTOMER), visibility: Rendered::Public }
    }

    fn path() -> String {
        world().keys.reverse_path(&sent(), &salt(1), OutboxId(7)).unwrap().to_string()
    }

    fn check(message: &InboundMessage, envelope: &Envelope, expected: Option<OwnMail>) {
        let w = world();
        let clues = clues(message, envelope, "", &w.settings);
        assert_eq!(own_mail(message, envelope, &clues, &w.snapshot, &w.keys), expected);
    }

    fn bounce() -> Option<OwnMail> {
        Some(OwnMail::BounceOf { reverse_path: address(&path()), sent: sent() })
    }

    fn from(text: &str) -> Vec<Mailbox> {
        vec![Mailbox { name: None, address: address(text) }]
    }

    #[test]
    fn our_notification_is_known_by_its_message_id_or_account_mark() {
        let w = world();
        let at_support = envelope(&["support@desk.example"]);
        let mut message = Mail::default().message();
        check(&message, &at_support, None);
        message.message_id = Some(MessageId(w.id(1, CUSTOMER, Rendered::Public)));
        check(&message, &at_support, Some(OwnMail::Notification));
        message.message_id = Some(MessageId("1234.7@desk.example".into()));
        message.automation.postern_account = Some("SOMEBODYELSE".into());
        check(&message, &at_support, None);
        message.automation.postern_account = Some(w.keys.account_mark());
        check(&message, &at_support, Some(OwnMail::Notification));
    }

    #[test]
    fn a_delivery_report_to_our_return_address_is_a_bounce() {
        let mut message = Mail::default().message();
        message.from = from("MAILER-DAEMON@customer.example");
        message.automation.delivery_report = true;
        check(&message, &envelope(&[&path()]), bounce());
        check(&message, &envelope(&[&path().to_lowercase()]), bounce());
        check(&message, &envelope(&["support@desk.example"]), None);
        let forged = path().replace("bounce+", "bounce+0");
        check(&message, &envelope(&[&forged]), None);
        check(&message, &envelope(&["bounce+nothing.7@desk.example"]), None);
    }

    #[test]
    fn an_old_style_bounce_is_known_by_its_sender_and_null_reverse_path() {
        let mut message = Mail::default().message();
        message.from = from("MAILER-DAEMON@customer.example");
        let null = Envelope { reverse_path: None, ..envelope(&[&path()]) };
        check(&message, &null, bounce());
        check(&message, &envelope(&[&path()]), None);
    }

    #[test]
    fn an_absence_notice_to_our_return_address_is_no_bounce() {
        let mut message = Mail::default().message();
        message.from = from("ada@customer.example");
        message.automation.out_of_office = true;
        check(&message, &Envelope { reverse_path: None, ..envelope(&[&path()]) }, None);
    }
}
