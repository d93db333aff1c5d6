//! Finds and plays the fixture folders.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};

use postern::scenario::{self, Played, Scenario};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// A folder with a `scenario.toml`.
#[derive(Debug)]
pub struct Fixture {
    /// `privacy/3.1-cc-drops-requester`.
    pub name: String,
    pub folder: PathBuf,
    pub scenario: Scenario,
}

/// Every fixture folder, sorted by name.
pub fn all() -> Vec<Fixture> {
    let mut folders = Vec::new();
    collect(&root(), &mut folders);
    folders.sort();
    folders.into_iter().map(read).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    if folder.join("scenario.toml").is_file() {
        found.push(folder.to_owned());
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        }
    }
}

fn read(folder: PathBuf) -> Fixture {
    let name = folder.strip_prefix(root()).unwrap().to_str().expect("names are ASCII").to_owned();
    let scenario = scenario::load(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
    Fixture { name, folder, scenario }
}

#[derive(Clone, Copy, Debug)]
pub enum LineEnd {
    Lf,
    CrLf,
}

impl Fixture {
    pub fn play(&self, line_end: LineEnd) -> Result<Played, String> {
        let mut scenario = self.scenario.clone();
        for step in &mut scenario.steps {
            step.mail = with_line_ends(&step.mail, line_end);
        }
        scenario::play(&scenario).map_err(|error| error.to_string())
    }
}

fn with_line_ends(mail: &[u8], line_end: LineEnd) -> Vec<u8> {
    let mut written = Vec::new();
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").map(|text| text.strip_suffix(b"\r").unwrap_or(text));
        written.extend_from_slice(text.unwrap_or(line));
        match (text, line_end) {
            (None, _) => {}
            (Some(_), LineEnd::Lf) => written.push(b'\n'),
            (Some(_), LineEnd::CrLf) => written.extend_from_slice(b"\r\n"),
        }
    }
    written
}

/// Does `work` for each item on as many threads as there are cores; answers in the order of the items.
pub fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let chunk = items.len().div_ceil(cores).max(1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks(chunk)
            .map(|items| scope.spawn(|| items.iter().map(&work).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}
