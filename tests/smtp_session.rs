//! The session without a socket: what its contract promises the driver, and arbitrary bytes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod smtp_support;

use std::sync::Arc;

use postern::domain::ids::JournalId;
use postern::domain::mail::Envelope;
use postern::domain::time::Timestamp;
use postern::smtp::Refused;
use postern::smtp::policy::{Limits, Login, Logins, Protocol, Refusal, SessionConfig, TlsPolicy};
use postern::smtp::session::{Awaiting, Channel, Ending, Session, Step};
use proptest::prelude::*;

const BEGIN_MAIL: &[u8] = b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<support@desk.example>\r\n";

fn config() -> SessionConfig {
    let limits = Limits { max_line_length: 100, max_message_size: 200, ..Limits::default() };
    smtp_support::session_config(limits)
}

fn plain_session() -> Session {
    Session::new(Arc::new(config()), None, Channel::Plain)
}

/// A session that has taken `input` and said what it had to say.
fn session_after(input: &[u8]) -> Session {
    let mut session = plain_session();
    feed(&mut session, input);
    let _ = session.take_replies();
    session
}

fn feed(session: &mut Session, mut input: &[u8]) -> Step {
    session.handle(&mut input, Timestamp(0))
}

fn said(session: &mut Session) -> String {
    String::from_utf8(session.take_replies()).unwrap()
}

/// All that came out of a session.
#[derive(Debug, Default, PartialEq)]
struct Played {
    replies: String,
    refusals: Vec<Refusal>,
    mails: Vec<(Envelope, Vec<u8>)>,
}

/// Plays each flight of bytes in pieces of `chunk` bytes. What a flight holds beyond STARTTLS has come before the
/// handshake: the driver throws it away.
fn play(config: &SessionConfig, channel: Channel, flights: &[Vec<u8>], chunk: usize) -> Played {
    let pieces: Vec<Vec<&[u8]>> = flights.iter().map(|flight| flight.chunks(chunk).collect()).collect();
    play_pieces(config, channel, &pieces)
}

fn play_pieces(config: &SessionConfig, channel: Channel, flights: &[Vec<&[u8]>]) -> Played {
    let mut session = Session::new(Arc::new(config.clone()), None, channel);
    let mut played = Played { replies: said(&mut session), ..Played::default() };
    'flights: for flight in flights {
        for piece in flight {
            let mut piece = *piece;
            loop {
                let step = session.handle(&mut piece, Timestamp(0));
                played.refusals.extend(session.take_refusals());
                match step {
                    Step::NeedInput(_) => break,
                    Step::Accept { envelope, raw } => {
                        played.mails.push((*envelope, raw));
                        session.answer(Ok(JournalId(1)));
                    }
                    Step::StartTls => {
                        assert!(piece.is_empty(), "bytes beyond STARTTLS were left");
                        played.replies += &said(&mut session);
                        session.secured();
                        continue 'flights;
                    }
                    Step::Close(_) => {
                        played.replies += &said(&mut session);
                        return played;
                    }
                }
            }
            played.replies += &said(&mut session);
        }
    }
    played
}

/// Plays `wire` cut in two at every byte, and byte by byte: always the same comes out.
fn play_cut_everywhere(config: &SessionConfig, wire: &[u8]) -> Played {
    let whole = play_pieces(config, Channel::Plain, &[vec![wire]]);
    for cut in 1..wire.len() {
        let (head, tail) = wire.split_at(cut);
        assert_eq!(play_pieces(config, Channel::Plain, &[vec![head, tail]]), whole, "cut at {cut}");
    }
    assert_eq!(play(config, Channel::Plain, &[wire.to_vec()], 1), whole, "byte by byte");
    whole
}

/// A mail that somebody has hidden in another one.
const HIDDEN: &[u8] =
    b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<support@desk.example>\r\nDATA\r\nevil\r\n.\r\n";

