//! What must hold for every input there is, one module for each way that bytes of strangers come in.
//!
//! The fuzzer looks for an input that breaks it; `tests/fuzz_seeds.rs` holds that the committed seeds, which every input that ever
//! broke something joins, do not. Everything here goes through the public interface of the library.

pub mod authentication_results;
pub mod commands;
pub mod configuration;
pub mod data;
pub mod parser;
pub mod session;
pub mod token;
