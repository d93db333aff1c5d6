//! Bytes to bytes (transfer encodings, RFC 2045 §6) and bytes to characters, forgiving what real mail gets wrong.

use std::borrow::Cow;

use data_encoding::HEXLOWER_PERMISSIVE;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;

use memchr::{memchr, memchr2};

use super::Defects;
use crate::domain::mail::Defect;

/// Undoes the transfer encoding. What cannot be decoded is kept as far as it can.
pub(super) fn transfer(bytes: &[u8], encoding: &str, defects: &mut Defects) -> Vec<u8> {
    match encoding {
        "base64" => base64_decode(bytes).unwrap_or_else(|| {
            defects.insert(Defect::BrokenTransferEncoding);
            base64_prefix(bytes)
        }),
        "quoted-printable" => quoted_printable(bytes).unwrap_or_else(|| {
            defects.insert(Defect::BrokenTransferEncoding);
            quoted_printable_leniently(bytes)
        }),
        "" | "7bit" | "8bit" | "binary" => bytes.to_vec(),
        _ => {
            defects.insert(Defect::BrokenTransferEncoding);
            bytes.to_vec()
        }
    }
}

/// The characters of a text part, with LF line ends, without byte order mark and control characters.
pub(super) fn text(bytes: &[u8], charset: Option<&str>, defects: &mut Defects) -> String {
    let charset = charset.map(|name| name.trim().to_ascii_lowercase()).unwrap_or_default();
    // Many programs call whatever they send ASCII or UTF-8: there the bytes know better than the label.
    let unlabelled =
        matches!(charset.as_str(), "" | "us-ascii" | "ascii" | "utf-8" | "utf8" | "ansi_x3.4-1968");
    let decoder = charset_decoder(charset.as_bytes()).filter(|_| !unlabelled);
    if decoder.is_none() && !unlabelled {
        defects.insert(Defect::UnknownCharset);
    }
    tidy(&decoder.map_or_else(|| guess(bytes), |decode| decode(bytes).into()))
}

/// UTF-8 if it is (or was meant to be), else windows-1252, of which Latin-1 is a part.
pub(super) fn guess(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.into();
    }
    // One good multi-byte sequence says UTF-8 with damage; Latin-1 text practically never forms one.
    let damaged_utf8 = bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii());
    match charset_decoder(b"windows-1252") {
        Some(decode) if !damaged_utf8 => decode(bytes).into(),
        _ => String::from_utf8_lossy(bytes),
    }
}

/// LF line ends; no byte order mark at the start; no control characters but line feed and tab.
pub(super) fn tidy(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if looks_tidy(text.as_bytes()) {
        return text.to_owned();
    }
    text.replace("\r\n", "\n").replace('\r', "\n").chars().filter(|c| !is_unwanted(*c)).collect()
}

/// Whether nothing in it could have to go: most texts are tidy, and to see that costs little, in blocks without branches
/// that the compiler does many bytes of at a time. (0xC2 leads U+0080 to U+009F, and others that may stay.)
pub(super) fn looks_tidy(bytes: &[u8]) -> bool {
    let suspect =
        |byte: u8| ((byte < b' ') & (byte != b'\n') & (byte != b'\t')) | (byte == 0x7f) | (byte == 0xc2);
    bytes.chunks(128).all(|block| !block.iter().fold(false, |found, &byte| found | suspect(byte)))
}

/// One line of text: control characters removed, trimmed.
pub(super) fn line(text: &str) -> String {
    let kept: String = text
        .chars()
        .map(|c| if c == '\t' || c == '\n' { ' ' } else { c })
        .filter(|c| !c.is_control())
        .collect();
    kept.trim().to_owned()
}