/// `sequence` in the text of a mail, with another mail hidden behind it: either the text comes through as one
/// mail, or nothing does.
#[track_caller]
fn check_smuggling(sequence: &[u8], expected: Result<(), Refusal>) {
    let config = smtp_support::session_config(Limits::default());
    let text = [b"one\r\ntwo".as_slice(), sequence, HIDDEN].concat();
    let wire = [BEGIN_MAIL, b"DATA\r\n", &text, b"QUIT\r\n"].concat();
    let played = play_cut_everywhere(&config, &wire);
    assert_eq!(played.refusals, Vec::from_iter(expected.err()), "{sequence:?}");
    let end = if expected.is_ok() { "250 2.0.0 kept as 1\r\n" } else { "with a 554" };
    let replies = played.replies.split_once("354 end data with <CR><LF>.<CR><LF>\r\n").unwrap().1;
    let verdict = replies.strip_suffix("221 2.0.0 goodbye\r\n").unwrap();
    assert_eq!(verdict.lines().count(), 1, "{sequence:?}: {replies}");
    assert!(verdict == end || (expected.is_err() && verdict.starts_with("554 ")), "{sequence:?}: {verdict}");
    let kept: Vec<&[u8]> = played.mails.iter().map(|(_, raw)| raw.as_slice()).collect();
    let whole = text.strip_suffix(b".\r\n").unwrap();
    assert_eq!(kept, if expected.is_ok() { vec![whole] } else { vec![] }, "{sequence:?}");
}

#[test]
fn no_published_sequence_ends_a_message_early_however_it_is_cut() {
    for sequence in [
        b"\n.\n".as_slice(),
        b"\n.\r\n",
        b"\r.\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        b"\n\n.\r\n",
        b"\n.\r",
        b"\n\r.\r\n",
        b"\r\0\n.\r\n",
        b"\r\n.\0\n",
        b"\r\n\0.\r\0\n",
    ] {
        check_smuggling(sequence, Err(Refusal::BareLineEnd));
    }
}

#[test]
fn a_dot_in_company_and_a_long_line_end_nothing() {
    let long = |length: usize, end: &[u8]| [b"\r\n".as_slice(), &vec![b'x'; length], end].concat();
    for sequence in [
        b"\r\n\0.\r\n".to_vec(),
        b"\r\n\t.\r\n".to_vec(),
        // A reader that cuts lines at its buffer's end sees a dot alone on a line.
        long(997, b".\r\n"),
        long(1000, b".\r\n"),
        long(2047, b".\r\n"),
        long(2048, b".\r\n"),
    ] {
        check_smuggling(&sequence, Ok(()));
    }
    for end in [b"\n.\r\n".as_slice(), b"\r.\r\n", b"\r\n.\n"] {
        check_smuggling(&long(2048, end), Err(Refusal::BareLineEnd));
    }
}

/// Plays a session in which `chunk`, a BDAT command, brings octets that read like commands.
#[track_caller]
fn check_chunk(before: &[u8], command: &str, expected: &str, mails: usize) {
    let octets = [b"QUIT\r\n.\r\n".as_slice(), HIDDEN, b"BDAT 4 LAST\r\nevil"].concat();
    let command = command.replace("SIZE", &octets.len().to_string());
    let wire = [before, command.as_bytes(), b"\r\n", &octets, b"NOOP\r\n"].concat();
    let played = play_cut_everywhere(&config(), &wire);
    let replies = played.replies.lines().rev().take(2).collect::<Vec<_>>();
    assert_eq!(replies, ["250 2.0.0 ok", expected], "{command}");
    assert_eq!(played.mails.len(), mails, "{command}");
    for (envelope, raw) in played.mails {
        assert_eq!(envelope.reverse_path, None);
        assert_eq!(raw, octets);
    }
}

#[test]
fn the_octets_of_a_chunk_are_never_commands_whatever_became_of_it_and_however_it_is_cut() {
    check_chunk(BEGIN_MAIL, "BDAT SIZE LAST", "250 2.0.0 kept as 1", 1);
    check_chunk(BEGIN_MAIL, "BDAT SIZE", "250 2.0.0 chunk received", 0);
    check_chunk(BEGIN_MAIL, "BDAT SIZE FIRST", "501 5.5.4 expected BDAT chunk-size [LAST]", 0);
    check_chunk(b"", "BDAT SIZE LAST", "503 5.5.1 expected MAIL first", 0);
    check_chunk(b"HELO a\r\nMAIL FROM:<>\r\n", "BDAT SIZE LAST", "554 5.5.1 no valid recipients", 0);
    let nearly_full = [BEGIN_MAIL, b"BDAT 100\r\n", &[b'x'; 100]].concat();
    check_chunk(&nearly_full, "BDAT SIZE LAST", "552 5.3.4 message too large", 0);
}

