//! (being written)

pub mod rules;
