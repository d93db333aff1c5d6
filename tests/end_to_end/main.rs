//! The real binary with the sample configuration, as the README shows it and as operators and mail servers use it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../support/mod.rs"]
mod support;

mod commands;
mod deliver;
mod failed;
mod keys;
mod outbox;
mod shutdown;
mod suspended;
mod threads;
mod tour;
