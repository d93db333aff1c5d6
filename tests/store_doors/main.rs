//! The doors of the store: what is written comes back, a plan commits whole or not at all, and a mail that waits
//! is asked about once more before it is sent.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper that fails fails its test")]

mod commit;
mod outbox;
mod people;
mod queries;
mod snapshot;
mod world;