#[test]
fn a_chunk_of_absurd_size_takes_no_memory_ahead() {
    let mut session = session_after(&[BEGIN_MAIL, b"BDAT 18446744073709551615 LAST\r\nQUIT\r\n"].concat());
    assert_eq!(session.held(), 0);
    assert_eq!(feed(&mut session, &[b'x'; 5000]), Step::NeedInput(Awaiting::Data));
    assert_eq!(session.held(), 0);
    let mut session = session_after(&[BEGIN_MAIL, b"BDAT 200 LAST\r\nab"].concat());
    assert!(session.held() < 100, "{} bytes for 2", session.held());
    assert_eq!(said(&mut session), "");
}

#[test]
fn a_message_in_chunks_is_one_message_to_the_deadlines() {
    let mut session = session_after(BEGIN_MAIL);
    let before = session.progress();
    assert_eq!(feed(&mut session, b"BDAT 2\r\na"), Step::NeedInput(Awaiting::Data));
    let begun = session.progress();
    assert!(begun > before);
    assert_eq!(feed(&mut session, b"bBDAT 1\r\nc"), Step::NeedInput(Awaiting::Data));
    assert_eq!(feed(&mut session, b"NOOP\r\n"), Step::NeedInput(Awaiting::Data));
    assert_eq!(session.progress(), begun, "a client that trickles chunks got more time");
    assert_eq!(feed(&mut session, b"RSET\r\n"), Step::NeedInput(Awaiting::Command));
    assert!(session.progress() > begun);
}

#[test]
fn a_mail_is_not_answered_before_the_driver_has_kept_it() {
    let mut session = plain_session();
    let wire = [BEGIN_MAIL, b"DATA\r\n.\r\nNOOP\r\n"].concat();
    let mut input = wire.as_slice();
    let Step::Accept { raw, .. } = session.handle(&mut input, Timestamp(5)) else {
        panic!("the mail was not given out");
    };
    assert!(raw.is_empty());
    assert!(session.take_replies().ends_with(b"<CR><LF>.<CR><LF>\r\n"));
    assert_eq!(session.handle(&mut input, Timestamp(5)), Step::NeedInput(Awaiting::Data));
    assert_eq!(input, b"NOOP\r\n", "bytes were used before the answer");
    session.answer(Ok(JournalId(9)));
    session.handle(&mut input, Timestamp(5));
    assert_eq!(session.take_replies(), b"250 2.0.0 kept as 9\r\n250 2.0.0 ok\r\n");
}

/// A session that stops lets the message end that `begin` began and `end` ends.
fn check_stopping(begin: &[u8], end: &[u8]) {
    let mut session = session_after(&[BEGIN_MAIL, begin].concat());
    session.shut_down();
    assert_eq!(feed(&mut session, b""), Step::NeedInput(Awaiting::Data));
    assert!(matches!(feed(&mut session, end), Step::Accept { .. }));
    session.answer(Ok(JournalId(1)));
    assert_eq!(feed(&mut session, b"NOOP\r\n"), Step::Close(Ending::Shutdown));
    assert!(
        said(&mut session).ends_with("250 2.0.0 kept as 1\r\n421 4.3.2 shutting down, try again later\r\n")
    );
    assert_eq!(session.take_refusals(), []);
}

