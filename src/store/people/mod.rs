//! Makes the stored people equal to what files say (DESIGN §9): each stable key is mapped once to an id.
//!
//! **Invariant:** nothing is deleted. What a file no longer names becomes inactive and keeps its history.
//! **Invariant:** a key keeps its id for ever, and an id never gets a second key.
//!
//! Whose address it is when a file names one that is known already:
//!
//! | the address belongs to | then |
//! |---|---|
//! | nobody | it is the person's |
//! | a user that no file ever named, met through mail | a person who is new to the store becomes that user, tickets and all; if their addresses lead to several such users, the first one; else the person takes the address |
//! | a person of the file who no longer lists it, or whom the file dropped | the person takes the address |
//! | another person who lists it too | an error: nothing is changed |

mod keys;

use std::collections::BTreeMap;

use rusqlite::Connection;

use self::keys::Kind;
use super::rows::{self, people as rows_of};
use crate::domain::address::Address;
use crate::domain::ids::{GroupId, OrganizationId, UserId};
use crate::domain::people::{Group, GroupEntry, Organization, OrganizationEntry, People, PersonEntry, User};
use crate::domain::time::Timestamp;

/// Hands out the ids of people, groups and organizations that a file names for the first time.
pub trait PeopleIds {
    fn user(&mut self) -> UserId;
    fn group(&mut self) -> GroupId;
    fn organization(&mut self) -> OrganizationId;
}

/// What the files changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    pub added: usize,
    pub changed: usize,
    pub deactivated: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error("person `{person}` is in group `{group}`, and there is no group with that key")]
    UnknownGroup { person: String, group: String },
    #[error(
        "person `{person}` is in organization `{organization}`, and there is no organization with that key"
    )]
    UnknownOrganization { person: String, organization: String },
    #[error("`{address}` is listed by person `{first}` and by person `{second}`, expected one owner")]
    AddressTwice { address: Address, first: String, second: String },
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

/// Brings the store up to date with the files, inside the caller's transaction. The directory's version counts
/// up only if something changed.
///
/// # Errors
/// If the files contradict themselves or the database fails; the caller takes the transaction back.
pub fn sync(
    conn: &Connection,
    people: &People,
    ids: &mut dyn PeopleIds,
    now: Timestamp,
) -> Result<SyncReport, SyncError> {
    check_addresses(&people.people)?;
    let mut report = SyncReport::default();
    let organizations = sync_organizations(conn, &people.organizations, ids, &mut report)?;
    let groups = sync_groups(conn, &people.groups, ids, &mut report)?;
    let keys = Keys { organizations, groups };
    sync_people(conn, &people.people, &keys, ids, now, &mut report)?;
    if report != SyncReport::default() {
        rows_of::bump_directory_version(conn)?;
    }
    Ok(report)
}

/// The ids behind the keys that people refer to.
struct Keys<'a> {
    organizations: BTreeMap<&'a str, OrganizationId>,
    groups: BTreeMap<&'a str, GroupId>,
}

fn check_addresses(people: &[PersonEntry]) -> Result<(), SyncError> {
    let mut owners: BTreeMap<&Address, &str> = BTreeMap::new();
    for entry in people {
        for address in &entry.addresses {
            if let Some(first) = owners.insert(address, &entry.key) {
                return Err(SyncError::AddressTwice {
                    address: address.clone(),
                    first: first.to_owned(),
                    second: entry.key.clone(),
                });
            }
        }
    }
    Ok(())
}

fn sync_organizations<'a>(
    conn: &Connection,
    entries: &'a [OrganizationEntry],
    ids: &mut dyn PeopleIds,
    report: &mut SyncReport,
) -> rusqlite::Result<BTreeMap<&'a str, OrganizationId>> {
    let stored: BTreeMap<_, _> = rows_of::organizations(conn)?
        .into_iter()
        .map(|organization| (organization.id, organization))
        .collect();
    let mut by_key = BTreeMap::new();
    for entry in entries {
        let id =
            OrganizationId(keys::numbered(conn, Kind::Organization, &entry.key, || ids.organization().0)?);
        let wanted = Organization {
            id,
            name: entry.name.clone(),
            domains: entry.domains.clone(),
            shared_tickets: entry.shared_tickets,
            shared_comments: entry.shared_comments,
            active: true,
        };
        if report.count(stored.get(&id), &wanted) {
            rows_of::put_organization(conn, &wanted)?;
        }
        by_key.insert(entry.key.as_str(), id);
    }
    for dropped in keys::retire(conn, Kind::Organization, entries.iter().map(|entry| entry.key.as_str()))? {
        if let Some(organization) = stored.get(&OrganizationId(dropped)) {
            rows_of::put_organization(conn, &Organization { active: false, ..organization.clone() })?;
            report.deactivated += 1;
        }
    }
    Ok(by_key)
}

