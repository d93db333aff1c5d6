//! The store's promises, from outside: what is answered is kept, what fails leaves nothing, nobody else writes.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use postern::domain::address::Address;
use postern::domain::fate::Fate;
use postern::domain::ids::{Fresh, JournalId, UserId};
use postern::domain::mail::{Entrance, Envelope, TrustSource};
use postern::domain::plan::Plan;
use postern::domain::snapshot::{Lookup, Snapshot};
use postern::domain::time::Timestamp;
use postern::store::{
    AcceptError, Depth, Durability, OpenError, Options, Priority, Store, StoreError, WriteError,
};
use rusqlite::{Connection, Transaction};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn open(dir: &Path) -> Store {
    Store::open(dir, Options::new(NOW)).unwrap()
}

fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (dir, store)
}

fn envelope() -> Envelope {
    Envelope {
        entrance: Entrance { name: "test".to_owned(), trust: TrustSource::None },
        client: None,
        helo: Some("client.example".to_owned()),
        reverse_path: Address::parse("rita@example.net").ok(),
        recipients: Address::parse("support@acme.example").into_iter().collect(),
        accepted_at: NOW,
    }
}

fn accept(store: &Store, raw: &[u8]) -> Result<JournalId, AcceptError> {
    store.accept_blocking(&envelope(), raw.to_vec())
}

fn pending(store: &Store, after: JournalId, limit: usize) -> Vec<JournalId> {
    store.pending_after(after, limit).unwrap().into_iter().map(|pending| pending.row).collect()
}

/// A copy of the directory as a kill would leave it: the lock is not copied with it.
fn as_killed(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_tree(dir, copy.path());
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn insert_tag(tx: &Transaction<'_>, key: i64) -> rusqlite::Result<()> {
    tx.execute("INSERT INTO config_objects (kind, key, object, active) VALUES ('group', ?1, ?1, 1)", [key])
        .map(drop)
}

fn keys_kept(store: &Store) -> Vec<String> {
    store
        .read::<_, rusqlite::Error>(|tx| {
            let mut select = tx.prepare("SELECT key FROM config_objects ORDER BY key")?;
            select.query_map([], |row| row.get(0))?.collect()
        })
        .unwrap()
}

/// Keeps the writer busy until the returned end is dropped, so that what is queued meanwhile forms a group.
fn hold_writer(store: &Store) -> (mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (release, gate) = mpsc::channel::<()>();
    let (at_gate, reached) = mpsc::channel();
    let store = store.clone();
    let held = std::thread::spawn(move || {
        let job = move |_: &Transaction<'_>| {
            at_gate.send(()).unwrap();
            let _ = gate.recv();
            Err::<(), _>(())
        };
        assert_eq!(store.write(Priority::Journal, job), Err(WriteError::Job(())));
    });
    reached.recv().unwrap();
    (release, held)
}

#[test]
fn an_accepted_mail_comes_back_as_it_came() {
    let (_dir, store) = store();
    let id = accept(&store, b"Subject: hello\r\n\r\nhi\r\n").unwrap();
    let entry = store.entry(id).unwrap().unwrap();
    assert_eq!((entry.id, entry.fate, entry.attempts), (JournalId(1), Fate::Pending, 0));
    assert_eq!((entry.envelope, entry.raw), (envelope(), b"Subject: hello\r\n\r\nhi\r\n".to_vec()));
    assert_eq!(store.entry(JournalId(99)).unwrap(), None);
}

#[test]
fn pending_mails_are_listed_in_order_from_a_mark_on() {
    let (_dir, store) = store();
    let ids: Vec<_> = (0..5).map(|_| accept(&store, b"x").unwrap()).collect();
    store.mark_failed(ids[2], "no luck".to_owned(), NOW).unwrap();
    assert_eq!(pending(&store, JournalId(0), 2), ids[..2]);
    assert_eq!(pending(&store, ids[0], 10), [ids[1], ids[3], ids[4]]);
    assert_eq!(store.entry(ids[2]).unwrap().unwrap().fate, Fate::Failed { error: "no luck".to_owned() });
}

