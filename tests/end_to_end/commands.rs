//! Exit codes that mean something, and errors that say where.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Answer, Desk, run_with};

fn postern(words: &[&str], input: &str) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(words);
    run_with(command, input.as_bytes())
}

#[test]
fn a_broken_file_is_named_with_its_line_and_key() {
    let desk = Desk::new();
    assert!(desk.run(&["check"]).expect(0).stdout.contains("support@localhost"));

    desk.change_config("people.toml", "role = \"admin\"", "role = \"emperor\"");
    desk.change_config("postern.toml", "#max_errors = 20", "max_errors = \"few\"");
    let people = std::fs::read_to_string(desk.config("people.toml")).unwrap();
    let line = people.lines().position(|line| line.contains("emperor")).unwrap() + 1;
    for words in [&["check"][..], &["serve", "--listen", "127.0.0.1:0"], &["replay", "."]] {
        let answer = desk.run(words);
        let stderr = &answer.expect(78).stderr;
        assert!(stderr.contains(&format!("people.toml:{line}: ")), "{stderr}");
        assert!(stderr.contains("role") && stderr.contains("`emperor`"), "{stderr}");
        assert!(
            stderr.contains("postern.toml:") && stderr.contains("max_errors"),
            "all faults at once: {stderr}"
        );
    }
}

#[test]
fn commands_about_what_is_not_there_end_with_1_and_mistyped_ones_with_2() {
    let desk = Desk::new();
    for words in [&["audit"][..], &["ticket", "show", "1"], &["outbox", "list"], &["keys", "list"]] {
        let answer = desk.run(words);
        assert!(answer.expect(1).stderr.contains("holds no database"), "{}", answer.stderr);
    }
    assert!(!desk.data().exists(), "reading makes nothing");

    desk.start().stop();
    desk.run(&["audit"]).expect(0);
    desk.run(&["ticket", "show", "1"]).expect(1);
    desk.run(&["explain", "1"]).expect(1);
    desk.run(&["suspended", "show", "1"]).expect(1);
    desk.run(&["ticket", "list", "--status", "odd"]).expect(2);
    desk.run(&["explain", "no/such/mail.eml"]).expect(2);
    desk.run(&["replay", "no/such/folder"]).expect(2);
    desk.run(&["replay"]).expect(2);
    postern(&["brew"], "").expect(2);
    postern(&[], "").expect(2);
    postern(&["--help"], "").expect(0);
    postern(&["--version"], "").expect(0);
}

#[test]
fn the_privacy_list_answers_each_line_and_ends_with_65_if_one_was_no_facts() {
    let facts = json!({
        "updating_ticket": true, "identified_by_encoded_id": true, "author_can_edit_ticket": true,
        "author_kind": "agent", "author_is_requester": false, "author_is_assignee": true,
        "author_is_cc": false, "author_is_follower": false, "agent_treated_as_end_user": false,
        "requester_is_direct_recipient": false, "recipients_beyond_support_addresses": false,
        "role_may_comment_publicly": true, "command": "note", "ticket_is_private": false,
        "notified_comment_was_private": false, "repeats_private_comment": false, "recovered": false
    });
    let good = postern(&["privacy", "decide"], &format!("{facts}\n"));
    let [decision] = &good.expect(0).json_lines()[..] else { panic!("{}", good.stdout) };
    assert_eq!(
        json!([decision["outcome"], decision["rule"], decision["flagged"]]),
        json!(["private", "note-command", false])
    );
    let last = decision["trace"].as_array().unwrap().last().unwrap();
    assert_eq!(json!([last["rule"], last["answer"]]), json!(["note-command", "settle"]));
    assert!(last["because"].is_string());

    let mixed = postern(&["privacy", "decide"], &format!("{facts}\nnonsense\n{{}}\n{facts}"));
    let lines = mixed.expect(65).json_lines();
    let errors: Vec<_> = lines.iter().map(|line| line["error"]["line"].clone()).collect();
    assert_eq!(errors, [Value::Null, json!(2), json!(3), Value::Null]);
    assert!(postern(&["privacy", "rules"], "").expect(0).stdout.contains("repeats-private-comment"));
}
