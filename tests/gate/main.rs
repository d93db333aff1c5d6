//! The gate over real sockets: TLS, proxies, Unix sockets, systemd, and crowds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

#[path = "../smtp_support/mod.rs"]
mod smtp_support;
#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod proxy;
mod slow;
mod systemd;
mod talk;
mod tls;
mod unix;