#[test]
fn an_accepted_mail_rings_after_its_commit() {
    let (_dir, store) = store();
    let signal = store.subscribe();
    let seen = signal.rings();
    let id = accept(&store, b"x").unwrap();
    assert_eq!(signal.wait(seen, Duration::from_secs(60)), seen + 1);
    assert_eq!(pending(&store, JournalId(0), 9), [id]);
}

#[tokio::test]
async fn mails_above_256_kb_lie_in_a_file_of_their_own() {
    let (dir, store) = store();
    let small = store.accept(envelope(), vec![b'a'; 256 * 1024]).await.unwrap();
    let large = store.accept(envelope(), vec![b'b'; 256 * 1024 + 1]).await.unwrap();
    assert_eq!(store.entry(small).unwrap().unwrap().raw, vec![b'a'; 256 * 1024]);
    assert_eq!(store.entry(large).unwrap().unwrap().raw, vec![b'b'; 256 * 1024 + 1]);
    let files = std::fs::read_dir(dir.path().join("blobs")).unwrap().count();
    assert_eq!(files, 2, "one directory for the blob, one for temporary files");
    assert!(store.books(Depth::Database).unwrap().balanced);
}

#[test]
fn jobs_that_wait_are_committed_together() {
    let (_dir, store) = store();
    let (release, held) = hold_writer(&store);
    let mut mails = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for _ in 0..63 {
            let mut mail = Box::pin(store.accept(envelope(), b"x".to_vec()));
            assert!(futures_are_pending(&mut mail).await, "nobody is answered before the commit");
            mails.push(mail);
        }
        drop(release);
        for mail in mails {
            mail.await.unwrap();
        }
    });
    held.join().unwrap();
    let stats = store.writer_stats();
    assert_eq!(stats.jobs, 63);
    assert!(stats.commits <= 3, "{stats:?}");
}

/// Polls once: a queued mail is not answered yet.
async fn futures_are_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
    })
    .await
}

#[test]
fn a_full_queue_answers_busy_to_those_who_cannot_wait() {
    let (_dir, store) = store();
    let (release, held) = hold_writer(&store);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut waiting = Vec::new();
        for _ in 0..1_024 {
            let mut mail = Box::pin(store.accept(envelope(), b"x".to_vec()));
            assert!(futures_are_pending(&mut mail).await);
            waiting.push(mail);
        }
        let busy = store.accept(envelope(), b"x".to_vec()).await;
        assert_eq!(busy, Err(AcceptError::Storage("too many writes are waiting".to_owned())));
        drop(release);
        for mail in waiting {
            mail.await.unwrap();
        }
    });
    held.join().unwrap();
    assert_eq!(store.books(Depth::Books).unwrap().accepted, 1_024);
}

#[test]
fn a_mail_is_kept_even_if_its_session_is_gone_before_the_answer() {
    let (_dir, store) = store();
    let signal = store.subscribe();
    let (release, held) = hold_writer(&store);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut mail = Box::pin(store.accept(envelope(), b"x".to_vec()));
        assert!(futures_are_pending(&mut mail).await);
    });
    drop(release);
    held.join().unwrap();
    assert_eq!(signal.wait(0, Duration::from_secs(60)), 1);
    assert_eq!(store.books(Depth::Books).unwrap().pending, 1);
}

#[test]
fn a_job_that_fails_or_panics_leaves_nothing_and_takes_no_other_with_it() {
    let (_dir, store) = store();
    let (release, held) = hold_writer(&store);
    let job = |key: i64, end: fn() -> Result<i64, String>| {
        let store = store.clone();
        std::thread::spawn(move || {
            store.write(Priority::Other, move |tx| {
                insert_tag(tx, key).map_err(|error| error.to_string())?;
                end()
            })
        })
    };
    let first = job(1, || Ok(1));
    let fails = job(2, || Err("conflict".to_owned()));
    let panics = job(3, || panic!("a bug"));
    let last = job(4, || Ok(4));
    drop(release);
    held.join().unwrap();
    assert_eq!(first.join().unwrap(), Ok(1));
    assert_eq!(fails.join().unwrap(), Err(WriteError::Job("conflict".to_owned())));
    assert_eq!(panics.join().unwrap(), Err(WriteError::Store(StoreError::Panicked("a bug".to_owned()))));
    assert_eq!(last.join().unwrap(), Ok(4));
    assert_eq!(keys_kept(&store), ["1", "4"]);
}

