//! (being written)

mod rule_words;
pub mod rules;
