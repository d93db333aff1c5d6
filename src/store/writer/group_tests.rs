use super::super::super::{Durability, open, queue};
use super::*;
use crate::domain::time::Timestamp;

const MS: Duration = Duration::from_millis(1);

/// One group, job by job: the name it inserts, whether it can be run again, and whether it fails.
fn kept_of(jobs: &[(&'static str, bool, bool)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let conn = open::open(dir.path(), Durability::Full, Timestamp(0)).unwrap().conn;
    let tx = Transaction::new_unchecked(&conn, rusqlite::TransactionBehavior::Immediate).unwrap();
    let mut group = Group::new(Patience::default());
    for (name, again, fails) in jobs.iter().copied() {
        let job = move |tx: &Transaction<'_>| {
            tx.execute("INSERT INTO sequences (name, next) VALUES (?1, 1)", [name])?;
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

/// How much longer the group would wait, so long after it was opened.
fn pause(group: &mut Group, in_mail: usize, after: Duration) -> Duration {
    let now = group.opened + after;
    match group.pause(in_mail, now) {
        Pause::Over => Duration::ZERO,
        Pause::Until(time) => time - now,
        Pause::UntilCalled => panic!("only while a flush is on its way"),
    }
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
        assert_eq!(pause(&mut group, in_mail, Duration::ZERO), expected, "{from_sessions} of {in_mail}");
    };
    check(1, 2, Duration::ZERO);
    check(1, 3, MS / 2);
    check(24, 50, MS / 2);
    check(25, 50, Duration::ZERO);
}

#[test]
fn jobs_that_no_session_waits_for_are_carried_along_unless_a_sync_costs_nothing() {
    let check = |sync, expected| assert_eq!(Patience::of(sync).without_sessions, expected, "{sync:?}");
    check(MS / 20, Duration::ZERO);
    check(MS / 5, 4 * MS);
    check(8 * MS, GROUP_TIME);

    let mut group = Group::new(Patience::of(MS / 5));
    assert_eq!(pause(&mut group, 2, MS), 3 * MS);
    assert_eq!(pause(&mut group, 2, 4 * MS), Duration::ZERO);
    assert_eq!(group.carried_for, None);
    group.from_sessions = 1;
    assert_eq!(pause(&mut group, 1, Duration::ZERO), Duration::ZERO, "a session must not wait for them");
}

#[test]
fn the_writer_waits_only_for_sessions_that_are_sending() {
    let check = |from_sessions, in_mail, expected| {
        let mut group = for_sessions(2 * MS);
        group.from_sessions = from_sessions;
        assert_eq!(pause(&mut group, in_mail, Duration::ZERO), expected, "{from_sessions} of {in_mail}");
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
    assert_eq!(pause(&mut group, 2, MS), 2 * MS);
    assert_eq!(pause(&mut group, 2, 2 * MS), MS);
    assert_eq!(pause(&mut group, 2, 3 * MS), Duration::ZERO);
    let mut late = for_sessions(2 * MS);
    late.from_sessions = 1;
    assert_eq!(pause(&mut late, 2, 4 * MS), MS);
}

#[test]
fn sessions_answered_a_moment_ago_are_waited_for_until_their_next_mail() {
    let mut group = for_sessions(2 * MS);
    group.from_sessions = 1;
    assert_eq!(pause(&mut group, 2, Duration::ZERO), 2 * MS);
    assert_eq!(pause(&mut group, 1, Duration::ZERO), 2 * MS);
    group.from_sessions = 2;
    assert_eq!(pause(&mut group, 1, Duration::ZERO), Duration::ZERO);
}

#[test]
fn no_patience_means_no_wait() {
    let mut group = for_sessions(Duration::ZERO);
    group.from_sessions = 1;
    assert_eq!(pause(&mut group, 50, Duration::ZERO), Duration::ZERO);
}

#[test]
fn while_at_most_one_session_sends_a_group_that_none_waits_for_is_committed_at_once() {
    let carried_for = |in_mail| {
        let mut group = Group::new(Patience::of(MS / 5));
        let pause = pause(&mut group, in_mail, Duration::ZERO);
        assert_eq!(pause.is_zero(), group.carried_for.is_some());
        group.carried_for
    };
    assert_eq!(carried_for(0), Some(4 * MS));
    assert_eq!(carried_for(1), Some(4 * MS));
    assert_eq!(carried_for(2), None);
}

#[test]
fn until_the_flush_before_has_ended_there_is_no_hurry() {
    let queue = std::sync::Arc::new(JobQueue::default());
    let mut group = Group::new(Patience::default());
    let busy = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        let next =
            scope.spawn(|| group.next(&queue, || busy.load(std::sync::atomic::Ordering::SeqCst)).is_none());
        std::thread::sleep(20 * MS);
        assert!(!next.is_finished());
        busy.store(false, std::sync::atomic::Ordering::SeqCst);
        queue.call_writer();
        assert!(next.join().unwrap());
    });
}

#[test]
fn the_time_of_a_group_begins_when_the_flush_before_it_has_ended() {
    let mut group = for_sessions(2 * MS);
    group.from_sessions = 1;
    let opened = group.opened;
    let mut begins = |after, busy| {
        group.see_flush(opened + after, busy);
        group.opened - opened
    };
    assert_eq!(begins(4 * MS, false), Duration::ZERO);
    assert_eq!(begins(8 * MS, true), 8 * MS);
    assert_eq!(begins(12 * MS, false), 12 * MS, "it is seen only now that it ended");
    assert_eq!(begins(16 * MS, false), 12 * MS);
    assert_eq!(group.pause(2, opened + 12 * MS), Pause::Until(opened + 14 * MS));
}
