//! Sets the stage in a store that goes away, and plays the mails on it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::daemon;
use crate::domain::address::Address;
use crate::domain::event::Event;
use crate::domain::fate::Fate;
use crate::domain::ids::{CommentId, Fresh, Salt, TicketId, UserId};
use crate::domain::mail::{Entrance, Envelope, MessageId, TrustSource};
use crate::domain::people::{Role, User};
use crate::domain::plan::{Change, MailRecord, Plan, Target, Write};
use crate::domain::snapshot::{Lookup, SenderTrust, Snapshot};
use crate::domain::ticket::{Channel, Comment, Status, Visibility};
use crate::domain::time::{HOUR, MINUTE};
use crate::domain::trace::Trace;
use crate::pipeline::Pipeline;
use crate::store::{Durability, Options, Store, queries};
use crate::update;

use super::file::{TicketSetup, fault, read_toml};
use super::letters::Letters;
use super::placeholders::Names;
use super::{Played, PlayedStep, Scenario, ScenarioError, StepSetup};

/// `customers.toml` of an account folder: the people who are no agents.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Customers {
    customers: Vec<Customer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Customer {
    key: String,
    name: String,
    addresses: Vec<Address>,
    organization: Option<String>,
    #[serde(default)]
    suspended: bool,
}

pub(super) fn play(scenario: &Scenario) -> Result<Played, ScenarioError> {
    let config_file = scenario.account.join("postern.toml");
    let mut config =
        config::load(Some(&config_file)).map_err(|errors| fault(&config_file, errors.to_string()))?;
    scenario.settings.apply(&mut config.settings);
    let directory = TemporaryDirectory::new()?;
    config.data.clone_from(&directory.0);
    let options = Options { durability: Durability::Scratch, ..Options::new(scenario.now) };
    let store = Store::open(&directory.0, options).map_err(stage)?;
    let clock = Clock::manual(scenario.now.plus(-HOUR));
    let pipeline = daemon::pipeline(&config, store, clock).map_err(ScenarioError::Stage)?;
    let mut stage = Stage {
        pipeline,
        config: &config,
        people: BTreeMap::new(),
        tickets: BTreeMap::new(),
        letters: Letters::default(),
    };
    stage.seat_people(scenario)?;
    for ticket in &scenario.tickets {
        stage.open_ticket(ticket)?;
    }
    let mut steps = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        let minutes = i64::try_from(number).unwrap_or(0) * MINUTE;
        if number > 0 {
            stage.post()?;
        }
        stage.pipeline.clock.advance_to(scenario.now.plus(minutes));
        steps.push(stage.play(step)?);
    }
    stage.pipeline.store.close();
    Ok(Played { steps })
}

fn stage(error: impl std::fmt::Display) -> ScenarioError {
    ScenarioError::Stage(error.to_string())
}

/// A folder that is removed when the play is over, however it ends.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn new() -> Result<Self, ScenarioError> {
        crate::store::temporary_directory().map(Self).map_err(stage)
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Stage<'a> {
    pipeline: Pipeline,
    config: &'a Config,
    people: BTreeMap<String, UserId>,
    tickets: BTreeMap<String, (TicketId, Salt)>,
    /// What left us so far.
    letters: Letters,
}

