//! What each stage of a mail's way costs: parse, decide, plan, commit. `cargo bench --bench stages`.
//!
//! Mails have a text part, an HTML part and a small attachment, in three sizes. The store lies in the directory for
//! temporary files; `POSTERN_BENCH_DIR` names another, on the disk that is to be measured.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench fails by panicking")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use divan::Bencher;
use divan::counter::ItemsCount;
use postern::domain::ids::{CountingFresh, JournalId};
use postern::domain::snapshot::JournalEntry;
use postern::intake::{self, Outcome, Policy};
use postern::message;
use postern::pipeline::Account;
use postern::update;
use support::{Desk, envelope, mail};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES)]
fn parse(bencher: Bencher<'_, '_>, size: usize) {
    let raw = mail(1, size);
    bencher.counter(ItemsCount::new(1_usize)).bench(|| message::parse(&raw));
}

/// Identify, authenticate, admit, read commands, judge privacy: over a parsed mail and a snapshot.
#[divan::bench(args = SIZES)]
fn decide(bencher: Bencher<'_, '_>, size: usize) {
    with_prepared(size, |prepared, desk, account| {
        let snapshot = desk.pipeline.store.snapshot(&prepared.lookup()).unwrap();
        let policy = policy(account);
        bencher
            .counter(ItemsCount::new(1_usize))
            .bench(|| intake::decide(prepared, &snapshot, &policy, &mut CountingFresh::default()));
    });
}

/// System rules, triggers, rendering, composing: from a change to all that is written.
#[divan::bench(args = SIZES)]
fn plan(bencher: Bencher<'_, '_>, size: usize) {
    with_prepared(size, |prepared, desk, account| {
        let snapshot = desk.pipeline.store.snapshot(&prepared.lookup()).unwrap();
        let decided = intake::decide(prepared, &snapshot, &policy(account), &mut CountingFresh::default());
        let Outcome::Update(change) = decided.outcome else { panic!("the mail makes no ticket") };
        let context = update::Context {
            settings: &account.settings,
            triggers: &account.triggers,
            keys: &account.keys,
            recall_key: &account.recall_key,
        };
        let now = desk.pipeline.clock.now();
        bencher
            .counter(ItemsCount::new(1_usize))
            .bench(|| update::plan(&change, &snapshot, &context, &mut CountingFresh::default(), now));
    });
}

/// From the last dot to the moment 250 may be said, with so many sessions at a time.
#[divan::bench(threads = [1, 10, 50], sample_count = 200, sample_size = 20)]
fn accept(bencher: Bencher<'_, '_>) {
    let desk = Desk::open();
    let raw = mail(1, 10_000);
    let store = &desk.pipeline.store;
    bencher
        .counter(ItemsCount::new(1_usize))
        .with_inputs(|| raw.clone())
        .bench_values(|raw| store.accept_blocking(&envelope(), raw).unwrap());
}

/// An accepted mail, from reading it to the commit of its comment, by so many deciders.
#[divan::bench(threads = [1, 4, 16], sample_count = 100, sample_size = 10)]
fn commit(bencher: Bencher<'_, '_>) {
    let desk = Desk::open();
    let count = AtomicUsize::new(0);
    bencher
        .counter(ItemsCount::new(1_usize))
        .with_inputs(|| {
            let raw = mail(count.fetch_add(1, Ordering::Relaxed), 10_000);
            desk.accept(&raw)
        })
        .bench_values(|entry: JournalEntry| desk.pipeline.decide(&entry, None).unwrap());
}

fn with_prepared(size: usize, run: impl FnOnce(&intake::Prepared<'_>, &Desk, &Account)) {
    let desk = Desk::open();
    let account = desk.pipeline.account();
    let parsed = message::parse(&mail(1, size));
    let envelope = envelope();
    let prepared = intake::prepare(JournalId(1), &parsed, &envelope, None, &policy(&account));
    run(&prepared, &desk, &account);
}

fn policy(account: &Account) -> Policy<'_> {
    Policy {
        settings: &account.settings,
        keys: &account.keys,
        recall_key: &account.recall_key,
        template_texts: &account.template_texts,
    }
}
