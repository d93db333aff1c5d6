use std::os::unix::fs::PermissionsExt;

use super::super::keys;
use super::*;

const NOW: Timestamp = Timestamp(1_000_000);

fn open_at(dir: &Path) -> Result<Opened, OpenError> {
    open(dir, Durability::Full, NOW)
}

/// Opens a good directory once, spoils it, and returns why it is refused then.
fn refused(spoil: impl FnOnce(&Path)) -> String {
    let dir = tempfile::tempdir().unwrap();
    drop(open_at(dir.path()).unwrap());
    spoil(dir.path());
    open_at(dir.path()).unwrap_err().to_string()
}

fn sql(dir: &Path, sql: &str) {
    Connection::open(dir.join(DATABASE)).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn a_new_directory_and_its_files_are_for_the_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("var/data");
    let _opened = open_at(&dir).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in std::fs::read_dir(&dir).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[test]
fn the_connection_is_durable_and_checks_references() {
    let dir = tempfile::tempdir().unwrap();
    let conn = open_at(dir.path()).unwrap().conn;
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((pragma("synchronous"), pragma("foreign_keys"), pragma("wal_autocheckpoint")), (2, 1, 0));
    assert_eq!((pragma("application_id"), pragma("user_version")), (APPLICATION_ID, MIGRATIONS.len() as i64));
}

#[test]
fn opening_again_keeps_the_keys_and_the_account() {
    let dir = tempfile::tempdir().unwrap();
    let keys = open_at(dir.path()).unwrap().keys;
    let again = open_at(dir.path()).unwrap();
    assert_eq!(again.keys, keys);
    let accounts: i64 = again.conn.query_row("SELECT COUNT(*) FROM account", [], |row| row.get(0)).unwrap();
    assert_eq!(accounts, 1);
}

#[test]
fn the_first_schema_is_brought_up_to_date_with_all_that_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    KeyFile::generate(NOW).unwrap().save(dir.path(), Durability::Full).unwrap();
    sql(dir.path(), MIGRATIONS[0]);
    sql(
        dir.path(),
        "PRAGMA application_id = 0x5053544e;
        PRAGMA user_version = 1;
        INSERT INTO account VALUES (1, 1, 1, 0);
        INSERT INTO users VALUES (1, 1, 'Rita', '{}', 0, NULL, 0, 1, 0);
        INSERT INTO tickets (id, version, salt, subject, status, requester, submitter, via, comments,
            public_comments, created_at, updated_at) VALUES (1, 1, x'00', 's', 'new', 1, 1, 'mail', 0, 0, 0, 0);
        INSERT INTO audits VALUES (1, 1, '{}', 'mail', NULL, 0, '{}');
        INSERT INTO message_ids VALUES (5, '<ours>', 1, 'sent', 'private'), (6, '<theirs>', 1, 'received', 'public');
        INSERT INTO notifications VALUES (1, 1, 1, 'r', '{}', 's', 't', 'h', NULL, 'public', '[]', 0, 0);
        INSERT INTO outbox VALUES (7, 1, 1, 1, 'r', 'rk', 'cc', 'm', '{}', 't', 'p', 'sent', 'd', 1, 0, 2, 3, 4, 5);",
    );
    let conn = open_at(dir.path()).unwrap().conn;
    let row = "SELECT id || recipient_key || state || detail || due_at || bounced_at FROM outbox";
    let row: String = conn.query_row(row, [], |row| row.get(0)).unwrap();
    assert_eq!(row, "7rksentd35");
    conn.execute("UPDATE outbox SET state = 'held'", []).unwrap();
    assert!(conn.execute("UPDATE outbox SET ticket = 9", []).is_err(), "references are still checked");
    let ids = "SELECT group_concat(hash || message_id || ticket || visibility) FROM message_ids";
    assert_eq!(conn.query_row(ids, [], |row| row.get::<_, String>(0)).unwrap(), "5<ours>1private");
    let spooled = "SELECT COUNT(*) FROM spooled";
    assert_eq!(conn.query_row(spooled, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[test]
fn a_second_opener_is_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _held = open_at(dir.path()).unwrap();
    let error = open_at(dir.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by process {};", std::process::id())), "{error}");
}

#[test]
fn a_newer_database_is_refused() {
    let error = refused(|dir| sql(dir, "PRAGMA user_version = 99"));
    assert!(error.contains("schema 99"), "{error}");
}

#[test]
fn a_database_of_another_program_is_refused() {
    let error = refused(|dir| sql(dir, "PRAGMA application_id = 7"));
    assert!(error.contains("application id is 0x7"), "{error}");
}

#[test]
fn a_database_without_an_application_id_and_with_tables_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    sql(dir.path(), "CREATE TABLE t (x)");
    assert!(matches!(open_at(dir.path()), Err(OpenError::Foreign { .. })));
    assert!(!dir.path().join(keys::FILE_NAME).exists());
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(DATABASE), "hello, I am a text file\n".repeat(99)).unwrap();
    assert!(matches!(open_at(dir.path()), Err(OpenError::NotADatabase(_))));
}

#[test]
fn a_database_that_lost_its_keys_is_refused_with_what_to_do() {
    let error = refused(|dir| std::fs::remove_file(dir.join(keys::FILE_NAME)).unwrap());
    assert!(error.contains("put `keys.json` back from a backup"), "{error}");
}

#[test]
fn a_creation_that_was_cut_short_is_finished_with_the_same_keys() {
    let dir = tempfile::tempdir().unwrap();
    let keys = KeyFile::generate(NOW).unwrap();
    keys.save(dir.path(), Durability::Full).unwrap();
    owners_file(&dir.path().join(DATABASE)).unwrap();
    assert_eq!(open_at(dir.path()).unwrap().keys, keys);
}

#[test]
fn a_stop_without_the_clean_mark_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!open_at(dir.path()).unwrap().unclean);
    assert!(open_at(dir.path()).unwrap().unclean);
    mark_clean(dir.path()).unwrap();
    assert!(!open_at(dir.path()).unwrap().unclean);
}

