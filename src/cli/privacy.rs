//! `postern privacy decide`: the privacy list for anybody to try, one JSON object of facts per line (DESIGN §6).
//!
//! Each line is answered on its own, by a decision or by an error that says what to change; blank lines are skipped.

use std::fmt;
use std::io::{self, BufRead, Write};

use serde::de::value::MapDeserializer;
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::Value;

use crate::privacy::{Facts, decide};

const OK: u8 = 0;
/// `EX_DATAERR` of sysexits.h.
const BAD_DATA: u8 = 65;

/// Answers every line of `input` by one line of `output`; returns the exit code.
///
/// # Errors
/// If reading or writing fails.
pub fn run(mut input: impl BufRead, mut output: impl Write) -> io::Result<u8> {
    let mut code = OK;
    let mut line = Vec::new();
    let mut number = 0;
    while input.read_until(b'\n', &mut line)? > 0 {
        number += 1;
        if !line.trim_ascii().is_empty() {
            let answer = match answer(&line) {
                Ok(decision) => decision,
                Err(mistake) => {
                    code = BAD_DATA;
                    serde_json::to_string(&Failure { error: Located { line: number, mistake } })?
                }
            };
            writeln!(output, "{answer}")?;
        }
        line.clear();
    }
    output.flush()?;
    Ok(code)
}

fn answer(line: &[u8]) -> Result<String, Mistake> {
    let facts = read_facts(line.trim_ascii_end())?;
    serde_json::to_string(&decide(&facts)).map_err(de::Error::custom)
}

fn read_facts(line: &[u8]) -> Result<Facts, Mistake> {
    let text = std::str::from_utf8(line).map_err(|error| not_utf8(line, error))?;
    let Fields(fields) = serde_json::from_str(text).map_err(|error| not_an_object(text, &error))?;
    let fields = fields.into_iter().map(|(name, value)| (name, Fact(value)));
    serde_path_to_error::deserialize(MapDeserializer::new(fields)).map_err(|error| {
        let place = error.path().to_string();
        let mistake = error.into_inner();
        Mistake { place: mistake.place.or(Some(place)), ..mistake }
    })
}

#[derive(Serialize)]
struct Failure {
    error: Located,
}

#[derive(Serialize)]
struct Located {
    line: u64,
    #[serde(flatten)]
    mistake: Mistake,
}

/// What is wrong with a line.
#[derive(Debug, Serialize)]
struct Mistake {
    what: String,
    /// The fact, or the column.
    #[serde(rename = "where")]
    place: Option<String>,
    found: String,
    expected: String,
}

fn not_utf8(line: &[u8], error: std::str::Utf8Error) -> Mistake {
    let valid = error.valid_up_to();
    let byte = line.get(valid).copied().unwrap_or_default();
    Mistake {
        what: "the line is not UTF-8".to_owned(),
        place: Some(format!("column {}", valid + 1)),
        found: format!("byte 0x{byte:02x}"),
        expected: "UTF-8 text".to_owned(),
    }
}

fn not_an_object(text: &str, error: &serde_json::Error) -> Mistake {
    let expected = "one JSON object with all facts".to_owned();
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let what = "the line is not a JSON object".to_owned();
        return Mistake { what, place: Some("column 1".to_owned()), found: described(&value), expected };
    }
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    let there = text.char_indices().take_while(|(start, _)| *start < error.column()).last();
    let found = match there {
        Some((_, c)) if !error.is_eof() => format!("`{}`", c.escape_debug()),
        _ => "the end of the line".to_owned(),
    };
    Mistake {
        what: format!("the line is not JSON: {message}"),
        place: Some(format!("column {}", error.column())),
        found,
        expected,
    }
}

/// The members of a JSON object as written; a map would hide that one is there twice.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

/// The value of one fact: `true`, `false` or a word.
struct Fact(Value);

impl<'de> IntoDeserializer<'de, Mistake> for Fact {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Fact {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(value),
            other => Err(wrong_type(&other, "`true` or `false`")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match self.0 {
            Value::String(word) => visitor.visit_enum(word.into_deserializer()),
            other => Err(wrong_type(&other, &one_of(words))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn wrong_type(found: &Value, expected: &str) -> Mistake {
    Mistake {
        what: "the fact has a value of the wrong type".to_owned(),
        place: None,
        found: described(found),
        expected: expected.to_owned(),
    }
}

fn described(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(_) => format!("the string `{value}`"),
        other => format!("`{other}`"),
    }
}

fn one_of(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    format!("one of {}", words.join(", "))
}

impl de::Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { what: message.to_string(), place: None, found: String::new(), expected: String::new() }
    }

    fn unknown_variant(word: &str, words: &'static [&'static str]) -> Self {
        let found = format!("the string `\"{word}\"`");
        Self { found, expected: one_of(words), ..Self::custom("the fact has an unknown value") }
    }

    fn unknown_field(name: &str, names: &'static [&'static str]) -> Self {
        Self {
            what: "the fact is unknown".to_owned(),
            place: Some(name.to_owned()),
            found: format!("`{name}`"),
            expected: one_of(names),
        }
    }

