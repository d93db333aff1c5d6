use super::*;

fn address(text: &str) -> Option<Address> {
    Some(Address::parse(text).unwrap())
}

/// An honest mail of a customer, changed.
fn with(change: impl Fn(&mut Facts)) -> Facts {
    let author = address("ada@customer.example");
    let mut facts = Facts { author, has_content: true, max_ccs: 48, ..Facts::default() };
    change(&mut facts);
    facts
}

/// The published number of the cause (0: accepted, -1: discarded) and the check that settled it.
fn check(change: impl Fn(&mut Facts), expected: (i64, &str)) {
    let admission = admit(&with(change));
    let number = match admission.verdict {
        Verdict::Accept => 0,
        Verdict::Discard(_) => -1,
        Verdict::Suspend { cause, .. } => cause.id(),
    };
    let settled = admission.trace.steps.iter().find(|step| step.answer == "settle");
    let by = settled.map_or("", |step| &*step.check);
    assert_eq!((number, by), expected, "{:#?}", admission.trace);
}

fn submitted(value: &str) -> impl Fn(&mut Facts) {
    move |facts| facts.automation.auto_submitted = Some(value.to_owned())
}

fn header(name: &str) -> impl Fn(&mut Facts) {
    move |facts| facts.automation.headers = vec![name.to_owned()]
}

fn from(text: &str) -> impl Fn(&mut Facts) {
    move |facts| facts.author = address(text)
}

#[test]
fn an_honest_mail_passes_every_check() {
    check(|_| {}, (0, ""));
    let passed: Vec<_> = admit(&with(|_| {})).trace.steps.into_iter().map(|step| step.check).collect();
    assert_eq!(passed, CHECKS.iter().map(|check| check.name).collect::<Vec<_>>());
}

/// The rows of reference/suspended-and-rejected.md §10 that a mail alone can show.
#[test]
fn each_published_case_has_its_cause() {
    check(submitted("auto-replied"), (3, "automatic-reply")); // row 1
    check(|facts| facts.automation.precedence = Some("bulk".into()), (3, "automatic-reply")); // row 3
    check(|facts| facts.automation.out_of_office = true, (8, "out-of-office")); // row 4
    check(from("noreply@shop.example"), (27, "noreply-sender")); // row 5
    check(|facts| facts.has_content = false, (11, "blank")); // row 6
    check(|facts| facts.is_from_own_address = true, (22, "from-support-address")); // row 7
    check(|facts| facts.automation.delivery_report = true, (7, "delivery-failure")); // row 11
    check(|facts| facts.author_is_agent = true, (26, "unauthenticated-agent")); // row 13
    check(|facts| facts.ccs = 49, (30, "too-many-ccs")); // row 23
    check(|facts| facts.automation.mailer = Some("kayako".into()), (3, "automatic-reply"));
}

#[test]
fn our_own_mail_is_discarded_before_anything_else_is_asked() {
    let own = |facts: &mut Facts| {
        facts.is_own_notification = true;
        facts.author = None;
    };
    check(own, (-1, "own-notification"));
    assert_eq!(admit(&with(own)).verdict, Verdict::Discard(DiscardReason::OwnMail));
    let bounce = |facts: &mut Facts| {
        facts.is_own_bounce = true;
        facts.automation.delivery_report = true;
    };
    check(bounce, (-1, "own-bounce"));
    assert_eq!(admit(&with(bounce)).verdict, Verdict::Discard(DiscardReason::OwnBounce));
}

#[test]
fn each_cause_has_its_near_miss() {
    check(|facts| facts.ccs = 48, (0, ""));
    check(header("x-auto-response-suppress"), (0, ""));
    check(header("list-id"), (0, ""));
    check(header("list-unsubscribe"), (0, ""));
    check(|facts| facts.reverse_path_is_null = true, (0, ""));
    check(|facts| facts.automation.postern_account = Some("ANOTHERS".into()), (0, ""));
    let agent = |facts: &mut Facts| {
        facts.author_is_agent = true;
        facts.author_is_authenticated = true;
    };
    check(agent, (0, ""));
    for sender in ["reply@shop.example", "nora@shop.example", "casinoreply@x.example", "no@reply.example"] {
        check(from(sender), (0, ""));
    }
}

