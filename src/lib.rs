//! Postern: support mail in over SMTP, tickets in SQLite, notifications out.
//!
//! The journey of a message:
//!
//! ```text
//! smtp::listener ─► Envelope + raw bytes ─► store (journal row, committed) ─► 250
//! pipeline
//!   message::parse ─► InboundMessage                    never fails; lists defects
//!   intake::prepare ─► Lookup                           what to ask the store
//!   store::snapshot ─► Snapshot                         one read
//!   intake::decide ─► Outcome                           identify ► authenticate ► admission ► commands ► privacy
//!   update::plan ─► Plan                                system rules ► Ticket::apply ► triggers ► render ► compose
//! store (writer thread): preconditions, writes, one COMMIT for a group
//! mailer: claim ─► send ─► sent | retry at | dead | cancelled
//! ```
//!
//! Who may import whom; what is not in a row is not imported (`tests/layering.rs`):
//!
//! | module | may import |
//! |---|---|
//! | `domain` | |
//! | `message`, `template` | `domain` |
//! | `identify`, `authenticate`, `admission`, `privacy`, `commands` | `domain`, `message` |
//! | `rules`, `outbox` | `domain`, `message`, `template` |
//! | `intake`, `update` | `domain`, core |
//! | `clock`, `telemetry` | `domain` |
//! | `smtp`, `store` | `domain`, `telemetry` |
//! | `config` | `domain`, `telemetry`, `rules`, `commands`, `template` |
//! | `mailer` | `domain`, `telemetry`, `clock`, `store`, `outbox` |
//! | `spool` | `domain`, edges |
//! | `pipeline` | `domain`, core, order, edges |
//! | `control` | `domain`, edges, `pipeline` |
//! | `admin` | `domain`, `clock`, `telemetry`, `store` |
//! | `daemon` | `domain`, core, order, edges, `pipeline`, `control`, `spool`, `admin` |
//! | `scenario` | `domain`, core, order, edges, `pipeline`, `daemon` |
//! | `cli` | `domain`, core, order, edges, `pipeline`, `control`, `spool`, `daemon`, `scenario` |
//!
//! *Core* are the modules from `message` to `outbox`: pure, and strangers to one another. *Order* are `intake` and
//! `update`, which alone know in which order the core is asked. *Edges* are `clock`, `telemetry`, `smtp`, `store`,
//! `config` and `mailer`: the outside world, in domain values.

// Vocabulary
pub mod domain;

// Core: pure decisions
pub mod admission;
pub mod authenticate;
pub mod commands;
pub mod identify;
pub mod message;
pub mod outbox;
pub mod privacy;
pub mod rules;
pub mod template;

// Core that knows an order
pub mod intake;
pub mod update;

// Edges
pub mod clock;
pub mod config;
pub mod mailer;
pub mod smtp;
pub mod store;
pub mod telemetry;

// Shell
pub mod admin;
pub mod cli;
pub mod control;
pub mod daemon;
pub mod pipeline;
pub mod scenario;
pub mod spool;
