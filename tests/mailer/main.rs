//! The mailer over real sockets: what reaches the smarthost, what becomes of each row, and what no fault may cause.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod compose;
mod directory;
mod faults;
mod probe;
mod run;
mod sending;
mod server;
mod tls;
mod world;
