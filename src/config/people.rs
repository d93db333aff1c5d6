//! `people.toml`: the agents, groups, organizations and custom roles that files own.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use crate::domain::address::Address;
use crate::domain::people::{
    CommentPermission, GroupEntry, OrganizationEntry, People, PersonEntry, Role, RoleKind, TicketAccess,
};
use crate::domain::settings::Settings;

use super::document::{ConfigError, Source, nearest, read};
use super::values::domains;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
struct File {
    groups: Vec<Group>,
    organizations: Vec<Organization>,
    roles: Vec<CustomRole>,
    people: Vec<Person>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct Group {
    key: Spanned<String>,
    name: Spanned<String>,
    #[serde(default)]
    private: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct Organization {
    key: Spanned<String>,
    name: String,
    #[serde(default, deserialize_with = "domains")]
    domains: Vec<String>,
    #[serde(default)]
    shared_tickets: bool,
    #[serde(default)]
    shared_comments: bool,
}

/// A role for agents; what it does not say is as for the built-in role `agent`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct CustomRole {
    key: Spanned<String>,
    ticket_access: Option<TicketAccess>,
    comments: Option<CommentPermission>,
    edit_ticket_properties: Option<bool>,
    mail_commands: Option<bool>,
    assignable: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
struct Person {
    key: Spanned<String>,
    name: String,
    addresses: Vec<Spanned<Address>>,
    role: Spanned<String>,
    #[serde(default)]
    groups: Vec<Spanned<String>>,
    organization: Option<Spanned<String>>,
    #[serde(default)]
    suspended: bool,
}

const BUILTIN_ROLES: [&str; 4] = ["agent", "admin", "light-agent", "end-user"];

/// Reads `people.toml`; none if the file has a fault of its own. `settings` are those of `postern.toml`, if that
/// is sound.
pub(super) fn parse(
    source: Source<'_>,
    settings: Option<&Settings>,
    faults: &mut Vec<ConfigError>,
) -> Option<People> {
    let file: File = read(source, faults)?;
    let mut check = Check { source, faults };
    check.keys("groups.key", file.groups.iter().map(|group| &group.key));
    check.keys("organizations.key", file.organizations.iter().map(|organization| &organization.key));
    check.keys("roles.key", file.roles.iter().map(|role| &role.key));
    check.keys("people.key", file.people.iter().map(|person| &person.key));
    check.group_names(&file.groups);
    check.organization_domains(&file.organizations);
    check.addresses(&file.people, settings);

    let roles = check.roles(file.roles);
    let groups: BTreeSet<_> = file.groups.iter().map(|group| group.key.get_ref().clone()).collect();
    let organizations: BTreeSet<_> =
        file.organizations.iter().map(|organization| organization.key.get_ref().clone()).collect();
    let mut people = Vec::new();
    for person in file.people {
        for group in &person.groups {
            check.known("people.groups", group, groups.iter().map(String::as_str));
        }
        if let Some(organization) = &person.organization {
            check.known("people.organization", organization, organizations.iter().map(String::as_str));
        }
        check.known("people.role", &person.role, roles.keys().map(String::as_str));
        let Some(role) = roles.get(person.role.get_ref()).cloned() else { continue };
        people.push(entry(person, role));
    }
    Some(People {
        people,
        groups: file.groups.into_iter().map(group_entry).collect(),
        organizations: file.organizations.into_iter().map(organization_entry).collect(),
    })
}

fn entry(person: Person, role: Role) -> PersonEntry {
    PersonEntry {
        key: person.key.into_inner(),
        name: person.name,
        role,
        addresses: person.addresses.into_iter().map(Spanned::into_inner).collect(),
        groups: person.groups.into_iter().map(Spanned::into_inner).collect(),
        organization: person.organization.map(Spanned::into_inner),
        suspended: person.suspended,
    }
}

fn group_entry(group: Group) -> GroupEntry {
    GroupEntry { key: group.key.into_inner(), name: group.name.into_inner(), private: group.private }
}

fn organization_entry(organization: Organization) -> OrganizationEntry {
    OrganizationEntry {
        key: organization.key.into_inner(),
        name: organization.name,
        domains: organization.domains,
        shared_tickets: organization.shared_tickets,
        shared_comments: organization.shared_comments,
    }
}

struct Check<'a> {
    source: Source<'a>,
    faults: &'a mut Vec<ConfigError>,
}

impl Check<'_> {
    fn fault<T>(&mut self, at: &Spanned<T>, key: &str, message: impl Into<String>) {
        self.faults.push(self.source.fault(&at.span(), key, message));
    }

