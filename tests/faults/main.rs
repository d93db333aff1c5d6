//! The real daemon, with system calls that fail, are slow, or are never finished: what a client was told is true after the
//! next start, and what it sends again is there once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;
mod world;

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use postern::store::Store;

use support::wait_for;
use world::{Letter, World};

const SIGKILL: i32 = 9;
const TEMPORARY: i32 = 75;

/// A letter that fits into a row, and one that does not.
fn small_and_large(round: &str) -> Vec<Letter> {
    vec![Letter::new(&format!("small-{round}"), 3), Letter::new(&format!("large-{round}"), 10_000)]
}

/// What a client may be told: a reply that begins so, or nothing.
fn check_told(letters: &[Letter], small: &[&str], large: &[&str]) {
    for (letter, allowed) in letters.iter().zip([small, large]) {
        let fits = match &letter.told {
            Some(told) => allowed.iter().any(|code| !code.is_empty() && told.starts_with(code)),
            None => allowed.contains(&""),
        };
        assert!(fits, "{} was told {:?}, expected one of {allowed:?}", letter.message_id, letter.told);
    }
}

/// A fault that the daemon lives through: it says so to the clients, and takes the mail when the fault is gone.
fn check_survived(rules: &str, small: &[&str], large: &[&str]) {
    let world = World::new();
    let daemon = world.start();
    let mut before = Letter::new("before", 3);
    before.send(&daemon);
    world.desk.settled();
    world.inject(rules);
    let mut letters = small_and_large("faulty");
    letters.iter_mut().for_each(|letter| letter.send(&daemon));
    check_told(&letters, small, large);
    assert!(world.strokes() > 0, "the fault did not happen");
    world.heal();
    for letter in letters.iter_mut().filter(|letter| !letter.was_told("250")) {
        letter.send(&daemon);
        assert!(letter.was_told("250"), "{:?}", letter.told);
    }
    assert_eq!(world.desk.settled()["done"], 3);
    daemon.stop();
    letters.push(before);
    world.aftermath(&mut letters);
}

/// A fault that ends the process.
fn check_ended(rules: &str, code: Option<i32>, signal: Option<i32>) {
    let world = World::new();
    let mut daemon = world.start();
    let mut before = Letter::new("before", 3);
    before.send(&daemon);
    world.desk.settled();
    world.inject(rules);
    let mut letters = vec![before];
    // Some die at the first write, some a few later.
    for number in 0..50 {
        let mut more = small_and_large(&number.to_string());
        more.iter_mut().for_each(|letter| letter.send(&daemon));
        letters.extend(more);
        if world.strokes() > 0 {
            break;
        }
    }
    assert!(world.strokes() > 0, "the fault did not happen");
    let ended = daemon.ended();
    assert_eq!((ended.code(), ended.signal()), (code, signal));
    for letter in &letters {
        let told = letter.told.as_deref().unwrap_or("451 and gone");
        assert!(told.starts_with("250 ") || told.starts_with("451 "), "{told}");
    }
    world.aftermath(&mut letters);
}

#[test]
fn a_commit_in_doubt_is_no_250_and_ends_the_process() {
    check_ended("sync postern.db-wal 0 -1 eio", Some(TEMPORARY), None);
}

#[test]
fn a_write_error_of_the_log_is_a_doubt_as_well() {
    check_ended("write postern.db-wal 0 -1 eio", Some(TEMPORARY), None);
}

#[test]
fn a_disk_that_becomes_read_only_is_a_doubt_as_well() {
    check_ended("write postern.db-wal 2 -1 erofs\nwrite postern.db 0 -1 erofs", Some(TEMPORARY), None);
}

#[test]
fn a_process_killed_in_the_middle_of_a_write_to_the_log_loses_nothing_it_promised() {
    for skip in [0, 1, 2, 5, 9, 17] {
        check_ended(&format!("write postern.db-wal {skip} 1 torn"), None, Some(SIGKILL));
    }
}

#[test]
fn a_process_killed_before_or_after_a_sync_loses_nothing_it_promised() {
    for action in ["kill", "kill-after"] {
        for (path, skip) in [("postern.db-wal", 0), ("postern.db-wal", 3), ("/blobs/", 0), ("/blobs/", 1)] {
            check_ended(&format!("sync {path} {skip} 1 {action}"), None, Some(SIGKILL));
        }
    }
}

#[test]
fn a_full_disk_is_told_with_452_and_doubts_nothing() {
    check_survived("write postern.db-wal 0 -1 enospc", &["452 4.3.1 "], &["452 4.3.1 "]);
    check_survived("write /blobs/ 0 -1 enospc", &["250 "], &["452 4.3.1 "]);
}

#[test]
fn a_blob_that_cannot_be_synced_is_never_answered_with_250() {
    check_survived("sync /blobs/ 0 -1 eio", &["250 "], &["451 4.3.0 "]);
    // The file is there, and its name is not yet on the disk.
    check_survived("sync /blobs/ 1 -1 eio", &["250 "], &["451 4.3.0 "]);
}

