//! Every mail of the corpus through the real binary: none is lost, none fails, and line ends make no difference.
//!
//! The corpus is where `POSTERN_CORPUS` says, by default `../shared/corpus`; without it the tests say so and pass.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Answer, Desk, manifest};

/// For several hundred mails, each with a store of its own, on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(180);

const FIELDS: [&str; 11] = [
    "file",
    "state",
    "ticket",
    "created_ticket",
    "comment",
    "visibility",
    "rule",
    "flags",
    "identified_by",
    "cause",
    "trace",
];

fn corpus() -> Option<PathBuf> {
    let path = std::env::var_os("POSTERN_CORPUS").map_or_else(|| manifest("../shared/corpus"), PathBuf::from);
    if !path.is_dir() {
        println!("skipped: there is no corpus at {}", path.display());
        return None;
    }
    Some(path)
}

/// All files below `folder` with this ending, as paths.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn replay(words: &[&str]) -> (Vec<Value>, Value) {
    let started = Instant::now();
    let answer: Answer = Desk::new().run(&[&["replay", "--json"], words].concat());
    assert!(started.elapsed() < TIME_LIMIT, "it took {:?}", started.elapsed());
    answer.expect(0);
    let mut lines = answer.json_lines();
    let summary = lines.pop().unwrap();
    (lines, summary)
}

/// Every file makes one line with one of the states, and the summary counts them.
fn check(words: &[&str], expected: &[PathBuf]) {
    assert!(!expected.is_empty(), "the corpus is there and holds no such files");
    let (lines, summary) = replay(words);
    let read: Vec<PathBuf> = lines.iter().map(|line| PathBuf::from(line["file"].as_str().unwrap())).collect();
    assert_eq!(read, expected);

    let mut states: BTreeMap<&str, usize> =
        ["comment", "suspended", "discarded", "failed"].map(|state| (state, 0)).into();
    for line in &lines {
        let missing: Vec<_> = FIELDS.iter().filter(|field| line.get(**field).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?} missing in {line:#}");
        *states.get_mut(line["state"].as_str().unwrap()).expect("a state that is documented") += 1;
        let is_comment = line["state"] == "comment";
        assert!(!is_comment || line["ticket"].is_i64(), "{line:#}");
        assert_eq!(line["cause"].is_null(), is_comment, "{line:#}");
        assert!(!line["trace"].as_array().unwrap().is_empty(), "{line:#}");
    }
    let count = lines.len();
    assert_eq!(states["failed"], 0);
    for (state, mails) in states {
        assert_eq!(summary[state], mails, "{state}");
    }
    assert_eq!((&summary["files"], &summary["mails"]), (&count.into(), &count.into()));
    let books = &summary["books"];
    assert_eq!((&books["accepted"], &books["pending"]), (&count.into(), &0.into()));
    assert_eq!((&summary["balanced"], &books["balanced"]), (&true.into(), &true.into()));
}

#[test]
fn every_mail_of_the_corpus_ends_in_one_state_and_the_books_balance() {
    let Some(corpus) = corpus() else { return };
    let (mime, bounce, reply) = (corpus.join("mime"), corpus.join("bounce"), corpus.join("reply"));
    let mails = [files(&mime, "eml"), files(&bounce, "eml")].concat();
    check(&[mime.to_str().unwrap(), bounce.to_str().unwrap()], &mails);
    check(&[reply.to_str().unwrap(), "--ext", "txt"], &files(&reply, "txt"));
}

/// The same mails below another folder, with other line ends.
fn copies(corpus: &Path, mails: &[PathBuf], line_end: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for mail in mails {
        let copy = folder.path().join(mail.strip_prefix(corpus).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        let mut bytes = Vec::new();
        for line in std::fs::read(mail).unwrap().split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => {
                    bytes.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
                    bytes.extend_from_slice(line_end);
                }
                None => bytes.extend_from_slice(line),
            }
        }
        std::fs::write(copy, bytes).unwrap();
    }
    folder
}

#[test]
fn line_ends_make_no_difference() {
    let Some(corpus) = corpus() else { return };
    let mails = ["mime", "bounce", "reply"].map(|set| {
        let folder = corpus.join(set);
        [files(&folder, "eml"), files(&folder, "txt")].concat()
    });
    let mails = mails.concat();
    let decided = [&b"\n"[..], b"\r\n"].map(|line_end| {
        let folder = copies(&corpus, &mails, line_end);
        let path = folder.path().to_str().unwrap();
        let (lines, summary) = replay(&[
            path,
            "--isolated",
            "--ext",
            "txt",
            "--now",
            "2026-11-21T10:00:00Z",
            "--trust",
            "upstream",
        ]);
        assert_eq!(summary["files"], mails.len());
        let without_folder = |mut line: Value| {
            line["file"] = line["file"].as_str().unwrap().strip_prefix(path).unwrap().into();
            line
        };
        lines.into_iter().map(without_folder).collect::<Vec<_>>()
    });
    let [with_lf, with_crlf] = decided;
    let different: Vec<_> = with_lf.iter().zip(&with_crlf).filter(|(lf, crlf)| lf != crlf).collect();
    assert!(different.is_empty(), "{} differ, the first: {:#?}", different.len(), different[0]);
}
