//! The marks by which mail programs set quoted and forwarded text and signatures apart, a function for each.
//!
//! Each is asked of each line of each mail, and almost always the answer is no: what a look at one character can rule out
//! does not reach the pattern.

use std::sync::LazyLock;

use regex::Regex;

const MAX_ATTRIBUTION_LINES: usize = 4;
const MAX_ATTRIBUTION: usize = 500;

const COLONS: [char; 2] = [':', '：'];

/// `None` only if a pattern here were no regular expression, which the tests of `quoting` would show.
type Pattern = LazyLock<Option<Regex>>;

const FORWARDED: &[&str] = &[
    "forwarded (message|mail)",
    "weitergeleitete nachricht",
    "message transféré",
    "mensaje reenviado",
    "messaggio inoltrato",
    "doorgestuurd bericht",
    "mensagem encaminhada",
];

const ORIGINAL: &[&str] = &[
    "original (message|appointment)",
    "ursprüngliche nachricht",
    "message d['’]origine",
    "mensaje original",
    "messaggio originale",
    "oorspronkelijk bericht",
    "mensagem original",
    "原始邮件",
    "元のメッセージ",
];

const WROTE: &[&str] = &[
    "wrote",
    "schrieb",
    "a écrit",
    "escribió",
    "ha scritto",
    "schreef",
    "escreveu",
    "skrev",
    r"napisał(\(a\)|a)?",
];

const SENT_FROM: &[&str] = &[
    r"sent from my \w",
    "sent from (outlook|mail) for",
    "get outlook for",
    r"von meinem \w+ gesendet",
    "gesendet von mein",
    "envoyé de(puis)? mon",
    "enviado desde mi",
    r"inviato da(l mio)? \w",
    "verzonden vanaf mijn",
    "enviado do meu",
    r"send[td] fr[aå]n? min \w",
];

/// The four lines by which Outlook quotes, by the names they have in different languages.
const HEADER_BLOCK: [&[&str]; 4] = [
    &["from", "von", "de", "da", "van", "från", "fra", "od", "от", "发件人", "差出人"],
    &[
        "sent",
        "date",
        "gesendet",
        "datum",
        "envoyé",
        "enviado( el)?",
        "fecha",
        "inviato",
        "data",
        "verzonden",
        "skickat",
        "sendt",
        "发送时间",
        "送信日時",
    ],
    &["to", "an", "à", "para", "a", "aan", "till", "til", "do", "кому", "收件人", "宛先"],
    &[
        "subject",
        "betreff",
        "objet",
        "asunto",
        "oggetto",
        "onderwerp",
        "assunto",
        "ämne",
        "emne",
        "temat",
        "тема",
        "主题",
        "件名",
    ],
];

/// The number of the line in which our delimiter begins; it may be quoted and wrapped.
pub(super) fn delimiter_line(full: &str) -> Option<usize> {
    const WORDS: &[&str] = &["##-", "please", "type", "your", "reply", "above", "this", "line", "-##"];
    static DELIMITER: Pattern = LazyLock::new(|| Regex::new(&format!("(?i){}", WORDS.join(r"[\s>]+"))).ok());
    let found = DELIMITER.as_ref()?.find(full)?;
    full.get(..found.start()).map(|before| before.matches('\n').count())
}

pub(super) fn is_forward_marker(line: &str) -> bool {
    static MARK: Pattern = LazyLock::new(|| {
        Regex::new(&format!(r"(?i)^\s*(-{{2,}}\s*({})|begin forwarded message:)", FORWARDED.join("|"))).ok()
    });
    line.trim_start().starts_with(['-', 'b', 'B']) && matches(&MARK, line)
}

pub(super) fn is_original_message(line: &str) -> bool {
    static MARK: Pattern = LazyLock::new(|| {
        Regex::new(&format!(r"(?i)^[\s>*]*-{{2,}}\s*({})\s*-{{2,}}", ORIGINAL.join("|"))).ok()
    });
    line.contains("--") && matches(&MARK, line)
}

pub(super) fn is_sent_from(line: &str) -> bool {
    static MARK: Pattern = LazyLock::new(|| Regex::new(&format!(r"(?i)^\s*({})", SENT_FROM.join("|"))).ok());
    matches(&MARK, line)
}