impl Stage<'_> {
    /// Agents are in the store by the account's files; customers come by their first mail long ago.
    fn seat_people(&mut self, scenario: &Scenario) -> Result<(), ScenarioError> {
        let customers: Customers = read_toml(&scenario.account.join("customers.toml"))?;
        let addresses =
            self.config.people.people.iter().flat_map(|person| person.addresses.clone()).collect();
        let lookup = Lookup { addresses, ..Lookup::default() };
        let seated = self.pipeline.store.run(&lookup, self.pipeline.clock.now(), |snapshot, fresh| {
            let mut seated = agents(self.config, snapshot);
            let mut plan = Plan::default();
            for customer in &customers.customers {
                let user = customer.user(self.config, snapshot, fresh);
                seated.insert(customer.key.clone(), user.id);
                plan.writes.push(Write::InsertUser(user));
            }
            Ok((plan, seated))
        });
        self.people = seated.map_err(stage)?;
        Ok(())
    }

    fn person(&self, key: &str) -> Result<UserId, ScenarioError> {
        let known = self.people.get(key).copied();
        known.ok_or_else(|| ScenarioError::Stage(format!("nobody has the key `{key}`")))
    }

    fn open_ticket(&mut self, setup: &TicketSetup) -> Result<(), ScenarioError> {
        let requester = self.person(&setup.requester)?;
        let mut comments = Vec::new();
        for comment in &setup.comments {
            let visibility = Visibility::from_word(&comment.visibility)
                .ok_or_else(|| ScenarioError::Stage(format!("`{}` is no visibility", comment.visibility)))?;
            comments.push((self.person(&comment.author)?, visibility, comment.text.clone()));
        }
        let merged_into = match &setup.merged_into {
            Some(name) => Some(self.tickets.get(name).ok_or_else(|| stage(format!("no ticket `{name}`")))?.0),
            None => None,
        };
        let earlier =
            setup.message_ids.iter().map(|id| self.earlier_mail(id)).collect::<Result<Vec<_>, _>>()?;
        let lookup = Lookup { users: [requester].into(), ..Lookup::default() };
        let account = self.pipeline.account();
        // The stage is silent: no trigger runs while it is set.
        let quiet = crate::pipeline::Account { triggers: Vec::new(), ..(*account).clone() };
        let now = self.pipeline.clock.now();
        let opened = self.pipeline.store.run(&lookup, now, |snapshot, fresh| {
            let (ticket, salt) = (fresh.ticket(), fresh.salt());
            let mut plan = Plan::default();
            let mut change = self.opening(setup, requester, ticket, salt, snapshot)?;
            // The public comments came by the earlier mails.
            let mut mails: Vec<(&MailRecord, Option<CommentId>)> =
                earlier.iter().map(|mail| (mail, None)).collect();
            for (author, visibility, text) in &comments {
                let of_mail = mails.iter_mut().find(|(_, comment)| comment.is_none());
                let of_mail = of_mail.filter(|_| *visibility == Visibility::Public);
                let mut comment = Comment {
                    id: fresh.comment(),
                    ticket,
                    author: *author,
                    visibility: *visibility,
                    rule: "scenario".to_owned(),
                    flags: std::collections::BTreeSet::new(),
                    text: text.clone(),
                    via: Channel::System,
                    journal: None,
                    created_at: now,
                    attachments: Vec::new(),
                };
                if let Some((mail, became)) = of_mail {
                    (comment.journal, *became) = (Some(mail.journal), Some(comment.id));
                }
                change.events.push(Event::CommentAdded {
                    comment: comment.id,
                    author: *author,
                    visibility: *visibility,
                });
                plan.writes.extend(update::comment_writes(&comment, &quiet.recall_key));
            }
            let opened = update::plan(&change, snapshot, &quiet.context(), fresh, now);
            // The ticket row comes before the comments that refer to it.
            let mut writes = opened.writes;
            if let Some(target) = merged_into {
                merge(&mut writes, target);
            }
            writes.append(&mut plan.writes);
            writes.extend(mails.into_iter().map(|(mail, comment)| Write::SettleJournal {
                journal: mail.journal,
                record: Some(mail.clone()),
                fate: Fate::Done { ticket, comment },
            }));
            Ok((Plan { preconditions: opened.preconditions, writes }, (ticket, salt)))
        });
        self.tickets.insert(setup.name.clone(), opened.map_err(stage)?);
        Ok(())
    }

    /// Accepts a mail of which no more is known than its Message-ID.
    fn earlier_mail(&self, message_id: &str) -> Result<MailRecord, ScenarioError> {
        let raw = format!("Message-ID: <{message_id}>\r\n\r\n").into_bytes();
        let envelope = self.arrival(TrustSource::None, None, Vec::new());
        let digest = crate::message::parse(&raw).content_digest;
        Ok(MailRecord {
            journal: self.pipeline.store.accept_blocking(&envelope, raw).map_err(stage)?,
            author: None,
            message_id: Some(MessageId(message_id.to_owned())),
            digest,
            trust: SenderTrust::None,
            token_ticket: None,
        })
    }

    fn opening(
        &self,
        setup: &TicketSetup,
        requester: UserId,
        ticket: TicketId,
        salt: Salt,
        snapshot: &Snapshot,
    ) -> Result<Change, crate::store::RunError> {
        let missing = |what: &str| crate::store::RunError::Unplanned(what.to_owned());
        let find = |key: &String| {
            self.people.get(key).copied().ok_or_else(|| missing(&format!("no person `{key}`")))
        };
        let organization = snapshot.user(requester).and_then(|user| user.organization);
        let recipient = self.config.settings.support_addresses.first().map(|support| support.address.clone());
        let mut events = vec![Event::TicketCreated {
            subject: setup.subject.clone(),
            requester,
            submitter: requester,
            recipient,
            organization,
            via: Channel::Mail,
            follow_up_of: None,
        }];
        if let Some(name) = &setup.group {
            let mut groups = snapshot.directory.groups.values();
            let group = groups.find(|group| group.name.eq_ignore_ascii_case(name));
            let group = group.ok_or_else(|| missing(&format!("no group `{name}`")))?.id;
            events.push(Event::GroupChanged { from: None, to: Some(group) });
        }
        if let Some(assignee) = &setup.assignee {
            events.push(Event::AssigneeChanged { from: None, to: Some(find(assignee)?) });
        }
        for cc in &setup.ccs {
            events.push(Event::CcAdded { user: find(cc)? });
        }
        for follower in &setup.followers {
            events.push(Event::FollowerAdded { user: find(follower)? });
        }
        if !setup.tags.is_empty() {
            let added = setup.tags.iter().cloned().collect();
            events.push(Event::TagsChanged { added, removed: std::collections::BTreeSet::new() });
        }
        if let Some(word) = &setup.status {
            let to = Status::from_word(word).ok_or_else(|| missing(&format!("no status `{word}`")))?;
            events.push(Event::StatusChanged { from: Status::New, to });
        }
        Ok(Change::by_system(Target::New { ticket, salt }, events, Trace::default()))
    }

    /// Sends what was promised, so that the next mail of the story can answer it.
    fn post(&mut self) -> Result<(), ScenarioError> {
        let mailer = daemon::mailer(self.config, &self.pipeline);
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(stage)?;
        runtime.block_on(mailer.run_once()).map_err(ScenarioError::Stage)?;
        self.letters = Letters::read(&self.config.data.join("outgoing")).map_err(stage)?;
        Ok(())
    }

    fn play(&self, step: &StepSetup) -> Result<PlayedStep, ScenarioError> {
        let store = &self.pipeline.store;
        let account = self.pipeline.account();
        let names = Names {
            keys: &account.keys,
            tickets: &self.tickets,
            people: &self.people,
            letters: &self.letters,
        };
        let raw = fill(&step.mail, &names)?;
        let envelope = self.envelope(step, &raw, &names)?;
        let newest =
            store.ask(|db| queries::outbox_list(db, None, 1)).map_err(stage)?.first().map(|mail| mail.id);
        let row = store.accept_blocking(&envelope, raw).map_err(stage)?;
        let entry =
            store.entry(row).map_err(stage)?.ok_or_else(|| stage("the mail is not in the journal"))?;
        let mut report = self.pipeline.decide(&entry, None).map_err(stage)?;
        if step.envelope.recovered {
            let held = store.ask(|db| queries::suspended_list(db, 1000)).map_err(stage)?;
            let held = held.iter().find(|held| held.journal == row);
            let held = held.ok_or_else(|| stage("the mail is to be recovered but was not suspended"))?;
            let entry = store.entry(row).map_err(stage)?.ok_or_else(|| stage("the mail is gone"))?;
            report = self.pipeline.decide(&entry, Some(held.id)).map_err(stage)?;
        }
        let ticket_after = match report.ticket.filter(|_| report.state == "comment") {
            Some(id) => store.ask(|db| queries::ticket_show(db, TicketId(id))).map_err(stage)?,
            None => None,
        };
        let mails = store.ask(|db| queries::outbox_list(db, None, 1000)).map_err(stage)?;
        let mut promised: Vec<String> = mails
            .iter()
            .filter(|mail| Some(mail.id) > newest)
            .map(|mail| format!("{} -> {}", mail.rule, mail.recipient))
            .collect();
        promised.sort();
        let events = store.ask(|db| queries::event_names(db, row)).map_err(stage)?;
        Ok(PlayedStep { name: step.name.clone(), report, ticket_after, promised, events })
    }

    fn envelope(&self, step: &StepSetup, raw: &[u8], names: &Names<'_>) -> Result<Envelope, ScenarioError> {
        let setup = &step.envelope;
        let mut recipients = Vec::new();
        for recipient in &setup.recipients {
            recipients.push(Address::parse(&names.fill(recipient)?).map_err(stage)?);
        }
        if recipients.is_empty() {
            recipients.extend(
                self.config.settings.support_addresses.first().map(|support| support.address.clone()),
            );
        }
        let reverse_path = match setup.reverse_path.as_deref() {
            Some("") => None,
            Some(text) => Some(Address::parse(text).map_err(stage)?),
            None => crate::message::parse(raw).from.first().map(|from| from.address.clone()),
        };
        let trust = setup.trust.as_deref().unwrap_or("none");
        let trust = TrustSource::from_word(trust).map_err(ScenarioError::Stage)?;
        Ok(self.arrival(trust, reverse_path, recipients))
    }

    /// A mail that comes in now.
    fn arrival(
        &self,
        trust: TrustSource,
        reverse_path: Option<Address>,
        recipients: Vec<Address>,
    ) -> Envelope {
        Envelope {
            entrance: Entrance { name: "scenario".to_owned(), trust },
            client: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
            helo: None,
            reverse_path,
            recipients,
            accepted_at: self.pipeline.clock.now(),
        }
    }
}