fn is_unwanted(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

/// Lists append their footer to base64 parts in plain text: decode up to the first line that is no base64.
fn base64_prefix(bytes: &[u8]) -> Vec<u8> {
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/= \t".contains(byte);
    let lines = bytes.split(|&byte| byte == b'\n').take_while(|line| line.iter().all(alphabet));
    let good: Vec<u8> = lines.flatten().copied().collect();
    base64_decode(&good).filter(|decoded| !decoded.is_empty()).unwrap_or_else(|| bytes.to_vec())
}

/// RFC 2045 §6.7, over LF line ends; `None` if a `=` is followed by neither two hexadecimal digits nor the end of its line.
/// Nearly all of a mail passes through here, so runs without `=` are copied as they are.
fn quoted_printable(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    // White space behind this place was written literally, and goes if the line ends there (rule 3).
    let mut literal_from = 0;
    while let Some(at) = memchr2(b'=', b'\n', rest) {
        let (run, marked) = rest.split_at(at);
        out.extend_from_slice(run);
        let (&mark, after) = marked.split_first()?;
        if mark == b'\n' {
            let literal = out.get(literal_from..).unwrap_or_default();
            out.truncate(literal_from + literal.trim_ascii_end().len());
            out.push(b'\n');
            rest = after;
        } else if let Some((&[high, low], after)) = after.split_first_chunk()
            && let (Some(high), Some(low)) = (hexadecimal(high), hexadecimal(low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            // A soft line break, or one that the end of the part cut short.
            let line = memchr(b'\n', after).map_or(after.len(), |end| end + 1);
            let (blank, after) = after.split_at(line);
            if !blank.trim_ascii().is_empty() {
                return None;
            }
            rest = after;
        }
        literal_from = out.len();
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Text in most languages has hundreds of these in each mail: a table of a library for any length is slower at two digits.
fn hexadecimal(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// A `=` that is followed by no two hexadecimal digits stands for itself, as RFC 2045 §6.7 suggests.
fn quoted_printable_leniently(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let ends = line.ends_with(b"\n");
        let line = line.trim_ascii_end();
        let (line, soft) = line.strip_suffix(b"=").map_or((line, false), |line| (line, true));
        let mut pieces = line.split(|&byte| byte == b'=');
        out.extend_from_slice(pieces.next().unwrap_or_default());
        for piece in pieces {
            match piece
                .split_at_checked(2)
                .and_then(|(digits, rest)| Some((HEXLOWER_PERMISSIVE.decode(digits).ok()?, rest)))
            {
                Some((octet, rest)) => out.extend(octet.iter().chain(rest)),
                None => out.extend(b"=".iter().chain(piece)),
            }
        }
        if ends && !soft {
            out.push(b'\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_that_are_no_utf8_are_read_as_windows_1252() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(guess(bytes), expected);
        check(b"plain", "plain");
        check("Grüße".as_bytes(), "Grüße");
        check(b"Gr\xfc\xdfe", "Grüße");
        check(b"\x80 5 \x96 \x93quoted\x94", "€ 5 – “quoted”");
        check(b"Gr\xc3\xbc\xc3\x9fe \xff", "Grüße \u{fffd}");
    }

    #[test]
    fn broken_transfer_encodings_keep_what_can_be_read() {
        let check = |bytes: &[u8], encoding: &str, expected: &[u8]| {
            let mut defects = Defects::new();
            assert_eq!(transfer(bytes, encoding, &mut defects), expected);
            assert!(defects.contains(&Defect::BrokenTransferEncoding), "{encoding}");
        };
        check(b"aGVsbG8=\n-- \nlist footer!\n", "base64", b"hello");
        check(b"!!!", "base64", b"!!!");
        check(b"a=3db=C3\nc=ZZd=\ne=4\n", "quoted-printable", b"a=b\xc3\nc=ZZde=4\n");
        check(b"as is", "x-own", b"as is");
    }

    #[test]
    fn quoted_printable_is_read_as_the_standard_says() {
        let check = |bytes: &[u8], expected: Option<&[u8]>| {
            assert_eq!(quoted_printable(bytes).as_deref(), expected, "{:?}", String::from_utf8_lossy(bytes));
        };
        check(b"a=3Db=c3=BC\nplain\n", Some("a=bü\nplain\n".as_bytes()));
        check(b"soft=\nbreak = \t\nagain=", Some(b"softbreak again"));
        check(b"white \t\n  \nkept=20\nlast ", Some(b"white\n\nkept \nlast "));
        check(b"a=20 \n", Some(b"a \n"));
        check(b"a=4", None);
        check(b"a=zz\n", None);
        check(b"a==41\n", None);
        check(b"", Some(b""));
    }

    proptest! {
        #[test]
        fn what_is_written_as_quoted_printable_reads_as_it_was(
            bytes in prop::collection::vec(prop_oneof![Just(b' '), Just(b'\n'), Just(b'='), any::<u8>()], 0..200),
            soft in 1_usize..40,
        ) {
            let mut written = String::new();
            for (at, byte) in bytes.iter().enumerate() {
                let plain = byte.is_ascii_graphic() && *byte != b'=';
                written += &if plain { char::from(*byte).to_string() } else { format!("={byte:02X}") };
                if at % soft == 0 {
                    written += "=\n";
                }
            }
            prop_assert_eq!(quoted_printable(written.as_bytes()), Some(bytes));
        }
    }

    #[test]
    fn text_comes_out_with_lf_line_ends_and_without_control_characters() {
        let check = |bytes: &[u8], charset: Option<&str>, expected: &str| {
            assert_eq!(text(bytes, charset, &mut Defects::new()), expected);
        };
        check(b"\xef\xbb\xbfa\r\nb\rc\0d\te", None, "a\nb\ncd\te");
        check(b"\x1b$B$3$s\x1b(B", Some("ISO-2022-JP"), "こん");
        check(b"Gr\xfc\xdfe", Some("utf-8"), "Grüße");
        check("Grüße".as_bytes(), Some("us-ascii"), "Grüße");
    }
}
