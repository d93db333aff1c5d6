use std::fs;

use super::*;
use crate::domain::address::Address;

fn letter(text: &str) -> Letter {
    let address = |text| Address::parse(text).unwrap();
    Letter {
        reverse_path: Some(address("rita@customer.example")),
        recipients: vec![address("support@desk.example")],
        raw: text.as_bytes().to_vec(),
    }
}

fn spool(mode: u32) -> (tempfile::TempDir, Spool) {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("spool");
    Spool::open(&dir).unwrap();
    fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
    let spool = Spool::open(&dir).unwrap();
    (home, spool)
}

fn strange(spool: &Spool, name: &str) -> String {
    spool.read(name, LARGEST_FILE).unwrap_err().to_string()
}

#[test]
fn what_waits_is_copied_and_what_is_no_letter_of_ours_is_not() {
    let (home, spool) = spool(0o700);
    let name = spool.put(&letter("x"), Timestamp(0)).unwrap();
    let secret = home.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, spool.path("a", KEPT)).unwrap();
    fs::hard_link(&secret, spool.path("b", KEPT)).unwrap();
    let copies = home.path().join("copies");
    assert_eq!(spool.copy_waiting(&copies, 0).unwrap().len(), 2);
    assert_eq!(fs::read_dir(&copies).unwrap().count(), 1);
    assert_eq!(Spool::open(&copies).unwrap().read(&name, LARGEST_FILE).unwrap(), letter("x"));
}

#[test]
fn letters_are_read_as_they_were_written_oldest_first() {
    let (_home, spool) = spool(0o700);
    let bounce = Letter { reverse_path: None, recipients: Vec::new(), raw: b"late\r\n\0\xff".to_vec() };
    let late = spool.put(&bounce, Timestamp(20)).unwrap();
    let early = spool.put(&letter("early"), Timestamp(3)).unwrap();
    assert_eq!(spool.waiting().unwrap(), [early.clone(), late.clone()]);
    assert_eq!(spool.read(&early, LARGEST_FILE).unwrap(), letter("early"));
    assert_eq!(spool.read(&late, LARGEST_FILE).unwrap(), bounce);
    spool.remove(&early).unwrap();
    assert_eq!(spool.waiting().unwrap(), [late]);
}

#[test]
fn nothing_stays_of_a_letter_that_may_not_survive_a_crash() {
    let (home, spool) = spool(0o700);
    let failing = |dir: &Path| {
        assert!(spool.path("a", KEPT).exists() && dir == spool.dir);
        Err(io::Error::other("the disk is gone"))
    };
    let error = spool.keep("a", &letter("x"), failing).unwrap_err();
    assert_eq!(error.to_string(), "the disk is gone");
    assert_eq!(fs::read_dir(home.path().join("spool")).unwrap().count(), 0);
}

#[test]
fn the_directory_is_its_owners_and_a_file_in_it_too() {
    let (home, spool) = spool(0o700);
    let name = spool.put(&letter("x"), Timestamp(0)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&home.path().join("spool")), mode(&spool.path(&name, KEPT))), (0o700, 0o600));
}

#[test]
fn a_directory_that_everybody_may_write_to_is_refused() {
    let (home, _) = spool(0o700);
    let dir = home.path().join("spool");
    for mode in [0o777, 0o1777, 0o702] {
        fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
        let error = Spool::open(&dir).unwrap_err().to_string();
        assert!(error.contains("only owner and group write"), "{error}");
    }
}

#[test]
fn a_directory_is_made_only_where_there_is_one_already() {
    let home = tempfile::tempdir().unwrap();
    let error = Spool::open(&home.path().join("no/spool")).unwrap_err().to_string();
    assert!(error.contains("start `postern serve` once"), "{error}");
    assert!(!home.path().join("no").exists());
}

