//! `postern keys`: list, rotate, revoke. Old keys verify until they are revoked.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{self, Exit, Failure};
use super::{Place, world};
use crate::control::Request;

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Show each key's number, age and state; never the secret
    List(List),
    /// Sign with a new key from now on; mails sent before stay valid
    Rotate(Rotate),
    /// Stop believing a key: references signed with it no longer find tickets
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

/// A key without its secret.
#[derive(Debug, Serialize)]
struct KeyView {
    id: u8,
    state: &'static str,
    created_at: String,
}

#[derive(Debug, Args)]
pub struct Rotate {
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct Revoke {
    id: u8,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

pub fn run(command: &KeysCommand) -> Result<Exit, Failure> {
    match command {
        KeysCommand::List(command) => list(command),
        KeysCommand::Rotate(Rotate { place, json }) => {
            let done = world::write(place, Request::RotateKey)?;
            let key = done.get("active_key").map(ToString::to_string).unwrap_or_default();
            output::done(*json, &done, &format!("key {key} signs from now on; mails sent before stay valid"))
        }
        KeysCommand::Revoke(Revoke { id, place, json }) => {
            let done = world::write(place, Request::RevokeKey { id: *id })?;
            let text = format!("key {id} is revoked; references signed with it no longer find tickets");
            output::done(*json, &done, &text)
        }
    }
}

fn list(command: &List) -> Result<Exit, Failure> {
    let keys = world::read_only(&command.place)?.keys();
    let keys: Vec<_> = keys
        .token_keys
        .iter()
        .map(|key| KeyView { id: key.id, state: key.state.word(), created_at: key.created_at.rfc3339() })
        .collect();
    if command.json {
        return output::print_json(&keys);
    }
    let rows: Vec<_> =
        keys.into_iter().map(|key| vec![key.id.to_string(), key.state.to_owned(), key.created_at]).collect();
    output::print(&output::table(&["KEY", "STATE", "MADE"], &rows))
}
