//! Who may import whom, and what is done in one place only: read off the sources.
//!
//! A rule is a row of [`TABLE`] or of [`PLACES`]; a failure names the file, the line and the row. Tests inside of `src`
//! are free: they set a world up. `src/lib.rs` draws the same table.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

const CORE: &str = "message template identify authenticate admission privacy commands rules outbox";
const ORDER: &str = "intake update";
const EDGES: &str = "clock telemetry config smtp store mailer";

/// Module, and what of ours it may import. `core`, `order` and `edges` stand for their modules; nothing may import
/// what is not in its row.
const TABLE: &[(&str, &str)] = &[
    ("domain", ""),
    // Core: not one another, but for what reads a mail and what renders a text.
    ("message", "domain"),
    ("template", "domain"),
    ("identify", "domain message"),
    ("authenticate", "domain message"),
    ("admission", "domain message"),
    ("privacy", "domain message"),
    ("commands", "domain message"),
    ("rules", "domain message template"),
    ("outbox", "domain message template"),
    // Core that knows an order.
    ("intake", "domain core"),
    ("update", "domain core"),
    // Edges.
    ("clock", "domain"),
    ("telemetry", "domain"),
    ("config", "domain telemetry rules commands template"),
    ("smtp", "domain telemetry"),
    ("store", "domain telemetry"),
    ("mailer", "domain telemetry clock store outbox"),
    // Shell.
    ("spool", "domain edges"),
    ("pipeline", "domain core order edges"),
    ("control", "domain edges pipeline"),
    ("admin", "domain clock telemetry store"),
    ("daemon", "domain core order edges pipeline control spool admin"),
    ("scenario", "domain core order edges pipeline daemon"),
    ("cli", "domain core order edges pipeline control spool daemon scenario"),
    ("main", "cli"),
];

/// What is done where: words in code, and the modules that may use them.
const PLACES: &[(&str, &[&str], &[&str])] = &[
    ("SQL lives in the store", &["rusqlite", "SELECT ", "INSERT INTO", "DELETE FROM"], &["store"]),
    ("all time comes from the clock", &["SystemTime::now(", "Timestamp::now(", "Zoned::now("], &["clock"]),
    (
        "the core measures no time",
        &["Instant::now("],
        &["clock", "smtp", "store", "mailer", "pipeline", "spool", "admin"],
    ),
    ("the core is given its randomness", &["getrandom"], &["store", "mailer", "spool"]),
    (
        "the core does no IO",
        &["std::fs", "std::env", "std::process", "std::thread", "tokio", "TcpStream", "UnixStream"],
        &[
            "config",
            "telemetry",
            "smtp",
            "store",
            "mailer",
            "pipeline",
            "control",
            "spool",
            "admin",
            "daemon",
            "scenario",
            "cli",
            "main",
        ],
    ),
    ("the metrics have one vocabulary", &["metrics_exporter_prometheus", "with_recorder"], &["telemetry"]),
    ("the log has one vocabulary", &["tracing::", "tracing_subscriber"], &["telemetry"]),
    ("only the command line prints", &["println!", "eprintln!", "print!(", "stdout()"], &["cli"]),
];

