//! Listeners on Unix sockets.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::support::daemon::Daemon;
use crate::support::{Desk, PATIENCE};
use crate::talk::Talk;

/// A desk that also takes mail by LMTP, at the Unix socket that is given with it.
fn desk() -> (Desk, PathBuf) {
    let desk = Desk::new();
    let socket = desk.config("lmtp.sock");
    let listener = format!(
        "[[listeners]]\nname = \"lmtp\"\naddress = \"unix:{}\"\nprotocol = \"lmtp\"\nmode = \"0600\"\n\n[deliver]",
        socket.display()
    );
    desk.change_config("postern.toml", "[deliver]", &listener);
    desk.change_config("postern.toml", "address = \"127.0.0.1:2525\"", "address = \"127.0.0.1:0\"");
    (desk, socket)
}

fn start(desk: &Desk) -> Daemon {
    Daemon::start(desk.command(&["serve"]))
}

fn connect(socket: &Path) -> Talk<UnixStream> {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Talk::new(stream);
    client.expect("220 ");
    client.say("LHLO client.example", "250");
    client
}

#[test]
fn mail_comes_by_lmtp_over_a_unix_socket_with_a_reply_for_each_recipient() {
    let (desk, socket) = desk();
    let daemon = start(&desk);
    assert!(daemon.listeners.ends_with(&format!("lmtp unix:{}", socket.display())), "{}", daemon.listeners);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = connect(&socket);
    client.say("EHLO client.example", "500 ");
    client.say("MAIL FROM:<rita@customer.example>", "250 ");
    client.say("RCPT TO:<support@localhost>", "250 ");
    client.say("RCPT TO:<nobody@localhost>", "550 ");
    client.say("RCPT TO:<support+1@localhost>", "250 ");
    client.say("DATA", "354 ");
    client.say("From: rita@customer.example\r\nSubject: hi\r\n\r\nhi\r\n.", "250 ");
    client.expect("250 ");
    client.say("QUIT", "221 ");
    assert_eq!(client.rest().unwrap(), "");
    assert_eq!(desk.settled()["accepted"], 1);
    let event = std::iter::repeat_with(|| daemon.event("smtp.session"))
        .find(|event| event["entrance"] == "lmtp")
        .unwrap();
    assert!(event["client"].is_null() && event["mails"] == 1, "{event}");
    daemon.stop();
    assert!(!socket.exists(), "the socket outlived its daemon");
}

#[test]
fn a_socket_left_by_a_killed_daemon_is_replaced_and_one_in_use_is_not() {
    let (desk, socket) = desk();
    start(&desk).kill();
    assert!(socket.exists());
    let daemon = start(&desk);
    connect(&socket).mail("support@localhost");

    let (other, _) = self::desk();
    let own = format!("unix:{}", other.config("lmtp.sock").display());
    other.change_config("postern.toml", &own, &format!("unix:{}", socket.display()));
    let answer = other.run(&["serve"]);
    let told =
        format!("listener `lmtp`: cannot listen on unix:{}: another process listens there", socket.display());
    assert!(answer.code == 75 && answer.stderr.contains(&told), "{}", answer.stderr);
    connect(&socket).mail("support@localhost");
    assert_eq!(desk.settled()["accepted"], 2);
    daemon.stop();
}