#[test]
fn senders_that_take_no_replies_are_known_by_their_name() {
    for sender in [
        "noreply@shop.example",
        "No-Reply@shop.example",
        "no_reply+4711@shop.example",
        "orders-noreply@shop.example",
        "noreply2@shop.example",
        "DoNotReply@shop.example",
        "do.not.reply@shop.example",
    ] {
        check(from(sender), (27, "noreply-sender"));
    }
    check(|facts| facts.from = address("noreply@shop.example"), (27, "noreply-sender"));
}

#[test]
fn machines_are_known_by_their_headers() {
    for name in
        ["x-autoreply", "x-autorespond", "autoresponder", "x-mailing-software", "rt-ticket", "x-vacation"]
    {
        check(header(name), (3, "automatic-reply"));
    }
    check(submitted("auto-generated"), (3, "automatic-reply"));
    check(|facts| facts.automation.other_report = true, (3, "automatic-reply"));
    let suppressed = |facts: &mut Facts| {
        header("x-auto-response-suppress")(facts);
        facts.reverse_path_is_null = true;
    };
    check(suppressed, (3, "automatic-reply"));
}

#[test]
fn a_bounce_that_is_not_ours_is_known_by_report_or_sender() {
    let report = |facts: &mut Facts| {
        facts.automation.other_report = true;
        facts.reverse_path_is_null = true;
    };
    check(report, (7, "delivery-failure"));
    let old_style = |facts: &mut Facts| {
        from("MAILER-DAEMON@mx.example")(facts);
        facts.reverse_path_is_null = true;
    };
    check(old_style, (7, "delivery-failure"));
    check(from("mailer-daemon@mx.example"), (0, ""));
}

#[test]
fn the_first_cause_in_order_is_the_one_that_is_kept() {
    let everything = |facts: &mut Facts| {
        facts.author_is_suspended_user = true;
        facts.automation.out_of_office = true;
        facts.author_is_agent = true;
        facts.has_content = false;
    };
    check(everything, (9, "suspended-user"));
}

#[test]
fn a_reply_to_that_names_an_agent_is_held() {
    check(|facts| facts.reply_to_names_agent_unaligned = true, (26, "unauthenticated-agent"));
}

#[test]
fn a_person_who_lets_a_mail_in_waives_what_is_theirs_to_waive() {
    let recovered = |change: fn(&mut Facts)| {
        move |facts: &mut Facts| {
            change(facts);
            facts.recovered = true;
        }
    };
    check(recovered(|facts| facts.automation.out_of_office = true), (0, ""));
    check(recovered(|facts| facts.author_is_suspended_user = true), (0, ""));
    check(recovered(|facts| facts.has_content = false), (0, ""));
    check(recovered(|facts| facts.ccs = 100), (0, ""));
    check(recovered(|facts| facts.author = None), (19, "no-author"));
    check(recovered(|facts| facts.is_from_own_address = true), (22, "from-support-address"));
    check(recovered(|facts| facts.is_own_bounce = true), (-1, "own-bounce"));
}

#[test]
fn a_recovered_mail_in_an_agents_name_is_an_outsiders() {
    let claims_agent = |facts: &mut Facts| {
        facts.author_is_agent = true;
        facts.recovered = true;
    };
    let admission = admit(&with(claims_agent));
    assert_eq!((admission.verdict, admission.author_is_outsider), (Verdict::Accept, true));
    let waived = admission.trace.steps.iter().find(|step| step.answer == "waived").unwrap();
    assert_eq!(waived.check, "unauthenticated-agent");
    assert!(!admit(&with(|facts| facts.recovered = true)).author_is_outsider);
    assert!(!admit(&with(|facts| facts.author_is_agent = true)).author_is_outsider);
}
