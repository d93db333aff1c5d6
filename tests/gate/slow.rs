//! Clients that send too little, and what that costs them.

use std::time::{Duration, Instant};

use postern::smtp::listener::{ListenerConfig, MinRate};

use crate::smtp_support::{listener_config, recording_server};
use crate::talk::connect;

const WINDOW: Duration = Duration::from_millis(300);

fn at_least(bytes_per_second: u32) -> ListenerConfig {
    ListenerConfig { min_rate: MinRate { bytes_per_second, window: WINDOW }, ..listener_config() }
}

/// Sends a byte of a message every few milliseconds, for at most `time`; gives what the server said to it.
fn trickle(config: ListenerConfig, begin: &[&str], time: Duration) -> (String, usize) {
    let (server, recorder) = recording_server(config);
    let mut client = connect(server.address);
    client.expect("220 ");
    client.say("EHLO client.example", "250");
    client.say("MAIL FROM:<>", "250 ");
    client.say("RCPT TO:<support@desk.example>", "250 ");
    for line in begin {
        client.send(line).unwrap();
    }
    if begin[0].starts_with("DATA") {
        client.expect("354 ");
    }
    let began = Instant::now();
    while began.elapsed() < time && client.send("x").is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = client.send("\r\n.\r\nQUIT\r\n");
    (client.rest().unwrap_or_default(), recorder.count())
}

#[test]
fn a_message_that_trickles_loses_its_place_after_a_window() {
    for begin in [&["DATA\r\n"][..], &["BDAT 100000\r\n"], &["BDAT 3\r\nabc", "BDAT 90000 LAST\r\n"]] {
        let (said, kept) = trickle(at_least(10_000), begin, 20 * WINDOW);
        assert!(said.ends_with("421 4.4.2 too slow\r\n"), "{begin:?}: {said}");
        assert_eq!(kept, 0, "{begin:?}");
    }
}

#[test]
fn a_message_that_comes_as_fast_as_it_must_is_taken_however_long_it_takes() {
    for rate in [0, 20] {
        let (said, kept) = trickle(at_least(rate), &["DATA\r\n"], 4 * WINDOW);
        assert!(said.starts_with("250 "), "{rate}: {said}");
        assert_eq!(kept, 1);
    }
}