#[test]
fn a_stopping_session_ends_between_mails_and_lets_a_message_end() {
    check_stopping(b"DATA\r\nhi\r\n", b".\r\nNOOP\r\n");
    check_stopping(b"BDAT 4\r\nhi\r\n", b"BDAT 4 LAST\r\nhi\r\nNOOP\r\n");
    check_stopping(b"BDAT 4 LAST\r\nhi", b"\r\nNOOP\r\n");
    let mut session = session_after(BEGIN_MAIL);
    session.shut_down();
    assert_eq!(feed(&mut session, b"DATA\r\n"), Step::Close(Ending::Shutdown));
}

/// A message that the driver drops is read to its end and refused for now.
fn check_dropped(begin: &[u8], end: &[u8]) {
    let mut session = session_after(&[BEGIN_MAIL, begin].concat());
    assert!(session.held() > 0);
    session.drop_message();
    assert_eq!(session.held(), 0);
    feed(&mut session, end);
    assert_eq!(session.held(), 0);
    assert_eq!(said(&mut session), "452 4.3.1 no room for the message now, try again later\r\n");
    assert_eq!(session.take_refusals(), [Refusal::NoRoom]);
    assert_eq!(feed(&mut session, b"MAIL FROM:<>\r\n"), Step::NeedInput(Awaiting::Command));
    assert_eq!(said(&mut session), "250 2.1.0 sender ok\r\n");
}

#[test]
fn a_dropped_message_is_read_to_its_end_and_refused_for_now() {
    check_dropped(b"DATA\r\nhi\r\n", b"QUIT\r\n.\r\n");
    check_dropped(b"BDAT 10\r\nhi\r\n", b"QUIT\r\n");
    check_dropped(b"BDAT 4\r\nhi\r\n", b"BDAT 6 LAST\r\nQUIT\r\n");
}

#[test]
fn what_the_driver_refuses_is_said_reported_and_final() {
    for (refusal, reply) in [
        (Refusal::TooManyConnections, "421 4.3.2 too many connections, try again later\r\n"),
        (
            Refusal::TooManyFromNetwork,
            "421 4.7.0 too many connections from your network, try again later\r\n",
        ),
        (Refusal::TooSlow, "421 4.4.2 too slow\r\n"),
        (Refusal::TimedOut, "421 4.4.2 timed out\r\n"),
    ] {
        let mut session = session_after(&[BEGIN_MAIL, b"DATA\r\nhi\r\n"].concat());
        session.refuse_connection(refusal);
        session.time_out();
        assert_eq!(feed(&mut session, b".\r\nNOOP\r\n"), Step::Close(Ending::Refused(refusal)));
        assert_eq!(said(&mut session), reply);
        assert_eq!(session.take_refusals(), [refusal]);
    }
}

#[test]
fn a_mail_that_could_not_be_kept_is_one_refusal_however_many_recipients_hear_of_it() {
    let config = SessionConfig { protocol: Protocol::Lmtp, ..config() };
    let mut session = Session::new(Arc::new(config), None, Channel::Plain);
    let _ = session.take_replies();
    feed(&mut session, b"LHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<support@desk.example>\r\n");
    feed(&mut session, b"RCPT TO:<support+x@desk.example>\r\nDATA\r\n.\r\n");
    let _ = session.take_replies();
    session.answer(Err(Refused::Storage));
    assert_eq!(said(&mut session), "451 4.3.0 could not keep the message, try again later\r\n".repeat(2));
    assert_eq!(session.take_refusals(), [Refusal::StorageFailed]);
    assert_eq!(session.take_refusals(), []);
}

#[test]
fn bytes_around_starttls_are_never_executed_however_they_are_cut() {
    let config = SessionConfig { tls: TlsPolicy::Offered, ..config() };
    let injected = [b"EHLO evil\r\n".as_slice(), HIDDEN, b"BDAT 4 LAST\r\nevil", b"MAIL FR"].concat();
    let before = [b"EHLO a\r\nMAIL FROM:<>\r\nSTARTTLS\r\n".as_slice(), &injected].concat();
    let after =
        b"OM:<evil@example.net>\r\nMAIL FROM:<>\r\nEHLO a\r\nRCPT TO:<support@desk.example>\r\n".to_vec();
    let whole = play(&config, Channel::Plain, &[before.clone(), after.clone()], usize::MAX);
    for cut in 1..before.len() {
        let (head, tail) = before.split_at(cut);
        let flights = [vec![head, tail], vec![after.as_slice()]];
        assert_eq!(play_pieces(&config, Channel::Plain, &flights), whole, "cut at {cut}");
    }
    assert_eq!(whole.mails, []);
    let (before, after) = whole.replies.split_once("220 2.0.0 ready to start TLS\r\n").unwrap();
    assert!(before.ends_with("STARTTLS\r\n250 2.1.0 sender ok\r\n"), "{before}");
    assert!(
        after.starts_with("500 5.5.1 command not recognised\r\n503 5.5.1 expected EHLO first\r\n250-"),
        "{after}"
    );
    assert!(after.ends_with("BINARYMIME\r\n503 5.5.1 expected MAIL first\r\n"), "{after}");
}

