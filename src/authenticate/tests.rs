use super::*;
use crate::domain::address::Mailbox;
use crate::domain::mail::{AuthenticationResultsField, Entrance};
use crate::domain::snapshot::SenderTrust::{Authenticated, Failed, None};
use crate::domain::time::Timestamp;

const ADA: &str = "ada@x.example";

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn relay() -> TrustSource {
    TrustSource::AuthservId {
        authserv_id: "mx.desk.example".into(),
        relays: vec!["192.0.2.0/24".parse().unwrap()],
    }
}

fn envelope(trust: TrustSource, client: &str) -> Envelope {
    Envelope {
        entrance: Entrance { name: "test".into(), trust },
        client: Some(client.parse().unwrap()),
        helo: Option::None,
        reverse_path: Some(address("bounce@x.example")),
        recipients: vec![],
        accepted_at: Timestamp(0),
    }
}

/// A mail with these From addresses, each Authentication-Results field on top.
fn message(from: &[&str], fields: &[&str]) -> InboundMessage {
    let field = |body: &&str| AuthenticationResultsField { body: (*body).to_owned(), received_above: 0 };
    InboundMessage {
        from: from.iter().map(|text| Mailbox { name: Option::None, address: address(text) }).collect(),
        from_fields: 1,
        authentication_results: fields.iter().map(field).collect(),
        ..InboundMessage::default()
    }
}

fn by_relay(fields: &[&str]) -> Authentication {
    authenticate(&message(&[ADA], fields), &envelope(relay(), "192.0.2.1"))
}

/// Trust in `ada@x.example`, the From address, after what the relay says.
fn check(results: &str, expected: SenderTrust) {
    let found = by_relay(&[&format!("mx.desk.example; {results}")]);
    assert_eq!(found.trust_of(&address(ADA)), expected, "{results}: {:#?}", found.trace);
}

#[test]
fn evidence_that_covers_the_from_domain_authenticates_the_from_address() {
    check("dmarc=pass header.from=x.example", Authenticated);
    check("dmarc=pass header.from=X.Example", Authenticated);
    check("dkim=pass header.d=x.example", Authenticated);
    check("spf=pass smtp.mailfrom=bounce@x.example", Authenticated);
    check("spf=pass smtp.mailfrom=x.example", Authenticated);
    check("auth=pass smtp.auth=Ada@x.example", Authenticated);
    check("dkim=fail header.d=x.example; dkim=pass header.d=x.example", Authenticated);
    check("spf=fail smtp.mailfrom=x.example; dkim=pass header.d=x.example", Authenticated);
}

#[test]
fn evidence_for_another_domain_or_of_another_kind_says_nothing() {
    check("none", None);
    check("dmarc=pass header.from=y.example", None);
    check("dmarc=pass", None);
    check("dmarc=bestguesspass header.from=x.example", None);
    check("dmarc=none header.from=x.example", None);
    check("dkim=pass header.d=sub.x.example", None);
    check("dkim=pass header.d=ax.example", None);
    check("dkim=pass header.d=y.example header.d=x.example", None);
    check("dkim=pass header.i=@x.example", None);
    check("spf=pass smtp.mailfrom=y.example", None);
    check("spf=pass smtp.mailfrom=x.example@y.example", None);
    check("spf=pass smtp.helo=x.example", None);
    check("spf=softfail smtp.mailfrom=x.example", None);
    check("auth=pass smtp.auth=bob@x.example", None);
    check("auth=pass smtp.auth=ada", None);
    check("arc=pass header.from=x.example", None);
}

#[test]
fn a_failure_outweighs_what_passes_for_others() {
    check("dmarc=fail header.from=x.example", Failed);
    check("dmarc=fail header.from=x.example; dkim=pass header.d=y.example", Failed);
    check("dkim=pass header.d=x.example; dmarc=fail header.from=x.example", Failed);
    check("dmarc=fail", Failed);
    check("dmarc=pass header.from=x.example; dmarc=fail header.from=x.example", Failed);
    check("spf=fail smtp.mailfrom=x.example", Failed);
    check("spf=fail", Failed);
    check("dkim=fail header.d=x.example; spf=pass smtp.mailfrom=y.example", Failed);
    check("spf=fail smtp.mailfrom=y.example", None);
    check("dmarc=fail header.from=y.example", None);
    check("dmarc=pass header.from=x.example; dmarc=none header.from=x.example", None);
}

#[test]
fn several_fields_of_the_relay_count_together() {
    let pass = "mx.desk.example; dmarc=pass header.from=x.example";
    let fail = "mx.desk.example; dmarc=fail header.from=x.example";
    for fields in [[pass, fail], [fail, pass]] {
        assert_eq!(by_relay(&fields).trust_of(&address(ADA)), Failed);
    }
}