/// The files of a process that died after it had written one row.
fn died() -> tempfile::TempDir {
    let before = tempfile::tempdir().unwrap();
    let opened = open_at(before.path()).unwrap();
    opened.conn.execute("INSERT INTO sequences (name, next) VALUES ('a', 1)", []).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for file in [DATABASE, "postern.db-wal", keys::FILE_NAME, RUNNING] {
        std::fs::copy(before.path().join(file), dir.path().join(file)).unwrap();
    }
    dir
}

#[test]
fn the_wal_of_a_process_that_died_is_copied_into_the_database_first() {
    let dir = died();
    let wal = || std::fs::metadata(dir.path().join("postern.db-wal")).unwrap().len();
    assert!(wal() > 0);
    let conn = open_at(dir.path()).unwrap().conn;
    assert_eq!(wal(), 0);
    let kept = "SELECT next FROM sequences WHERE name = 'a'";
    assert_eq!(conn.query_row(kept, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[test]
fn nothing_is_written_behind_a_wal_that_a_reader_keeps_from_being_copied() {
    let dir = died();
    let reader = Connection::open(dir.path().join(DATABASE)).unwrap();
    reader.execute_batch("BEGIN; SELECT COUNT(*) FROM sequences").unwrap();
    let error = open_at(dir.path()).unwrap_err().to_string();
    assert!(error.contains("no other program reads the database"), "{error}");
    drop(reader);
    open_at(dir.path()).unwrap();
}

#[test]
fn reading_needs_a_database_and_makes_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(check_readable(dir.path()), Err(OpenError::Missing(_))));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let held = open_at(dir.path()).unwrap();
    assert_eq!(check_readable(dir.path()).unwrap(), held.keys);
}
