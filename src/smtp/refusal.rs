//! Everything the gate refuses: one table of names, codes and texts.
//!
//! **Invariant:** every 4yz and 5yz reply but the 421 of a shutdown is one of these, so that the log, the metrics
//! and the client tell of the same refusal.
//!
//! Texts are for the peer and its log: they say what is wrong with what the peer sent, and nothing about our
//! inside. Names are stable: alarms are built on them.

use super::Refused;

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident: $name:literal, $code:literal $enhanced:literal $text:literal;)*) => {
        /// Why a connection, a command or a mail was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($(#[$doc])* $variant,)*
        }

        impl Refusal {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name for log and metrics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Code, enhanced code and text of the reply.
            pub(super) fn wording(self) -> (u16, &'static str, &'static str) {
                match self {
                    $(Self::$variant => ($code, $enhanced, $text),)*
                }
            }
        }
    };
}

refusals! {
    // The connection ends.
    TooManyConnections: "too_many_connections", 421 "4.3.2" "too many connections, try again later";
    TooManyFromNetwork: "too_many_from_network",
        421 "4.7.0" "too many connections from your network, try again later";
    TimedOut: "timed_out", 421 "4.4.2" "timed out";
    /// Bytes come, but too few of them.
    TooSlow: "too_slow", 421 "4.4.2" "too slow";
    TooManyErrors: "too_many_errors", 421 "4.7.0" "too many errors";
    TooManyCommands: "too_many_commands", 421 "4.7.0" "too many commands without a mail";
    TooManyAuthFailures: "too_many_auth_failures", 421 "4.7.0" "too many failed logins";
    /// Where the octets of a chunk end cannot be known, so what follows must not be read as commands.
    ChunkSizeUnknown: "chunk_size_unknown", 421 "4.5.2" "cannot tell where the chunk ends";

    // Command lines.
    UnknownCommand: "unknown_command", 500 "5.5.1" "command not recognised";
    LineTooLong: "line_too_long", 500 "5.5.2" "line too long";
    BareLineEndInCommand: "bare_line_end_in_command",
        500 "5.5.2" "a line must end in <CR><LF> and hold no other CR or LF";
    NotText: "not_text", 500 "5.5.2" "a command must be UTF-8 text without control characters";
    /// The reply says what was expected instead.
    Syntax: "syntax", 501 "5.5.4" "syntax error";
    /// The reply names the parameter.
    BadParameter: "bad_parameter", 501 "5.5.4" "a parameter has no such value";
    NotImplemented: "not_implemented", 502 "5.5.1" "command not implemented";
    UnknownParameter: "unknown_parameter", 555 "5.5.4" "parameter not recognised or not offered";

    // Order.
    /// The reply says what must come first.
    OutOfOrder: "out_of_order", 503 "5.5.1" "bad sequence of commands";
    NestedMail: "nested_mail", 503 "5.5.1" "a sender was already given";
    /// RFC 3030 §2: after the first BDAT come more of them, and nothing else of the same mail.
    MessageBegun: "message_begun", 503 "5.5.1" "the message was begun with BDAT and must go on with it";
    /// RFC 3030 §3: DATA cannot carry BODY=BINARYMIME.
    BinaryNeedsBdat: "binary_needs_bdat", 503 "5.5.1" "a BINARYMIME message needs BDAT";
    NoValidRecipients: "no_valid_recipients", 554 "5.5.1" "no valid recipients";

    // Addresses. RFC 6531 §3.5 names the codes of the two about SMTPUTF8.
    NoSuchRecipient: "no_such_recipient", 550 "5.1.1" "no such recipient here";
    BadRecipientAddress: "bad_recipient_address", 550 "5.1.3" "not a mail address";
    BadSenderAddress: "bad_sender_address", 553 "5.1.7" "not a mail address";
    SenderNeedsSmtputf8: "sender_needs_smtputf8", 550 "5.6.7" "a non-ASCII sender needs SMTPUTF8";
    RecipientNeedsSmtputf8: "recipient_needs_smtputf8",
        553 "5.6.7" "a non-ASCII recipient needs SMTPUTF8 in MAIL";
    /// RFC 5321 §4.5.3.1.10: 452, so that the client sends the rest in another transaction.
    TooManyRecipients: "too_many_recipients", 452 "4.5.3" "too many recipients";

    // Messages.
    MessageTooLarge: "message_too_large", 552 "5.3.4" "message too large";
    HeaderTooLarge: "header_too_large", 552 "5.3.4" "message header too large";
    TooManyHeaders: "too_many_headers", 554 "5.6.0" "message refused: too many header fields";
    /// A CR without LF or an LF without CR. Servers differ in whether that ends a line, and wherever two differ
    /// one mail can become two; a conforming client never sends it (RFC 5321 §2.3.8).
    BareLineEnd: "bare_line_end",
        554 "5.6.0" "message refused: it holds a CR or LF outside of <CR><LF>";
    StorageFailed: "storage_failed", 451 "4.3.0" "could not keep the message, try again later";
    NoRoom: "no_room", 452 "4.3.1" "no room for the message now, try again later";
    TooBusy: "too_busy", 451 "4.3.2" "too busy for the message now, try again later";

    // TLS (RFC 3207) and AUTH (RFC 4954 §6).
    TlsRequired: "tls_required", 530 "5.7.0" "expected STARTTLS first";
    TlsActive: "tls_active", 503 "5.5.1" "TLS is active already";
    AuthRequired: "auth_required", 530 "5.7.0" "authentication required";
    AuthNeedsTls: "auth_needs_tls", 538 "5.7.11" "authentication needs TLS";
    AuthFailed: "auth_failed", 535 "5.7.8" "no such user or wrong password";
    AlreadyAuthenticated: "already_authenticated", 503 "5.5.1" "already authenticated";
    UnknownMechanism: "unknown_mechanism", 504 "5.5.4" "authentication mechanism not offered";
    AuthCancelled: "auth_cancelled", 501 "5.7.0" "authentication cancelled";
    NotBase64: "not_base64", 501 "5.5.2" "expected base64";
    AuthLineTooLong: "auth_line_too_long", 500 "5.5.6" "authentication line too long";
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Storage => Self::StorageFailed,
            Refused::Full => Self::NoRoom,
            Refused::Busy => Self::TooBusy,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_in_snake_case() {
        let names: BTreeSet<&str> = Refusal::ALL.iter().map(|refusal| refusal.name()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
        for name in names {
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
        }
    }

    #[test]
    fn the_enhanced_code_has_the_class_of_the_code() {
        for refusal in Refusal::ALL {
            let (code, enhanced, _) = refusal.wording();
            assert_eq!(
                code / 100,
                u16::from(enhanced.as_bytes()[0] - b'0'),
                "{}: {code} {enhanced}",
                refusal.name()
            );
        }
    }

    #[test]
    fn a_mail_that_could_not_be_kept_may_come_again() {
        for refused in [Refused::Storage, Refused::Full, Refused::Busy] {
            assert_eq!(Refusal::from(refused).wording().0 / 100, 4);
        }
    }
}