#[test]
fn only_what_the_relay_wrote_above_every_received_field_counts() {
    let pass = "dmarc=pass header.from=x.example";
    let trust = |field: &str, client: &str, received_above: usize| {
        let mut message = message(&[ADA], &[field]);
        message.authentication_results[0].received_above = received_above;
        authenticate(&message, &envelope(relay(), client)).trust_of(&address(ADA))
    };
    assert_eq!(trust(&format!("MX.Desk.Example 1; {pass}"), "192.0.2.1", 0), Authenticated);
    assert_eq!(trust(&format!("mx.desk.example; {pass}"), "::ffff:192.0.2.1", 0), Authenticated);
    assert_eq!(trust(&format!("mx.desk.example; {pass}"), "192.0.2.1", 1), None, "below a Received field");
    assert_eq!(trust(&format!("mx.desk.example; {pass}"), "198.51.100.1", 0), None, "not from the relay");
    assert_eq!(trust(&format!("mx.other.example; {pass}"), "192.0.2.1", 0), None, "of another server");
    assert_eq!(trust(&format!("mx.desk.example; {pass} (open"), "192.0.2.1", 0), None, "broken");
    assert_eq!(trust(pass, "192.0.2.1", 0), None, "of no server");
}

#[test]
fn a_relay_without_an_address_is_this_machine() {
    let message = message(&[ADA], &["mx.desk.example; dmarc=pass header.from=x.example"]);
    for (relays, expected) in [("127.0.0.1/32", Authenticated), ("192.0.2.0/24", None)] {
        let trust = TrustSource::AuthservId {
            authserv_id: "mx.desk.example".into(),
            relays: vec![relays.parse().unwrap()],
        };
        let envelope = Envelope { client: Option::None, ..envelope(trust, "192.0.2.1") };
        assert_eq!(authenticate(&message, &envelope).trust_of(&address(ADA)), expected, "{relays}");
    }
}

#[test]
fn the_helo_name_counts_only_without_a_reverse_path() {
    let message = message(&[ADA], &["mx.desk.example; spf=pass smtp.helo=x.example"]);
    let null = Envelope { reverse_path: Option::None, ..envelope(relay(), "192.0.2.1") };
    assert_eq!(authenticate(&message, &null).trust_of(&address(ADA)), Authenticated);
}

#[test]
fn each_source_believes_what_it_may() {
    let pass = message(&[ADA], &["mx.desk.example; dmarc=pass header.from=x.example"]);
    let fail = message(&[ADA], &["mx.desk.example; dmarc=fail header.from=x.example"]);
    let trust = |message: &InboundMessage, source| {
        authenticate(message, &envelope(source, "192.0.2.1")).trust_of(&address(ADA))
    };
    assert_eq!(trust(&pass, TrustSource::None), None);
    assert_eq!(trust(&fail, TrustSource::None), None);
    assert_eq!(trust(&message(&[ADA], &[]), TrustSource::Upstream), Authenticated);
}

#[test]
fn without_exactly_one_from_address_nobody_is_authenticated() {
    let bob = "bob@y.example";
    let mut two_fields = message(&[ADA], &[]);
    two_fields.from_fields = 2;
    for message in [two_fields, message(&[ADA, bob], &[]), message(&[bob, ADA], &[])] {
        let found = authenticate(&message, &envelope(TrustSource::Upstream, "192.0.2.1"));
        assert_eq!(found.trust_of(&address(ADA)), Failed);
        assert!(!found.reply_to_is_aligned(&address(ADA)));
    }
    let found = authenticate(&message(&[], &[]), &envelope(TrustSource::Upstream, "192.0.2.1"));
    assert_eq!(found.trust_of(&address(ADA)), None);
}

#[test]
fn another_address_of_the_domain_is_aligned_but_not_authenticated() {
    let bob = address("bob@x.example");
    let by_domain = by_relay(&["mx.desk.example; dmarc=pass header.from=x.example"]);
    assert!(by_domain.reply_to_is_aligned(&bob));
    assert_eq!(by_domain.trust_of(&bob), None);
    assert!(!by_domain.reply_to_is_aligned(&address("ada@y.example")));
    let by_address = by_relay(&["mx.desk.example; auth=pass smtp.auth=ada@x.example"]);
    assert!(!by_address.reply_to_is_aligned(&bob));
    let failed = by_relay(&["mx.desk.example; dmarc=fail header.from=x.example"]);
    assert!(!failed.reply_to_is_aligned(&bob));
    assert_eq!((failed.trust_of(&bob), failed.trust_of(&address("ada@y.example"))), (Failed, None));
}

#[test]
fn the_trace_names_what_was_found_and_holds_no_address() {
    let found = by_relay(&["mx.desk.example; auth=pass smtp.auth=ada@x.example; \"<b>\"=x", "other; none"]);
    let told: Vec<_> = found.trace.steps.iter().map(|step| &*step.because).collect();
    assert_eq!(
        told,
        [
            "not written by the relay `mx.desk.example` above the first Received: 1",
            "the relay says auth=pass",
            "the relay says b=x",
            "the relay let the From address in by its password",
        ]
    );
}