#[test]
fn a_job_that_loses_the_transaction_is_not_answered_as_kept() {
    let (_dir, store) = store();
    let lost = store.write(Priority::Other, |tx| {
        insert_tag(tx, 1)?;
        tx.execute_batch("ROLLBACK")
    });
    assert!(matches!(lost, Err(WriteError::Store(StoreError::Failed(_)))), "{lost:?}");
    store.write(Priority::Other, |tx| insert_tag(tx, 2)).unwrap();
    assert_eq!(keys_kept(&store), ["2"]);
}

#[test]
fn jobs_of_the_journal_go_first() {
    let (_dir, store) = store();
    let (release, held) = hold_writer(&store);
    let (order, seen) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut queued = Vec::new();
        for priority in [Priority::Other, Priority::Other, Priority::Journal] {
            let order = order.clone();
            let job = move |_: &Transaction<'_>| order.send(priority).map_err(|_| ());
            let mut job = Box::pin(store.write_async(priority, job));
            assert!(futures_are_pending(&mut job).await);
            queued.push(job);
        }
        drop(release);
        for job in queued {
            job.await.unwrap();
        }
    });
    held.join().unwrap();
    let order: Vec<_> = seen.try_iter().collect();
    assert_eq!(order, [Priority::Journal, Priority::Other, Priority::Other]);
}

#[test]
fn what_follows_a_commit_sees_it_and_a_failed_job_is_not_followed() {
    let (dir, store) = store();
    let (told, tell) = mpsc::channel();
    let beside = Store::open_read_only(dir.path()).unwrap();
    let after = {
        let told = told.clone();
        move |(): &()| told.send(keys_kept(&beside)).unwrap()
    };
    store.write_then(Priority::Other, |tx| insert_tag(tx, 1), after).unwrap();
    let no: Result<(), _> =
        store.write_then(Priority::Other, |_| Err("no"), move |()| told.send(Vec::new()).unwrap());
    assert_eq!(no, Err(WriteError::Job("no")));
    assert_eq!(tell.iter().collect::<Vec<_>>(), [["1"]]);
}

#[test]
fn a_second_store_is_refused_and_the_next_one_after_closing_is_not() {
    let (dir, store) = store();
    let second = Store::open(dir.path(), Options::new(NOW)).unwrap_err();
    assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    store.close();
    drop(open(dir.path()));
}

#[test]
fn ids_are_not_used_twice_after_a_kill_and_leave_no_gap_after_a_close() {
    let (dir, store) = store();
    let mut fresh = store.fresh().unwrap();
    let (tickets, mail) = ([fresh.ticket(), fresh.ticket()], accept(&store, b"x").unwrap());

    let killed = as_killed(dir.path());
    let after_kill = open(killed.path());
    assert!(after_kill.recovered().unclean);
    assert!(after_kill.fresh().unwrap().ticket() > tickets[1]);
    assert!(accept(&after_kill, b"y").unwrap() > mail);
    assert_eq!(after_kill.entry(mail).unwrap().unwrap().raw, b"x");

    drop(store);
    let after_close = open(dir.path());
    assert!(!after_close.recovered().unclean);
    assert_eq!(after_close.fresh().unwrap().ticket().0, tickets[1].0 + 1);
}

#[test]
fn a_full_disk_refuses_mail_and_loses_none() {
    let (_dir, store) = store();
    let limit = |store: &Store, pages: i64| {
        let set = move |tx: &Transaction<'_>| {
            tx.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
        };
        store.write(Priority::Other, set).unwrap()
    };
    let pages = limit(&store, 1);
    limit(&store, pages + 20);
    let mut kept = Vec::new();
    let refused = loop {
        match accept(&store, &[b'x'; 8_000]) {
            Ok(id) => kept.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AcceptError::Full);
    assert!(kept.len() > 3, "{}", kept.len());
    assert_eq!(pending(&store, JournalId(0), 100), kept);
    assert_eq!(accept(&store, &[b'x'; 8_000]), Err(AcceptError::Full));
    limit(&store, 1_000_000);
    kept.push(accept(&store, &[b'x'; 8_000]).unwrap());
    let books = store.books(Depth::Database).unwrap();
    assert!(books.balanced, "{books:?}");
    assert_eq!(books.accepted, kept.len() as u64);
}