#[test]
fn a_slow_disk_delays_the_answer_and_nothing_else() {
    let began = Instant::now();
    check_survived("sync postern.db-wal 0 -1 slow 300", &["250 "], &["250 "]);
    assert!(began.elapsed() > Duration::from_millis(600), "250 was said before the sync ended");
}

#[test]
fn an_attachment_that_cannot_be_kept_delays_the_decision_and_loses_nothing() {
    let world = World::new();
    let daemon = world.start();
    world.inject("sync /blobs/ 0 -1 eio");
    let mut letters = vec![Letter::with_attachment("attached"), Letter::new("other", 3)];
    letters.iter_mut().for_each(|letter| letter.send(&daemon));
    assert!(letters.iter().all(|letter| letter.was_told("250")));
    daemon.event("store.trouble");
    wait_for("the other mail to be decided", || (world.desk.audit()["done"] == 1).then_some(()));
    assert_eq!(world.desk.audit()["pending"], 1);
    world.heal();
    assert_eq!(world.desk.settled()["done"], 2);
    daemon.stop();
    world.aftermath(&mut letters);
}

#[test]
fn a_database_that_cannot_be_synced_when_the_log_is_emptied_loses_nothing() {
    let world = World::new();
    let daemon = world.start();
    let mut letters = small_and_large("x");
    letters.iter_mut().for_each(|letter| letter.send(&daemon));
    world.desk.settled();
    world.inject("sync postern.db 0 -1 eio");
    daemon.terminate();
    let event = daemon.event("store.trouble");
    assert_eq!(event["doing"], "emptying the WAL", "{event}");
    drop(daemon);
    world.aftermath(&mut letters);
}

#[test]
fn a_read_only_data_directory_is_refused_at_the_start_and_served_when_it_is_mended() {
    let world = World::new();
    let daemon = world.start();
    let mut letters = small_and_large("x");
    letters.iter_mut().for_each(|letter| letter.send(&daemon));
    daemon.kill();
    world.inject("open /data/ 0 -1 erofs\nwrite /data/ 0 -1 erofs");
    let output = world.serve();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(TEMPORARY), "{told}");
    assert!(told.contains("Read-only file system") && !told.contains("panicked"), "{told}");
    world.aftermath(&mut letters);
}

#[test]
fn a_start_killed_at_any_write_or_sync_is_begun_again() {
    for (call, action) in [("write", "torn"), ("sync", "kill")] {
        let mut killed = 0;
        // Every third, until the daemon is ready before the fault comes.
        for skip in (0..).step_by(3) {
            let world = World::new();
            world.inject(&format!("{call} /data/ {skip} 1 {action}"));
            let Some(ended) = world.start_or_end() else { break };
            assert_eq!(ended.signal(), Some(SIGKILL), "{call} {skip}: {ended:?}");
            killed += 1;
            world.aftermath(&mut small_and_large("x"));
        }
        assert!(killed > 2, "{killed} starts were killed in a {call}");
    }
}

#[test]
fn a_clock_that_jumps_changes_no_order_ends_no_session_and_spins_nothing() {
    const DAY: i64 = 24 * 60 * 60;
    let world = World::new();
    let daemon = world.start();
    let mut idle = daemon.connect();
    let mut letters = Vec::new();
    for (number, offset) in [0, DAY, 0, -DAY, 2 * DAY, 0].into_iter().enumerate() {
        world.inject(&format!("clock {offset}"));
        let mut letter = Letter::new(&format!("c{number}"), 3);
        letter.send(&daemon);
        assert!(letter.was_told("250"), "{:?}", letter.told);
        letters.push(letter);
        assert_eq!(world.desk.settled()["done"], number + 1);
        idle.say("NOOP", "250").unwrap();
    }
    // Two days ahead of the computer's clock: notifications are sent, and nobody waits by spinning.
    let sent = world.desk.quiet();
    assert_eq!(sent.len(), 2 * letters.len(), "each mail has a confirmation and an agent's notification");
    let before = processor_time(daemon.id());
    std::thread::sleep(Duration::from_millis(500));
    let spent = processor_time(daemon.id()) - before;
    assert!(spent < Duration::from_millis(200), "{spent:?} of 500 ms spent on nothing");
    check_times(&world, letters.len());
    daemon.stop();
    // The computer's clock is behind the newest mail now.
    world.aftermath(&mut letters);
    check_times(&world, letters.len());
}

/// Mails and comments are in the order of their times.
fn check_times(world: &World, mails: usize) {
    let store = Store::open_read_only(world.desk.data()).unwrap();
    for sql in
        ["SELECT accepted_at FROM journal ORDER BY id", "SELECT created_at FROM comments ORDER BY journal"]
    {
        let times: Vec<i64> =
            store.ask(|db| db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()).unwrap();
        assert!(times.len() == mails && times.is_sorted(), "{sql}: {times:?}");
    }
}

/// What the process has used of the processors.
fn processor_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // 100 ticks a second on every Linux there is.
    Duration::from_millis(ticks * 10)
}