#[test]
fn what_is_no_plain_file_of_its_own_is_not_followed() {
    let (home, spool) = spool(0o700);
    let other = home.path().join("secret");
    fs::write(&other, "{\"reverse_path\":null,\"recipients\":[],\"size\":0}\n").unwrap();
    std::os::unix::fs::symlink(&other, spool.path("a", KEPT)).unwrap();
    assert!(matches!(spool.read("a", LARGEST_FILE), Err(LetterError::Io(_))), "a symlink");
    fs::hard_link(&other, spool.path("b", KEPT)).unwrap();
    assert!(strange(&spool, "b").contains("second name"));
    fs::create_dir(spool.path("c", KEPT)).unwrap();
    assert!(strange(&spool, "c").contains("expected a file"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        spool.path("d", KEPT),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert!(strange(&spool, "d").contains("expected a file"), "a pipe that nobody writes to");
}

#[test]
fn a_strangers_file_counts_only_where_strangers_may_write() {
    let (_home, alone) = spool(0o700);
    let name = alone.put(&letter("x"), Timestamp(0)).unwrap();
    let file = fs::metadata(alone.path(&name, KEPT)).unwrap();
    let of_a_stranger = Spool { owner: file.uid() + 1, ..alone.clone() };
    // Root's files are taken anywhere, and root runs some of these tests.
    assert_eq!(of_a_stranger.check(&file).is_ok(), file.uid() == 0);
    assert!(Spool { shared: true, ..of_a_stranger }.check(&file).is_ok());
}

#[test]
fn what_was_not_written_to_its_end_is_no_letter() {
    let (_home, spool) = spool(0o700);
    let name = spool.put(&letter("a mail"), Timestamp(0)).unwrap();
    let path = spool.path(&name, KEPT);
    let whole = fs::read(&path).unwrap();
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        assert!(
            matches!(spool.read(&name, LARGEST_FILE), Err(LetterError::Unreadable(_))),
            "cut after {end} bytes"
        );
    }
}

#[test]
fn a_letter_that_is_too_large_is_refused_by_what_it_says_of_itself() {
    let mut bytes = Vec::new();
    letter("a mail").write(&mut bytes).unwrap();
    assert_eq!(Letter::read(&mut bytes.as_slice(), 6).unwrap(), letter("a mail"));
    let error = Letter::read(&mut bytes.as_slice(), 5).unwrap_err().to_string();
    assert_eq!(error, "found a mail of 6 bytes, expected at most `max_message_size`, 5");
}

#[test]
fn partial_files_are_swept_away_after_a_day_and_never_taken_in() {
    let (_home, spool) = spool(0o700);
    let partial = spool.path("a", PARTIAL);
    fs::write(&partial, "half a letter").unwrap();
    assert_eq!(spool.waiting().unwrap(), [""; 0]);
    let written = Timestamp(fs::metadata(&partial).unwrap().mtime() * SECOND);
    spool.sweep(written.plus(DAY)).unwrap();
    assert!(partial.exists());
    spool.sweep(written.plus(DAY + 1)).unwrap();
    assert!(!partial.exists());
}

#[test]
fn a_file_larger_than_any_mail_is_not_read() {
    let (_home, spool) = spool(0o700);
    let sparse = |name: &str, declared: u64, length: u64| {
        let path = spool.path(name, KEPT);
        fs::write(&path, format!("{{\"reverse_path\":null,\"recipients\":[],\"size\":{declared}}}\n"))
            .unwrap();
        OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
    };
    let terabyte = 1 << 40;
    sparse("a", terabyte, terabyte);
    sparse("b", terabyte, 100);
    sparse("c", 1, terabyte);
    for name in ["a", "b", "c"] {
        let found = spool.read(name, 1000);
        assert!(
            matches!(found, Err(LetterError::Huge { found, limit: 1000 }) if found == terabyte),
            "{found:?}"
        );
    }
    let name = spool.put(&letter("a mail"), Timestamp(0)).unwrap();
    assert_eq!(spool.read(&name, 6).unwrap(), letter("a mail"));
    assert!(spool.read(&name, 5).is_err());
}
