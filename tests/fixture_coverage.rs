//! Every rule, check, clue and command has the fixtures it must have.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture_support;

use std::collections::BTreeSet;

use fixture_support::{Fixture, all};
use postern::admission;
use postern::commands::COMMANDS;
use postern::domain::fate::{DiscardReason, SuspensionCause};
use postern::identify::Clue;
use postern::privacy;
use postern::scenario::Expected;

fn expectations(fixtures: &[Fixture]) -> impl Iterator<Item = &Expected> {
    fixtures.iter().flat_map(|fixture| &fixture.scenario.steps).map(|step| &step.expected)
}

/// Every name in `wanted` that no fixture expects.
fn missing<'a>(wanted: impl IntoIterator<Item = &'a str>, seen: &BTreeSet<String>) -> Vec<&'a str> {
    wanted.into_iter().filter(|name| !seen.contains(*name)).collect()
}

fn none() -> Vec<&'static str> {
    Vec::new()
}

#[test]
fn each_privacy_rule_has_three_fixtures_and_both_fires_and_does_not() {
    let fixtures = all();
    for rule in privacy::rules() {
        let prefix = format!("privacy/{}-", rule.number);
        let own: Vec<&Fixture> =
            fixtures.iter().filter(|fixture| fixture.name.starts_with(&prefix)).collect();
        let names: Vec<&str> = own.iter().map(|fixture| fixture.name.as_str()).collect();
        assert!(own.len() >= 3, "rule {} `{}` has the fixtures {names:?}", rule.number, rule.name);
        let fires = |fixture: &&&Fixture| {
            fixture.scenario.steps.iter().any(|step| step.expected.rule.as_deref() == Some(rule.name))
        };
        let firing = own.iter().filter(fires).count();
        assert_eq!(firing > 0, rule.settles.is_some(), "whether {} fires in one of {names:?}", rule.name);
        assert!(firing < own.len(), "{} fires in all of {names:?}", rule.name);
    }
}

#[test]
fn each_privacy_fixture_is_named_after_a_rule_and_expects_outcome_rule_and_trace() {
    let numbers: BTreeSet<&str> = privacy::rules().map(|rule| rule.number).collect();
    for fixture in all() {
        let Some(name) = fixture.name.strip_prefix("privacy/") else { continue };
        let (number, what) = name.split_once('-').expect("<number>-<what-happens>");
        assert!(numbers.contains(number) && !what.is_empty(), "{name}");
        for step in &fixture.scenario.steps {
            let Expected { outcome, rule, trace, .. } = &step.expected;
            assert!(
                outcome.is_some() && rule.is_some() && trace.is_some(),
                "{name}: {} lacks outcome, rule or trace",
                step.name
            );
        }
    }
}

#[test]
fn each_admission_check_settles_a_fixture() {
    let seen: BTreeSet<String> =
        expectations(&all()).flat_map(|e| e.admission.clone().unwrap_or_default()).collect();
    let wanted: Vec<String> =
        admission::CHECKS.iter().map(|check| format!("{}: settle", check.name)).collect();
    assert_eq!(missing(wanted.iter().map(String::as_str), &seen), none());
}

#[test]
fn each_cause_of_suspension_and_each_reason_to_discard_has_a_fixture() {
    // Nothing suspends by rate yet, and a person deletes from the queue, not a mail.
    let not_by_mail = [SuspensionCause::Loop.name(), DiscardReason::DeletedBy.name()];
    let causes = SuspensionCause::ALL.iter().map(|cause| cause.name());
    let reasons = DiscardReason::ALL.iter().map(|reason| reason.name());
    let wanted = causes.chain(reasons).filter(|name| !not_by_mail.contains(name));
    let seen = expectations(&all()).filter_map(|e| e.cause.clone()).collect();
    assert_eq!(missing(wanted, &seen), none());
}

#[test]
fn each_clue_identifies_a_fixture() {
    let wanted = [Clue::AddressToken, Clue::BodyToken, Clue::Header, Clue::None].map(Clue::word);
    let seen = expectations(&all()).filter_map(|e| e.identified_by.clone()).collect();
    assert_eq!(missing(wanted, &seen), none());
}

#[test]
fn each_mail_command_is_applied_in_a_fixture() {
    let seen: BTreeSet<String> =
        expectations(&all()).flat_map(|e| e.commands.clone().unwrap_or_default()).collect();
    let applied: Vec<String> = COMMANDS.iter().map(|command| format!("{}=applied", command.name)).collect();
    assert_eq!(missing(applied.iter().map(String::as_str), &seen), none());
}

#[test]
fn titles_tell_the_fixtures_apart() {
    let mut titles = BTreeSet::new();
    for fixture in all() {
        assert!(titles.insert(fixture.scenario.title.clone()), "{} has a title told before", fixture.name);
    }
}

#[test]
fn the_readme_names_every_key_of_the_fixture_files() {
    let readme = std::fs::read_to_string(fixture_support::root().join("README.md")).unwrap();
    let source = include_str!("../src/scenario/file.rs");
    let structs = source.split("pub struct ").chain(source.split("\nstruct ScenarioFile")).skip(1);
    let fields = structs.filter_map(|text| text.split_once("\n}")).flat_map(|(body, _)| body.lines());
    let names: BTreeSet<&str> = fields
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//") && !line.starts_with('#'))
        .filter_map(|line| line.trim_start_matches("pub ").trim_start_matches("r#").split_once(": "))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .collect();
    assert!(names.len() > 30, "{names:?}");
    let unnamed: Vec<_> = names.iter().filter(|name| !readme.contains(&format!("`{name}`"))).collect();
    assert!(unnamed.is_empty(), "fixtures/README.md says nothing of {unnamed:?}");
}
