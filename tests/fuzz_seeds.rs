//! What the fuzzer looks for holds for every committed seed: inputs written for this repository, and those that once broke something.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr
)]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::fs;
use std::path::Path;

/// Runs all seeds of a target; there must be several.
fn check(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() >= 5, "{target} has only {} seeds", seeds.len());
    for seed in seeds {
        let input = fs::read(&seed).unwrap();
        if let Err(panic) = std::panic::catch_unwind(|| check(&input)) {
            eprintln!("the seed that broke it is {}", seed.display());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn sessions_hold() {
    check("session", fuzz::session::check);
}

#[test]
fn messages_after_data_hold() {
    check("data", fuzz::data::check);
}

#[test]
fn the_parser_holds() {
    check("parser", fuzz::parser::check);
}

#[test]
fn tokens_hold() {
    check("token", fuzz::token::check);
}

#[test]
fn commands_hold() {
    check("commands", fuzz::commands::check);
}

#[test]
fn authentication_results_hold() {
    check("authentication_results", fuzz::authentication_results::check);
}

#[test]
fn configuration_files_hold() {
    check("configuration", fuzz::configuration::check);
}
