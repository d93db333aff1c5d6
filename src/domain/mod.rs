//! The words of a help desk: plain values that every other module speaks.
//!
//! **Invariant:** nothing here imports anything of ours, does IO, reads a clock or uses randomness.
//!
//! | file | words |
//! |---|---|
//! | `time` | an instant in microseconds UTC |
//! | `ids` | the numbers of things, and the source that hands out new ones |
//! | `address` | mail addresses and how they compare |
//! | `endpoint` | where a listener is found |
//! | `mail` | what SMTP said (envelope) and what the message says |
//! | `people` | users, roles, groups, organizations |
//! | `words` | status, priority, visibility, channel, flag: one word each |
//! | `ticket` | tickets, comments, and `Ticket::apply`, the only place that changes a ticket |
//! | `event` | everything that can happen to a ticket |
//! | `fate` | what becomes of an accepted mail: done, suspended, discarded, failed |
//! | `trace` | the one way any decision explains itself |
//! | `settings` | the account's policy as values |
//! | `rule` | triggers as data |
//! | `token` | the ticket reference that cannot be forged |
//! | `snapshot` | what to ask the store, and its answer |
//! | `plan` | a change, and every write it leads to |

pub mod address;
pub mod endpoint;
pub mod event;
pub mod fate;
pub mod ids;
pub mod mail;
pub mod people;
pub mod plan;
pub mod rule;
pub mod settings;
pub mod snapshot;
pub mod ticket;
pub mod time;
pub mod token;
pub mod trace;
pub mod words;
