//! Whether a mail repeats a private comment (rule 9), without keeping the comment: fingerprints do.
//!
//! Texts are compared in the form of `normalise`. Of a private comment's windows of 32 characters the smallest hash
//! in every 9 neighbours is kept (winnowing: Schleimer, Wilkerson, Aiken, SIGMOD 2003); all windows of the mail are
//! looked up. So every run of 40 characters that mail and comment share is found, and none below 32. A comment of
//! 12 to 39 characters is found as a whole, a shorter one never: it would match by chance.
//!
//! **Invariants.** Linear in the mail, the public texts and the prints. What is public already does not count. No
//! text leaves this module: a hit names the comment and a length.

use std::collections::{BTreeMap, BTreeSet};

use super::normalise::{normalise, readings};
use super::rolling::Hasher;
use crate::domain::ids::CommentId;
use crate::domain::snapshot::{PrivatePrint, WholePrint};

/// Every run of this many characters, shared with a private comment, is found.
const RUN: usize = 40;
/// No run shorter than this is, unless it is a whole comment.
const WINDOW: usize = 32;
/// So many neighbouring windows fit into a run: one of them is kept.
const NEIGHBOURS: usize = RUN - WINDOW + 1;
/// The shortest comment that is found.
const SHORTEST: usize = 12;

/// All of a mail, as far as people may read it.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// The whole text and the HTML, quoted parts included.
    pub texts: &'a [&'a str],
    /// SHA-256 of each attachment.
    pub attachments: &'a [[u8; 32]],
}

/// What a mail repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    pub comment: Option<CommentId>,
    /// At least so many characters in a row are the same; 0 for an attachment.
    pub chars: usize,
}

/// The fingerprint of a private comment: of its new text (plain, nothing quoted) and its attachments.
#[must_use]
pub fn print(
    key: &[u8; 32],
    comment: Option<CommentId>,
    new_text: &str,
    attachments: &[[u8; 32]],
) -> PrivatePrint {
    let hasher = Hasher::new(key);
    let text = normalise(new_text);
    let hashes: Vec<u64> = hasher.windows(&text, WINDOW).collect();
    let mut windows: Vec<u64> =
        hashes.windows(NEIGHBOURS).filter_map(|few| few.iter().min().copied()).collect();
    windows.sort_unstable();
    windows.dedup();
    let whole = (SHORTEST..RUN).contains(&text.len()).then(|| {
        let chars = u32::try_from(text.len()).ok()?;
        hasher.windows(&text, text.len()).next().map(|hash| WholePrint { chars, hash })
    });
    PrivatePrint { comment, windows, whole: whole.flatten(), attachments: attachments.to_vec() }
}

/// The most that `mail` repeats of the comments in `private`, if anything.
///
/// Text and attachments that are public too (comments of the ticket, our own templates) do not count.
#[must_use]
pub fn repeats(
    key: &[u8; 32],
    mail: &Mail,
    private: &[PrivatePrint],
    public_texts: &[&str],
    public_attachments: &[[u8; 32]],
) -> Option<Hit> {
    repeated_text(key, mail.texts, private, public_texts)
        .or_else(|| repeated_attachment(mail.attachments, private, public_attachments))
}

fn repeated_text(key: &[u8; 32], texts: &[&str], private: &[PrivatePrint], public: &[&str]) -> Option<Hit> {
    let mut wanted = Wanted::of(private);
    if wanted.is_empty() {
        return None;
    }
    let hasher = Hasher::new(key);
    for text in public.iter().flat_map(|text| readings(text)) {
        wanted.forget(&hasher, &normalise(&text));
    }
    let mut longest: Option<Run> = None;
    for text in texts.iter().flat_map(|text| readings(text)) {
        let run = wanted.longest_run(&hasher, &normalise(&text));
        longest = longest.into_iter().chain(run).reduce(Run::longer);
    }
    let Run { print, .. } = longest?;
    Some(Hit { comment: private.get(print)?.comment, chars: longest?.chars() })
}

