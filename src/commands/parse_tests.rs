//! Reading command blocks: reference/mail-api.md §9, and the doubts around it.

use super::*;

/// The block as text: a line per command, then `---`, then the body.
fn read(text: &str) -> String {
    let block = parse(text);
    let lines = block.commands.iter().map(|parsed| {
        let value = match &parsed.command {
            Command::Requester(person) | Command::Assignee(person) => match person {
                Person::Id(id) => format!("id {id}"),
                Person::Address(address) => address.to_string(),
            },
            Command::Group(GroupName::Id(id)) => format!("id {id}"),
            Command::Group(GroupName::Name(name)) => format!("name {name}"),
            Command::Type(value) => value.word().to_owned(),
            Command::Priority(value) => value.word().to_owned(),
            Command::Status(value) => value.word().to_owned(),
            Command::Tags(tags) => tags.iter().map(String::as_str).collect::<Vec<_>>().join("+"),
            Command::Public(public) => public.to_string(),
            Command::Note => String::new(),
            Command::Unusable { .. } => "unusable".to_owned(),
        };
        format!("{} {value}", parsed.definition.name).trim().to_owned() + "\n"
    });
    let lines: String = lines.collect();
    format!("{lines}---\n{}", block.body)
}

#[track_caller]
fn check(text: &str, commands: &[&str], body: &str) {
    let lines: String = commands.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(read(text), format!("{lines}---\n{body}"), "reading {text:?}");
}

#[track_caller]
fn check_privacy(text: &str, expected: PrivacyCommand, body: &str) {
    let block = parse(text);
    assert_eq!((block.privacy_command(), block.body.as_str()), (expected, body), "reading {text:?}");
}

// The numbers are those of reference/mail-api.md §9.

#[test]
fn case_1_commands_are_read_and_taken_out_of_the_text() {
    check(
        "#status solved\n#assignee jake@x.example\n\nAll done.\n",
        &["status solved", "assignee jake@x.example"],
        "All done.",
    );
}

#[test]
fn case_2_a_mail_may_hold_nothing_but_commands() {
    check("#solved", &["status solved"], "");
}

#[test]
fn cases_5_to_8_note_wins_over_public() {
    check_privacy("#note\ntext", PrivacyCommand::Note, "text");
    check_privacy("#public false\ntext", PrivacyCommand::NotPublic, "text");
    check_privacy("#public true\ntext", PrivacyCommand::Public, "text");
    check_privacy("#note\n#public true\ntext", PrivacyCommand::Note, "text");
    check_privacy("#public true\n#note\ntext", PrivacyCommand::Note, "text");
    check_privacy("#public\ntext", PrivacyCommand::Public, "text");
    check_privacy("text", PrivacyCommand::None, "text");
}

#[test]
fn case_9_a_command_below_text_is_text() {
    check("text\n#solved", &[], "text\n#solved");
}

#[test]
fn case_10_an_unknown_word_before_a_command_is_skipped_and_stays_text() {
    check("#frobnicate yes\n#solved", &["status solved"], "#frobnicate yes");
    check("#a\n\n#b b\n#solved\n#c\ntext", &["status solved"], "#a\n#b b\n#c\ntext");
}

#[test]
fn case_10b_a_line_that_only_starts_with_a_hash_ends_the_block() {
    let text = "#1 issue is login\ntext\n#solved";
    check(text, &[], text);
    check("#frobnicate yes\ntext\n#solved", &[], "#frobnicate yes\ntext\n#solved");
}

#[test]
fn case_11_statuses_that_mail_may_not_set_are_unusable_and_taken_out() {
    for status in ["closed", "new", "hold", "done", ""] {
        check(&format!("#status {status}\n#high\ntext"), &["status unusable", "priority high"], "text");
    }
}

#[test]
fn case_12_any_number_of_spaces_separates_the_value() {
    check("#status   pending", &["status pending"], "");
    check("  #status\t pending  \ntext", &["status pending"], "text");
}

#[test]
fn case_13_case_does_not_matter() {
    check(
        "#SOLVED\n#Type INCIDENT\n#PRIORITY High",
        &["status solved", "type incident", "priority high"],
        "",
    );
}

#[test]
fn case_18_commands_stand_above_a_forward() {
    let forwarded = "---------- Forwarded message ----------\nFrom: a@b.example\n\n#urgent help";
    check(
        &format!("#requester a@b.example\n#group Billing\n{forwarded}"),
        &["requester a@b.example", "group name Billing"],
        forwarded,
    );
}

#[test]
fn case_19_tags_are_separated_by_spaces_and_commas() {
    check("#tags vip, Refund urgent-case", &["tags refund+urgent-case+vip"], "");
    check("#tag: vip,,\n#tags \"two\"", &["tags vip", "tags two"], "");
    check("#tags ,", &["tags unusable"], "");
}

