//! Plain text to HTML and back, for mails.

/// Escapes text so that it is safe in HTML text and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Text as HTML that looks the same: escaped, with its line breaks.
pub(super) fn from_text(text: &str) -> String {
    escape(text).replace("\r\n", "\n").replace('\n', "<br>\n")
}

/// The text of HTML that a template of ours rendered: markup out, line breaks where blocks end. Linear, and no
/// parser: its author is the account's administrator, and all values in it are escaped.
pub(super) fn to_text(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, tail)) = rest.split_once('<') {
        push_text(&mut text, before);
        let Some((tag, after)) = tail.split_once('>') else {
            text.push('<');
            rest = tail;
            break;
        };
        let name = tag_name(tag);
        if breaks_line(&name, tag.starts_with('/')) {
            text.push('\n');
        }
        let closing = match name.as_str() {
            "style" if !tag.starts_with('/') => "</style",
            "script" if !tag.starts_with('/') => "</script",
            _ => "",
        };
        rest = if closing.is_empty() {
            after
        } else {
            after.find(closing).map_or("", |at| after.get(at..).unwrap_or(""))
        };
    }
    push_text(&mut text, rest);
    text.trim().to_owned()
}

pub(super) fn tag_name(tag: &str) -> String {
    let name = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric);
    name.map(|c| c.to_ascii_lowercase()).collect()
}

fn breaks_line(name: &str, is_end: bool) -> bool {
    match name {
        "br" | "hr" => true,
        "p" | "div" | "tr" | "li" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "blockquote" | "pre"
        | "table" => is_end,
        _ => false,
    }
}

/// Line breaks in the source of HTML mean nothing; entities that we or an author write are decoded.
fn push_text(text: &mut String, html: &str) {
    let mut pending_space = false;
    let decoded = html
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&nbsp;", " ")
        .replace("&amp;", "&");
    for c in decoded.chars() {
        if c.is_whitespace() {
            pending_space = true;
            continue;
        }
        if pending_space && !text.is_empty() && !text.ends_with('\n') {
            text.push(' ');
        }
        pending_space = false;
        text.push(c);
    }
    if pending_space && !text.is_empty() && !text.ends_with('\n') {
        text.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_html_that_looks_the_same() {
        assert_eq!(from_text("1 < 2 & \"3\"\r\n'4'"), "1 &lt; 2 &amp; &quot;3&quot;<br>\n&#39;4&#39;");
    }

    #[test]
    fn html_becomes_text_with_its_line_breaks() {
        let check = |html: &str, text: &str| assert_eq!(to_text(html), text, "{html}");
        check("<p>Hello <b>Ada</b>,</p>\n<p>1 &lt; 2 &amp;amp; 3</p>", "Hello Ada,\n1 < 2 &amp; 3");
        check("<style>p { color: red }</style>one<br/>two", "one\ntwo");
        check("a <b", "a <b");
        check("<script>", "");
    }
}