fn repeated_attachment(
    attachments: &[[u8; 32]],
    private: &[PrivatePrint],
    public: &[[u8; 32]],
) -> Option<Hit> {
    let carried: BTreeSet<_> = attachments.iter().collect();
    let public: BTreeSet<_> = public.iter().collect();
    let repeated = |hash: &[u8; 32]| carried.contains(hash) && !public.contains(hash);
    let print = private.iter().find(|print| print.attachments.iter().any(repeated))?;
    Some(Hit { comment: print.comment, chars: 0 })
}

/// The hashes to look for, each with the place of its print, by the length of the window they cover.
struct Wanted(BTreeMap<usize, BTreeMap<u64, usize>>);

impl Wanted {
    fn of(prints: &[PrivatePrint]) -> Self {
        let mut wanted = BTreeMap::<usize, BTreeMap<u64, usize>>::new();
        for (place, print) in prints.iter().enumerate() {
            let windows = print.windows.iter().map(|hash| (WINDOW, *hash));
            let whole = print.whole.iter().map(|whole| (whole.chars as usize, whole.hash));
            for (length, hash) in windows.chain(whole) {
                wanted.entry(length).or_default().entry(hash).or_insert(place);
            }
        }
        Self(wanted)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What stands in this text is public.
    fn forget(&mut self, hasher: &Hasher, text: &[char]) {
        for (length, hashes) in &mut self.0 {
            for hash in hasher.windows(text, *length) {
                hashes.remove(&hash);
            }
        }
        self.0.retain(|_, hashes| !hashes.is_empty());
    }

    fn longest_run(&self, hasher: &Hasher, text: &[char]) -> Option<Run> {
        let runs = self.0.iter().filter_map(|(length, hashes)| {
            let found = hasher.windows(text, *length).enumerate();
            let found = found.filter_map(|(start, hash)| {
                hashes.get(&hash).map(|print| Run { print: *print, start, end: start + length })
            });
            joined(found).reduce(Run::longer)
        });
        runs.reduce(Run::longer)
    }
}

/// Characters of a text, from `start` to before `end`, that a private comment has too.
#[derive(Clone, Copy)]
struct Run {
    print: usize,
    start: usize,
    end: usize,
}

impl Run {
    fn chars(&self) -> usize {
        self.end - self.start
    }

