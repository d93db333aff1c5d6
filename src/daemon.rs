//! Wires the parts, starts them, and stops them in the order that loses nothing: first the gates, then the deciders,
//! then the mailer, last the store.

mod gate;
mod listeners;
mod service;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::clock::Clock;
use crate::config::{Config, TlsMode};
use crate::control;
use crate::domain::ids::JournalId;
use crate::domain::mail::TrustSource;
use crate::domain::rule::Trigger;
use crate::domain::settings::Settings;
use crate::domain::time::{DAY, Timestamp};
use crate::mailer::smarthost::{Login, Smarthost, Timeouts, Tls};
use crate::mailer::transport::Transport;
use crate::mailer::{self, Mailer};
use crate::outbox::compose::Letterhead;
use crate::pipeline::pressure::{Limits as PressureLimits, Pressure};
use crate::pipeline::workers::{self, Workers};
use crate::pipeline::{Account, Pipeline, key_ring};
use crate::smtp::{Accept as _, listener};
use crate::spool::Spool;
use crate::spool::door::{Door, ENTRANCE, Reception};
use crate::store::outbox::Budget;
use crate::store::{KeyFile, Options, Store};
use crate::telemetry;

use gate::Gate;
use listeners::Opened;
use service::HandedOver;

/// The pipeline over a store that this process writes: the people of the files are brought into it first.
///
/// # Errors
/// If the store or its keys cannot be used.
pub fn pipeline(config: &Config, store: Store, clock: Clock) -> Result<Pipeline, String> {
    store.sync_people(&config.people, clock.now()).map_err(|error| format!("people: {error}"))?;
    if let Some(newest) = store.newest_acceptance().map_err(|error| error.to_string())? {
        // A machine whose clock was set back does not accept mail before the mail it has.
        clock.never_before(newest);
    }
    let account = account(config, &store.keys(), clock.now())?;
    Ok(Pipeline::new(store, clock, account))
}

/// The pipeline over a store that is only read.
///
/// # Errors
/// If the keys cannot be used.
pub fn pipeline_to_read(config: &Config, store: Store) -> Result<Pipeline, String> {
    let clock = Clock::system();
    let account = account(config, &store.keys(), clock.now())?;
    Ok(Pipeline::new(store, clock, account))
}

fn account(config: &Config, keys: &KeyFile, now: Timestamp) -> Result<Account, String> {
    Ok(Account {
        settings: config.settings.clone(),
        triggers: config.triggers.clone(),
        keys: key_ring(&config.settings, keys, now)?,
        recall_key: keys.recall.0,
        template_texts: template_texts(&config.settings, &config.triggers),
    })
}

/// Our own words: quoting them repeats nobody's private comment (rule 9).
fn template_texts(settings: &Settings, triggers: &[Trigger]) -> Vec<String> {
    let texts = &settings.texts;
    let own = [
        &texts.footer,
        &texts.follower_subject,
        &texts.follower_body,
        &texts.follower_reply_note,
        &texts.follower_reply_comment,
        &texts.stayed_internal_subject,
        &texts.stayed_internal_body,
    ];
    let delimiter = settings.notifications.delimiter.iter();
    let of_triggers = triggers.iter().flat_map(Trigger::texts);
    own.into_iter().chain(delimiter).cloned().chain(of_triggers.map(str::to_owned)).collect()
}

/// Runs until SIGTERM or SIGINT, then drains: mail accepted and not decided stays in the store. On SIGHUP the
/// certificates are read again.
///
/// # Errors
/// If the store, a listener or the control socket cannot be had.
pub fn run(config: Config) -> Result<(), String> {
    let handed_over = HandedOver::from_env(&config.listeners);
    let clock = Clock::system();
    let store = Store::open(&config.data, Options::new(clock.now())).map_err(|error| error.to_string())?;
    let suspects = store.recovered().suspects.clone();
    let limits = PressureLimits { max_pending: config.max_pending, disk_reserve: config.disk_reserve };
    let pressure = Arc::new(Pressure::new(limits, Box::new(store.clone())));
    let mut pipeline = pipeline(&config, store, clock)?;
    pipeline.pressure = Arc::clone(&pressure);
    let watch = pressure.watch().map_err(|error| format!("cannot start a thread: {error}"))?;
    let deciders = if config.deciders == 0 { workers::usual_count() } else { config.deciders };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(socket_threads())
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let served = runtime.block_on(serve(&config, &pipeline, deciders, suspects, handed_over));
    drop(watch);
    pipeline.store.close();
    served
}

