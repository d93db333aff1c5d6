//! What of a text is new, what is quoted and what is signature. Nothing is dropped: the check for repeated
//! private text (privacy rule 9) looks at all of it.
//!
//! Line by line, the first that fits:
//! 1. our own delimiter line, and all that follows it, is quoted;
//! 2. `-----Original Message-----` or a block of From/Sent/To/Subject lines, and all that follows, is quoted;
//! 3. `On … wrote:` is quoted, and so are the `>` lines; if no `>` line follows at once, all that follows is;
//! 4. `>` lines are quoted wherever they stand, so that answers between them stay new;
//! 5. a short rest behind a `-- ` line is the signature, and so is a last `Sent from my …` line.
//!
//! If nothing new is left and there is no signature, all is new: then the quoted text is what the author had to
//! say. Forwarded text (`---------- Forwarded message`, `Begin forwarded message:`) is new from its marker on,
//! because the author sends it for us to read.
//!
//! **Invariant:** every line that is not blank belongs to exactly one kind; blank lines go with the line before.

use super::marks;
use crate::domain::mail::BodyText;

const MAX_SIGNATURE_LINES: usize = 15;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    New,
    Quoted,
    Signature,
}

pub(super) fn split(full: String) -> BodyText {
    let lines: Vec<&str> = full.split_inclusive('\n').collect();
    let mut kinds = kinds_of(&lines, marks::delimiter_line(&full));
    mark_signature(&lines, &mut kinds);
    let blank = |line: &str| line.trim().is_empty();
    let says_something = kinds.iter().zip(&lines).any(|(kind, line)| *kind != Kind::Quoted && !blank(line));
    if !says_something {
        kinds.fill(Kind::New);
    }
    let mut text = BodyText::default();
    let mut start = 0;
    let mut before = Kind::New;
    for (line, kind) in lines.iter().zip(kinds) {
        let end = start + line.len();
        let kind = if blank(line) { before } else { kind };
        let ranges = match kind {
            Kind::New => &mut text.new,
            Kind::Quoted => &mut text.quoted,
            Kind::Signature => &mut text.signature,
        };
        match ranges.last_mut().filter(|range| range.end == start) {
            Some(range) => range.end = end,
            None => ranges.push(start..end),
        }
        before = kind;
        start = end;
    }
    text.full = full;
    text
}

fn kinds_of(lines: &[&str], delimiter: Option<usize>) -> Vec<Kind> {
    let mut kinds = vec![Kind::New; lines.len()];
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        if line.trim().is_empty() {
            at += 1;
            continue;
        }
        let rest = lines.get(at..).unwrap_or_default();
        if marks::is_forward_marker(line) {
            break;
        }
        if delimiter == Some(at) || marks::is_original_message(line) || marks::is_header_block(rest) {
            quote(&mut kinds, at, lines.len());
            break;
        }
        let quoted = line.trim_start().starts_with('>');
        if let Some(length) = marks::attribution(rest).filter(|_| !quoted) {
            let next = rest.iter().skip(length).find(|line| !line.trim().is_empty());
            if next.is_some_and(|line| !line.trim_start().starts_with('>')) {
                quote(&mut kinds, at, lines.len());
                break;
            }
            quote(&mut kinds, at, at + length);
            at += length;
            continue;
        }
        if quoted {
            quote(&mut kinds, at, at + 1);
        }
        at += 1;
    }
    kinds
}

fn quote(kinds: &mut [Kind], from: usize, to: usize) {
    for kind in kinds.iter_mut().take(to).skip(from) {
        *kind = Kind::Quoted;
    }
}