    fn longer(self, other: Self) -> Self {
        if other.chars() > self.chars() { other } else { self }
    }
}

/// Each run, made longer by those before it that it overlaps and that are of the same comment.
fn joined(runs: impl Iterator<Item = Run>) -> impl Iterator<Item = Run> {
    runs.scan(None, |last: &mut Option<Run>, run| {
        let before = last.filter(|before| before.print == run.print && run.start <= before.end);
        let run = Run { start: before.map_or(run.start, |before| before.start), ..run };
        *last = Some(run);
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &[u8; 32] = b"a secret that only this test has";
    const NOTE: &str =
        "Do not tell them yet: the vendor confirmed the breach, legal wants to wait until Monday.";

    fn note(text: &str) -> PrivatePrint {
        print(KEY, Some(CommentId(7)), text, &[])
    }

    fn search(mail: &str, private: &[PrivatePrint], public: &[&str]) -> Option<Hit> {
        repeats(KEY, &Mail { texts: &[mail], attachments: &[] }, private, public, &[])
    }

    fn check(mail: &str, private: &str, found: bool) {
        assert_eq!(search(mail, &[note(private)], &[]).is_some(), found, "`{private}` in `{mail}`");
    }

    #[test]
    fn a_quoted_note_is_found_with_its_comment_and_length() {
        let mail = format!("Sure, will do.\n\nOn Monday, Ada wrote:\n> {}", NOTE.replace(", ", ",\n> "));
        let hit =
            search(&mail, &[note("Something else entirely, long enough to have windows."), note(NOTE)], &[]);
        let hit = hit.unwrap();
        assert_eq!(hit.comment, Some(CommentId(7)));
        assert!((RUN..=NOTE.len()).contains(&hit.chars), "{hit:?}");
    }

    #[test]
    fn a_note_inside_html_is_found() {
        check(
            "<p>Hi</p><blockquote><p>Do not tell them <b>yet</b>:&nbsp;the vendor<br>\nconfirmed the breach, \
               legal wants to wait</p></blockquote>",
            NOTE,
            true,
        );
        check(
            "<a href='x' title='the vendor confirmed the breach, legal wants to wait'>link</a>",
            NOTE,
            true,
        );
    }

    #[test]
    fn a_note_with_signs_of_markup_is_found_in_text_and_in_html() {
        let note = "if (a < b && c > d) { refund(customer, 4000) } else { refuse() }";
        check(&format!("> {note}"), note, true);
        check(&note.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"), note, true);
    }

    #[test]
    fn short_comments_count_as_a_whole_only() {
        check("Yes: Refund de-\u{AD}nied, sorry.", "refund de-nied", true);
        check("refund deni", "refund denied", false);
        check("they said refund denied twice", "Refund\ndenied", true);
        check("we denied the refund", "refund denied", false);
        let of_39 = "abcdefghijklmnopqrstuvwxyz0123456789.:;";
        check(of_39, of_39, true);
        check(of_39.trim_end_matches(';'), of_39, false);
    }

    #[test]
    fn comments_below_twelve_characters_never_count() {
        check("ok thanks all", "ok thanks al", false);
        check("ok thanks all!", "ok thanks all!", true);
        check("", "", false);
    }

    #[test]
    fn attachments_count_by_content_unless_they_are_public_too() {
        let [secret, logo, other] = [[1; 32], [2; 32], [3; 32]];
        let private = [print(KEY, Some(CommentId(9)), "", &[secret, logo])];
        let check = |attachments: &[[u8; 32]], found: Option<Hit>| {
            let mail = Mail { texts: &[], attachments };
            assert_eq!(repeats(KEY, &mail, &private, &[], &[logo]), found);
        };
        check(&[other, secret], Some(Hit { comment: Some(CommentId(9)), chars: 0 }));
        check(&[logo, other], None);
        check(&[], None);
    }

    #[test]
    fn without_the_key_a_print_finds_nothing() {
        let other = print(&[0; 32], None, NOTE, &[]);
        assert_eq!(search(NOTE, &[other], &[]), None);
    }

    #[test]
    fn prints_keep_about_a_fifth_of_the_windows_and_those_in_order() {
        let text: String = (0..2_000).map(|n| format!("{n} ")).collect();
        let windows = note(&text).windows;
        let all = normalise(&text).len() - WINDOW + 1;
        assert!(
            windows.is_sorted() && (all / 9..all / 3).contains(&windows.len()),
            "{} of {all}",
            windows.len()
        );
    }

    #[test]
    fn a_megabyte_is_searched_in_under_a_second() {
        let line =
            |n: usize| format!("<p>Line {n} is <b>not</b> the one &amp; keeps the search b\u{FC}sy</p>\n");
        let mail: String = (0..16_000).map(line).collect();
        assert!(mail.len() > 1_000_000);
        let private = [note(NOTE), note("called, nobody there"), note(&"another ".repeat(5_000))];
        let fast_enough = || {
            let start = std::time::Instant::now();
            assert_eq!(search(&mail, &private, &[]), None);
            start.elapsed().as_millis() < 1_000
        };
        // The best of ten, since the machine may be busy with other things; anything quadratic takes minutes.
        assert!((0..10).any(|_| fast_enough()));
    }

    /// Words of many scripts, and the signs that quoting, markup and conversion play with.
    fn words() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            6 => "[a-zA-Z0-9]{1,9}",
            1 => "[àéïõüßçøñ]{1,6}",
            1 => "[а-яΑ-Ωά-ώ]{1,6}",
            1 => "[日本語見積書請求]{1,6}",
            1 => "[<>&;\"'“”’|*_.,:()#/=-]{1,3}",
        ];
        prop::collection::vec(word, 40..120).prop_map(|words| words.join(" "))
    }

    /// What a mail client may do to a text, chosen by a number per character.
    fn disguised(text: &str, html: bool, choices: &[u8]) -> String {
        let mut out = String::new();
        for (c, choice) in text.chars().zip(choices.iter().cycle()) {
            let between = match (choice % 16, html) {
                (0, false) => "\r\n> > ",
                (0, true) => "<br>\r\n",
                (1, _) => "\u{200B}",
                (2, _) => "\u{AD}",
                (3, false) => "\u{A0}",
                (3, true) => "&nbsp;",
                (4, true) => "</b><span style=\"color: red\">",
                (5, true) => "<!-- a > b -->",
                (6, true) => "&#8203;",
                _ => "",
            };
            out.push_str(between);
            match c {
                '<' if html => out.push_str("&lt;"),
                '>' if html => out.push_str("&#62;"),
                '&' if html => out.push_str("&amp;"),
                '"' if html => out.push_str("&quot;"),
                '\'' => out.push('’'),
                c if choice / 16 < 5 => out.extend(c.to_uppercase()),
                c => out.push(c),
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_run_of_forty_is_found_whatever_clients_did_to_it(
            secret in words(), before in words(), after in words(),
            skip in 0..60_usize, html: bool, choices in prop::collection::vec(any::<u8>(), 1..200),
        ) {
            let rest = || secret.chars().skip(skip);
            let long_enough = |count: &usize| normalise(&rest().take(*count).collect::<String>()).len() >= RUN;
            let count = (RUN..=rest().count()).find(long_enough);
            prop_assume!(count.is_some());
            let run: String = rest().take(count.unwrap()).collect();
            let [before, run, after] = [&before, &run, &after].map(|text| disguised(text, html, &choices));
            let hit = search(&format!("{before}\n{run}\n{after}"), &[note("other"), note(&secret)], &[]);
            prop_assert!(hit.is_some_and(|hit| hit.comment == Some(CommentId(7)) && hit.chars >= WINDOW));
        }

        #[test]
        fn pieces_below_a_window_are_not_found(secret in "[a-z0-9]{40,400}", size in 1..WINDOW) {
            let letters: Vec<char> = secret.chars().collect();
            let pieces: Vec<String> = letters.chunks(size).map(|piece| piece.iter().collect()).collect();
            prop_assert_eq!(search(&pieces.join("§"), &[note(&secret)], &[]), None);
        }

        #[test]
        fn quoting_public_comments_in_full_is_never_a_hit(
            public in prop::collection::vec(words(), 1..4), choices in prop::collection::vec(any::<u8>(), 1..200),
            html: bool, secret in "[A-Z]{8,30}",
        ) {
            let private: Vec<_> = public.iter().map(|text| note(&format!("§{secret}§{text}§{secret}§"))).collect();
            let public: Vec<&str> = public.iter().map(String::as_str).collect();
            let quoted = disguised(&public.join("\n\n¶ wrote:\n"), html, &choices);
            prop_assert_eq!(search(&quoted, &private, &public), None);
            prop_assert!(search(&quoted, &private, &[]).is_some(), "only what is public hides it");
        }

        #[test]
        fn private_words_beside_public_ones_are_found(public in words(), secret in words()) {
            let private = note(&format!("{public} {secret}"));
            let hit = search(&format!("Hello, \n> {public}\n> {secret}\n"), &[private], &[&public]);
            prop_assert!(hit.is_some());
        }

        #[test]
        fn a_short_comment_is_found_whole_and_not_in_part(text in "[a-z0-9]{12,39}", choices: Vec<u8>) {
            let choices = [&[9], &choices[..]].concat();
            let whole = disguised(&text, false, &choices);
            let hit = search(&format!("Hi\n{whole}\nBye"), &[note(&text)], &[]);
            prop_assert_eq!(hit, Some(Hit { comment: Some(CommentId(7)), chars: text.len() }));
            let part = disguised(text.split_at(1).1, false, &choices);
            prop_assert_eq!(search(&format!("§ {part} §"), &[note(&text)], &[]), None);
            prop_assert_eq!(search(&whole, &[note(&text)], &[&format!("we said {text} before")]), None);
        }
    }
}
