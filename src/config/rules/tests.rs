//! Rule files: what loads, and what each mistake is told.

use super::*;

fn errors(text: &str) -> Vec<String> {
    match parse_triggers("triggers.toml", text) {
        Ok(triggers) => panic!("loaded {triggers:?}"),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// A trigger with one condition and one action in the places that the cases fill.
fn trigger(condition: &str, action: &str) -> String {
    format!(
        "[[triggers]]\nkey = \"t\"\ntitle = \"T\"\nconditions.all = [{condition}]\nactions = [{action}]\n"
    )
}

const CONDITION: &str = r#"{ field = "status", value = "open" }"#;
const ACTION: &str = r#"{ field = "priority", value = "high" }"#;

#[test]
fn the_standard_set_loads() {
    let triggers = parse_triggers("config/triggers.toml", STANDARD_TRIGGERS).unwrap();
    assert_eq!(triggers.len(), 10);
    let inactive: Vec<&str> = triggers.iter().filter(|t| !t.active).map(|t| t.key.as_str()).collect();
    assert_eq!(inactive, ["assign-first-responding-agent"]);
}

#[test]
fn a_trigger_reads_back_as_the_json_it_is_written_as() {
    for trigger in parse_triggers("config/triggers.toml", STANDARD_TRIGGERS).unwrap() {
        let json = serde_json::to_string(&trigger).unwrap();
        assert_eq!(serde_json::from_str::<Trigger>(&json).unwrap(), trigger);
    }
}

#[test]
fn each_mistake_in_a_condition_says_its_place_what_was_found_and_what_is_right() {
    let check = |condition: &str, expected: &str| {
        let errors = errors(&trigger(condition, ACTION));
        assert!(errors.len() == 1 && errors[0].starts_with(expected), "{condition}: {errors:#?}");
    };
    let at = "triggers.toml:4: t.conditions.all[0]";
    check(
        r#"{ field = "stats" }"#,
        &format!("{at}.field: found `stats`, expected one of update_type, status"),
    );
    check(
        r#"{ field = "group_id", operator = "less_than", value = "x" }"#,
        &format!("{at}.operator: found `less_than`, expected one of is, is_not, changed"),
    );
    check(
        r#"{ field = "status", value = "opn" }"#,
        &format!("{at}.value: found `opn`, expected one of new, open, pending, hold, solved, closed"),
    );
    check(r#"{ field = "priority", operator = "less_than", value = "" }"#, &format!("{at}.value: found ``"));
    check(
        r#"{ field = "status", operator = "changed", value = "open" }"#,
        &format!("{at}.value: found `open`"),
    );
    check(r#"{ field = "requester_id", value = "" }"#, &format!("{at}.value: found ``"));
    check(
        r#"{ field = "current_tags", operator = "includes", value = " " }"#,
        &format!("{at}.value: found ` `"),
    );
    check(r#"{ field = "status", value = "open", valve = 1 }"#, &format!("{at}: found `valve`"));
    check(r#"{ value = "open" }"#, &format!("{at}.field: found `nothing`, expected a text"));
    check(r#"{ field = "status", value = [1] }"#, &format!("{at}.value: found `array`"));
    check(r#""status is open""#, &format!("{at}: found `status is open`, expected a table"));
}

#[test]
fn each_mistake_in_an_action_does_too() {
    let check = |action: &str, expected: &str| {
        let errors = errors(&trigger(CONDITION, action));
        assert!(errors.len() == 1 && errors[0].starts_with(expected), "{action}: {errors:#?}");
    };
    let at = "triggers.toml:5: t.actions[0]";
    check(
        r#"{ field = "status", value = "new" }"#,
        &format!("{at}.value: found `new`, expected one of open"),
    );
    check(r#"{ field = "priority", value = "" }"#, &format!("{at}.value: found ``"));
    check(
        r#"{ field = "notify", value = "x" }"#,
        &format!("{at}.field: found `notify`, expected one of status"),
    );
    check(
        r#"{ field = "notification_user", value = ["requester_id", "s"] }"#,
        &format!("{at}.value: found `array`, expected [recipient, subject, body]"),
    );
    check(
        r#"{ field = "notification_user", value = ["everybody", "s", "b"] }"#,
        &format!("{at}.value: found `everybody`, expected one of requester_id"),
    );
    check(
        r#"{ field = "notification_user", value = ["requester_id", "{{ x | shout }}", "b"] }"#,
        &format!("{at}.subject: found `unknown filter `shout``"),
    );
}

#[test]
fn a_mistake_in_a_template_is_reported_at_its_line_in_the_file() {
    let body = "{ field = \"notification_user\", value = [\"requester_id\", \"s\", \"\"\"\nHello\n{% if x %}\n{{ x | shout }}\n{% endif %}\n\"\"\"] }";
    let errors = errors(&trigger(CONDITION, body));
    assert!(errors[0].starts_with("triggers.toml:8: t.actions[0].body: found `unknown filter"), "{errors:?}");
}

#[test]
fn all_mistakes_of_a_file_are_reported_together_in_its_order() {
    let text = format!(
        "{}{}",
        trigger(r#"{ field = "a" }"#, ACTION),
        trigger(CONDITION, r#"{ field = "b", value = 1 }"#)
    );
    let errors = errors(&text);
    let lines: Vec<&str> = errors.iter().filter_map(|error| error.split(": ").next()).collect();
    assert_eq!(lines, ["triggers.toml:4", "triggers.toml:6", "triggers.toml:10"], "{errors:#?}");
    assert!(errors[1].ends_with("found `t`, expected a key that no other trigger has"), "{errors:#?}");
}

#[test]
fn a_trigger_without_conditions_or_actions_or_too_large_is_refused() {
    let check = |text: &str, expected: &str| {
        assert!(errors(text).iter().any(|error| error.contains(expected)), "{expected}: {:#?}", errors(text));
    };
    check(&trigger("", ACTION), "t.conditions: found `nothing`");
    check("[[triggers]]\nkey = \"t\"\ntitle = \"T\"\nactions = []\n", "t.conditions: found `nothing`");
    check(&trigger(CONDITION, ""), "t.actions: found `nothing`");
    let many: String = (0..9000).map(|n| format!("tag{n} ")).collect();
    check(
        &trigger(CONDITION, &format!("{{ field = \"set_tags\", value = \"{many}\" }}")),
        "a rule of at most",
    );
    check("triggers = 1", "triggers: found `1`, expected a list");
    check("[[triggers]\n", "toml: found");
}

#[test]
fn the_words_of_an_export_are_understood() {
    for condition in [
        r#"{ field = "status", operator = "value_previous", value = "solved" }"#,
        r#"{ field = "current_via_id", operator = "is", value = 4 }"#,
        r#"{ field = "comment_is_public", operator = "is", value = true }"#,
        r#"{ field = "assignee_id", operator = "changed", value = "" }"#,
    ] {
        parse_triggers("triggers.toml", &trigger(condition, ACTION)).unwrap();
    }
}
