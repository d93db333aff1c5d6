//! How the daemon ends, and what keeps it from starting.

use serde_json::json;

use crate::support::Desk;
use crate::support::mail::{SUPPORT, compose};
use crate::tour::{RITA, send};

fn is_running(desk: &Desk) -> bool {
    desk.data().join("running").exists()
}

#[test]
fn a_mail_under_way_at_sigterm_is_answered_and_kept() {
    let desk = Desk::new();
    let mut daemon = desk.start();
    let mut client = daemon.connect();
    assert_eq!(client.begin(RITA, SUPPORT).unwrap(), None);
    client.send(&compose(RITA, SUPPORT, "1@customer.example", "Help", "Smoke.")).unwrap();
    let mut idle = daemon.connect();
    daemon.terminate();
    assert!(idle.reply().unwrap().starts_with("421 "), "who sends nothing is asked to come again");
    let reply = client.finish().unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
    assert_eq!(daemon.ended().code(), Some(0));

    assert!(!is_running(&desk), "the stop was clean");
    assert!(!desk.data().join("control.sock").exists());
    let audit = desk.audit();
    assert_eq!(json!([audit["accepted"], audit["balanced"]]), json!([1, true]));
    let daemon = desk.start();
    assert_eq!(desk.settled()["done"], 1);
    daemon.stop();
}

#[test]
fn mails_accepted_and_not_decided_at_sigterm_are_decided_after_the_next_start() {
    let desk = Desk::new();
    let daemon = desk.start();
    let mut client = daemon.connect();
    for number in 1..=40 {
        let mail =
            compose(RITA, SUPPORT, &format!("{number}@customer.example"), "Help", &format!("{number}"));
        assert!(client.mail(RITA, SUPPORT, &mail).unwrap().starts_with("250 "));
    }
    daemon.stop();
    assert!(!is_running(&desk));
    let audit = desk.audit();
    assert_eq!(json!([audit["accepted"], audit["failed"], audit["balanced"]]), json!([40, 0, true]));

    let daemon = desk.start();
    assert_eq!(desk.settled()["done"], 40);
    daemon.stop();
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused_and_the_first_goes_on() {
    let desk = Desk::new();
    let daemon = desk.start();
    let second = desk.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(second.expect(75).stderr.contains("is in use by process"), "{}", second.stderr);
    send(&daemon, RITA, SUPPORT, "1@customer.example", "Smoke.");
    desk.run(&["suspended", "delete", "1"]).expect(1);
    assert_eq!(desk.settled()["done"], 1);
    daemon.stop();
}

#[test]
fn a_killed_daemon_leaves_a_directory_that_the_next_one_takes() {
    let desk = Desk::new();
    let daemon = desk.start();
    send(&daemon, RITA, SUPPORT, "1@customer.example", "Smoke.");
    daemon.kill();
    assert!(is_running(&desk) && desk.data().join("control.sock").exists(), "as a crash leaves it");
    assert_eq!(desk.audit()["accepted"], 1, "reading needs no recovery by a writer");
    let daemon = desk.start();
    assert_eq!(desk.settled()["done"], 1);
    assert_eq!(desk.quiet().len(), 2);
    daemon.stop();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let desk = Desk::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let answer = desk.run(&["serve", "--listen", &address]);
    assert!(answer.expect(75).stderr.contains(&address), "{}", answer.stderr);
    assert!(!is_running(&desk), "it ended in order");
}
