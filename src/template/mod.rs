//! Templates of mails: Liquid, bounded by construction (DESIGN §9, reference/triggers-and-automations.md part G).
//!
//! **Invariants**
//! - A template that compiled renders in bounded time and memory, whatever the values: its work is paid from a
//!   budget (`runtime`), loops, lists, values and output are capped (`language`), and nothing panics (`source`
//!   refuses what would make the parser).
//! - Unknown placeholders render empty, as people who move from the product we follow expect.
//! - Values are plain text. They are escaped where they land in HTML, once, here.
//! - A mail says which comments it shows. The account errs on the safe side: a comment counts as shown when the
//!   template looks at a placeholder that holds it, even if only to test it.
//!
//! A template is plain text or HTML, as its own text shows. Of a plain one the HTML part is made by escaping what
//! was rendered; of an HTML one the text part is made by taking the markup out.

mod filters;
mod html;
mod language;
mod runtime;
mod source;
pub mod values;
mod words;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use liquid_core::parser;
use liquid_core::runtime::{Renderable, Template as Elements};

use crate::domain::ids::CommentId;

use self::runtime::Desk;
use self::values::Values;

/// Longest template source.
pub const SOURCE_MAX: usize = 64 * 1024;
/// Longest rendered part.
pub const OUTPUT_MAX: usize = 256 * 1024;
/// Templates that are remembered.
const MAX_KNOWN: usize = 256;
/// Longest subject, in characters.
const SUBJECT_MAX: usize = 500;

/// A template ready to render.
#[derive(Debug)]
pub struct Template {
    elements: Elements,
    is_html: bool,
    /// What one pass over the template costs at most; a loop pays it for each turn.
    weight: u64,
}

/// Why a template cannot be used, or could not be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The line of the template, where it is known.
    pub line: Option<usize>,
    pub what: String,
}

impl std::error::Error for TemplateError {}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} of the template: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

/// A rendered mail, without what every mail of ours has (delimiter, footer, token).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub subject: String,
    pub text: String,
    pub html: String,
    /// The comments whose text it may show, oldest first.
    pub comments: Vec<CommentId>,
    /// One of them is private.
    pub shows_private_comment: bool,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Says what is wrong and in which line: syntax, unknown tags and filters, loops nested more than twice,
    /// ranges that are not literal or longer than 1,000, and sources longer than 64 KB.
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        let pieces = source::split(source)?;
        let is_html = source::is_html(&pieces);
        let prepared = source::prepare(&pieces, is_html);
        let weight = source::weight(&pieces);
        source::check(&pieces, &prepared, weight)?;
        let elements = parser::parse(&prepared, &language::language(weight))
            .map_err(|error| TemplateError { line: None, what: source::first_line(&error) })?;
        Ok(Self { elements: Elements::new(elements), is_html, weight })
    }

    /// As [`Template::compile`], remembered: the same few templates are rendered for every mail, and reading them took longer than
    /// all else that a mail costs.
    ///
    /// # Errors
    /// As there.
    pub fn compiled(source: &str) -> Result<Arc<Self>, TemplateError> {
        static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Template>>>> = LazyLock::new(Mutex::default);
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = known().get(source) {
            return Ok(Arc::clone(template));
        }
        let template = Arc::new(Self::compile(source)?);
        let mut known = known();
        // There are as many as the configuration has. A reload must not make the old ones stay for ever.
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(source.to_owned(), Arc::clone(&template));
        Ok(template)
    }

    fn render(&self, desk: &Desk) -> Result<String, TemplateError> {
        desk.charge(self.weight);
        let mut output = runtime::Capped::new(OUTPUT_MAX);
        let rendered = self.elements.render_to(&mut output, desk);
        if output.overflowed() {
            return Err(TemplateError {
                line: None,
                what: format!("the output is too long: expected at most {OUTPUT_MAX} octets"),
            });
        }
        if let Some(what) = desk.fault() {
            return Err(TemplateError { line: None, what });
        }
        rendered.map_err(|error| TemplateError { line: None, what: source::first_line(&error) })?;
        Ok(output.into_text())
    }
}

/// Renders one mail for one kind of recipient.
///
/// # Errors
/// If a template needs more than its budget, its output or a value of it grows too long, or a filter cannot take
/// what it is given.
pub fn render(subject: &Template, body: &Template, values: &Values) -> Result<Mail, TemplateError> {
    let desk = Desk::new(values);
    let subject_line = subject.render(&desk)?;
    let subject_line = if subject.is_html { html::to_text(&subject_line) } else { subject_line };
    let rendered = body.render(&desk)?;
    let (text, html) = if body.is_html {
        (html::to_text(&rendered), rendered)
    } else {
        let html = html::from_text(&rendered);
        (rendered, html)
    };
    let shown = desk.shown();
    Ok(Mail {
        subject: single_line(&subject_line),
        text,
        html,
        comments: shown.keys().copied().collect(),
        shows_private_comment: shown.values().any(|private| *private),
    })
}

/// Renders a mail again from templates and values that were kept when it failed (`outbox retry`).
///
/// # Errors
/// As [`Template::compile`] and [`render`], and if `frozen` is not what [`Values::freeze`] made.
pub fn render_frozen(
    subject_template: &str,
    body_template: &str,
    frozen: &serde_json::Value,
) -> Result<Mail, TemplateError> {
    let values = Values::thaw(frozen)?;
    render(&Template::compile(subject_template)?, &Template::compile(body_template)?, &values)
}

/// One line for a Subject: no control characters (a line break would start a header of its own), not too long.
fn single_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    line.chars().take(SUBJECT_MAX).collect()
}