/// From, Sent, To and Subject lines in a row, a line of underscores above them or not.
pub(super) fn is_header_block(rest: &[&str]) -> bool {
    static FIELDS: LazyLock<[Option<Regex>; 4]> = LazyLock::new(|| {
        HEADER_BLOCK
            .map(|names| Regex::new(&format!(r"(?i)^[\s>*]*({})\s?\*?\s?[:：]", names.join("|"))).ok())
    });
    let Some(first) = rest.first() else { return false };
    // Asked of each line of each mail. 0xEF leads the other colon.
    let may_begin =
        memchr::memchr2(b':', 0xef, first.as_bytes()).is_some() || first.trim_start().starts_with('_');
    if !may_begin {
        return false;
    }
    let mut lines = rest.iter().filter(|line| !line.trim().is_empty()).peekable();
    lines.next_if(|line| line.trim().len() >= 5 && line.trim().chars().all(|c| c == '_'));
    if !lines.peek().is_some_and(|line| line.contains(COLONS)) {
        return false;
    }
    let block: Vec<&&str> = lines.take(8).collect();
    let [from, others @ ..] = &*FIELDS;
    let has = |field: &Option<Regex>, line: &str| field.as_ref().is_some_and(|regex| regex.is_match(line));
    block.first().is_some_and(|line| has(from, line))
        && others.iter().all(|field| block.iter().skip(1).any(|line| has(field, line)))
}

/// How many lines an attribution (`On … wrote:`) at the start of `rest` takes.
pub(super) fn attribution(rest: &[&str]) -> Option<usize> {
    static WHOLE: Pattern = LazyLock::new(|| {
        Regex::new(&format!(r"(?is)[\d@].*\b({})[^\n]{{0,120}}:\s*$", WROTE.join("|"))).ok()
    });
    let first = rest.first()?;
    if stands_alone(first) {
        return Some(1);
    }
    if !opens_attribution(first) {
        return introduction(rest);
    }
    let mut joined = String::new();
    for (count, line) in rest.iter().take(MAX_ATTRIBUTION_LINES).enumerate() {
        // `On the other hand …` above the real attribution must not swallow it.
        let starts_again = count > 0 && opens_attribution(line);
        if line.trim().is_empty() || starts_again || joined.len() + line.len() > MAX_ATTRIBUTION {
            return None;
        }
        joined.push_str(line);
        if matches(&WHOLE, &joined) {
            return Some(count + 1);
        }
    }
    None
}

/// Whether the line begins as `On …` does. Asked of each line of each mail, so without a pattern.
fn opens_attribution(line: &str) -> bool {
    const WORDS: &[&str] = &["on", "le", "am", "el", "il", "op", "em", "den", "på", "dnia"];
    let line = line.trim_start();
    let initial = line.as_bytes().first().map(u8::to_ascii_lowercase);
    if !initial.is_some_and(|initial| b"olaeidpw".contains(&initial)) {
        return false;
    }
    let Some((first, rest)) = line.split_once(char::is_whitespace) else { return false };
    let is = |word: &str, expected: &str| {
        word.eq_ignore_ascii_case(expected) || !word.is_ascii() && word.to_lowercase() == expected
    };
    if first.len() > "dnia".len() {
        return false;
    }
    let two_words = || {
        is(first, "w")
            && line.get(first.len()..).is_some_and(|after| after.starts_with(' '))
            && rest.split_once(char::is_whitespace).is_some_and(|(second, _)| is(second, "dniu"))
    };
    WORDS.iter().any(|word| is(first, word)) || two_words()
}

/// `Ada <ada@x.example> wrote:` and `2026-11-21 10:00 GMT Ada <ada@x.example>:` need no opening word.
fn stands_alone(line: &str) -> bool {
    static DATED: Pattern =
        LazyLock::new(|| Regex::new(r"^\s*\d{4}[-/.年].{0,80}<\S+@\S+>\s*[:：]\s*$").ok());
    static WRITTEN: Pattern = LazyLock::new(|| {
        Regex::new(&format!(r"(?i)^\s*.{{0,120}}<\S+@\S+>\s*({})\s*:\s*$", WROTE.join("|"))).ok()
    });
    line.contains('<')
        && line.trim_end().ends_with(COLONS)
        && (matches(&DATED, line) || matches(&WRITTEN, line))
}

/// In any language: one line or two with a time and an address or quoted name, ending in a colon, right above
/// the `>` lines.
fn introduction(rest: &[&str]) -> Option<usize> {
    static TIME: Pattern = LazyLock::new(|| {
        Regex::new(r#"(\d{1,2}[:.]\d{2}|\d{4}).*[@"<]|[@"<].*(\d{1,2}[:.]\d{2}|\d{4})"#).ok()
    });
    let said = |line: &&&str| !line.trim().is_empty();
    let quote_follows =
        |count| rest.iter().skip(count).find(said).is_some_and(|line| line.trim_start().starts_with('>'));
    let ends = |line: &&str| line.trim_end().ends_with(COLONS);
    let length = if rest.first().is_some_and(ends) { 1 } else { 2 };
    let holds = rest.get(length - 1).is_some_and(ends)
        && rest.first().is_some_and(|line| matches(&TIME, line))
        && quote_follows(length);
    holds.then_some(length)
}

fn matches(pattern: &Pattern, text: &str) -> bool {
    pattern.as_ref().is_some_and(|regex| regex.is_match(text))
}
