//! The SQLite store: the doors through which decisions read and plans are written.
//!
//! Each door is plain functions over a connection, so that it works inside the caller's transaction.

pub mod commit;
pub mod outbox;
pub mod people;
pub mod queries;
pub mod rows;
pub mod snapshot;
