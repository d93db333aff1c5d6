//! `postern serve`: the daemon.

use clap::Args;

use super::output::{Exit, Failure};
use super::{Place, world};
use crate::domain::endpoint::Endpoint;
use crate::{daemon, telemetry};

#[derive(Debug, Args)]
pub struct Serve {
    /// Listen here only, with the settings of the first listener of the configuration: `127.0.0.1:2525` or `unix:/path`
    #[arg(long, value_name = "ADDR")]
    listen: Option<Endpoint>,
    #[command(flatten)]
    place: Place,
}

pub fn run(command: &Serve) -> Result<Exit, Failure> {
    let mut config = world::load_config(&command.place)?;
    if let Some(address) = &command.listen {
        config.listeners.truncate(1);
        for listener in &mut config.listeners {
            listener.address = address.clone();
        }
    }
    telemetry::init().map_err(|error| Failure::new(Exit::CONFIG, error.to_string()))?;
    daemon::run(config).map(|()| Exit::OK).map_err(|error| Failure::new(Exit::TEMPORARY, error))
}
