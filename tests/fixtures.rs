//! Plays every fixture folder through the whole pipeline and compares with its `expected.toml`.
//!
//! On a difference the folder gets an `expected.got.toml` beside it: what came out, for the keys that are expected.
//! With `ACCEPT=1` that is written over `expected.toml` instead.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture_support;

use fixture_support::{Fixture, LineEnd, all, on_all_cores};

#[test]
fn every_fixture_comes_out_as_expected_whatever_the_line_ends_of_its_mails() {
    let fixtures = all();
    let differences = on_all_cores(&fixtures, differences);
    let differing: Vec<String> = fixtures
        .iter()
        .zip(differences)
        .filter(|(_, differences)| !differences.is_empty())
        .map(|(fixture, differences)| format!("{}\n  {}", fixture.name, differences.join("\n  ")))
        .collect();
    let mails: usize = fixtures.iter().map(|fixture| fixture.scenario.steps.len()).sum();
    println!("{} fixtures with {mails} mails, each played with LF and with CRLF", fixtures.len());
    assert!(!fixtures.is_empty(), "no fixture was found");
    assert!(
        differing.is_empty(),
        "{} of {} fixtures differ:\n\n{}",
        differing.len(),
        fixtures.len(),
        differing.join("\n\n")
    );
}

fn differences(fixture: &Fixture) -> Vec<String> {
    let (lf, crlf) = match (fixture.play(LineEnd::Lf), fixture.play(LineEnd::CrLf)) {
        (Ok(lf), Ok(crlf)) => (lf, crlf),
        (lf, crlf) => return [lf.err(), crlf.err()].into_iter().flatten().collect(),
    };
    let accept = std::env::var("ACCEPT").is_ok_and(|value| value == "1");
    let mut differences = Vec::new();
    for (setup, (with_lf, with_crlf)) in fixture.scenario.steps.iter().zip(lf.steps.iter().zip(&crlf.steps)) {
        let differs = setup.expected.differences(with_lf);
        let prefix = setup.name.trim_end_matches("input.eml");
        let got = fixture.folder.join(format!("{prefix}expected.got.toml"));
        match (differs.is_empty(), accept) {
            (true, _) => drop(std::fs::remove_file(got)),
            (false, true) => {
                let expected = fixture.folder.join(format!("{prefix}expected.toml"));
                std::fs::write(expected, setup.expected.corrected(with_lf)).unwrap();
            }
            (false, false) => std::fs::write(got, setup.expected.corrected(with_lf)).unwrap(),
        }
        if !accept {
            differences.extend(differs.into_iter().map(|differs| format!("{}: {differs}", setup.name)));
        }
        let (with_lf, with_crlf) = (comparable(with_lf), comparable(with_crlf));
        if with_lf != with_crlf {
            differences.push(format!("{}: with LF {with_lf}\n  with CRLF {with_crlf}", setup.name));
        }
    }
    differences
}

/// A played step as JSON, without what is different each time: tokens, and sizes and hashes of text files.
fn comparable(step: &postern::scenario::PlayedStep) -> serde_json::Value {
    fn blank(value: &mut serde_json::Value, token: &regex::Regex) {
        match value {
            serde_json::Value::Object(fields) => {
                fields.remove("sha256");
                fields.remove("size");
                fields.values_mut().for_each(|value| blank(value, token));
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(|value| blank(value, token)),
            serde_json::Value::String(text) => *text = token.replace_all(text, "TOKEN").into_owned(),
            _ => {}
        }
    }
    let token = regex::Regex::new("[0-9A-Z]{20,32}").unwrap();
    let mut value = serde_json::to_value(step).unwrap();
    blank(&mut value, &token);
    value
}
