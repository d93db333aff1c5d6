//! Behind a proxy: the client is whom the proxy names.

use std::sync::Arc;

use postern::smtp::listener::{Capacity, Encryption, ListenerConfig};
use postern::smtp::tls::Tls;

use crate::smtp_support::{TestServer, listener_config, recording_server, with_capacity};
use crate::support::wait_for;
use crate::talk::{Talk, certified, connect, handshake};

fn behind_a_proxy(config: ListenerConfig) -> ListenerConfig {
    ListenerConfig { proxies: vec!["127.0.0.0/8".parse().unwrap()], ..config }
}

/// The header of a connection from this IPv4 address.
fn header(client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client);
    header.extend([127, 0, 0, 1, 0x30, 0x39, 0, 25]);
    header
}

/// The header of a proxy that speaks for itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn connect_with(server: &TestServer, header: &[u8]) -> Talk<std::net::TcpStream> {
    let mut client = connect(server.address);
    client.send(header).unwrap();
    client
}

#[test]
fn the_client_is_whom_the_proxy_names() {
    let (server, recorder) = recording_server(behind_a_proxy(listener_config()));
    for (header, expected) in [(header([192, 0, 2, 7]), [192, 0, 2, 7]), (LOCAL.to_vec(), [127, 0, 0, 1])] {
        // In one piece with the first command: what is behind the header belongs to the session.
        let mut client = connect_with(&server, &[&header, b"EHLO client.example\r\n".as_slice()].concat());
        client.expect("220 ");
        client.expect("250");
        client.mail("support@desk.example");
        let mails = recorder.mails.lock().unwrap();
        assert_eq!(mails.last().unwrap().0.client, Some(expected.into()));
    }
}

#[test]
fn a_header_comes_before_tls() {
    let tls = Arc::new(Tls::new(certified()).unwrap());
    let config = ListenerConfig { encryption: Encryption::Implicit(tls), ..listener_config() };
    let (server, recorder) = recording_server(behind_a_proxy(config));
    let client = connect_with(&server, &header([192, 0, 2, 7]));
    let mut client = handshake(client.into_stream()).unwrap();
    client.expect("220 ");
    client.say("EHLO client.example", "250");
    client.mail("support@desk.example");
    assert_eq!(recorder.mails.lock().unwrap()[0].0.client, Some([192, 0, 2, 7].into()));
}

#[test]
fn a_proxy_that_does_not_say_for_whom_it_speaks_is_not_served() {
    let (server, _) = recording_server(behind_a_proxy(listener_config()));
    for wrong in [
        b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 25\r\n".as_slice(),
        b"EHLO client.example\r\nMAIL FROM:<>\r\n",
    ] {
        let mut client = connect_with(&server, wrong);
        let said = client.rest();
        assert!(said.is_err() || said.unwrap().is_empty());
    }
}

#[test]
fn who_is_no_proxy_needs_no_header_and_may_not_use_one() {
    let config = ListenerConfig { proxies: vec!["192.0.2.0/24".parse().unwrap()], ..listener_config() };
    let (server, recorder) = recording_server(config);
    let mut client = connect_with(&server, &header([192, 0, 2, 7]));
    client.expect("220 ");
    client.expect("500 ");
    drop(client);
    let mut client = connect(server.address);
    client.expect("220 ");
    client.say("EHLO client.example", "250");
    client.mail("support@desk.example");
    assert_eq!(recorder.mails.lock().unwrap()[0].0.client, Some([127, 0, 0, 1].into()));
}

#[test]
fn the_clients_of_a_network_share_its_places() {
    let two = Capacity { max_connections_per_network: 2, ..Capacity::default() };
    let config = ListenerConfig {
        unlimited: vec!["198.51.100.0/24".parse().unwrap()],
        ..behind_a_proxy(with_capacity(two))
    };
    let (server, _) = recording_server(config);
    let greeting = |client: [u8; 4]| {
        let mut client = connect_with(&server, &header(client));
        let greeting = client.reply().unwrap();
        (client, greeting)
    };
    let (first, greeted) = greeting([192, 0, 2, 1]);
    assert!(greeted.starts_with("220 "));
    let (_second, greeted) = greeting([192, 0, 2, 200]);
    assert!(greeted.starts_with("220 "));
    let (mut third, greeted) = greeting([192, 0, 2, 3]);
    assert_eq!(greeted, "421 4.7.0 too many connections from your network, try again later\r\n");
    assert_eq!(third.rest().unwrap_or_default(), "");
    assert!(greeting([192, 0, 3, 1]).1.starts_with("220 "), "another network has places of its own");
    let known: Vec<_> = (0..5).map(|_| greeting([198, 51, 100, 1])).collect();
    assert!(known.iter().all(|(_, greeted)| greeted.starts_with("220 ")), "a relay was limited");
    let itself: Vec<_> = (0..5).map(|_| connect_with(&server, LOCAL).reply().unwrap()).collect();
    assert!(itself.iter().all(|greeted| greeted.starts_with("220 ")), "a proxy was limited: {itself:?}");
    drop(first);
    wait_for("the place to be free again", || greeting([192, 0, 2, 3]).1.starts_with("220 ").then_some(()));
}
