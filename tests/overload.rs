//! More mail than the deciders can keep up with: every command is answered, each mail with 250 or a 4xx, and soon after
//! the load all is as before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::Desk;
use support::client::Client;
use support::mail::{SUPPORT, compose};

const SESSIONS: usize = 200;
const MAILS_EACH: usize = 3;
const MAX_PENDING: usize = 10;

fn letter(name: &str) -> (String, String) {
    let from = format!("{name}@customer.example");
    let mail = compose(&from, SUPPORT, &format!("{name}@m.example"), "Help", "My printer is on fire.");
    (from, mail)
}

#[test]
fn two_hundred_sessions_get_250_or_4xx_and_nobody_is_hung_up_on() {
    let desk = Desk::new();
    desk.change_config("postern.toml", "#max_pending = 50000", &format!("max_pending = {MAX_PENDING}"));
    desk.change_config("postern.toml", "#deciders = 0", "deciders = 1");
    let daemon = desk.start();
    let replies = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            let (address, replies) = (daemon.address, &replies);
            scope.spawn(move || {
                let mut client = Client::connect(address).unwrap();
                for number in 0..MAILS_EACH {
                    let (from, mail) = letter(&format!("c{session}-{number}"));
                    let reply = client.mail(&from, SUPPORT, &mail).unwrap();
                    replies.lock().unwrap().push(reply);
                }
                client.say("QUIT", "221").unwrap();
            });
        }
    });
    let ended = Instant::now();

    let replies = replies.into_inner().unwrap();
    assert_eq!(replies.len(), SESSIONS * MAILS_EACH);
    let taken = replies.iter().filter(|reply| reply.starts_with("250 ")).count();
    let asked_again = replies.iter().filter(|reply| reply.starts_with("452 4.3.1 ")).count();
    assert_eq!(taken + asked_again, replies.len(), "{replies:?}");
    assert!(asked_again > 0, "{SESSIONS} sessions were no load");
    assert_eq!(daemon.event("pressure.began")["kind"], "backlog");

    let mut client = daemon.connect();
    let mut tries = 0;
    let back = loop {
        let (from, mail) = letter(&format!("late{tries}"));
        if client.mail(&from, SUPPORT, &mail).unwrap().starts_with("250 ") {
            break ended.elapsed();
        }
        tries += 1;
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(back < Duration::from_secs(2), "the first mail after the load was taken after {back:?}");
    daemon.event("pressure.ended");

    let audit = desk.settled();
    assert_eq!(audit["done"], taken + 1, "{audit:#}");
    daemon.stop();
}
