//! Keys of ticket references: a new one leaves old mails valid, a revoked one does not.

use serde_json::json;

use crate::support::Desk;
use crate::support::mail::{AGENT, SUPPORT};
use crate::tour::{RITA, newest, send};

#[test]
fn mails_of_before_a_new_key_still_find_their_ticket_until_the_old_key_is_revoked() {
    let desk = Desk::new();
    let daemon = desk.start();
    let ticket_of = |id: &str, to: &str| {
        send(&daemon, RITA, to, id, &format!("The text of {id}."));
        daemon.event("message.decided")["ticket.id"].clone()
    };
    assert_eq!(ticket_of("1@customer.example", SUPPORT), 1);
    let old = newest(&desk.quiet(), RITA).reply_to();

    assert_eq!(desk.json(&["keys", "rotate"]), json!({ "active_key": 1 }));
    assert_eq!(ticket_of("2@customer.example", &old), 1, "the old reference is good");
    send(&daemon, AGENT, &newest(&desk.quiet(), AGENT).reply_to(), "3@localhost", "Pull the plug.");
    assert_eq!(daemon.event("message.decided")["ticket.id"], 1);
    let new = newest(&desk.quiet(), RITA).reply_to();
    assert_ne!(new, old);

    desk.run(&["keys", "revoke", "1"]).expect(1);
    assert_eq!(desk.json(&["keys", "revoke", "0"]), json!({ "revoked_key": 0 }));
    assert_ne!(ticket_of("4@customer.example", &old), 1, "the old reference is void");
    assert_eq!(ticket_of("5@customer.example", &new), 1);

    let keys = desk.json(&["keys", "list"]);
    assert_eq!(
        json!([keys[0]["id"], keys[0]["state"], keys[1]["id"], keys[1]["state"]]),
        json!([0, "revoked", 1, "active"])
    );
    let secrets = std::fs::read_to_string(desk.data().join("keys.json")).unwrap();
    let secrets: serde_json::Value = serde_json::from_str(&secrets).unwrap();
    assert!(!keys.to_string().contains(secrets["token_keys"][1]["secret"].as_str().unwrap()));
    daemon.stop();
}

#[test]
fn keys_change_without_a_daemon_too() {
    let desk = Desk::new();
    desk.start().stop();
    desk.run(&["keys", "rotate"]).expect(0);
    desk.run(&["keys", "revoke", "0"]).expect(0);
    desk.run(&["keys", "revoke", "7"]).expect(1);
    let states: Vec<_> =
        desk.json(&["keys", "list"]).as_array().unwrap().iter().map(|key| key["state"].clone()).collect();
    assert_eq!(states, ["revoked", "active"]);
}