#[test]
fn every_module_imports_only_what_its_row_allows() {
    let mut wrong = Vec::new();
    for line in sources() {
        for imported in line.imports() {
            let allowed =
                row(&line.module).unwrap_or_else(|| panic!("`{}` has no row in TABLE", line.module));
            if imported != line.module && !allowed.contains(&imported.as_str()) {
                wrong.push(format!("{} imports `{imported}`; its row allows: {}", line, allowed.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_has_one_place_is_done_nowhere_else() {
    let mut wrong = Vec::new();
    for line in sources() {
        for (rule, words, modules) in PLACES {
            let found = words.iter().find(|word| line.text.contains(**word));
            if let Some(word) = found.filter(|_| !modules.contains(&line.module.as_str())) {
                wrong.push(format!("{line} has `{word}`, but {rule}: {}", modules.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_is_about_a_module_and_every_module_has_a_row() {
    let mut modules: Vec<String> =
        sources().map(|line| line.module).filter(|module| module != "lib").collect();
    modules.sort();
    modules.dedup();
    let mut rows: Vec<&str> = TABLE.iter().map(|(module, _)| *module).collect();
    rows.sort_unstable();
    assert_eq!(modules, rows);
}

#[test]
fn the_library_draws_the_same_table() {
    let lib = fs::read_to_string(source_folder().join("lib.rs")).unwrap();
    for (module, allowed) in TABLE.iter().filter(|(module, _)| *module != "main") {
        let drawn = lib.lines().filter_map(|line| line.strip_prefix("//! |")).any(|line| {
            let mut cells = line.split('|').map(|cell| cell.replace(['`', ','], ""));
            let names = cells.next().unwrap_or_default();
            names.split_whitespace().any(|name| name == *module)
                && cells.next().unwrap_or_default().split_whitespace().eq(allowed.split_whitespace())
        });
        assert!(drawn, "src/lib.rs has no row that says: {module} may import {allowed}");
    }
}

#[test]
fn imports_are_found_however_they_are_written() {
    check("use crate::domain::ids::TicketId;", &["domain"]);
    check("use crate::{daemon, telemetry::{self, init}, store};", &["daemon", "telemetry", "store"]);
    check("    let plan = crate::update::plan(crate::clock::now());", &["update", "clock"]);
    check("pub(crate) fn of(text: &str) -> &str { text }", &[]);
    fn check(text: &str, expected: &[&str]) {
        let line = Line { file: PathBuf::new(), number: 1, module: "x".into(), text: text.into() };
        assert_eq!(line.imports(), expected, "{text}");
    }
}

/// The modules that a row names, with `core`, `order` and `edges` written out.
fn row(module: &str) -> Option<Vec<&'static str>> {
    let (_, allowed) = TABLE.iter().find(|(name, _)| *name == module)?;
    let words = allowed.split_whitespace().flat_map(|word| match word {
        "core" => CORE.split_whitespace(),
        "order" => ORDER.split_whitespace(),
        "edges" => EDGES.split_whitespace(),
        other => other.split_whitespace(),
    });
    Some(words.collect())
}

/// A statement of code, at the line where it begins.
struct Line {
    file: PathBuf,
    number: usize,
    /// The module right below the crate.
    module: String,
    text: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "src/{}:{}", self.file.display(), self.number)
    }
}

impl Line {
    /// The modules of ours behind each `crate::` (in `main`, behind `postern::`).
    fn imports(&self) -> Vec<String> {
        let mut found = Vec::new();
        let crate_name = if self.module == "main" { "postern::" } else { "crate::" };
        for behind in self.text.split(crate_name).skip(1) {
            match behind.strip_prefix('{') {
                Some(list) => found.extend(heads(list)),
                None => found.extend(head(behind)),
            }
        }
        found
    }
}

fn head(path: &str) -> Option<String> {
    let name: String =
        path.trim_start().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The first names in `a, b::{c, d}, e}`.
fn heads(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = vec![String::new()];
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            _ => names.last_mut().unwrap().push(c),
        }
    }
    names.iter().filter_map(|name| head(name)).collect()
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All code of `src` that is no test: comments left out, a `use` of several lines joined into one.
fn sources() -> impl Iterator<Item = Line> {
    let mut files = Vec::new();
    collect(&source_folder(), &mut files);
    assert!(files.len() > 100, "only {} files found", files.len());
    files.into_iter().flat_map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(source_folder()).unwrap().to_owned();
        let module = file.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let mut lines: Vec<Line> = Vec::new();
        let mut open_use = false;
        for (at, text) in without_tests(&text).filter(|(_, text)| !text.trim_start().starts_with("//")) {
            match lines.last_mut().filter(|_| open_use) {
                Some(line) => line.text.push_str(text.trim()),
                None => {
                    let (file, module, text) = (file.clone(), module.clone(), text.to_owned());
                    lines.push(Line { file, number: at + 1, module, text });
                }
            }
            let starts = ["use ", "pub use ", "pub(crate) use "].iter().any(|word| text.starts_with(word));
            open_use = (open_use || starts) && !text.contains(';');
        }
        lines
    })
}

/// The lines with their places, `#[cfg(test)] mod … { … }` left out.
fn without_tests(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut marked, mut inside) = (false, false);
    text.lines().enumerate().filter(move |(_, line)| {
        if inside {
            inside = *line != "}";
            return false;
        }
        inside = marked && line.starts_with("mod ") && line.ends_with('{');
        marked = *line == "#[cfg(test)]";
        !inside
    })
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            collect(&path, files);
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            files.push(path);
        }
    }
    files.sort();
}
