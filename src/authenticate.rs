//! Who may be believed to have written a mail (DESIGN §7).
//!
//! `From:` is a claim. What an entrance may believe is the envelope's [`TrustSource`]; what was found is an
//! [`Authentication`], and trust belongs to an address, not to the mail.
//!
//! **Invariants:** only the From address is ever authenticated: what a domain vouches for is the From field it
//! let out, so another address of that domain (in Reply-To, say) is aligned but not authenticated. A mail
//! without exactly one From address is never authenticated. A failure outweighs a success of the same kind.
//!
//! Not done here: SPF, DKIM and DMARC themselves; a relay does them and we read its results.

use std::net::IpAddr;

use crate::domain::address::Address;
use crate::domain::mail::{Envelope, InboundMessage, TrustSource};
use crate::domain::snapshot::SenderTrust;
use crate::domain::trace::Trace;

mod results;

use results::MethodResult;

/// What was found out about the sender of one mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    from: Vec<Address>,
    verdict: Verdict,
    pub trace: Trace,
}

impl Authentication {
    /// How far this address may be believed to have written the mail.
    #[must_use]
    pub fn trust_of(&self, address: &Address) -> SenderTrust {
        match self.verdict {
            Verdict::Domain | Verdict::Address if self.from.first() == Some(address) => {
                SenderTrust::Authenticated
            }
            Verdict::Failed if self.is_of_from_domain(address) => SenderTrust::Failed,
            _ => SenderTrust::None,
        }
    }

    /// Whether the authenticated From domain is also this address's, so that it may stand for the author. It
    /// is not thereby authenticated: a domain's users may name one another in Reply-To.
    #[must_use]
    pub fn reply_to_is_aligned(&self, reply_to: &Address) -> bool {
        self.verdict == Verdict::Domain && self.is_of_from_domain(reply_to)
    }

    fn is_of_from_domain(&self, address: &Address) -> bool {
        self.from.iter().any(|from| from.domain() == address.domain())
    }
}

/// Judges the sender by what the entrance may believe.
#[must_use]
pub fn authenticate(message: &InboundMessage, envelope: &Envelope) -> Authentication {
    let from: Vec<_> = message.from.iter().map(|mailbox| mailbox.address.clone()).collect();
    let mut trace = Trace::default();
    let (verdict, because) = judge(message, envelope, &from, &mut trace);
    trace.push(STAGE, "sender", verdict.word(), because);
    Authentication { from, verdict, trace }
}

const STAGE: &str = "authenticate";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Unknown,
    Failed,
    /// The From domain vouches for the mail.
    Domain,
    /// A server vouches for the From address alone.
    Address,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Unknown => SenderTrust::None.word(),
            Self::Failed => SenderTrust::Failed.word(),
            Self::Domain | Self::Address => SenderTrust::Authenticated.word(),
        }
    }
}

fn judge(
    message: &InboundMessage,
    envelope: &Envelope,
    from: &[Address],
    trace: &mut Trace,
) -> (Verdict, &'static str) {
    let sole = match (from, message.from_fields) {
        ([from], 1) => Some(from),
        _ => None,
    };
    match (&envelope.entrance.trust, sole) {
        (TrustSource::None, _) => (Verdict::Unknown, "this entrance believes nobody"),
        // RFC 7489 §6.6.1. Failed, not unknown: else a second From would turn a failure into a doubt.
        (_, None) => (Verdict::Failed, "there is not exactly one From address"),
        (TrustSource::Upstream, Some(_)) => {
            (Verdict::Domain, "this entrance believes its relay, which refuses spoofed mail")
        }
        (TrustSource::AuthservId { authserv_id, relays }, Some(from)) => {
            if !envelope.client.is_some_and(|client| is_one_of(client, relays)) {
                return (Verdict::Unknown, "the mail did not come from a configured relay");
            }
            let results = believed(message, authserv_id, trace);
            Evidence { results: &results, from, envelope }.judge()
        }
    }
}

fn is_one_of(client: IpAddr, relays: &[ipnet::IpNet]) -> bool {
    let client = client.to_canonical(); // an IPv4 client on an IPv6 socket
    relays.iter().any(|relay| relay.contains(&client))
}

