//! Signs that a machine wrote a mail (RFC 3834, RFC 3464, and the published list of header names).

use super::Facts;
use crate::domain::address::Address;

/// Headers of automatic answers besides `X-Auto…`.
const HEADERS: [&str; 8] = [
    "autoresponder",
    "cmwinserver",
    "rt-ticket",
    "x-mail-autoreply",
    "x-mailing-software",
    "x-tender",
    "x-twitteremailtype",
    "x-vacation",
];

/// Exchange puts it on ordinary mail too, so alone it says nothing.
const RESPONSE_SUPPRESS: &str = "x-auto-response-suppress";

/// Names of senders that take no replies, between hyphens.
const NOREPLY: [&str; 4] = ["-noreply-", "-no-reply-", "-donotreply-", "-do-not-reply-"];

/// Why a machine is thought to have written it. `List-…` headers alone are no reason: people write to lists.
pub(super) fn evidence(facts: &Facts) -> Option<&'static str> {
    let automation = &facts.automation;
    let has = |telling: fn(&str) -> bool| automation.headers.iter().any(|name| telling(name));
    if automation.auto_submitted.is_some() {
        return Some("Auto-Submitted says that a machine sent it");
    }
    if automation.precedence.is_some() {
        return Some("its Precedence is that of bulk or automatic mail");
    }
    if has(|name| HEADERS.contains(&name) || name.starts_with("x-auto") && name != RESPONSE_SUPPRESS) {
        return Some("it has a header of automatic answers");
    }
    if facts.reverse_path_is_null && has(|name| name == RESPONSE_SUPPRESS) {
        return Some("it wants no automatic answer and has no return address");
    }
    if automation.mailer.is_some() {
        return Some("a known program for machine mail sent it");
    }
    if automation.other_report {
        return Some("it is a machine's report");
    }
    None
}

/// A delivery report, or what older servers send in its place.
pub(super) fn is_delivery_failure(facts: &Facts) -> bool {
    let from_mailer =
        facts.author.as_ref().is_some_and(|author| author.local().eq_ignore_ascii_case("mailer-daemon"));
    let automation = &facts.automation;
    automation.delivery_report || facts.reverse_path_is_null && (automation.other_report || from_mailer)
}

/// `noreply`, alone or as a word of the local part; digits and punctuation end a word.
pub(super) fn is_noreply(address: &Address) -> bool {
    let letter = |c: char| if c.is_alphabetic() { c.to_ascii_lowercase() } else { '-' };
    let words: String = address.local().chars().map(letter).collect();
    let words = format!("-{words}-");
    NOREPLY.iter().any(|name| words.contains(name))
}