/// Half of the cores: sockets are a small part of the work, and threads that take turns on them wake each other for every command
/// of every client.
fn socket_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

async fn serve(
    config: &Config,
    pipeline: &Pipeline,
    deciders: usize,
    suspects: Vec<JournalId>,
    handed_over: HandedOver,
) -> Result<(), String> {
    // Before anybody is told that we are ready: a SIGTERM right after that must find us listening for it.
    let mut signals = Signals::watch()?;
    let shutdown = CancellationToken::new();
    let stop_mailer = CancellationToken::new();
    let started = Arc::new(AtomicBool::new(false));
    // First, so that no session goes uncounted.
    let admin = admin(config, pipeline, &started, &shutdown).await;
    let mut gates = tokio::task::JoinSet::new();
    let mut names = Vec::new();
    let gate = Arc::new(Gate { pipeline: pipeline.clone() });
    let (opened, certificates) = listeners::open(config, &pipeline.clock, handed_over)?;
    for Opened { place, socket, config } in opened {
        names.push(place);
        let entrance = &config.session.entrance;
        if entrance.trust == TrustSource::Upstream {
            telemetry::entrance_trusted(&entrance.name);
        }
        gates.spawn(listener::run(socket, Arc::new(config), Arc::clone(&gate), shutdown.clone()));
    }
    for warning in config.warnings() {
        telemetry::config_warning(&warning);
    }
    let trouble = |what: &str, error: std::io::Error| format!("cannot start {what}: {error}");
    let workers =
        Workers::start(pipeline, deciders, suspects).map_err(|error| trouble("the deciders", error))?;
    let controls = control::serve(&config.data, pipeline.clone(), shutdown.clone())
        .map_err(|error| trouble("the control socket", error))?;
    let door = door(config, pipeline, gate).map_err(|error| trouble("the entrance of `deliver`", error))?;
    let mailer = mailer(config, pipeline);
    let mailing = tokio::spawn({
        let stop = stop_mailer.clone();
        async move { mailer.run(stop).await }
    });

    names.extend(admin.iter().map(|admin| format!("admin {}", admin.address)));
    let listeners = names.join(", ");
    telemetry::daemon_started(env!("CARGO_PKG_VERSION"), &listeners);
    started.store(true, Ordering::Relaxed);
    service::ready();
    let watchdog = tokio::spawn(service::watchdog(pipeline.store.clone()));
    while signals.next().await == Asked::Reload {
        service::reloading();
        certificates.reload();
        service::ready();
    }
    service::stopping();

    shutdown.cancel();
    control::wake(&config.data);
    while gates.join_next().await.is_some() {}
    let stopped = tokio::task::spawn_blocking(move || {
        door.close();
        workers.stop();
        drop(controls.join());
    });
    let _ = stopped.await;
    stop_mailer.cancel();
    let _ = mailing.await;
    watchdog.abort();
    if let Some(admin) = admin {
        admin.stop();
    }
    let pending = pipeline.store.books(crate::store::Depth::Books).map_or(0, |books| books.pending);
    telemetry::daemon_stopped(pending);
    Ok(())
}