/// The results that the relay itself wrote: they bear its name and stand above every Received field. Below
/// one, anybody may have written them (RFC 8601 §4.1, §7.1).
fn believed(message: &InboundMessage, authserv_id: &str, trace: &mut Trace) -> Vec<MethodResult> {
    let mut believed = Vec::new();
    let mut ignored = 0usize;
    for field in &message.authentication_results {
        let read = if field.received_above == 0 { results::parse(&field.body) } else { None };
        match read.filter(|read| read.authserv_id.eq_ignore_ascii_case(authserv_id)) {
            Some(read) => believed.extend(read.results),
            None => ignored += 1,
        }
    }
    if ignored > 0 {
        let because = format!("not written by the relay `{authserv_id}` above the first Received: {ignored}");
        trace.push(STAGE, "authentication-results", "ignored", because);
    }
    for found in &believed {
        let because = format!("the relay says {}={}", shown(&found.method), shown(&found.result));
        trace.push(STAGE, "authentication-results", "found", because);
    }
    believed
}

/// A method or result for the trace: a short word, whatever the field held.
fn shown(word: &str) -> String {
    word.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(20).collect()
}

struct Evidence<'a> {
    results: &'a [MethodResult],
    from: &'a Address,
    envelope: &'a Envelope,
}

impl Evidence<'_> {
    fn judge(&self) -> (Verdict, &'static str) {
        let dmarc = || self.of("dmarc").filter(|it| self.names_from_domain(it, "header.from") != Some(false));
        if dmarc().any(|it| it.result == "fail") {
            return (Verdict::Failed, "DMARC fails for the From domain");
        }
        let dmarc_passes = |it: &MethodResult| {
            it.result == "pass" && self.names_from_domain(it, "header.from") == Some(true)
        };
        if dmarc().next().is_some() && dmarc().all(dmarc_passes) {
            return (Verdict::Domain, "DMARC passes for the From domain");
        }
        if self.passes("dkim", "header.d") {
            return (Verdict::Domain, "a DKIM signature of the From domain passes");
        }
        // RFC 7208 §2.4: SPF checks the HELO name where there is no reverse-path.
        let spf_identity = self.spf_identity();
        if self.passes("spf", spf_identity) {
            return (Verdict::Domain, "SPF passes for the From domain");
        }
        let is_author =
            |it: &MethodResult| it.property("smtp.auth").map(Address::parse) == Some(Ok(self.from.clone()));
        if self.of("auth").any(|it| it.result == "pass" && is_author(it)) {
            return (Verdict::Address, "the relay let the From address in by its password");
        }
        if self.fails("dkim", "header.d") || self.fails("spf", spf_identity) {
            return (Verdict::Failed, "SPF or DKIM fails for the From domain, and nothing passes");
        }
        (Verdict::Unknown, "the relay says nothing that covers the From domain")
    }

    fn spf_identity(&self) -> &'static str {
        if self.envelope.reverse_path.is_some() { "smtp.mailfrom" } else { "smtp.helo" }
    }

    fn of(&self, method: &str) -> impl Iterator<Item = &MethodResult> {
        self.results.iter().filter(move |it| it.method == method)
    }

    fn passes(&self, method: &str, property: &str) -> bool {
        self.of(method).any(|it| it.result == "pass" && self.names_from_domain(it, property) == Some(true))
    }

    /// A failure that does not say of which domain may be about this one.
    fn fails(&self, method: &str, property: &str) -> bool {
        self.of(method).any(|it| it.result == "fail" && self.names_from_domain(it, property) != Some(false))
    }

    /// Whether the property names the From domain; none if it names no domain.
    fn names_from_domain(&self, result: &MethodResult, property: &str) -> Option<bool> {
        let value = result.property(property)?;
        let domain = value.rsplit('@').next()?.trim_matches(['<', '>']);
        let named = Address::parse(&format!("postmaster@{domain}")).ok()?;
        Some(named.domain() == self.from.domain())
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            trust(&format!("mx.desk.example; {pass}"), "192.0.2.1", 1),
            None,
            "below a Received field"
        );
        assert_eq!(trust(&format!("mx.desk.example; {pass}"), "198.51.100.1", 0), None, "not from the relay");
        assert_eq!(trust(&format!("mx.other.example; {pass}"), "192.0.2.1", 0), None, "of another server");
        assert_eq!(trust(&format!("mx.desk.example; {pass} (open"), "192.0.2.1", 0), None, "broken");
        assert_eq!(trust(pass, "192.0.2.1", 0), None, "of no server");
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
        let found =
            by_relay(&["mx.desk.example; auth=pass smtp.auth=ada@x.example; \"<b>\"=x", "other; none"]);
        let told: Vec<_> = found.trace.steps.iter().map(|step| step.because.as_str()).collect();
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
}