fn sync_groups<'a>(
    conn: &Connection,
    entries: &'a [GroupEntry],
    ids: &mut dyn PeopleIds,
    report: &mut SyncReport,
) -> rusqlite::Result<BTreeMap<&'a str, GroupId>> {
    let stored: BTreeMap<_, _> = rows_of::groups(conn)?.into_iter().map(|group| (group.id, group)).collect();
    let mut by_key = BTreeMap::new();
    for entry in entries {
        let id = GroupId(keys::numbered(conn, Kind::Group, &entry.key, || ids.group().0)?);
        let wanted = Group { id, name: entry.name.clone(), private: entry.private, active: true };
        if report.count(stored.get(&id), &wanted) {
            rows_of::put_group(conn, &wanted)?;
        }
        by_key.insert(entry.key.as_str(), id);
    }
    for dropped in keys::retire(conn, Kind::Group, entries.iter().map(|entry| entry.key.as_str()))? {
        if let Some(group) = stored.get(&GroupId(dropped)) {
            rows_of::put_group(conn, &Group { active: false, ..group.clone() })?;
            report.deactivated += 1;
        }
    }
    Ok(by_key)
}

/// First everybody's id, then all addresses that change hands, then the users: so the order in the file never
/// matters when an address moves from one person to another.
fn sync_people(
    conn: &Connection,
    entries: &[PersonEntry],
    keys: &Keys<'_>,
    ids: &mut dyn PeopleIds,
    now: Timestamp,
    report: &mut SyncReport,
) -> Result<(), SyncError> {
    let mut wanted = Vec::new();
    for entry in entries {
        let id = identify(conn, entry, ids)?;
        wanted.push(user(entry, id, keys)?);
    }
    for user in &wanted {
        take_addresses(conn, user)?;
    }
    for user in &wanted {
        let stored = rows_of::user(conn, user.id)?;
        let wanted = User { version: stored.as_ref().map_or(0, |stored| stored.version), ..user.clone() };
        match (report.count(stored.as_ref(), &wanted), stored) {
            (false, _) => {}
            (true, None) => rows_of::insert_user(conn, &wanted, now)?,
            (true, Some(_)) => rows_of::update_user(conn, &wanted)?,
        }
    }
    for dropped in keys::retire(conn, Kind::User, entries.iter().map(|entry| entry.key.as_str()))? {
        if let Some(user) = rows_of::user(conn, UserId(dropped))? {
            rows_of::update_user(conn, &User { active: false, ..user })?;
            report.deactivated += 1;
        }
    }
    Ok(())
}

/// Who this person is: known by key, or met through mail before, or new.
fn identify(conn: &Connection, entry: &PersonEntry, ids: &mut dyn PeopleIds) -> rusqlite::Result<UserId> {
    if let Some(known) = keys::find(conn, Kind::User, &entry.key)? {
        keys::assign(conn, Kind::User, &entry.key, known)?;
        return Ok(UserId(known));
    }
    let id = match met_through_mail(conn, entry)? {
        Some(user) => user,
        None => ids.user(),
    };
    keys::assign(conn, Kind::User, &entry.key, id.0)?;
    Ok(id)
}

fn met_through_mail(conn: &Connection, entry: &PersonEntry) -> rusqlite::Result<Option<UserId>> {
    for address in &entry.addresses {
        if let Some(owner) = rows_of::owner(conn, address)?
            && !keys::is_owned(conn, Kind::User, owner.0)?
        {
            return Ok(Some(owner));
        }
    }
    Ok(None)
}

fn user(entry: &PersonEntry, id: UserId, keys: &Keys<'_>) -> Result<User, SyncError> {
    let group = |key: &String| {
        keys.groups
            .get(key.as_str())
            .copied()
            .ok_or_else(|| SyncError::UnknownGroup { person: entry.key.clone(), group: key.clone() })
    };
    let organization = |key: &String| {
        keys.organizations.get(key.as_str()).copied().ok_or_else(|| SyncError::UnknownOrganization {
            person: entry.key.clone(),
            organization: key.clone(),
        })
    };
    Ok(User {
        id,
        name: entry.name.clone(),
        role: entry.role.clone(),
        addresses: entry.addresses.clone(),
        organization: entry.organization.as_ref().map(organization).transpose()?,
        groups: entry.groups.iter().map(group).collect::<Result<_, _>>()?,
        suspended: entry.suspended,
        active: true,
        version: 0,
    })
}

/// Frees the user's addresses from whoever else holds them.
fn take_addresses(conn: &Connection, user: &User) -> rusqlite::Result<()> {
    for address in &user.addresses {
        let Some(owner) = rows_of::owner(conn, address)?.filter(|owner| *owner != user.id) else { continue };
        let Some(mut other) = rows_of::user(conn, owner)? else { continue };
        other.addresses.retain(|held| held != address);
        rows_of::update_user(conn, &other)?;
    }
    Ok(())
}

impl SyncReport {
    /// Whether the wanted value must be written, and counts it if so.
    fn count<T: PartialEq>(&mut self, stored: Option<&T>, wanted: &T) -> bool {
        match stored {
            None => self.added += 1,
            Some(stored) if stored == wanted => return false,
            Some(_) => self.changed += 1,
        }
        true
    }
}