    /// Keys are names for ever: the store maps each to an id once.
    fn keys<'k>(&mut self, key: &str, keys: impl Iterator<Item = &'k Spanned<String>>) {
        let mut seen = BTreeSet::new();
        for given in keys {
            let text = given.get_ref().as_str();
            let is_key_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
            if text.is_empty() || !text.chars().all(is_key_char) {
                let message =
                    format!("`{text}` is not a key, expected lower-case letters, digits, `-` and `_`");
                self.fault(given, key, message);
            }
            if !seen.insert(text) {
                self.fault(given, key, format!("`{text}` is taken, expected a key used once"));
            }
        }
    }

    fn known<'k>(
        &mut self,
        key: &str,
        given: &Spanned<String>,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let text = given.get_ref().as_str();
        if known.clone().any(|word| word == text) {
            return;
        }
        let listed: Vec<_> = known.clone().map(|word| format!("`{word}`")).collect();
        let hint = nearest(text, known).map(|word| format!(", did you mean `{word}`?")).unwrap_or_default();
        let expected = match listed.is_empty() {
            true => "this file has none".to_owned(),
            false => format!("expected {}", listed.join(" or ")),
        };
        let end = if hint.is_empty() { format!(", {expected}") } else { format!(" ({expected})") };
        self.fault(given, key, format!("there is no `{text}`{hint}{end}"));
    }

    /// Groups are found by name too (`#group Billing`).
    fn group_names(&mut self, groups: &[Group]) {
        let mut seen = BTreeSet::new();
        for group in groups {
            let name = group.name.get_ref();
            if !seen.insert(name.to_lowercase()) {
                self.fault(
                    &group.name,
                    "groups.name",
                    format!("`{name}` is taken, expected a name used once"),
                );
            }
        }
    }

    fn organization_domains(&mut self, organizations: &[Organization]) {
        let mut seen = BTreeSet::new();
        for organization in organizations {
            for domain in &organization.domains {
                if !seen.insert(domain) {
                    let message = format!("`{domain}` is taken, expected a domain of one organization only");
                    self.fault(&organization.key, "organizations.domains", message);
                }
            }
        }
    }

    fn addresses(&mut self, people: &[Person], settings: Option<&Settings>) {
        const KEY: &str = "people.addresses";
        let mut seen = BTreeSet::new();
        for person in people {
            if person.addresses.is_empty() {
                self.fault(&person.key, KEY, "there is none, expected at least one");
            }
            for given in &person.addresses {
                let address = given.get_ref();
                if !seen.insert(address) {
                    let message = format!("`{address}` is taken, expected an address of one person only");
                    self.fault(given, KEY, message);
                }
                if settings.is_some_and(|settings| settings.is_own_address(address)) {
                    let message =
                        format!("`{address}` is an address of the help desk, expected a person's own");
                    self.fault(given, KEY, message);
                }
            }
        }
    }

    /// All roles by key, the built-in ones among them.
    fn roles(&mut self, custom: Vec<CustomRole>) -> BTreeMap<String, Role> {
        let builtin = BUILTIN_ROLES.into_iter().filter_map(Role::builtin);
        let mut roles: BTreeMap<_, _> = builtin.map(|role| (role.key.clone(), role)).collect();
        for role in custom {
            let key = role.key.get_ref().clone();
            if BUILTIN_ROLES.contains(&key.as_str()) {
                self.fault(
                    &role.key,
                    "roles.key",
                    format!("`{key}` is a built-in role, expected another key"),
                );
                continue;
            }
            roles.insert(key.clone(), custom_role(key, &role));
        }
        roles
    }
}

fn custom_role(key: String, role: &CustomRole) -> Role {
    let agent = Role::agent();
    Role {
        key,
        kind: RoleKind::Agent,
        ticket_access: role.ticket_access.unwrap_or(agent.ticket_access),
        comments: role.comments.unwrap_or(agent.comments),
        edit_ticket_properties: role.edit_ticket_properties.unwrap_or(agent.edit_ticket_properties),
        mail_commands: role.mail_commands.unwrap_or(agent.mail_commands),
        assignable: role.assignable.unwrap_or(agent.assignable),
    }
}
