//! Fills a data directory with so many comments, straight into the tables: `cargo bench --bench fill -- DIR COUNT`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench fails by panicking")]
#![allow(clippy::print_stderr, reason = "a program for the command line")]

mod support;

use std::path::Path;

fn main() {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [folder, count] = arguments.as_slice() else {
        eprintln!("usage: cargo bench --bench fill -- DIR COUNT");
        return;
    };
    support::fill::fill(Path::new(folder), count.parse().unwrap());
    eprintln!("{folder} holds {count} comments");
}