#[test]
fn a_mail_in_work_at_three_crashes_is_given_up_and_others_are_not() {
    let (dir, store) = store();
    let (poison, innocent) = (accept(&store, b"poison").unwrap(), accept(&store, b"fine").unwrap());
    let mut home = dir;
    let mut running = store;
    for crash in 1..=3 {
        let guard = running.in_work(poison).unwrap();
        drop(running.in_work(innocent).unwrap());
        let next = as_killed(home.path());
        drop(guard);
        running = open(next.path());
        home = next;
        let recovered = running.recovered().clone();
        let entry = running.entry(poison).unwrap().unwrap();
        assert!(recovered.unclean);
        assert_eq!(entry.attempts, crash);
        if crash < 3 {
            assert_eq!((recovered.suspects, recovered.failed), (vec![poison], vec![]));
            assert_eq!(entry.fate, Fate::Pending);
        } else {
            assert_eq!((recovered.suspects, recovered.failed), (vec![], vec![poison]));
            assert_eq!(entry.fate, Fate::Failed { error: "crashed".to_owned() });
        }
    }
    assert_eq!(running.entry(innocent).unwrap().unwrap().attempts, 0);
}

#[test]
fn the_third_caught_failure_gives_a_mail_up() {
    let (_dir, store) = store();
    let id = accept(&store, b"x").unwrap();
    assert_eq!(store.add_attempt(id, NOW), Ok(Fate::Pending));
    assert_eq!(store.add_attempt(id, NOW), Ok(Fate::Pending));
    assert_eq!(store.add_attempt(id, NOW), Ok(Fate::Failed { error: "crashed".to_owned() }));
}

const CAP: u64 = 6 << 20;
/// One group beyond the cap: 64 mails of 60 kB at most, here one.
const CAP_AND_GROUP: u64 = CAP + (1 << 20);

fn with_small_wal(dir: &Path) -> Store {
    Store::open(dir, Options { wal_cap_bytes: CAP, ..Options::new(NOW) }).unwrap()
}

fn wal_bytes(dir: &Path) -> u64 {
    std::fs::metadata(dir.join("postern.db-wal")).unwrap().len()
}

#[test]
fn a_long_read_of_ours_is_ended_before_the_wal_passes_its_cap() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_small_wal(dir.path());
    accept(&store, b"x").unwrap();
    let (reading, reads) = mpsc::channel::<()>();
    let reader = std::thread::spawn({
        let store = store.clone();
        move || {
            store.read::<(), rusqlite::Error>(|tx| {
                let mut reading = Some(reading);
                loop {
                    let mut select = tx.prepare_cached("SELECT COUNT(*) FROM journal, journal_raw")?;
                    assert_eq!(select.query_row([], |row| row.get::<_, i64>(0))?, 1, "one instant");
                    drop(reading.take());
                }
            })
        }
    });
    assert!(reads.recv().is_err());
    for _ in 0..200 {
        accept(&store, &[b'x'; 60_000]).unwrap();
        assert!(wal_bytes(dir.path()) <= CAP_AND_GROUP);
    }
    let ended = reader.join().unwrap().unwrap_err();
    assert_eq!(ended.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted));
}

#[test]
fn a_long_read_of_another_process_stops_intake_at_the_cap_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_small_wal(dir.path());
    accept(&store, b"x").unwrap();
    let foreign = Connection::open(dir.path().join("postern.db")).unwrap();
    foreign.execute_batch("BEGIN; SELECT COUNT(*) FROM journal").unwrap();
    let mut kept = 1;
    let refused = loop {
        match accept(&store, &[b'x'; 60_000]) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(wal_bytes(dir.path()) <= CAP_AND_GROUP);
    };
    assert_eq!(refused, AcceptError::Full);
    foreign.execute_batch("COMMIT").unwrap();
    accept(&store, b"y").unwrap();
    assert_eq!(store.books(Depth::Books).unwrap().accepted, kept + 1);
}

