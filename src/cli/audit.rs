//! `postern audit`: accepted = the sum of the states, proved from the tables.

use clap::Args;

use super::output::{self, Exit, Failure};
use super::{Place, world};
use crate::store::Depth;

#[derive(Debug, Args)]
pub struct Audit {
    #[command(flatten)]
    place: Place,
    /// Also have SQLite check the whole database, which takes its time
    #[arg(long)]
    deep: bool,
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Audit) -> Result<Exit, Failure> {
    let depth = if command.deep { Depth::Database } else { Depth::Books };
    let books = world::read_only(&command.place)?.books(depth)?;
    if command.json {
        output::print_json(&books)?;
    } else {
        output::print(&books.to_string())?;
    }
    Ok(if books.balanced { Exit::OK } else { Exit::NO })
}