/// There is no event that merges tickets yet; the stage makes it so.
fn merge(writes: &mut [Write], target: TicketId) {
    for write in writes {
        if let Write::PutTicket(ticket) = write {
            ticket.merged_into = Some(target);
        }
    }
}

/// Fills the placeholders of a mail that is text; other bytes pass as they are.
fn fill(mail: &[u8], names: &Names<'_>) -> Result<Vec<u8>, ScenarioError> {
    match std::str::from_utf8(mail) {
        Ok(text) => names.fill(text).map(String::into_bytes),
        Err(_) => Ok(mail.to_vec()),
    }
}

/// The keys of `people.toml` by the first address of each.
fn agents(config: &Config, snapshot: &Snapshot) -> BTreeMap<String, UserId> {
    let people = config.people.people.iter();
    let found = people.filter_map(|person| {
        let address = person.addresses.first()?;
        Some((person.key.clone(), snapshot.user_by_address(address)?.id))
    });
    found.collect()
}

impl Customer {
    fn user(&self, config: &Config, snapshot: &Snapshot, fresh: &mut dyn Fresh) -> User {
        let named = |key: &String| {
            let entry = config.people.organizations.iter().find(|organization| organization.key == *key)?;
            let mut organizations = snapshot.directory.organizations.values();
            organizations
                .find(|organization| organization.name == entry.name)
                .map(|organization| organization.id)
        };
        User {
            id: fresh.user(),
            name: self.name.clone(),
            role: Role::end_user(),
            addresses: self.addresses.clone(),
            organization: self.organization.as_ref().and_then(named),
            groups: Vec::new(),
            suspended: self.suspended,
            active: true,
            version: 0,
        }
    }
}