#[test]
fn the_wal_is_started_anew_while_mail_comes_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_small_wal(dir.path());
    let (mut length, mut began_anew) = (0, 0);
    for _ in 0..300 {
        accept(&store, &[b'x'; 60_000]).unwrap();
        began_anew += u32::from(store.wal_pages() < length);
        length = store.wal_pages();
    }
    assert!(began_anew > 0, "{length}");
    assert!(wal_bytes(dir.path()) <= CAP_AND_GROUP);
    store.close();
    let left = std::fs::metadata(dir.path().join("postern.db-wal")).map_or(0, |file| file.len());
    assert_eq!(left, 0);
}

#[test]
fn a_store_for_reading_sees_what_was_committed_and_writes_nothing() {
    let (dir, store) = store();
    let id = accept(&store, b"x").unwrap();
    let reading = Store::open_read_only(dir.path()).unwrap();
    assert_eq!(reading.entry(id).unwrap().unwrap().raw, b"x");
    assert_eq!(reading.keys(), store.keys());
    assert_eq!(
        reading.write(Priority::Other, |tx| insert_tag(tx, 1)),
        Err(WriteError::Store(StoreError::ReadOnly))
    );
    assert!(matches!(accept(&reading, b"y"), Err(AcceptError::Storage(_))));
    assert!(reading.rotate_key(NOW).is_err());
    drop(store);
    assert_eq!(Store::open_read_only(dir.path()).unwrap().entry(id).unwrap().unwrap().raw, b"x");
}

#[test]
fn a_closed_store_says_so() {
    let (_dir, store) = store();
    store.close();
    store.close();
    assert_eq!(
        store.write(Priority::Other, |tx| insert_tag(tx, 1)),
        Err(WriteError::Store(StoreError::Closed))
    );
    assert_eq!(accept(&store, b"x"), Err(AcceptError::Storage("the store is closed".to_owned())));
}

#[test]
fn closing_finishes_what_waits() {
    let (dir, store) = store();
    let (release, held) = hold_writer(&store);
    let waiting = std::thread::spawn({
        let store = store.clone();
        move || accept(&store, b"x")
    });
    let closing = std::thread::spawn(move || store.close());
    drop(release);
    held.join().unwrap();
    closing.join().unwrap();
    let kept = waiting.join().unwrap().is_ok();
    let books = open(dir.path()).books(Depth::Books).unwrap();
    assert_eq!(books.accepted, u64::from(kept), "kept if and only if it was said to be");
}

#[test]
fn a_rotated_key_is_there_after_the_next_start() {
    let (dir, store) = store();
    let keys = store.rotate_key(NOW).unwrap();
    assert_eq!(keys.token_keys.len(), 2);
    let keys = store.revoke_key(0).unwrap();
    drop(store);
    assert_eq!(open(dir.path()).keys(), keys);
}

#[test]
fn a_scratch_store_works_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { durability: Durability::Scratch, ..Options::new(NOW) };
    let store = Store::open(dir.path(), options).unwrap();
    let id = accept(&store, &[b'x'; 300_000]).unwrap();
    assert_eq!(store.entry(id).unwrap().unwrap().raw, [b'x'; 300_000]);
    assert!(store.books(Depth::Database).unwrap().balanced);
}

#[test]
fn what_was_seen_is_decided_from_unless_something_was_committed_since() {
    let (_dir, store) = store();
    let lookup = Lookup::default();
    let ada = Address::parse("ada@example.net").unwrap();
    // A mark that only this copy bears.
    let seen = || {
        let mut seen = store.look(&lookup).unwrap();
        seen.snapshot.by_address.insert(ada.clone(), UserId(7));
        Some(seen)
    };
    let bears_mark = |seen| {
        let (told, heard) = mpsc::channel();
        let look = |snapshot: &Snapshot, _: &mut dyn Fresh| {
            Ok((Plan::default(), snapshot.by_address.contains_key(&ada)))
        };
        store.run_told(&lookup, seen, NOW, look, move |_, marked| told.send(marked).unwrap()).unwrap();
        heard.recv().unwrap()
    };
    assert!(bears_mark(seen()));
    let before = seen();
    accept(&store, b"a mail").unwrap();
    assert!(!bears_mark(before), "a mail was accepted after it was read");
    assert!(!bears_mark(None));
}
