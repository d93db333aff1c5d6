//! What systemd hands over and hears: sockets, and how the daemon is.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;
use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::{Desk, PATIENCE};
use crate::talk::connect;

/// A desk with one listener at each of these addresses, named `a`, `b` and so on.
fn desk(addresses: &[&str]) -> Desk {
    let desk = Desk::new();
    let listener = |(name, address)| format!("[[listeners]]\nname = \"{name}\"\naddress = \"{address}\"\n");
    let listeners: Vec<String> = ('a'..).zip(addresses).map(listener).collect();
    desk.change_config("postern.toml", "[[listeners]]\nname = \"smtp\"\n", "");
    desk.change_config("postern.toml", "address = \"127.0.0.1:2525\"\n", "");
    desk.change_config("postern.toml", "\ntrust = \"upstream\"\n", "\n");
    desk.change_config("postern.toml", "\n[deliver]", &format!("\n{}[deliver]", listeners.concat()));
    desk
}

/// `postern serve` with up to two sockets in the places where systemd puts them.
fn handed(desk: &Desk, sockets: Vec<OwnedFd>, names: &str) -> Command {
    let serve = desk.command(&["serve"]);
    let mut command = Command::new("sh");
    let count = sockets.len();
    let mut sockets = sockets.into_iter();
    if let Some(first) = sockets.next() {
        command.stdin(first);
    }
    if let Some(second) = sockets.next() {
        command.stdout(second);
    }
    // The shell becomes the daemon, so that LISTEN_PID is its own.
    let script = "exec 3<&0 4<&1 0</dev/null 1>/dev/null; export LISTEN_PID=$$; exec \"$0\" \"$@\"";
    command.args(["-c", script]).arg(serve.get_program()).args(serve.get_args());
    command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDNAMES", names).env_remove("POSTERN_LOG");
    command.current_dir(serve.get_current_dir().unwrap());
    command
}

fn tcp() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Starts and serves mail at the socket's address, where a client waited before there was a daemon.
fn serves(desk: &Desk, sockets: Vec<OwnedFd>, names: &str, address: SocketAddr) {
    let mut early = connect(address);
    let daemon = Daemon::start(handed(desk, sockets, names));
    early.expect("220 ");
    early.say("EHLO client.example", "250");
    early.mail("support@localhost");
    assert!(daemon.listeners.contains(&address.to_string()), "{}", daemon.listeners);
    daemon.stop();
}

/// What the daemon says instead of starting.
fn refuses(desk: &Desk, sockets: Vec<OwnedFd>, names: &str) -> String {
    let output = handed(desk, sockets, names).output().unwrap();
    assert_eq!(output.status.code(), Some(75));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_socket_is_taken_over_by_its_order() {
    let (socket, address) = tcp();
    serves(&desk(&[&address.to_string()]), vec![socket.into()], "postern.socket", address);
}

#[test]
fn a_socket_is_taken_over_by_its_name_and_other_listeners_bind_their_own() {
    let (socket, address) = tcp();
    let desk = desk(&["127.0.0.1:0", &address.to_string()]);
    serves(&desk, vec![socket.into()], "b", address);
}

#[test]
fn a_socket_of_another_kind_or_place_or_for_nobody_is_refused() {
    let (socket, address) = tcp();
    let wanted = address.to_string();
    let told = refuses(&desk(&["127.0.0.1:9"]), vec![socket.try_clone().unwrap().into()], "");
    let expected = format!(
        "listener `a`: the socket that systemd handed over is at {wanted}, expected one at 127.0.0.1:9"
    );
    assert!(told.contains(&expected), "{told}");

    let folder = tempfile::tempdir().unwrap();
    let unix = UnixListener::bind(folder.path().join("a.sock")).unwrap();
    let told = refuses(&desk(&[&wanted]), vec![unix.into()], "a");
    assert!(told.contains("listener `a`: the socket that systemd handed over is of another kind"), "{told}");

    let (spare, _) = tcp();
    let told = refuses(&desk(&[&wanted]), vec![socket.into(), spare.into()], "a:z");
    let expected =
        "systemd handed over a socket (named `z`) that is for no listener, expected one for each at most";
    assert!(told.contains(expected), "{told}");
}

#[test]
fn systemd_hears_how_the_daemon_is() {
    let desk = Desk::new();
    let socket = desk.config("notify.sock");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = |wanted: &str| loop {
        let mut buffer = [0; 256];
        let count = systemd.recv(&mut buffer).expect(wanted);
        let text = String::from_utf8(buffer[..count].to_vec()).unwrap();
        if text.contains(wanted) {
            break text;
        }
    };
    let mut command = desk.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000");
    let daemon = Daemon::start(command);
    heard("READY=1");
    heard("WATCHDOG=1");
    daemon.signal("HUP");
    assert!(heard("RELOADING=1").contains("MONOTONIC_USEC="));
    heard("READY=1");

    // Whoever writes the database now, it is not the daemon: its writer waits, and that it does must not sound well.
    let database = rusqlite::Connection::open(desk.data().join("postern.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let in_silence = (0..10).find(|_| systemd.recv(&mut [0; 256]).is_err());
    assert!(in_silence.is_some(), "the daemon said that it was well");
    database.execute_batch("ROLLBACK").unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    heard("WATCHDOG=1");
    daemon.terminate();
    heard("STOPPING=1");
}
