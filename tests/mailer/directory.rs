//! Mails as files.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use postern::mailer::transport::{Delivery, Sender, Transport};

use crate::world::*;

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn each_mail_is_one_file_with_its_envelope() {
    let desk = Desk::promising(&["kim@cust.example", "bo@cust.example"]);
    let directory = desk.directory.path().join("made/when/needed");
    let mailer = desk.mailer_with(Transport::Directory(directory.clone()), 4);
    assert_eq!(mailer.run_once().await.unwrap().claimed, 2);
    assert_eq!(desk.states(1..=2), ["sent", "sent"]);
    assert_eq!(names(&directory), ["00000001.eml", "00000002.eml"]);
    let text = std::fs::read_to_string(directory.join("00000002.eml")).unwrap();
    let envelope = "X-Envelope-From: bounce+verp2@desk.example\r\nX-Envelope-To: bo@cust.example\r\n";
    assert!(text.starts_with(envelope), "{text}");
    assert!(text.contains("Message-ID: <row2@desk.example>\r\n"));
}

#[tokio::test]
async fn a_second_try_leaves_one_file_with_the_same_bytes_and_nothing_half_written() {
    let desk = Desk::promising(&["kim@cust.example"]);
    let directory = desk.directory.path().join("outgoing");
    let claimed = desk.claim();
    let mut sender = Sender::new(Transport::Directory(directory.clone()));
    assert_eq!(sender.send(&outgoing(&claimed[0])).await, Delivery::Sent);
    let first = std::fs::read(directory.join("00000001.eml")).unwrap();
    // As a crash in the middle of writing leaves it.
    std::fs::write(directory.join(".00000001.eml.tmp"), "X-Envelope-Fr").unwrap();
    let desk = desk.reopened();
    desk.wait_until_due();
    let mailer = desk.mailer(Transport::Directory(directory.clone()));
    mailer.run_once().await.unwrap();
    assert_eq!(names(&directory), ["00000001.eml"]);
    assert_eq!(std::fs::read(directory.join("00000001.eml")).unwrap(), first);
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_costs_no_mail() {
    let desk = Desk::promising(&["kim@cust.example", "bo@cust.example"]);
    let directory = desk.directory.path().join("outgoing");
    // A file in its place stops even a superuser, whom permissions do not.
    std::fs::write(&directory, "in the way").unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o400)).unwrap();
    let mailer = desk.mailer(Transport::Directory(directory.clone()));
    for _ in 0..3 {
        let fault = mailer.run_once().await.unwrap().site_fault.expect("a fault of the site");
        assert!(fault.contains("outgoing directory"), "{fault}");
        assert_eq!(desk.states(1..=2), ["queued", "queued"]);
        assert_eq!((desk.row(1).attempts, desk.row(2).attempts), (0, 0));
    }
    std::fs::remove_file(&directory).unwrap();
    mailer.run_once().await.unwrap();
    assert_eq!(names(&directory), ["00000001.eml", "00000002.eml"]);
}
