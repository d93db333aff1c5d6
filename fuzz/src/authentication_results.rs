//! Authentication-Results fields, one for each line of the input.
//!
//! Holds: only a field with our relay's name can vouch for an author, only for the From address, and only if it says that
//! something passed; a mail that did not come from the relay is not believed.

use std::net::{IpAddr, Ipv4Addr};

use postern::authenticate::{Authentication, authenticate};
use postern::domain::address::{Address, Mailbox};
use postern::domain::mail::{AuthenticationResultsField, Entrance, Envelope, InboundMessage, TrustSource};
use postern::domain::snapshot::SenderTrust;
use postern::domain::time::Timestamp;

const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 25));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const NAME: &str = "mx.desk.example";

pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let bodies: Vec<&str> = text.lines().collect();
    let author = Address::parse("rita@customer.example").unwrap();
    let neighbour = Address::parse("other@customer.example").unwrap();
    let judged = judge(&bodies, 0, RELAY, NAME, &author);
    let trust = judged.trust_of(&author);
    assert_ne!(judged.trust_of(&neighbour), SenderTrust::Authenticated, "somebody else is vouched for");
    if trust == SenderTrust::Authenticated {
        let lower = text.to_ascii_lowercase();
        assert!(lower.contains("pass") && lower.contains("customer.example"), "{text:?} vouches");
        assert!(lower.contains(NAME) || lower.contains('"'), "{text:?} vouches without a name");
    }
    for (case, other) in [
        ("behind a Received field", judge(&bodies, 1, RELAY, NAME, &author)),
        ("from a stranger", judge(&bodies, 0, STRANGER, NAME, &author)),
    ] {
        assert_ne!(other.trust_of(&author), SenderTrust::Authenticated, "believed {case}: {text:?}");
    }
}

fn judge(
    bodies: &[&str],
    received_above: usize,
    client: IpAddr,
    name: &str,
    from: &Address,
) -> Authentication {
    let field = |body: &&str| AuthenticationResultsField { body: (*body).to_owned(), received_above };
    let message = InboundMessage {
        from: vec![Mailbox { name: None, address: from.clone() }],
        from_fields: 1,
        authentication_results: bodies.iter().map(field).collect(),
        ..InboundMessage::default()
    };
    let trust =
        TrustSource::AuthservId { authserv_id: name.to_owned(), relays: vec![ipnet::IpNet::from(RELAY)] };
    let envelope = Envelope {
        entrance: Entrance { name: "smtp".to_owned(), trust },
        client: Some(client),
        helo: None,
        reverse_path: Some(from.clone()),
        recipients: Vec::new(),
        accepted_at: Timestamp(0),
    };
    authenticate(&message, &envelope)
}