#[test]
fn a_password_is_in_no_debug_output() {
    let logins = Logins::new(&[Login { username: "relay".into(), password: "secret".into() }]);
    let config = SessionConfig { logins, ..config() };
    let mut session = Session::new(Arc::new(config), None, Channel::Secure);
    feed(&mut session, b"EHLO a\r\nAUTH LOGIN\r\ncmVsYXk=\r\nc2Vjcm");
    let shown = format!("{session:?} {:?}", session.take_refusals());
    for secret in ["relay", "secret", "c2Vjcm", "99, 50"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// Lines a client might send, whole and broken.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "EHLO a\r\n",
        "LHLO a\r\n",
        "HELO a\r\n",
        "MAIL FROM:<>\r\n",
        "MAIL FROM:<a@b.example> SIZE=10\r\n",
        "MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n",
        "RSET\r\n",
        "RCPT TO:<support+x@desk.example>\r\n",
        "RCPT TO:<postmaster>\r\n",
        "DATA\r\n",
        ".\r\n",
        "..\r\n",
        "\r\n",
        "\n",
        "\r",
        "text\r\n",
        "A: 1\r\n",
        "BDAT 5\r\n",
        "BDAT 30\r\n",
        "BDAT 5 LAST\r\n",
        "BDAT 0 LAST\r\n",
        "BDAT x\r\n",
        "STARTTLS\r\n",
        "AUTH PLAIN\r\n",
        "AUTH LOGIN =\r\n",
        "AUTH PLAIN AHJlbGF5AHNlY3JldA==\r\n",
        "AHJlbGF5AHNlY3JldA==\r\n",
        "*\r\n",
        "RCPT TO:<\"a\\\"b\"@c> RRVS=2014-04-03T23:01:00Z\r\n",
    ]);
    prop_oneof![
        6 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn any_config() -> impl Strategy<Value = (SessionConfig, Channel)> {
    let protocol = prop::sample::select(vec![Protocol::Smtp, Protocol::Lmtp]);
    let tls = prop::sample::select(vec![TlsPolicy::None, TlsPolicy::Offered, TlsPolicy::Required]);
    let channel = prop::sample::select(vec![Channel::Plain, Channel::Secure]);
    (protocol, tls, channel, any::<bool>()).prop_map(|(protocol, tls, channel, has_logins)| {
        let logins = Logins::new(&[Login { username: "relay".into(), password: "secret".into() }]);
        let limits = Limits {
            max_line_length: 100,
            max_message_size: 60,
            max_headers: 2,
            max_header_size: 40,
            ..Limits::default()
        };
        let config = smtp_support::session_config(limits);
        let logins = if has_logins { logins } else { Logins::default() };
        (SessionConfig { protocol, tls, logins, ..config }, channel)
    })
}

proptest! {
    #[test]
    fn no_bytes_can_break_a_session_and_their_cutting_never_matters(
        (config, channel) in any_config(),
        flights in prop::collection::vec(prop::collection::vec(fragment(), 0..15), 1..4),
        chunk in 1_usize..40,
    ) {
        let flights: Vec<Vec<u8>> = flights.iter().map(|fragments| fragments.concat()).collect();
        prop_assert_eq!(
            play(&config, channel, &flights, chunk),
            play(&config, channel, &flights, usize::MAX)
        );
    }
}
