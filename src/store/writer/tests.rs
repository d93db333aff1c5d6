use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::domain::time::Timestamp;
use crate::store::checkpoint::{Checkpointer, WalPages};
use crate::store::queue::{self, Answer, Priority};
use crate::store::readers::Readers;
use crate::store::{Durability, WriteError, open};

const MS: Duration = Duration::from_millis(1);

fn start(dir: &Path, conn: Connection, on_in_doubt: fn(&str)) -> (Writer, Checkpointer) {
    let wal = WalFile::open(&conn, Durability::Full).unwrap();
    start_with(dir, conn, wal, on_in_doubt)
}

fn start_with(dir: &Path, conn: Connection, wal: WalFile, on_in_doubt: fn(&str)) -> (Writer, Checkpointer) {
    let mut conn = conn;
    let (sequences, covered) = Sequences::load(&conn).unwrap();
    let checkpointer = Checkpointer::start(dir, Durability::Full).unwrap();
    let pages = WalPages::watch(&mut conn).unwrap();
    let keeper = WalKeeper::new(pages, 64 << 20, Arc::new(Readers::new(dir)), &checkpointer, &conn).unwrap();
    let sequences = Arc::new(sequences);
    (Writer::start(Setup { conn, sequences, covered, wal, keeper, on_in_doubt }).unwrap(), checkpointer)
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

#[test]
fn a_flush_that_fails_is_a_doubt_about_all_that_was_committed_since_the_last() {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let dir = tempfile::tempdir().unwrap();
    let conn = open::open(dir.path(), Durability::Full, Timestamp(0)).unwrap().conn;
    // It takes no fdatasync.
    let wal = WalFile::of(std::fs::File::options().write(true).open("/dev/null").unwrap());
    let (writer, checkpointer) = start_with(dir.path(), conn, wal, |_| {
        TOLD.fetch_add(1, Ordering::SeqCst);
    });
    // Long enough for the first job to be committed and to wait for the flush of the second.
    writer.counters.flushed(MS);
    let carried = submit(&writer, |tx| insert(tx, "a"), |_| panic!("nothing may be told before the flush"));
    let (session, kept) = queue::answered(|tx: &Transaction<'_>| insert(tx, "b"), |_| panic!("nor this"));
    writer.queue().submit(Priority::Journal, session);
    for answer in [carried, kept] {
        let error = answer.blocking_recv().unwrap().unwrap_err();
        assert!(matches!(error, WriteError::Store(StoreError::InDoubt(_))), "{error}");
    }
    assert!(writer.stop().is_none());
    checkpointer.stop();
    assert_eq!(TOLD.load(Ordering::SeqCst), 1);
}

#[test]
fn what_no_session_waits_for_is_flushed_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let conn = open::open(dir.path(), Durability::Full, Timestamp(0)).unwrap().conn;
    let (writer, checkpointer) = start(dir.path(), conn, |why| panic!("{why}"));
    writer.counters.flushed(MS);
    for name in ["a", "b"] {
        assert_eq!(submit(&writer, move |tx| insert(tx, name), |_| {}).blocking_recv().unwrap(), Ok(1));
    }
    let stats = writer.stats();
    assert_eq!((stats.commits, stats.flushes, stats.jobs), (2, 3, 2));
    assert!(writer.stop().is_some());
    checkpointer.stop();
}

#[test]
fn all_are_told_in_the_order_of_their_commits_whichever_thread_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let conn = open::open(dir.path(), Durability::Full, Timestamp(0)).unwrap().conn;
    let (writer, checkpointer) = start(dir.path(), conn, |why| panic!("{why}"));
    let (tell, told) = std::sync::mpsc::channel();
    let mail = |name: &'static str, takes: Duration| {
        let tell = tell.clone();
        let after = move |_: &usize| {
            tell.send(("begun", name)).unwrap();
            std::thread::sleep(takes);
            tell.send(("told", name)).unwrap();
        };
        let (work, answer) = queue::answered(move |tx: &Transaction<'_>| insert(tx, name), after);
        writer.queue().submit(Priority::Journal, work);
        answer
    };
    // Another session sends, so the first is flushed beside the writer.
    let _sends = writer.queue().begin_mail();
    let other = writer.queue().begin_mail();
    let first = mail("a", 30 * MS);
    assert_eq!(told.recv().unwrap(), ("begun", "a"));
    drop(other);
    // Nobody but the one that is being told: the writer would flush the second itself.
    let second = mail("b", Duration::ZERO);
    for answer in [first, second] {
        assert_eq!(answer.blocking_recv().unwrap(), Ok(1));
    }
    let order: Vec<_> = told.try_iter().collect();
    assert_eq!(order, [("told", "a"), ("begun", "b"), ("told", "b")]);
    assert!(writer.stop().is_some());
    checkpointer.stop();
}
