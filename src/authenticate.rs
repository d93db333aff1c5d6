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

use std::net::{IpAddr, Ipv4Addr};

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
            if !is_one_of(envelope.client, relays) {
                return (Verdict::Unknown, "the mail did not come from a configured relay");
            }
            let results = believed(message, authserv_id, trace);
            Evidence { results: &results, from, envelope }.judge()
        }
    }
}

/// What came over a Unix socket or a pipe came from this machine, as what comes from 127.0.0.1 does.
fn is_one_of(client: Option<IpAddr>, relays: &[ipnet::IpNet]) -> bool {
    let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
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
mod tests;
