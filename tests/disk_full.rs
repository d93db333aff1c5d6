//! A full disk: mail is asked to come again (452), nothing that was taken is lost, and all goes on when there is room.
//!
//! Needs the right to mount a small file system; without it the test says so and passes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::Desk;
use support::client::Client;
use support::mail::{SUPPORT, compose};

const FROM: &str = "rita@customer.example";

/// A file system of 8 MB, until this value is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "postern-test"]).arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(dir))
    }

    /// Writes a file until nothing fits any more.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.filler()).unwrap();
        for size in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    /// Writes a file until only so many bytes are free.
    fn leave(&self, bytes: u64) {
        let told = rustix::fs::statvfs(self.path()).unwrap();
        let too_many = (told.f_bavail * told.f_frsize).checked_sub(bytes).unwrap();
        std::fs::write(self.filler(), vec![b'x'; usize::try_from(too_many).unwrap()]).unwrap();
    }

    fn filler(&self) -> std::path::PathBuf {
        self.path().join("filler")
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn send(client: &mut Client, number: usize, lines: usize) -> String {
    let text = "A line of what a customer has to say.\n".repeat(lines);
    let mail =
        compose(FROM, SUPPORT, &format!("{number}@customer.example"), "Help", &format!("{number}\n{text}"));
    client.mail(FROM, SUPPORT, &mail).unwrap()
}

/// A desk on the small disk that leaves so many bytes of it free.
fn desk_with_reserve(disk: &SmallDisk, bytes: u64) -> Desk {
    let desk = Desk::with_data(&disk.path().join("data"));
    desk.change_config("postern.toml", "#disk_reserve = 268435456", &format!("disk_reserve = {bytes}"));
    desk
}

#[test]
fn below_the_reserve_new_mail_is_refused_and_what_was_taken_is_worked_off() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: no small file system can be mounted here");
        return;
    };
    let reserve = 3 << 20;
    let desk = desk_with_reserve(&disk, reserve);
    let daemon = desk.start();
    let mut client = daemon.connect();
    assert!(send(&mut client, 0, 3).starts_with("250 "));

    disk.leave(reserve - (1 << 20));
    assert_eq!(daemon.event("pressure.began")["kind"], "disk");
    let refusal = send(&mut client, 1, 3);
    assert!(refusal.starts_with("452 4.3.1 "), "{refusal}");
    // There is room for what follows from the mail that was taken.
    assert_eq!(desk.settled()["done"], 1);
    assert_eq!(desk.quiet().len(), 2);

    std::fs::remove_file(disk.filler()).unwrap();
    assert_eq!(daemon.event("pressure.ended")["kind"], "disk");
    assert!(send(&mut client, 1, 3).starts_with("250 "));
    assert_eq!(desk.settled()["done"], 2);
    daemon.stop();
}

#[test]
fn a_full_disk_refuses_mail_for_now_and_loses_none() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: no small file system can be mounted here");
        return;
    };
    let desk = desk_with_reserve(&disk, 0);
    let daemon = desk.start();
    let mut client = daemon.connect();
    assert!(send(&mut client, 0, 3).starts_with("250 "));
    desk.settled();

    disk.fill();
    // There may be room in files that are there already.
    let mut taken = 1;
    let refusal = loop {
        let reply = send(&mut client, taken, 100);
        match reply.starts_with("250 ") {
            true => taken += 1,
            false => break reply,
        }
        assert!(taken < 5_000, "the disk is full and mail is taken without end");
    };
    assert!(refusal.starts_with("452 4.3.1 "), "{refusal}");
    let refusal = send(&mut client, taken, 10_000);
    assert!(refusal.starts_with("452 4.3.1 "), "a large mail goes to a file of its own: {refusal}");
    let audit = desk.audit();
    assert_eq!(json!([audit["accepted"], audit["failed"]]), json!([taken, 0]), "{audit:#}");

    std::fs::remove_file(disk.filler()).unwrap();
    for lines in [100, 10_000] {
        let reply = send(&mut client, taken, lines);
        assert!(reply.starts_with("250 "), "{reply}");
        taken += 1;
    }
    let audit = desk.settled();
    assert_eq!(
        json!([audit["accepted"], audit["done"], audit["failed"]]),
        json!([taken, taken, 0]),
        "{audit:#}"
    );
    daemon.stop();

    // As full as it was, a killed daemon starts again and knows its books.
    let daemon = desk.start();
    disk.fill();
    daemon.kill();
    let daemon = desk.start();
    assert_eq!(desk.audit()["accepted"], taken);
    std::fs::remove_file(disk.filler()).unwrap();
    assert_eq!(desk.settled()["done"], taken);
    daemon.stop();
}