/// Marks the signature: from the last delimiter line on, as far as the text is the author's own.
fn mark_signature(lines: &[&str], kinds: &mut [Kind]) {
    let own = |at: &usize| kinds.get(*at) == Some(&Kind::New);
    let delimiter = (0..lines.len()).rev().filter(own).find(|at| {
        lines.get(*at).is_some_and(|line| matches!(line.trim_end_matches('\n'), "-- " | "--" | "- --"))
    });
    let last_own = (0..lines.len())
        .rev()
        .filter(own)
        .find(|at| lines.get(*at).is_some_and(|line| !line.trim().is_empty()));
    let sent_from = last_own.filter(|at| lines.get(*at).is_some_and(|line| marks::is_sent_from(line)));
    let Some(start) = delimiter.or(sent_from) else { return };
    let end = (start..lines.len()).find(|at| !own(at)).unwrap_or(lines.len());
    let nothing_own_below =
        !(end..lines.len()).any(|at| own(&at) && lines.get(at).is_some_and(|line| !line.trim().is_empty()));
    let said =
        lines.get(start..end).unwrap_or_default().iter().filter(|line| !line.trim().is_empty()).count();
    if nothing_own_below && said <= MAX_SIGNATURE_LINES + 1 {
        for kind in kinds.iter_mut().take(end).skip(start) {
            *kind = Kind::Signature;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines marked `N|`, `Q|` and `S|`: the text is what follows the mark, the kind is the mark.
    fn check(marked: &str) {
        let lines: Vec<(&str, &str)> =
            marked.lines().map(|line| line.trim_start().split_once('|').unwrap()).collect();
        let full: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
        let text = split(full.clone());
        let mut got = String::new();
        let mut start = 0;
        for (_, line) in &lines {
            let inside =
                |ranges: &[std::ops::Range<usize>]| ranges.iter().any(|range| range.contains(&start));
            let kinds =
                [("N", inside(&text.new)), ("Q", inside(&text.quoted)), ("S", inside(&text.signature))];
            let kind: String = kinds.iter().filter(|(_, holds)| *holds).map(|(name, _)| *name).collect();
            got.push_str(&format!("{kind}|{line}\n"));
            start += line.len() + 1;
        }
        let expected: String = lines.iter().map(|(kind, line)| format!("{kind}|{line}\n")).collect();
        assert_eq!(got, expected);
        assert_eq!(text.full, full);
    }

    #[test]
    fn a_mail_without_quotes_is_new() {
        check("N|Hello\nN|\nN|My order is late.\nN|On the other hand: no hurry.");
    }

    #[test]
    fn our_delimiter_starts_the_quoted_text() {
        check(
            "N|Thanks\nN|\nQ|##- Please type your reply above this line -##\nQ|\nQ|Ada wrote something\nQ|more",
        );
        check("N|Thanks\nQ|> ##- Please type your reply above this line -##\nQ|> old\nQ|not even marked");
        check("N|Thanks\nQ|> ##- Please type your reply above\nQ|> this line -##\nQ|old");
        check("N|Thanks\nQ|<b>##- Please type your reply above this line -##</b>");
    }

    #[test]
    fn an_attribution_and_what_it_introduces_is_quoted() {
        check("N|Yes\nN|\nQ|On Sat, 21 Nov 2026 at 10:12, Ada <ada@x.example> wrote:\nQ|> old\nQ|> older");
        check(
            "N|Yes\nN|\nQ|On Sat, 21 Nov 2026 at 10:12, Ada Lovelace\nQ|<ada@x.example>\nQ|wrote:\nQ|\nQ|> old",
        );
        check(
            "N|Yes\nQ|On Nov 21, 2026, at 10:12 AM, Ada <ada@x.example> wrote:\nQ|\nQ|old without marks\nQ|more",
        );
        check("N|On the other hand, 3 of them\nN|are late.\nQ|On 21 Nov 2026, Ada wrote:\nQ|> old");
        check("N|Ja\nQ|Am 21.11.2026 um 10:12 schrieb Ada <ada@x.example>:\nQ|> alt");
        check("N|Да\nQ|20 окт. 2016 г. 19:37 пользователь \"Ada\" <\nQ|ada@x.example> написал:\nQ|\nQ|> old");
        check("N|Oui\nQ|Le 21 nov. 2026 à 10:12, Ada <ada@x.example> a écrit :\nQ|> vieux");
    }

    #[test]
    fn answers_between_quoted_lines_stay_new() {
        check(
            "Q|On 21 Nov 2026, Ada wrote:\nQ|> first question?\nN|first answer\nQ|> second?\nN|second answer",
        );
    }

    #[test]
    fn original_message_marks_and_header_blocks_quote_the_rest() {
        check("N|Yes\nQ|-----Original Message-----\nQ|From: Ada\nQ|old");
        check(
            "N|Yes\nQ|From: Ada <ada@x.example>\nQ|Sent: Saturday\nQ|To: Desk\nQ|Subject: Order\nQ|\nQ|old",
        );
        check(
            "N|Yes\nQ|________________________________\nQ|From: Ada\nQ|Sent: Saturday\nQ|To: Desk\nQ|Cc: Bob\nQ|Subject: Order\nQ|old",
        );
        check("N|Ja\nQ|Von: Ada\nQ|Gesendet: Samstag\nQ|An: Desk\nQ|Betreff: x\nQ|alt");
        check("N|From: the box was\nN|To: the shop");
    }

    #[test]
    fn signatures_stand_apart() {
        check("N|Yes\nN|\nS|-- \nS|Ada\nS|Desk 3");
        check("N|Yes\nS|--\nS|Ada\nQ|On 21 Nov 2026, Bob wrote:\nQ|> old\nQ|> -- \nQ|> Bob");
        check("N|Yes\nN|\nS|Sent from my iPhone");
        check("N|--\nN|Is this line a rule?\nQ|> old\nN|Yes it is.");
        check("S|-- \nS|Ada\nQ|> old");
    }

    #[test]
    fn if_nothing_new_is_left_all_is_new() {
        check("N|> only\nN|> quoted");
        check("N|From: Ada\nN|Sent: Saturday\nN|To: Desk\nN|Subject: Order\nN|forwarded");
        assert_eq!(split(String::new()), BodyText::default());
    }

    #[test]
    fn forwarded_text_is_new() {
        check(
            "N|FYI\nN|---------- Forwarded message ---------\nN|From: Ada\nN|Date: Sat\nN|Subject: x\nN|To: Desk\nN|\nN|On 21 Nov 2026, Ada wrote:\nN|> hello",
        );
    }

    #[test]
    fn a_megabyte_of_short_lines_takes_no_time() {
        for line in ["\n", "x\n", ">\n", "On 1\n", "From:\n\n", "-- \n", "12:00 <\n", "_____\n"] {
            let text = line.repeat(1_000_000 / line.len());
            let started = std::time::Instant::now();
            assert_eq!(split(text.clone()).full, text);
            assert!(started.elapsed().as_secs() < 5, "{line:?} took {:?}", started.elapsed());
        }
    }
}
