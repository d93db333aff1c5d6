//! Pages that are made from the code are fresh. `UPDATE_DOCS=1 cargo test --test docs` writes them anew.

#![allow(clippy::unwrap_used)]

use std::path::Path;

/// The committed page equals what the code says.
fn check(page: &str, fresh: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == fresh, "{page} is stale: run `UPDATE_DOCS=1 cargo test --test docs`");
}

#[test]
fn the_page_of_privacy_rules_is_fresh() {
    let page = format!(
        "# The comment privacy list\n\n\
         The order is the specification: the first rule that settles decides. This page is made from `src/privacy`;\n\
         a test fails when it is stale.\n\n{}\n\
         One more name can stand as the rule of a comment: `several-tickets`. An agent's mail that names more than one ticket\n\
         is never public, since it could show one customer what was meant for another.\n",
        postern::privacy::rules_markdown()
    );
    check("docs/privacy-rules.md", &page);
}

#[test]
fn the_page_of_metrics_is_fresh() {
    check("docs/metrics.md", &postern::telemetry::metrics::metrics_markdown());
}

/// An alarm on a metric that is not there never rings.
#[test]
fn every_metric_that_the_pages_name_is_in_the_table() {
    let known: Vec<&str> = postern::telemetry::metrics::METRICS.iter().map(|metric| metric.name).collect();
    let mut named = 0;
    for page in ["docs/metrics.md", "docs/operations.md"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        for word in words.filter(|word| word.starts_with("postern_") || word.starts_with("process_")) {
            let name = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(known.contains(&name), "{page} names `{word}`");
            named += 1;
        }
    }
    assert!(named > known.len(), "the pages name hardly any metric: {named}");
}

#[test]
fn every_path_the_readme_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let is_path = |text: &str| {
        let known = ["src/", "config/", "docs/", "fixtures/", "systemd/", ".ci/"];
        known.iter().any(|folder| text.starts_with(folder)) && !text.contains(' ')
    };
    let named: Vec<&str> = readme.split('`').filter(|piece| is_path(piece)).collect();
    assert!(named.len() > 10, "the README names hardly any path: {named:?}");
    let missing: Vec<_> = named.into_iter().filter(|path| !root.join(path).exists()).collect();
    assert!(missing.is_empty(), "the README names what is not there: {missing:?}");
}
