use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::domain::time::Timestamp;
use crate::store::checkpoint::{Checkpointer, WalPages};
use crate::store::queue::{self, Answer};
use crate::store::readers::Readers;
use crate::store::{Durability, WriteError, open};

const MS: Duration = Duration::from_millis(1);

fn start(dir: &Path, conn: Connection, on_in_doubt: fn(&str)) -> (Writer, Checkpointer) {
    let mut conn = conn;
    let (sequences, covered) = Sequences::load(&conn).unwrap();
    let checkpointer = Checkpointer::start(dir, Durability::Full).unwrap();
    let pages = WalPages::watch(&mut conn).unwrap();
    let wal = WalKeeper::new(pages, 64 << 20, Arc::new(Readers::new(dir)), &checkpointer, &conn).unwrap();
    let sequences = Arc::new(sequences);
    (Writer::start(Setup { conn, sequences, covered, wal, on_in_doubt }).unwrap(), checkpointer)
}

/// Queues a job that is run once.
fn submit<T, E>(
    writer: &Writer,
    job: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    after: impl FnOnce(&T) + Send + 'static,
) -> Answer<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let (work, answer) = queue::answered(job, after);
    writer.queue().submit(Priority::Other, work);
    answer
}

fn insert(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<usize> {
    tx.execute("INSERT INTO sequences (name, next) VALUES (?1, 1)", [name])
}

#[test]
fn a_commit_in_doubt_fails_the_whole_group_and_stops_the_store() {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let dir = tempfile::tempdir().unwrap();
    let mut conn = open::open(dir.path(), Durability::Full, Timestamp(0)).unwrap().conn;
    // Makes COMMIT fail after the jobs were fine, as a failed fsync would.
    conn.commit_hook(Some(|| true)).unwrap();
    let (writer, checkpointer) = start(dir.path(), conn, |_| TOLD.store(true, Ordering::SeqCst));

    let (open_gate, gate) = std::sync::mpsc::channel::<()>();
    let first = submit(
        &writer,
        move |tx| {
            gate.recv().unwrap();
            insert(tx, "a")
        },
        |_| panic!("nothing may be told before the commit"),
    );
    let second = submit(&writer, |tx| insert(tx, "b"), |_| {});
    open_gate.send(()).unwrap();
    for answer in [first, second] {
        let error = answer.blocking_recv().unwrap().unwrap_err();
        assert!(matches!(error, WriteError::Store(StoreError::InDoubt(_))), "{error}");
    }
    assert!(writer.stop().is_none());
    checkpointer.stop();
    assert!(TOLD.load(Ordering::SeqCst));

    let late = submit(&writer, |tx| insert(tx, "c"), |_| {}).blocking_recv().unwrap();
    assert!(matches!(late, Err(WriteError::Store(StoreError::InDoubt(_)))));
}

#[test]
fn a_commit_that_fails_with_the_transaction_standing_is_no_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let conn = open::open(dir.path(), Durability::Full, Timestamp(0)).unwrap().conn;
    let (writer, checkpointer) = start(dir.path(), conn, |why| panic!("{why}"));
    let dangling = submit(
        &writer,
        |tx| {
            tx.pragma_update(None, "defer_foreign_keys", true)?;
            tx.execute(
                "INSERT INTO identities (address_key, address, user, position) VALUES ('a', 'a', 99, 0)",
                [],
            )
        },
        |_| {},
    );
    assert!(matches!(dangling.blocking_recv().unwrap(), Err(WriteError::Store(StoreError::Failed(_)))));
    let next = submit(&writer, |tx| insert(tx, "b"), |_| {});
    assert_eq!(next.blocking_recv().unwrap(), Ok(1));
    assert!(writer.stop().is_some());
    checkpointer.stop();
}

#[test]
fn a_job_that_fails_leaves_nothing_behind_and_takes_no_other_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let conn = open::open(dir.path(), Durability::Full, Timestamp(0)).unwrap().conn;
    let (writer, checkpointer) = start(dir.path(), conn, |why| panic!("{why}"));
    let (told, outcomes) = std::sync::mpsc::channel();
    let repeatable = |name: &'static str, end: fn() -> rusqlite::Result<()>| {
        let told = told.clone();
        let runs = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&runs);
        let work = queue::repeatable(
            move |tx: &Transaction<'_>| {
                counted.fetch_add(1, Ordering::SeqCst);
                insert(tx, name)?;
                end()
            },
            move |outcome: queue::Outcome<(), rusqlite::Error>| told.send((name, outcome.is_ok())).unwrap(),
        );
        writer.queue().submit(Priority::Other, work);
        runs
    };
    let fails = || Err(rusqlite::Error::QueryReturnedNoRows);
    // All that follows waits for the gate, and so makes one group.
    let (open_gate, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let first = submit(&writer, move |_| gate.lock().unwrap().recv().map_err(drop), |()| {});
    std::thread::sleep(MS);
    let begun = repeatable("a", || Ok(()));
    repeatable("b", fails);
    repeatable("c", || Ok(()));
    repeatable("d", || panic!("a job of a test panics"));
    let once = submit(&writer, |tx| insert(tx, "e"), |_| {});
    repeatable("f", fails);
    repeatable("g", || Ok(()));
    open_gate.send(()).unwrap();
    assert_eq!((first.blocking_recv().unwrap(), once.blocking_recv().unwrap()), (Ok(()), Ok(1)));

    let mut heard: Vec<_> = outcomes.iter().take(6).collect();
    heard.sort_unstable();
    assert_eq!(heard, [("a", true), ("b", false), ("c", true), ("d", false), ("f", false), ("g", true)]);
    assert!(begun.load(Ordering::SeqCst) <= 2);
    let conn = writer.stop().unwrap();
    let kept = "SELECT group_concat(name, '') FROM sequences WHERE length(name) = 1";
    assert_eq!(conn.query_row(kept, [], |row| row.get::<_, String>(0)).unwrap(), "aceg");
    checkpointer.stop();
}