    fn missing_field(name: &'static str) -> Self {
        Self {
            what: "the fact is missing".to_owned(),
            place: Some(name.to_owned()),
            found: "nothing".to_owned(),
            expected: "a value for every fact; only settings have defaults".to_owned(),
        }
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self {
            what: "the fact is there twice".to_owned(),
            place: Some(name.to_owned()),
            found: "two values".to_owned(),
            expected: "one value".to_owned(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: found {}, expected {}", self.what, self.found, self.expected)
    }
}

impl std::error::Error for Mistake {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts() -> Value {
        json!({
            "updating_ticket": true, "identified_by_encoded_id": false, "recovered": false,
            "author_kind": "end_user", "author_can_edit_ticket": true, "author_is_requester": true,
            "author_is_assignee": false, "author_is_cc": false, "author_is_follower": false,
            "agent_treated_as_end_user": false, "role_may_comment_publicly": false,
            "requester_is_direct_recipient": false, "recipients_beyond_support_addresses": false,
            "command": "none", "repeats_private_comment": false,
            "ticket_is_private": true, "notified_comment_was_private": false
        })
    }

    fn with(name: &str, value: Value) -> String {
        let mut facts = facts();
        facts[name] = value;
        facts.to_string()
    }

    fn answers(input: &[u8]) -> (u8, Vec<Value>) {
        let mut output = Vec::new();
        let code = run(input, &mut output).unwrap();
        let lines = std::str::from_utf8(&output).unwrap().lines();
        (code, lines.map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    fn check(line: impl AsRef<[u8]>, what: &str, place: &str, found: &str, expected: &str) {
        let (code, answers) = answers(line.as_ref());
        assert_eq!(code, BAD_DATA);
        let error = json!({ "line": 1, "what": what, "where": place, "found": found, "expected": expected });
        assert_eq!(answers, [json!({ "error": error })]);
    }

    #[test]
    fn a_line_of_facts_is_answered_by_a_decision() {
        let (code, answers) = answers(facts().to_string().as_bytes());
        assert_eq!(code, OK);
        let [decision] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((&decision["outcome"], &decision["rule"]), (&json!("public"), &json!("end-user")));
        assert_eq!(decision["trace"].as_array().unwrap().len(), 7);
    }

    #[test]
    fn settings_may_be_given() {
        let (_, answers) = answers(with("end_user_mail_on_private_ticket", json!("private")).as_bytes());
        assert_eq!(answers[0]["rule"], "private-ticket");
    }

    #[test]
    fn a_bad_line_does_not_keep_the_others_from_being_answered() {
        let good = facts().to_string();
        let (code, answers) = answers(format!("\n{good}\r\n{{}}\n  \n{good}\n").as_bytes());
        assert_eq!(code, BAD_DATA);
        assert_eq!(answers.len(), 3);
        assert_eq!(answers[1]["error"]["line"], 3);
        assert_eq!(answers[0], answers[2]);
    }

    #[test]
    fn no_lines_have_no_answers() {
        assert_eq!(answers(b"\n \n"), (OK, vec![]));
    }

    #[test]
    fn a_wrong_fact_is_named_with_what_would_be_right() {
        let kind = "the fact has a value of the wrong type";
        let value = "the fact has an unknown value";
        let bool = "`true` or `false`";
        check(with("author_is_cc", json!("yes")), kind, "author_is_cc", "the string `\"yes\"`", bool);
        check(with("author_is_cc", json!(1)), kind, "author_is_cc", "`1`", bool);
        check(with("author_is_cc", json!(null)), kind, "author_is_cc", "`null`", bool);
        check(
            with("author_kind", json!(["agent"])),
            kind,
            "author_kind",
            "an array",
            "one of `agent`, `end_user`",
        );
        check(
            with("command", json!("#note")),
            value,
            "command",
            "the string `\"#note\"`",
            "one of `none`, `note`, `public`, `not_public`",
        );
        check(
            with("follower_replies", json!("always")),
            value,
            "follower_replies",
            "the string `\"always\"`",
            "one of `private`, `mirror`, `as_agent`",
        );
    }

    #[test]
    fn facts_missing_unknown_or_given_twice_are_named() {
        let mut without = facts();
        without.as_object_mut().unwrap().remove("recovered");
        check(
            without.to_string(),
            "the fact is missing",
            "recovered",
            "nothing",
            "a value for every fact; only settings have defaults",
        );
        let twice = facts().to_string().replace('}', r#","recovered":true}"#);
        check(twice, "the fact is there twice", "recovered", "two values", "one value");

        let (_, answers) = answers(with("recoverd", json!(true)).as_bytes());
        let error = &answers[0]["error"];
        assert_eq!((&error["what"], &error["where"]), (&json!("the fact is unknown"), &json!("recoverd")));
        assert!(error["expected"].as_str().unwrap().contains("`recovered`"));
    }

    #[test]
    fn lines_that_are_not_an_object_are_named() {
        let expected = "one JSON object with all facts";
        check("[]", "the line is not a JSON object", "column 1", "an array", expected);
        check("true", "the line is not a JSON object", "column 1", "`true`", expected);
        check(
            "{\"recovered\": ",
            "the line is not JSON: EOF while parsing a value",
            "column 13",
            "the end of the line",
            expected,
        );
        check("{} {}", "the line is not JSON: trailing characters", "column 4", "`{`", expected);
        check("{\"recovered\" true}", "the line is not JSON: expected `:`", "column 14", "`t`", expected);
        check("{recovered: true}", "the line is not JSON: key must be a string", "column 2", "`r`", expected);
        check(b"{\"caf\xE9\": true}", "the line is not UTF-8", "column 6", "byte 0xe9", "UTF-8 text");
    }
}
