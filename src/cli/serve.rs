//! `postern serve`: the daemon.

use std::net::SocketAddr;

use clap::Args;

use super::output::{Exit, Failure};
use super::{Place, world};
use crate::{daemon, telemetry};

#[derive(Debug, Args)]
pub struct Serve {
    /// Listen here instead of where the configuration says
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    place: Place,
}

pub fn run(command: &Serve) -> Result<Exit, Failure> {
    let mut config = world::load_config(&command.place)?;
    if let Some(address) = command.listen {
        config.listeners.truncate(1);
        for listener in &mut config.listeners {
            listener.address = address;
        }
    }
    telemetry::init().map_err(|error| Failure::new(Exit::CONFIG, error.to_string()))?;
    daemon::run(config).map(|()| Exit::OK).map_err(|error| Failure::new(Exit::TEMPORARY, error))
}
