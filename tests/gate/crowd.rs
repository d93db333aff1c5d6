//! Many clients, and few descriptors.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::support::daemon::Daemon;
use crate::support::{Desk, wait_for};
use crate::talk::{Talk, connect};
use crate::tls::{desk_with_tls, shown};

const CROWD: usize = 2_000;
/// Of the crowd, those who are in the middle of a message and send a byte now and then.
const TRICKLING: usize = 500;
/// From one byte to the next, whoever sends it: each of them sends one or two a second.
const PAUSE: Duration = Duration::from_millis(1);

fn hello(address: SocketAddr) -> Talk<TcpStream> {
    let mut client = connect(address);
    client.expect("220 ");
    client.say("EHLO client.example", "250");
    client
}

/// The median time that a mail takes, connection and all.
fn usual_time(address: SocketAddr) -> Duration {
    let mut times: Vec<Duration> = (0..41)
        .map(|_| {
            let began = Instant::now();
            let mut client = hello(address);
            client.mail("support@localhost");
            client.say("QUIT", "221 ");
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// What the process holds of the machine's memory, its part of what it shares included, in bytes.
fn memory(daemon: &Daemon) -> usize {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", daemon.id())).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn two_thousand_idle_and_trickling_clients_slow_nobody_down() {
    // For the daemon too: it inherits the limit.
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = 2 * CROWD as u64;
    limit.current = limit.current.map(|current| current.max(wanted));
    setrlimit(Resource::Nofile, limit).expect("this test needs 4,000 descriptors, see `ulimit -Hn`");
    let desk = Desk::new();
    desk.change_config("postern.toml", "#max_connections = 1000", "max_connections = 3000");
    let daemon = desk.start();
    let alone = usual_time(daemon.address);
    desk.settled();
    let empty = memory(&daemon);

    let mut crowd: Vec<_> = (0..CROWD).map(|_| hello(daemon.address)).collect();
    let idle = memory(&daemon).saturating_sub(empty) / CROWD;
    for client in crowd.iter_mut().take(TRICKLING) {
        client.say("MAIL FROM:<>", "250 ");
        client.say("RCPT TO:<support@localhost>", "250 ");
        client.say("DATA", "354 ");
    }
    let over = AtomicBool::new(false);
    let in_the_crowd = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for client in crowd.iter_mut().take(TRICKLING) {
                    client.send("x").expect("a slow client was left");
                    std::thread::sleep(PAUSE);
                }
            }
        });
        let time = usual_time(daemon.address);
        over.store(true, Ordering::Relaxed);
        time
    });
    let trickling = memory(&daemon).saturating_sub(empty) / CROWD;
    println!("a mail takes {alone:?} alone and {in_the_crowd:?} beside {CROWD} clients");
    println!(
        "memory per session: {idle} bytes idle, {trickling} bytes with {TRICKLING} of {CROWD} trickling"
    );
    assert!(in_the_crowd < 4 * alone + Duration::from_millis(5), "{alone:?} became {in_the_crowd:?}");
    assert!(idle < 8 * 1024, "an idle session holds {idle} bytes");
    for client in crowd.iter_mut().skip(TRICKLING) {
        client.say("NOOP", "250 ");
    }
    drop(crowd);
    desk.settled();
    daemon.stop();
}

#[test]
fn an_idle_session_inside_tls_is_small_too() {
    const SESSIONS: usize = 200;
    let desk = desk_with_tls();
    let daemon = desk.start();
    let empty = memory(&daemon);
    let crowd: Vec<_> = (0..SESSIONS).map(|_| shown(&daemon)).collect();
    let each = memory(&daemon).saturating_sub(empty) / SESSIONS;
    println!("memory per session inside TLS: {each} bytes idle");
    assert!(each < 64 * 1024, "an idle session inside TLS holds {each} bytes");
    drop(crowd);
    daemon.stop();
}

#[test]
fn without_descriptors_the_daemon_waits_and_recovers() {
    let desk = Desk::new();
    let serve = desk.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(serve.get_program()).args(serve.get_args());
    command.current_dir(serve.get_current_dir().unwrap()).env_remove("POSTERN_LOG");
    let daemon = Daemon::start(command);
    let mut first = hello(daemon.address);
    // What the start costs is not what is measured below.
    first.mail("support@localhost");
    desk.settled();
    let clients: Vec<_> = (0..100).map(|_| connect(daemon.address)).collect();
    daemon.event("smtp.accept_failed");
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.id())).unwrap();
        stat.split_whitespace().skip(13).take(2).map(|field| field.parse::<u64>().unwrap()).sum::<u64>()
    };
    let (before, began) = (ticks(), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let (used, log) = (ticks() - before, daemon.logged());
    let after = began.elapsed();
    assert!(log.len() <= 30, "the log was filled in {after:?}: {log:#?}");
    assert!(used <= 20, "{used} ticks of 10 ms were burnt in {after:?} waiting for descriptors: {log:#?}");
    first.mail("support@localhost");
    drop(clients);
    let mut late = wait_for("a new client to be served", || {
        let mut client = connect(daemon.address);
        client.reply().is_ok_and(|reply| reply.starts_with("220 ")).then_some(client)
    });
    late.say("EHLO client.example", "250");
    late.mail("support@localhost");
    assert_eq!(desk.settled()["accepted"], 3);
    daemon.stop();
}
