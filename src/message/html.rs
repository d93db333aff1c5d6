//! What HTML says as plain text. html2text does it, within limits: it takes quadratic time in nesting.
//!
//! Text that a browser would hide stays (the ticket token may stand in a white span), and so does the text of
//! links; their targets are left to the HTML itself, because a text that the author never saw is not their text.

use std::sync::LazyLock;

use html2text::config::with_decorator;
use html2text::render::TextDecorator;
use regex::Regex;

use super::Defects;
use crate::domain::mail::Defect;

/// What browsers allow; deeper elements are flattened there too.
const MAX_DEPTH: usize = 512;
/// Elements beyond this make nesting unbounded however they are closed.
const MAX_ELEMENTS: usize = 10_000;
/// Depth times lines: each line may be written behind a quote mark or an indent per level.
const MAX_AREA: usize = 4_000_000;
const MAX_LENGTH: usize = 1_000_000;
/// Wide enough that no paragraph is broken; a line of the mail's own is kept by `<br>` and blocks.
const WIDTH: usize = 4000;
/// Elements that never hold others, or end by themselves where the next begins.
const FLAT: &[&str] = &[
    "area", "base", "br", "col", "dd", "dt", "embed", "hr", "img", "input", "li", "link", "meta", "option",
    "p", "param", "source", "tbody", "td", "tfoot", "th", "thead", "tr", "track", "wbr",
];

/// The text of `html`, LF line ends, blockquotes as `> `. HTML that is too deep or too large for a faithful
/// rendering is stripped of its tags instead.
pub(super) fn to_text(html: &str, defects: &mut Defects) -> String {
    static RULE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"(?i)<hr\b[^<>]*>").ok());
    if html.len() > MAX_LENGTH || is_too_deep(html) {
        defects.insert(Defect::HtmlTooDeep);
        return stripped(html);
    }
    // In raw mode (tables, which are mostly layout, cell by cell) a rule would not even end the line.
    let html = RULE.as_ref().map_or(html.into(), |rule| rule.replace_all(html, "<br>──────────<br>"));
    let config = with_decorator(Plain).raw_mode(true).allow_width_overflow();
    let rendered = config.string_from_read(html.as_bytes(), WIDTH);
    neat(&rendered.unwrap_or_else(|_| mail_parser::decoders::html::html_to_text(&html)))
}

/// The text between the tags: plain, and quick however the HTML is made.
#[must_use]
pub fn stripped(html: &str) -> String {
    neat(&mail_parser::decoders::html::html_to_text(html))
}

/// Counts open elements, roughly and rather too many than too few.
fn is_too_deep(html: &str) -> bool {
    let mut open: Vec<&str> = Vec::new();
    let mut elements = 0;
    let mut deepest = 0;
    for tag in html.split('<').skip(1) {
        let (closes, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let end = tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tag.len());
        let Some(name) = tag.get(..end).filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
        else {
            continue;
        };
        if FLAT.iter().any(|flat| flat.eq_ignore_ascii_case(name)) {
            elements += usize::from(!closes);
        } else if closes {
            let matching = open.iter().rposition(|other| other.eq_ignore_ascii_case(name));
            matching.map(|at| open.remove(at));
        } else {
            elements += 1;
            open.push(name);
            deepest = deepest.max(open.len());
        }
        if open.len() > MAX_DEPTH || elements > MAX_ELEMENTS {
            return true;
        }
    }
    deepest * memchr::memchr_iter(b'\n', html.as_bytes()).count() > MAX_AREA
}

