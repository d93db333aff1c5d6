//! Real mail from `../shared/corpus`: every file is read, with LF and with CRLF line ends, without a panic, to
//! the same message. Skipped, with a line that says so, where the corpus is not there.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, reason = "this is a test")]

use std::fs;
use std::path::{Path, PathBuf};

use postern::domain::mail::{Defect, InboundMessage};
use postern::message;

/// The files of a corpus folder with one of these extensions; `None` if the corpus is not there.
fn corpus(folder: &str, extensions: &[&str]) -> Option<Vec<PathBuf>> {
    // Tests run in the root of the package.
    let root = Path::new("../shared/corpus");
    if !root.is_dir() {
        println!("skipped: there is no corpus at {}", root.display());
        return None;
    }
    let mut files = Vec::new();
    let mut waiting = vec![root.join(folder)];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted)) {
            files.push(path);
        }
    }
    assert!(!files.is_empty(), "no files under {folder}");
    files.sort();
    Some(files)
}

/// Reads a file both ways and checks what holds for every message.
fn read(path: &Path) -> InboundMessage {
    let raw = fs::read(path).unwrap();
    let lf = replaced(&raw, b"\r\n", b"\n");
    let message = message::parse(&lf);
    assert_eq!(
        message,
        message::parse(&replaced(&lf, b"\n", b"\r\n")),
        "{}: LF and CRLF differ",
        path.display()
    );
    assert!(!message.defects.contains(&Defect::ParserPanicked), "{}", path.display());
    assert!(!message.text.full.contains('\r'), "{}", path.display());
    let says_something = !message.text.full.trim().is_empty() || !message.attachments.is_empty();
    let empty = message.subject.is_empty() || raw.len() < 4000;
    assert!(says_something || empty, "{}: nothing was read", path.display());
    message
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        if let Some(after) = rest.strip_prefix(from) {
            out.extend_from_slice(to);
            rest = after;
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    out
}

#[test]
fn every_mail_of_the_corpus_reads_alike_with_lf_and_crlf() {
    for (folder, least) in [("mime", 200), ("tnef", 2), ("bounce", 300)] {
        let Some(files) = corpus(folder, &["eml"]) else { return };
        assert!(files.len() >= least, "only {} files under {folder}", files.len());
        let texts = files.iter().filter(|path| !read(path).text.full.trim().is_empty()).count();
        println!("{folder}: {} files, {texts} with text", files.len());
    }
}

#[test]
fn every_plain_reply_of_the_corpus_is_text() {
    let Some(files) = corpus("reply", &["txt"]) else { return };
    for path in &files {
        let message = read(path);
        let raw = String::from_utf8_lossy(&fs::read(path).unwrap()).replace("\r\n", "\n");
        if !message.defects.contains(&Defect::NoHeaders) {
            println!("read as a mail with headers: {}", path.display());
            continue;
        }
        assert_eq!(message.text.full.trim(), raw.trim().trim_start_matches('\u{feff}'), "{}", path.display());
    }
    println!("reply: {} files", files.len());
}

#[test]
fn bounces_are_recognised() {
    let Some(files) = corpus("bounce", &["eml"]) else { return };
    let mut missed = Vec::new();
    for path in &files {
        let found = read(path).automation;
        let evidence = found.delivery_report
            || found.other_report
            || found.out_of_office
            || found.auto_submitted.is_some()
            || found.precedence.is_some()
            || !found.headers.is_empty();
        if !evidence {
            missed.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    let share = 100 * (files.len() - missed.len()) / files.len();
    println!("bounce: {share} % of {} recognised; missed: {missed:?}", files.len());
    assert!(share >= 90, "only {share} % recognised");
}
