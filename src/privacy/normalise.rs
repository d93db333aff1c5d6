//! One form for all the shapes a text takes on its way through mail clients (rule 9).
//!
//! What re-wrapping, quoting, formatting and conversion between HTML and text change is left out or made alike:
//! compatibility forms (NFKC), case, quote marks of every kind, `*` and `_` (bold and italics written as text),
//! white space, and characters nobody sees.
//!
//! **Invariant:** linear in the text; never fails.

use std::borrow::Cow;

use mail_parser::decoders::html::html_to_text;
use unicode_normalization::UnicodeNormalization as _;

/// The ways to read a text of which nobody says whether it is HTML: as it stands, and with tags left out and
/// entities decoded. Both count, since a tag may hide text from the first reading and a mere `<` from the second.
pub(super) fn readings(text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let as_html = text.contains(['<', '&']).then(|| Cow::Owned(html_to_text(text)));
    std::iter::once(Cow::Borrowed(text)).chain(as_html)
}

/// The characters that count, in the one form they are compared in.
pub(super) fn normalise(text: &str) -> Vec<char> {
    if text.is_ascii() {
        return text.chars().filter(|c| counts(*c)).map(|c| c.to_ascii_lowercase()).collect();
    }
    // Decomposed before and composed after, so that neither case nor what is left out changes what composes.
    text.chars().filter(|c| counts(*c)).nfkd().filter(|c| counts(*c)).flat_map(fold).nfkc().collect()
}

/// Upper case first: it makes `ß` and `SS`, or the two forms of a small sigma, the same.
fn fold(c: char) -> impl Iterator<Item = char> {
    c.to_uppercase().flat_map(char::to_lowercase)
}

fn counts(c: char) -> bool {
    !(c.is_whitespace() || c.is_control() || is_mark(c) || is_invisible(c))
}

/// Quotation marks (Unicode `Quotation_Mark`, and what stands in for them), signs of quoted lines, and the signs
/// that stand for formatting where HTML was made text.
fn is_mark(c: char) -> bool {
    matches!(c,
        '"' | '\'' | '`' | '´' | '«' | '»' | '<' | '>' | '|' | '*' | '_'
        | '\u{02B9}'..='\u{02BC}' | '\u{2018}'..='\u{201F}' | '\u{2032}'..='\u{2037}' | '\u{2039}' | '\u{203A}'
        | '\u{2E42}' | '\u{300C}'..='\u{300F}' | '\u{301D}'..='\u{301F}')
}

/// Unicode `Default_Ignorable_Code_Point`, the blank Braille pattern and the place of an embedded object.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFF8}'
        | '\u{FFFC}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(one: &str, other: &str) {
        let forms = |text: &str| readings(text).map(|text| normalise(&text)).collect::<Vec<_>>();
        let shared = forms(one).iter().any(|form| !form.is_empty() && forms(other).contains(form));
        assert!(shared, "`{one}` and `{other}` have no common form: {:?} {:?}", forms(one), forms(other));
    }

    #[test]
    fn what_mail_clients_change_does_not_matter() {
        check("Give no refund, ever", "> GIVE\n> no re\u{00AD}fund,\u{00A0}ever");
        check("the customer's \"VIP\" status", "the customer’s “VIP” status");
        check("don't", "don\u{00B4}t");
        check("no refund", "n\u{200B}o ref\u{2060}und\u{FEFF}");
        check("R&D says x < 5 and y > 3", "<p>R&amp;D says x &lt; 5&nbsp;and y &gt;&#32;3</p>");
        check("a very bold word", "<div>a <b>very <i>bo</i>ld</b><br>word<style>p{}</style></div>");
        check("a very bold word", "a *very _bold_* word");
        check("ﬁle №５", "file No5");
        check("Straße", "STRASSE");
        check("ὈΔΥΣΣΕΎΣ", "ὀδυσσεύς");
        check("caf\u{00E9}", "CAFE\u{0301}");
        check("caf\u{00E9}", "cafe\u{200D}\u{0301}");
        check("\u{0390}", "\u{0399}\u{0308}\u{0301}");
        check("見積書は\n明日", "見積書は明日");
    }

    #[test]
    fn what_people_wrote_does_matter() {
        for (one, other) in [("refund 10", "refund 100"), ("resume", "résumé"), ("a-b", "ab"), ("3.5", "35")]
        {
            assert_ne!(normalise(one), normalise(other));
        }
    }

    #[test]
    fn the_short_way_for_ascii_gives_the_same_form() {
        let ascii: String = (0..128_u8).map(char::from).collect();
        let long_way = normalise(&format!("{ascii}é"));
        assert_eq!(normalise(&ascii), long_way[..long_way.len() - 1]);
    }

    proptest! {
        #[test]
        fn any_text_has_a_form(text in r"([<>/&;!#x0-9a -]|<!--|-->|</?style>|</?head>|\PC)*") {
            for reading in readings(&text) {
                prop_assert!(normalise(&reading).into_iter().all(counts));
            }
        }
    }
}
