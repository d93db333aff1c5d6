//! `postern check`: is the configuration sound, and what does it say?

use clap::Args;

use super::output::{self, Exit, Failure};
use super::{Place, world};
use crate::config;

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    place: Place,
}

pub fn run(command: &Check) -> Result<Exit, Failure> {
    let config = world::load_config(&command.place)?;
    output::print(&config::describe(&config))?;
    for warning in config.warnings() {
        output::print(&format!("warning: {warning}"))?;
    }
    Ok(Exit::OK)
}