/// One group, job by job: the name it inserts, whether it can be run again, and whether it fails.
fn kept_of(jobs: &[(&'static str, bool, bool)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let conn = open::open(dir.path(), Durability::Full, Timestamp(0)).unwrap().conn;
    let tx = Transaction::new_unchecked(&conn, TransactionBehavior::Immediate).unwrap();
    let mut group = Group::new(Patience::default());
    for (name, again, fails) in jobs.iter().copied() {
        let job = move |tx: &Transaction<'_>| {
            insert(tx, name)?;
            if fails { Err(rusqlite::Error::QueryReturnedNoRows) } else { Ok(()) }
        };
        let tell = |_: queue::Outcome<(), rusqlite::Error>| {};
        let work = if again { queue::repeatable(job, tell) } else { queue::once(job, tell) };
        group.run(&tx, work).unwrap();
    }
    let kept = "SELECT coalesce(group_concat(name, ''), '') FROM sequences WHERE length(name) = 1";
    let kept = tx.query_row(kept, [], |row| row.get(0)).unwrap();
    tx.commit().unwrap();
    kept
}

#[test]
fn what_was_done_before_a_failure_is_done_again_and_what_cannot_be_is_not_undone() {
    assert_eq!(kept_of(&[("a", true, false), ("b", true, true), ("c", true, false)]), "ac");
    assert_eq!(kept_of(&[("a", true, true), ("b", true, true)]), "");
    assert_eq!(kept_of(&[("a", true, false), ("b", false, false), ("c", true, true)]), "ab");
    assert_eq!(kept_of(&[("a", true, false), ("b", false, true), ("c", true, false)]), "ac");
    assert_eq!(kept_of(&[("a", false, true), ("b", true, true), ("c", false, false)]), "c");
}

fn for_sessions(wait: Duration) -> Group {
    Group::new(Patience { for_sessions: wait, ..Patience::default() })
}

#[test]
fn the_wait_for_sessions_is_a_quarter_of_a_sync_within_bounds() {
    let check = |sync, expected| assert_eq!(Patience::of(sync).for_sessions, expected, "{sync:?}");
    check(Duration::ZERO, Duration::ZERO);
    check(MS / 10, Duration::ZERO);
    check(MS, Duration::ZERO);
    check(2 * MS, MS / 2);
    check(8 * MS, 2 * MS);
    check(50 * MS, LONGEST_PATIENCE);
}

#[test]
fn on_a_fast_disk_a_group_of_few_waits_and_a_group_of_many_does_not() {
    let check = |from_sessions, in_mail, expected| {
        let mut group = Group::new(Patience::of(MS));
        group.from_sessions = from_sessions;
        assert_eq!(group.patience_left(in_mail, group.opened), expected, "{from_sessions} of {in_mail}");
    };
    check(1, 4, Duration::ZERO);
    check(1, 5, MS / 2);
    check(12, 50, MS / 2);
    check(13, 50, Duration::ZERO);
}

#[test]
fn jobs_that_no_session_waits_for_are_carried_along_unless_a_sync_costs_nothing() {
    let check = |sync, expected| assert_eq!(Patience::of(sync).without_sessions, expected, "{sync:?}");
    check(MS / 20, Duration::ZERO);
    check(MS / 5, 4 * MS);
    check(8 * MS, GROUP_TIME);

    let mut group = Group::new(Patience::of(MS / 5));
    assert_eq!(group.patience_left(0, group.opened + MS), 3 * MS);
    assert_eq!(group.patience_left(0, group.opened + 4 * MS), Duration::ZERO);
    group.from_sessions = 1;
    assert_eq!(group.patience_left(1, group.opened), Duration::ZERO, "a session must not wait for them");
}

#[test]
fn the_writer_waits_only_for_sessions_that_are_sending() {
    let check = |from_sessions, in_mail, expected| {
        let mut group = for_sessions(2 * MS);
        group.from_sessions = from_sessions;
        assert_eq!(group.patience_left(in_mail, group.opened), expected, "{from_sessions} of {in_mail}");
    };
    check(1, 1, Duration::ZERO);
    check(1, 2, 2 * MS);
    check(5, 5, Duration::ZERO);
    check(0, 0, Duration::ZERO);
}

#[test]
fn the_wait_ends_when_its_time_is_over_and_with_the_time_of_the_group() {
    let mut group = for_sessions(2 * MS);
    group.from_sessions = 1;
    let opened = group.opened;
    assert_eq!(group.patience_left(2, opened + MS), 2 * MS);
    assert_eq!(group.patience_left(2, opened + 2 * MS), MS);
    assert_eq!(group.patience_left(2, opened + 3 * MS), Duration::ZERO);
    let mut late = for_sessions(2 * MS);
    late.from_sessions = 1;
    let opened = late.opened;
    assert_eq!(late.patience_left(2, opened + 4 * MS), MS);
}

#[test]
fn sessions_answered_a_moment_ago_are_waited_for_until_their_next_mail() {
    let mut group = for_sessions(2 * MS);
    let opened = group.opened;
    group.from_sessions = 1;
    assert_eq!(group.patience_left(2, opened), 2 * MS);
    assert_eq!(group.patience_left(1, opened), 2 * MS);
    group.from_sessions = 2;
    assert_eq!(group.patience_left(1, opened), Duration::ZERO);
}

#[test]
fn no_patience_means_no_wait() {
    let mut group = for_sessions(Duration::ZERO);
    group.from_sessions = 1;
    assert_eq!(group.patience_left(50, group.opened), Duration::ZERO);
}
