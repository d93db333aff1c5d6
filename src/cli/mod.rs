//! (being written)

pub mod privacy;
