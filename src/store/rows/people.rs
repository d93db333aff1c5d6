//! Users, groups and organizations as rows.

use rusqlite::{Connection, Result, Row};

use super::{address, all, execute, execute_one, first, json, to_json};
use crate::domain::address::Address;
use crate::domain::ids::{GroupId, OrganizationId, UserId};
use crate::domain::people::{Group, Organization, RoleKind, User};
use crate::domain::time::Timestamp;

pub fn user(conn: &Connection, id: UserId) -> Result<Option<User>> {
    let sql = "SELECT * FROM users WHERE id = ?1";
    let Some(user) = first(conn, sql, [id.0], user_columns)? else { return Ok(None) };
    Ok(Some(User {
        addresses: all(
            conn,
            "SELECT address FROM identities WHERE user = ?1 ORDER BY position, address_key",
            [id.0],
            |row| address(row, "address"),
        )?,
        groups: all(
            conn,
            r#"SELECT "group" FROM memberships WHERE user = ?1 ORDER BY position"#,
            [id.0],
            |row| row.get(0).map(GroupId),
        )?,
        ..user
    }))
}

/// Whose address this is.
pub fn owner(conn: &Connection, address: &Address) -> Result<Option<UserId>> {
    let sql = "SELECT user FROM identities WHERE address_key = ?1";
    first(conn, sql, [address.key()], |row| row.get(0).map(UserId))
}

/// A new user with their addresses and memberships. The first version is 1, whatever the value says.
pub fn insert_user(conn: &Connection, user: &User, now: Timestamp) -> Result<()> {
    execute_one(
        conn,
        "INSERT INTO users (id, version, name, role, internal, organization, suspended, active, created_at)
         VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            user.id.0,
            &user.name,
            to_json(&user.role)?,
            user.role.kind == RoleKind::Agent,
            user.organization.map(|id| id.0),
            user.suspended,
            user.active,
            now.0,
        ),
    )?;
    insert_addresses(conn, user)?;
    insert_memberships(conn, user)
}

/// Makes a stored user equal to this value, one version later. The addresses must be free or the user's own.
pub fn update_user(conn: &Connection, user: &User) -> Result<()> {
    execute_one(
        conn,
        "UPDATE users SET version = version + 1, name = ?2, role = ?3, internal = ?4, organization = ?5,
             suspended = ?6, active = ?7
         WHERE id = ?1",
        (
            user.id.0,
            &user.name,
            to_json(&user.role)?,
            user.role.kind == RoleKind::Agent,
            user.organization.map(|id| id.0),
            user.suspended,
            user.active,
        ),
    )?;
    execute(conn, "DELETE FROM identities WHERE user = ?1", [user.id.0])?;
    insert_addresses(conn, user)?;
    execute(conn, "DELETE FROM memberships WHERE user = ?1", [user.id.0])?;
    insert_memberships(conn, user)
}

/// Agents, groups and organizations count one version more.
pub fn bump_directory_version(conn: &Connection) -> Result<()> {
    execute_one(conn, "UPDATE account SET directory_version = directory_version + 1 WHERE id = 1", [])
}

pub fn groups(conn: &Connection) -> Result<Vec<Group>> {
    all(conn, "SELECT * FROM groups ORDER BY id", [], |row| {
        Ok(Group {
            id: GroupId(row.get("id")?),
            name: row.get("name")?,
            private: row.get("private")?,
            active: row.get("active")?,
        })
    })
}

/// Inserts the group, or makes the stored one equal to it.
pub fn put_group(conn: &Connection, group: &Group) -> Result<()> {
    execute_one(
        conn,
        "INSERT INTO groups (id, name, private, active) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, private = excluded.private,
             active = excluded.active",
        (group.id.0, &group.name, group.private, group.active),
    )
}

pub fn organizations(conn: &Connection) -> Result<Vec<Organization>> {
    all(conn, "SELECT * FROM organizations ORDER BY id", [], |row| {
        Ok(Organization {
            id: OrganizationId(row.get("id")?),
            name: row.get("name")?,
            domains: json(row, "domains")?,
            shared_tickets: row.get("shared_tickets")?,
            shared_comments: row.get("shared_comments")?,
            active: row.get("active")?,
        })
    })
}

/// Inserts the organization, or makes the stored one equal to it.
pub fn put_organization(conn: &Connection, organization: &Organization) -> Result<()> {
    execute_one(
        conn,
        "INSERT INTO organizations (id, name, domains, shared_tickets, shared_comments, active)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, domains = excluded.domains,
             shared_tickets = excluded.shared_tickets, shared_comments = excluded.shared_comments,
             active = excluded.active",
        (
            organization.id.0,
            &organization.name,
            to_json(&organization.domains)?,
            organization.shared_tickets,
            organization.shared_comments,
            organization.active,
        ),
    )
}

/// Everything but addresses and memberships, which have tables of their own.
fn user_columns(row: &Row<'_>) -> Result<User> {
    Ok(User {
        id: UserId(row.get("id")?),
        name: row.get("name")?,
        role: json(row, "role")?,
        addresses: Vec::new(),
        organization: row.get::<_, Option<i64>>("organization")?.map(OrganizationId),
        groups: Vec::new(),
        suspended: row.get("suspended")?,
        active: row.get("active")?,
        version: row.get("version")?,
    })
}

fn insert_addresses(conn: &Connection, user: &User) -> Result<()> {
    let sql = "INSERT INTO identities (address_key, address, user, position) VALUES (?1, ?2, ?3, ?4)";
    for (position, address) in (0_i64..).zip(&user.addresses) {
        execute_one(conn, sql, (address.key(), address.to_string(), user.id.0, position))?;
    }
    Ok(())
}

fn insert_memberships(conn: &Connection, user: &User) -> Result<()> {
    let sql = r#"INSERT INTO memberships (user, "group", position) VALUES (?1, ?2, ?3)"#;
    for (position, group) in (0_i64..).zip(&user.groups) {
        execute_one(conn, sql, (user.id.0, group.0, position))?;
    }
    Ok(())
}
