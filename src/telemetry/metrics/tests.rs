//! The table is sound, and what is counted comes out under the names it gives.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;
use crate::telemetry;

/// What a scrape shows after `act`.
fn scraped(act: impl FnOnce()) -> String {
    let recorder = recorder().unwrap();
    metrics::with_local_recorder(&recorder, act);
    recorder.handle().render()
}

#[track_caller]
fn check(act: impl FnOnce(), expected: &[&str]) {
    let text = scraped(act);
    for line in expected {
        assert!(text.lines().any(|found| found == *line), "no line `{line}` in:\n{text}");
    }
}

#[test]
fn the_table_keeps_the_rules_of_metric_names() {
    let mut names = BTreeSet::new();
    for metric in METRICS {
        let name = metric.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.starts_with("postern_") || name.starts_with("process_"), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
        for unit in ["seconds", "bytes"] {
            assert_eq!(name.ends_with(unit), metric.unit == unit, "{name} is in {}", metric.unit);
        }
        assert!(metric.meaning.ends_with('.'), "{name}: {}", metric.meaning);
    }
}

#[test]
fn series_that_are_known_before_anything_happens_start_at_zero() {
    check(
        || {},
        &[
            "postern_mail_failures_total 0",
            "postern_outbox_results_total{result=\"dead\"} 0",
            "# HELP postern_mail_failures_total Tries to decide a mail that ended in a failure. The third one makes the mail `failed`.",
            "# TYPE postern_mail_failures_total counter",
        ],
    );
}

#[test]
fn an_event_is_counted_with_its_labels() {
    let client = Some(IpAddr::from([127, 0, 0, 1]));
    check(
        || {
            telemetry::smtp_refused("smtp", client, "message_too_large");
            telemetry::smtp_refused("smtp", client, "message_too_large");
            telemetry::message_accepted("smtp", Duration::from_micros(300));
            telemetry::store_trouble("keeping a mail", "the disk is gone");
        },
        &[
            "postern_smtp_refused_total{entrance=\"smtp\",refusal=\"message_too_large\"} 2",
            "postern_mails_accepted_total{entrance=\"smtp\"} 1",
            "postern_stage_seconds_bucket{stage=\"accept\",le=\"0.00025\"} 0",
            "postern_stage_seconds_bucket{stage=\"accept\",le=\"0.0005\"} 1",
            "postern_stage_seconds_count{stage=\"accept\"} 1",
            "postern_store_troubles_total 1",
        ],
    );
}

#[test]
fn a_gauge_moves_and_a_counter_kept_elsewhere_is_taken_over() {
    check(
        || {
            telemetry::smtp_session_began("smtp");
            telemetry::smtp_session_began("smtp");
            telemetry::smtp_bytes_in_flight(0, 4_000);
            telemetry::smtp_bytes_in_flight(4_000, 100);
            COMMITS.set(&[], 7);
            FLUSH_SECONDS.set_seconds(Duration::from_millis(2));
        },
        &[
            "postern_smtp_sessions_open{entrance=\"smtp\"} 2",
            "postern_smtp_in_flight_bytes 100",
            "postern_commits_total 7",
            "postern_flush_mean_seconds 0.002",
        ],
    );
}