#[test]
fn case_21_html_only_mail_reads_the_same_once_it_is_text() {
    check("#pending\n\nHi", &["status pending"], "Hi");
}

#[test]
fn text_on_the_line_of_a_short_form_or_a_listed_value_is_prose_and_ends_the_block() {
    check("#solved thanks\n#high", &[], "#solved thanks\n#high");
    check("#high\n#solved thanks\n#low", &["priority high"], "#solved thanks\n#low");
    check("#status of the order?\n#solved", &[], "#status of the order?\n#solved");
    check("# solved\ntext", &[], "# solved\ntext");
    check("#public transport is late", &[], "#public transport is late");
}

#[test]
fn a_wish_for_a_note_that_is_in_doubt_is_a_wish_for_a_note() {
    check_privacy(
        "#note the customer is wrong\n#solved",
        PrivacyCommand::Note,
        "the customer is wrong\n#solved",
    );
    check_privacy("#note: wrong", PrivacyCommand::Note, "wrong");
    check_privacy("#public false for now", PrivacyCommand::NotPublic, "for now");
    check_privacy("#public fasle\ntext", PrivacyCommand::NotPublic, "text");
    check_privacy("#public false\n#public true\ntext", PrivacyCommand::NotPublic, "text");
}

#[test]
fn invisible_characters_and_no_break_spaces_count_as_space() {
    check(
        "\u{feff}#solved\u{a0}\n\u{200b}\n#priority\u{a0}high\u{200b}\ntext",
        &["status solved", "priority high"],
        "text",
    );
}

#[test]
fn the_first_address_of_a_link_counts() {
    for value in [
        "jake@x.example<mailto:jake@x.example>",
        "<jake@x.example>",
        "Jake Doe <jake@x.example>",
        "[jake@x.example](mailto:jake@x.example)",
        "mailto:jake@x.example",
        "\"jake@x.example\"",
        "\u{201c}jake@x.example\u{201d}",
    ] {
        check(&format!("#assignee {value}"), &["assignee jake@x.example"], "");
    }
}

#[test]
fn digits_are_an_id_and_a_name_is_enough_for_a_group_only() {
    check(
        "#requester 12\n#assignee 34\n#group 56",
        &["requester id 12", "assignee id 34", "group id 56"],
        "",
    );
    check(
        "#requester Jake\n#assignee Jake\n#group 'Tier  2'",
        &["requester unusable", "assignee unusable", "group name Tier 2"],
        "",
    );
    check("#requester 99999999999999999999", &["requester unusable"], "");
    check("#requester\n#assignee a@b@c", &["requester unusable", "assignee unusable"], "");
}

#[test]
fn names_and_values_have_a_length() {
    let long_name = format!("#{}\n#solved", "a".repeat(33));
    check(&long_name, &[], &long_name);
    let long_value = format!("#group {}\n#solved", "a".repeat(201));
    check(&long_value, &[], &long_value);
    check(&format!("#group {}", "a".repeat(200)), &[&format!("group name {}", "a".repeat(200))], "");
}

#[test]
fn every_documented_word_is_read() {
    for definition in COMMANDS {
        for name in std::iter::once(&definition.name).chain(definition.aliases) {
            let block = parse(&format!("#{name}"));
            assert_eq!(block.commands.first().map(|parsed| parsed.definition), Some(definition));
        }
        for value in definition.values.iter().filter(|value| !value.starts_with('<')) {
            let long = parse(&format!("#{} {value}", definition.name));
            assert!(!matches!(long.commands[0].command, Command::Unusable { .. }), "`{value}` is documented");
            let short = parse(&format!("#{value}"));
            assert_eq!(short == long, definition.short_forms, "short form `#{value}`");
        }
    }
}

#[test]
fn the_lookup_names_everybody_the_commands_name() {
    let (addresses, ids) =
        parse("#requester a@b.example\n#assignee 7\n#assignee c@d.example\n#group 9").lookup();
    let addresses: Vec<_> = addresses.iter().map(Address::key).collect();
    assert_eq!(addresses, ["a@b.example", "c@d.example"]);
    assert_eq!(ids, BTreeSet::from([UserId(7)]));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_and_text_without_commands_is_kept(text in "[#a-z \\n\u{a0}:<@\u{200b}]{0,60}|\\PC{0,80}") {
        let block = parse(&text);
        if block.commands.is_empty() {
            assert_eq!(block.body, text.trim());
        }
    }

    #[test]
    fn a_note_command_on_top_is_always_a_note(tail in "[#a-z \\n]{0,60}") {
        assert_eq!(parse(&format!("#note\n{tail}")).privacy_command(), PrivacyCommand::Note);
    }
}
