//! What commands start from: the configuration, the store, the pipeline over both.

use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::control::{self, Reply, Request};
use crate::daemon;
use crate::domain::time::Timestamp;
use crate::pipeline::{Pipeline, Undone};
use crate::store::{Options, Store};

use super::Place;
use super::output::{Exit, Failure};

/// Loads the configuration; every error of every file is reported at once.
pub fn load_config(place: &Place) -> Result<Config, Failure> {
    let mut config = config::load(place.config.as_deref())
        .map_err(|errors| Failure::new(Exit::CONFIG, errors.to_string()))?;
    if let Some(data) = &place.data {
        config.data.clone_from(data);
    }
    Ok(config)
}

/// The data directory a command is about.
pub fn data_directory(place: &Place) -> Result<PathBuf, Failure> {
    match &place.data {
        Some(data) => Ok(data.clone()),
        None => Ok(load_config(place)?.data),
    }
}

/// The store for commands that only read: works beside a running daemon.
pub fn read_only(place: &Place) -> Result<Store, Failure> {
    let data = data_directory(place)?;
    Store::open_read_only(&data).map_err(|error| Failure::new(Exit::NO, error.to_string()))
}

/// What time it is, for ages.
pub fn now() -> Timestamp {
    Clock::system().now()
}

/// The pipeline in this process, which then holds the data directory.
pub fn open(config: &Config, clock: Clock) -> Result<Pipeline, Failure> {
    let options = Options::new(clock.now());
    open_with(config, clock, options)
}

/// The same, with a store that is not the account's own.
pub fn open_with(config: &Config, clock: Clock, options: Options) -> Result<Pipeline, Failure> {
    let store = Store::open(&config.data, options)
        .map_err(|error| Failure::new(Exit::TEMPORARY, error.to_string()))?;
    daemon::pipeline(config, store, clock).map_err(|error| Failure::new(Exit::TEMPORARY, error))
}

/// Has a request done by the daemon that holds the data directory, or here if none does.
pub fn write(place: &Place, request: Request) -> Result<serde_json::Value, Failure> {
    let config = load_config(place)?;
    let reply = match ask_daemon(&config.data, &request)? {
        Some(reply) => reply,
        None => {
            let pipeline = open(&config, Clock::system())?;
            let reply = control::execute(&pipeline, request);
            pipeline.store.close();
            reply
        }
    };
    match reply {
        Reply::Done(value) => Ok(value),
        Reply::Refused(why) => Err(Undone::Refused(why).into()),
        Reply::Trouble(why) => Err(Undone::Trouble(why).into()),
    }
}

fn ask_daemon(data: &Path, request: &Request) -> Result<Option<Reply>, Failure> {
    match control::ask(data, request) {
        None => Ok(None),
        Some(Ok(reply)) => Ok(Some(reply)),
        Some(Err(error)) => {
            let why =
                format!("the daemon did not answer on {}: {error}", control::socket_path(data).display());
            Err(Failure::new(Exit::TEMPORARY, why))
        }
    }
}
