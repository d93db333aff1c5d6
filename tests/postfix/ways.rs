//! Every way from Postfix to us: `smtp:`, `lmtp:` over TCP and over a Unix socket, and a pipe through `deliver`. On each,
//! our trouble is deferred and arrives once in the end, and mail from `<>` is taken.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rusqlite::Connection;
use serde_json::json;

use super::server::Postfix;
use super::support::{Desk, wait_for};
use super::{RITA, possible};

const WAYS: [&str; 4] = ["smtp", "lmtp", "unix", "pipe"];

/// A desk that takes mail for `support@WAY.example`, for each way.
fn desk([smtp, lmtp, smarthost]: [SocketAddr; 3], home: &Path) -> Desk {
    let desk = Desk::new();
    let supports: String = WAYS
        .iter()
        .map(|way| format!("[[support_addresses]]\naddress = \"support@{way}.example\"\n"))
        .collect();
    let home = home.display();
    let settings = format!(
        "{supports}\
         [[listeners]]\nname = \"smtp\"\naddress = \"{smtp}\"\n\
         [[listeners]]\nname = \"lmtp\"\naddress = \"{lmtp}\"\nprotocol = \"lmtp\"\n\
         [[listeners]]\nname = \"unix\"\naddress = \"unix:{home}/lmtp.sock\"\nmode = \"0666\"\nprotocol = \"lmtp\"\n\
         [deliver]\nspool = \"{home}/spool\"\n\
         [delivery.smarthost]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
        smarthost.port()
    );
    fs::write(desk.config("postern.toml"), settings).unwrap();
    fs::remove_file(desk.config("people.toml")).unwrap();
    desk
}

/// What the user of the pipe needs: the program, a configuration it may read, and a spool that its group shares.
fn pipe(home: &Path) -> String {
    let group = 65_534;
    let spool = home.join("spool");
    fs::create_dir(&spool).unwrap();
    chown(&spool, None, Some(group)).unwrap();
    fs::set_permissions(&spool, fs::Permissions::from_mode(0o2770)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_postern"), home.join("postern")).unwrap();
    fs::write(home.join("pipe.toml"), format!("[deliver]\nspool = \"{}\"\n", spool.display())).unwrap();
    let home = home.display();
    format!(
        "postern unix - n n - - pipe\n  flags=X user=nobody null_sender=\n  argv={home}/postern deliver \
         --config {home}/pipe.toml --sender=${{sender}} --recipient=${{user}}@${{domain}} --extension=${{extension}}\n"
    )
}

/// The envelopes of the mails with this Message-ID: sender, recipients.
fn arrived(desk: &Desk, id: &str) -> Vec<(Option<String>, Vec<String>)> {
    let store = postern::store::Store::open_read_only(desk.data()).unwrap();
    let envelopes: Vec<String> = store
        .ask(|db| {
            let sql = "SELECT envelope FROM journal WHERE message_id = ?1";
            db.prepare(sql)?.query_map([id], |row| row.get(0))?.collect()
        })
        .unwrap();
    let read = |text: &String| {
        let envelope: postern::domain::mail::Envelope = serde_json::from_str(text).unwrap();
        let recipients = envelope.recipients.iter().map(ToString::to_string).collect();
        (envelope.reverse_path.map(|address| address.to_string()), recipients)
    };
    envelopes.iter().map(read).collect()
}

#[test]
fn every_way_from_postfix_to_us_brings_each_mail_once() {
    if !possible() {
        return;
    }
    let address = Postfix::reserve();
    let home = tempfile::tempdir().unwrap();
    let place = home.path().to_owned();
    let service = pipe(&place);
    let [smtp, lmtp] = [Postfix::reserve(), Postfix::reserve()];
    let desk = desk([smtp, lmtp, address], &place);
    let daemon = desk.start_as_configured();
    let transports = [
        ("smtp.example", format!("smtp:[127.0.0.1]:{}", smtp.port())),
        ("lmtp.example", format!("lmtp:inet:{lmtp}")),
        ("unix.example", format!("lmtp:unix:{}", place.join("lmtp.sock").display())),
        ("pipe.example", "postern:".to_owned()),
        ("nowhere.example", format!("lmtp:inet:{lmtp}")),
    ];
    let transports: Vec<_> = transports.iter().map(|(domain, way)| (*domain, way.as_str())).collect();
    let postfix = Postfix::start(address, home, &transports, &service);

    for way in WAYS {
        // A reference in the address comes through, and so does a bounce.
        let (support, extended) = (format!("support@{way}.example"), format!("support+idX@{way}.example"));
        postfix.send(RITA, &extended, &format!("{way}-1@customer.example"), "Smoke comes out of it.");
        postfix.send("", &support, &format!("{way}-2@customer.example"), "It cannot be delivered.");
        desk_has(&desk, &format!("{way}-1@customer.example"), (Some(RITA), &extended));
        desk_has(&desk, &format!("{way}-2@customer.example"), (None, &support));

        // Our trouble is temporary: Postfix keeps the mail and comes again.
        let lock = Connection::open(desk.data().join("postern.db")).unwrap();
        lock.execute_batch("BEGIN IMMEDIATE").unwrap();
        let id = format!("{way}-3@customer.example");
        postfix.send(RITA, &support, &id, "Are you there?");
        let because = if way == "pipe" { "the store is in trouble" } else { "451 4.3.0 could not keep" };
        let deferred =
            |line: &str| line.contains(&format!("to=<{support}>")) && line.contains("status=deferred");
        let line = wait_for("the mail to be deferred", || {
            postfix.log().lines().find(|line| deferred(line)).map(str::to_owned)
        });
        assert!(line.contains(because), "{line}");
        assert_eq!(arrived(&desk, &id), []);
        lock.execute_batch("ROLLBACK").unwrap();
        desk_has(&desk, &id, (Some(RITA), &support));
        wait_for("Postfix to have nothing left", || postfix.queue().is_empty().then_some(()));
        assert_eq!(arrived(&desk, &id).len(), 1, "{way}");
    }

    // A recipient whom we do not know is refused by LMTP as by SMTP, and its sender told.
    postfix.send(RITA, "gone@nowhere.example", "gone@customer.example", "You are not there.");
    let bounce = wait_for("the bounce", || {
        postfix.delivered(RITA).into_iter().find(|mail| mail.contains("multipart/report"))
    });
    assert!(bounce.contains("550 5.1.1"), "{bounce}");

    // While we are down, a pipe leaves mail in the spool.
    let accepted = desk.settled()["accepted"].clone();
    daemon.stop();
    postfix.send(RITA, "support@pipe.example", "pipe-4@customer.example", "Still there?");
    let waits = || {
        fs::read_dir(place.join("spool"))
            .unwrap()
            .any(|file| file.unwrap().path().extension().is_some_and(|end| end == "mail"))
    };
    wait_for("the mail in the spool", || waits().then_some(()));
    wait_for("Postfix to have nothing left", || postfix.queue().is_empty().then_some(()));
    let daemon = desk.start_as_configured();
    desk_has(&desk, "pipe-4@customer.example", (Some(RITA), "support@pipe.example"));
    wait_for("the spool to be empty", || (!waits()).then_some(()));
    assert_eq!(json!(accepted.as_u64().unwrap() + 1), desk.settled()["accepted"]);
    daemon.stop();
}

fn desk_has(desk: &Desk, id: &str, (from, to): (Option<&str>, &str)) {
    let expected = (from.map(str::to_owned), vec![to.to_owned()]);
    let found = wait_for("the mail", || Some(arrived(desk, id)).filter(|found| !found.is_empty()));
    assert_eq!(found, [expected]);
}