/// At most one blank line in a row, none at the start and the end.
fn neat(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blank_lines = 0;
    for line in super::decode::tidy(text).lines() {
        let line = line.trim_end();
        blank_lines = if line.is_empty() { blank_lines + 1 } else { 0 };
        if blank_lines > 1 || (out.is_empty() && line.is_empty()) {
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// Text as an author would type it: no marks for emphasis, headings and code.
#[derive(Clone, Debug)]
struct Plain;

impl TextDecorator for Plain {
    type Annotation = ();

    fn decorate_link_start(&mut self, _url: &str) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_link_end(&mut self) -> String {
        String::new()
    }
    fn decorate_em_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_em_end(&self) -> String {
        String::new()
    }
    fn decorate_strong_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_strong_end(&self) -> String {
        String::new()
    }
    fn decorate_strikeout_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_strikeout_end(&self) -> String {
        String::new()
    }
    fn decorate_code_start(&self) -> (String, ()) {
        (String::new(), ())
    }
    fn decorate_code_end(&self) -> String {
        String::new()
    }
    fn decorate_preformat_first(&self) {}
    fn decorate_preformat_cont(&self) {}
    fn decorate_image(&mut self, _src: &str, title: &str) -> (String, ()) {
        (format!("[{title}]"), ())
    }
    fn header_prefix(&self, _level: usize) -> String {
        String::new()
    }
    fn quote_prefix(&self) -> String {
        "> ".to_owned()
    }
    fn unordered_item_prefix(&self) -> String {
        "* ".to_owned()
    }
    fn ordered_item_prefix(&self, number: i64) -> String {
        format!("{number}. ")
    }
    fn make_subblock_decorator(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html_to_text(html: &str) -> String {
        to_text(html, &mut Defects::new())
    }

    #[test]
    fn html_is_read_as_an_author_would_have_typed_it() {
        let check = |html: &str, expected: &str| assert_eq!(html_to_text(html), expected, "{html}");
        check("<p>Hello</p><p>there &amp; you</p>", "Hello\n\nthere & you\n");
        check("<div>#solved</div><div>Thanks</div>", "#solved\nThanks\n");
        check("<h1>Title</h1><b>bold</b>, <code>code</code>", "Title\n\nbold, code\n");
        check("<blockquote>old<br>text</blockquote>new", "> old\n> text\n\nnew\n");
        check("<ul><li>a<li>b</ul>", "* a\n* b\n");
        check("see <a href='https://x.example'>the page</a>", "see the page\n");
        check("a<hr>b", "a\n──────────\nb\n");
        check("<table><tr><td>one</td><td>two</td></tr></table>", "one\ntwo\n");
        check("<style>p{}</style><script>x</script><title>t</title>text", "text\n");
        check("<span style='color:#fff;display:none'>[TOKEN]</span>", "[TOKEN]\n");
        check("", "");
    }

    #[test]
    fn a_long_paragraph_stays_one_line() {
        let words = "word ".repeat(300);
        assert_eq!(html_to_text(&format!("<p>{words}</p>")).lines().count(), 1);
    }

    #[test]
    fn deep_html_is_stripped_of_its_tags_in_no_time() {
        let started = std::time::Instant::now();
        let check = |html: &str, expected: &str| {
            let mut defects = Defects::new();
            assert_eq!(to_text(html, &mut defects), expected);
            assert!(defects.contains(&Defect::HtmlTooDeep));
        };
        check(&format!("{}deep", "<div>".repeat(100_000)), "deep\n");
        check(&format!("{}deep", "<div></b>".repeat(100_000)), "deep\n");
        check(&format!("{}deep", "<b><div></b>".repeat(100_000)), "deep\n");
        check(&format!("{}deep", "<div><!--</div>-->".repeat(100_000)), "deep\n");
        check(&format!("{}<pre>{}deep", "<blockquote>".repeat(500), "\n".repeat(100_000)), "deep\n");
        assert!(started.elapsed().as_secs_f64() < 10.0, "took {:?}", started.elapsed());
    }

    #[test]
    fn html_just_within_the_limits_is_quick_on_a_small_stack() {
        let nested = format!("{}deep", "<div>".repeat(MAX_DEPTH));
        let wide = format!("{}deep", "<div><!--</div>-->".repeat(MAX_ELEMENTS));
        let started = std::time::Instant::now();
        let small_stack = std::thread::Builder::new().stack_size(2 << 20);
        let texts =
            small_stack.spawn(move || (html_to_text(&nested), html_to_text(&wide))).unwrap().join().unwrap();
        assert_eq!(texts, ("deep\n".to_owned(), "deep\n".to_owned()));
        assert!(started.elapsed().as_secs_f64() < 10.0, "took {:?}", started.elapsed());
    }
}
