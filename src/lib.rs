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
//! Layers, and who may import whom (`tests/layering.rs` holds the table): `domain` imports nothing of ours;
//! the core modules (`message` to `outbox`) import `domain` and not one another; `intake` and `update` know the
//! order; edges (`smtp`, `store`, `config`, `mailer`) speak domain values; the shell puts it together.

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
pub mod cli;
pub mod control;
pub mod daemon;
pub mod pipeline;
pub mod scenario;
