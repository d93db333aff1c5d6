//! Which threads stand back for which.

use std::collections::BTreeMap;
use std::fs;

use crate::support::{Desk, wait_for};

/// The niceness of each thread of the process, by its name (proc_pid_stat(5), field 19).
fn niceness(process: u32) -> BTreeMap<String, Vec<i64>> {
    let mut threads = BTreeMap::<_, Vec<i64>>::new();
    for task in fs::read_dir(format!("/proc/{process}/task")).unwrap() {
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let (name, fields) = stat.split_once(" (").unwrap().1.rsplit_once(") ").unwrap();
        threads.entry(name.to_owned()).or_default().push(fields.split(' ').nth(16).unwrap().parse().unwrap());
    }
    threads
}

#[test]
fn deciders_stand_back_behind_the_threads_that_clients_wait_for() {
    let desk = Desk::new();
    let daemon = desk.start();
    // What it is started with is what the others keep.
    let before = niceness(std::process::id()).into_values().flatten().min().unwrap();
    let stands_back = |name: &str| name.starts_with("decider") || name == "settler";
    // A thread does it when it first comes to run.
    let others = wait_for("the deciders to stand back", || {
        let (back, others): (Vec<_>, Vec<_>) =
            niceness(daemon.id()).into_iter().partition(|(name, _)| stands_back(name));
        let all = back.len() > 1 && back.iter().all(|(_, nice)| nice.iter().all(|nice| *nice == 19));
        all.then_some(others)
    });
    assert!(others.iter().any(|(name, _)| name == "writer"), "{others:?}");
    assert!(others.iter().all(|(_, nice)| nice.iter().all(|nice| *nice == before)), "{others:?}");
    daemon.stop();
}
