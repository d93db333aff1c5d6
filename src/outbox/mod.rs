//! Mail that we have promised: its bytes, and when to try again.
//!
//! A notification is rendered once, when the update that causes it is planned; each recipient's copy is composed from
//! it when it is sent. Composing is a pure function of stored values, so a second try sends the same bytes with the
//! same Message-ID. Sending twice is possible, losing one is not.

pub mod compose;
pub mod schedule;
