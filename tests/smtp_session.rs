//! The session without a socket: what its contract promises the driver, and arbitrary bytes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod smtp_support;

use std::sync::Arc;

use postern::domain::ids::JournalId;
use postern::domain::time::Timestamp;
use postern::smtp::policy::{Limits, SessionConfig};
use postern::smtp::session::{Awaiting, Channel, Ending, Session, Step};
use proptest::prelude::*;

fn config() -> Arc<SessionConfig> {
    let limits = Limits { max_line_length: 100, max_message_size: 200, ..Limits::default() };
    Arc::new(smtp_support::session_config(limits))
}

/// Plays `input` in pieces of `chunk` bytes; gives all replies and how many mails came out.
fn play(input: &[u8], chunk: usize) -> (String, usize) {
    let mut session = Session::new(config(), None, Channel::Plain);
    let mut replies = session.take_replies();
    let mut mails = 0;
    for mut piece in input.chunks(chunk) {
        loop {
            match session.handle(&mut piece, Timestamp(0)) {
                Step::NeedInput(_) => break,
                Step::Accept { .. } => {
                    mails += 1;
                    session.answer(Ok(JournalId(1)));
                }
                Step::StartTls => session.secured(),
                Step::Close(_) => return (text(replies, &mut session), mails),
            }
        }
        replies.extend(session.take_replies());
    }
    (text(replies, &mut session), mails)
}

fn text(mut replies: Vec<u8>, session: &mut Session) -> String {
    replies.extend(session.take_replies());
    String::from_utf8(replies).unwrap()
}

#[test]
fn a_mail_is_not_answered_before_the_driver_has_kept_it() {
    let mut session = Session::new(config(), None, Channel::Plain);
    let mut input: &[u8] =
        b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<support@desk.example>\r\nDATA\r\n.\r\nNOOP\r\n";
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

#[test]
fn a_stopping_session_ends_between_mails_and_lets_a_message_end() {
    let mut session = Session::new(config(), None, Channel::Plain);
    let mut input: &[u8] = b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<support@desk.example>\r\nDATA\r\nhi\r\n";
    assert_eq!(session.handle(&mut input, Timestamp(0)), Step::NeedInput(Awaiting::Data));
    session.shut_down();
    assert!(matches!(session.handle(&mut b".\r\nNOOP\r\n".as_slice(), Timestamp(0)), Step::Accept { .. }));
    session.answer(Ok(JournalId(1)));
    assert_eq!(session.handle(&mut b"NOOP\r\n".as_slice(), Timestamp(0)), Step::Close(Ending::Shutdown));
    assert!(
        session
            .take_replies()
            .ends_with(b"250 2.0.0 kept as 1\r\n421 4.3.2 shutting down, try again later\r\n")
    );
}

#[test]
fn a_dropped_message_is_read_to_its_end_and_refused_for_now() {
    let mut session = Session::new(config(), None, Channel::Plain);
    let mut input: &[u8] = b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<support@desk.example>\r\nDATA\r\nhi\r\n";
    session.handle(&mut input, Timestamp(0));
    assert!(session.held() > 0);
    session.drop_message();
    assert_eq!(session.held(), 0);
    let _ = session.take_replies();
    session.handle(&mut b"QUIT\r\n.\r\n".as_slice(), Timestamp(0));
    assert_eq!(session.take_replies(), b"452 4.3.1 no room for the message now, try again later\r\n");
}

/// Lines a client might send, whole and broken.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "EHLO a\r\n",
        "HELO a\r\n",
        "MAIL FROM:<>\r\n",
        "MAIL FROM:<a@b.example> SIZE=10\r\n",
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
        "BDAT 5 LAST\r\n",
        "RCPT TO:<\"a\\\"b\"@c> RRVS=2014-04-03T23:01:00Z\r\n",
    ]);
    prop_oneof![
        4 => known.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn no_bytes_can_break_a_session_and_their_cutting_never_matters(
        fragments in prop::collection::vec(fragment(), 0..30),
        chunk in 1_usize..40,
    ) {
        let input = fragments.concat();
        prop_assert_eq!(play(&input, chunk), play(&input, input.len().max(1)));
    }
}
