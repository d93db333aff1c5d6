//! Which threads stand back for which.

use std::collections::BTreeMap;
use std::fs;

use crate::support::Desk;

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
    let threads = niceness(daemon.id());
    let (deciders, others): (Vec<_>, Vec<_>) =
        threads.into_iter().partition(|(name, _)| name.starts_with("decider") || name == "settler");
    assert!(!deciders.is_empty() && others.iter().any(|(name, _)| name == "writer"), "{others:?}");
    assert!(deciders.iter().all(|(_, nice)| nice.iter().all(|nice| *nice == 19)), "{deciders:?}");
    assert!(others.iter().all(|(_, nice)| nice.iter().all(|nice| *nice == before)), "{others:?}");
    daemon.stop();
}
