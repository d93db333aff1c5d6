//! A real Postfix in front of us and behind us: it forwards mail to us, sends what we send, and its bounces come back.
//!
//! Runs where `POSTERN_POSTFIX` is set, Postfix is installed and the user is root. Everything of it lies in a temporary
//! directory; it listens on a high port of the loopback only, and nothing leaves the machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod server;
#[path = "../support/mod.rs"]
mod support;
mod ways;

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use server::{Postfix, run};
use support::mail::Sent;
use support::{Desk, wait_for};

const SUPPORT: &str = "support@desk.example";
const RITA: &str = "rita@customer.example";
/// Postfix takes mail for it and finds out later that nobody is there.
const GONE: &str = "gone@nowhere.example";

/// Whether a Postfix can be run here.
fn possible() -> bool {
    let wanted = std::env::var_os("POSTERN_POSTFIX").is_some();
    if !wanted {
        println!("skipped: POSTERN_POSTFIX is not set");
    }
    wanted
}

/// A desk that takes mail for `desk.example` and sends by Postfix.
fn desk(smarthost: SocketAddr) -> Desk {
    let desk = Desk::new();
    let settings = format!(
        "[[support_addresses]]\naddress = \"{SUPPORT}\"\n\n\
         [[listeners]]\nname = \"smtp\"\naddress = \"127.0.0.1:0\"\n\n\
         [delivery.smarthost]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
        smarthost.port()
    );
    std::fs::write(desk.config("postern.toml"), settings).unwrap();
    desk.change_config("people.toml", "@localhost", "@agents.example");
    desk
}

fn as_sent(text: &str) -> Sent {
    Sent { path: Path::new("mailbox").to_owned(), text: text.replace('\n', "\r\n") }
}

#[test]
fn a_real_postfix_forwards_to_us_sends_for_us_and_its_bounces_are_taken() {
    if !possible() {
        return;
    }
    let address = Postfix::reserve();
    let desk = desk(address);
    let daemon = desk.start();
    let to_desk = format!("smtp:[127.0.0.1]:{}", daemon.address.port());
    // The desk does not know the other domain and refuses it, so Postfix has a mail to give back.
    let transports = [("desk.example", to_desk.as_str()), ("nowhere.example", &to_desk)];
    let postfix = Postfix::start(address, tempfile::tempdir().unwrap(), &transports, "");

    // A customer's mail becomes a ticket; she and the agent are told.
    postfix.send(RITA, SUPPORT, "1@customer.example", "Smoke comes out of it.");
    let received = wait_for("the confirmation", || postfix.delivered(RITA).pop());
    wait_for("the agent's mail", || postfix.delivered("agent@agents.example").pop());
    assert_eq!(desk.json(&["ticket", "show", "1"])["requester"], RITA);

    // Her answer comes back to the address that carries the reference.
    let reply_to = as_sent(&received).reply_to();
    assert!(reply_to.starts_with("support+id"), "{reply_to}");
    postfix.send(RITA, &reply_to, "2@customer.example", "It is dark now.");
    wait_for("her second comment", || {
        (desk.json(&["ticket", "show", "1"])["comments"].as_array().unwrap().len() == 2).then_some(())
    });

    // Nobody is where the confirmation of this one goes: it bounces, from `<>`, to the recipient's own return address.
    postfix.send(GONE, SUPPORT, "3@nowhere.example", "You cannot reach me.");
    let bounced = wait_for("the bounce", || {
        let outbox = desk.json(&["outbox", "list"]);
        outbox.as_array().unwrap().iter().find(|mail| !mail["bounced_at"].is_null()).cloned()
    });
    assert_eq!(json!([bounced["recipient"], bounced["state"], bounced["ticket"]]), json!([GONE, "sent", 2]));

    let audit = desk.settled();
    assert_eq!(
        json!([audit["accepted"], audit["done"], audit["discarded"]]),
        json!([4, 3, { "own_bounce": 1 }])
    );
    assert_eq!(desk.json(&["suspended", "list"]), Value::Array(Vec::new()));
    wait_for("Postfix to have nothing left", || postfix.queue().is_empty().then_some(()));

    // While we are down mail waits in its queue, and nothing is lost.
    let ours = daemon.address.to_string();
    daemon.stop();
    postfix.send(RITA, SUPPORT, "4@customer.example", "Are you there?");
    wait_for("the mail to be deferred", || postfix.queue().contains("Connection refused").then_some(()));
    assert_eq!(desk.audit()["accepted"], 4);
    let _daemon = desk.start_at(&ours);
    run("postqueue", &["-c", postfix.path("config").to_str().unwrap(), "-f"]);
    wait_for("the mail that waited", || (desk.audit()["done"] == 4).then_some(()));
    wait_for("Postfix to have nothing left", || postfix.queue().is_empty().then_some(()));
}