/// The entrance of `postern deliver`: its mail passes the gate that SMTP passes.
fn door(config: &Config, pipeline: &Pipeline, gate: Arc<Gate>) -> std::io::Result<Door> {
    if config.deliver == TrustSource::Upstream {
        telemetry::entrance_trusted(ENTRANCE);
    }
    let support = config.settings.support_addresses.first();
    let support = support.ok_or_else(|| std::io::Error::other("there is no support address"))?;
    let runtime = tokio::runtime::Handle::current();
    let spooled = Arc::clone(&gate);
    let reception = Reception {
        clock: pipeline.clock.clone(),
        trust: config.deliver.clone(),
        recipient: support.address.clone(),
        max_message_size: config.server.max_message_size,
        keep: Arc::new(move |envelope, raw| {
            let kept = runtime.block_on(gate.accept(envelope, raw));
            kept.map_err(|refused| refused.to_string())
        }),
        keep_spooled: Arc::new(move |name, envelope, raw| spooled.accept_spooled(name, &envelope, raw)),
    };
    Door::open(Spool::open(&config.spool_directory())?, reception)
}

/// The admin listener, if one is wanted and can be had.
async fn admin(
    config: &Config,
    pipeline: &Pipeline,
    started: &Arc<AtomicBool>,
    shutdown: &CancellationToken,
) -> Option<Admin> {
    let (started, shutdown) = (Arc::clone(started), shutdown.clone());
    let pressure = Arc::clone(&pipeline.pressure);
    let hindrance = move || match (shutdown.is_cancelled(), started.load(Ordering::Relaxed)) {
        (true, _) => Some("stopping".to_owned()),
        (false, false) => Some("starting".to_owned()),
        (false, true) => pressure.pressed().map(|pressed| pressed.to_string()),
    };
    let subject = admin::Subject {
        store: pipeline.store.clone(),
        clock: pipeline.clock.clone(),
        hindrance: Arc::new(hindrance),
    };
    admin::start(config.admin.address?, subject).await
}

/// The signals that are for us, caught from now on.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Stop,
    Reload,
}

impl Signals {
    fn watch() -> Result<Self, String> {
        let watch = |kind| signal(kind).map_err(|error| format!("cannot watch for signals: {error}"));
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

/// The mailer as the configuration wants it.
#[must_use]
pub fn mailer(config: &Config, pipeline: &Pipeline) -> Mailer {
    let account = pipeline.account();
    let notifications = &config.settings.notifications;
    let settings = mailer::Settings {
        transport: transport(config, &config.data),
        letterhead: Letterhead {
            delimiter: notifications.delimiter.clone(),
            footer: config.settings.texts.footer.replace("{{ticket.account}}", &config.settings.account.name),
            account_mark: account.keys.account_mark(),
        },
        budget: Budget {
            per_ticket: notifications.budget_per_ticket as usize,
            per_recipient: notifications.budget_per_recipient as usize,
        },
        concurrency: config.delivery.concurrency,
        give_up_after: i64::from(config.delivery.retry_days) * DAY,
    };
    Mailer::new(pipeline.store.clone(), pipeline.clock.clone(), settings, Arc::clone(&pipeline.outbox_bell))
}

fn transport(config: &Config, data: &Path) -> Transport {
    let Some(smarthost) = &config.delivery.smarthost else {
        let directory = config.delivery.directory.clone();
        return Transport::Directory(directory.unwrap_or_else(|| data.join("outgoing")));
    };
    Transport::Smarthost(Smarthost {
        host: smarthost.host.clone(),
        port: smarthost.port,
        tls: match smarthost.tls {
            TlsMode::None => Tls::None,
            TlsMode::Starttls => Tls::StartTls,
            TlsMode::Tls => Tls::Implicit,
        },
        login: smarthost.credentials.as_ref().map(|credentials| Login {
            username: credentials.username.clone(),
            password: credentials.password.expose().to_owned(),
        }),
        hello: config.server.hostname.clone(),
        extra_root: smarthost.authority.as_ref().map(|authority| authority.pem.clone()),
        timeouts: Timeouts {
            connect: smarthost.timeout.min(Timeouts::default().connect),
            command: smarthost.timeout,
            final_dot: smarthost.timeout.max(Timeouts::default().final_dot),
        },
    })
}
