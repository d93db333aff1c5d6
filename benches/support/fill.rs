//! A store of so many comments, made straight in the tables: measurements on a large store start from it. Four comments a
//! ticket, ten tickets a person, mails of 1,000 bytes, the traces of a real mail.

use std::path::Path;

use rusqlite::Connection;

use super::{Desk, mail};

const COMMENTS_A_TICKET: i64 = 4;
const TICKETS_A_PERSON: i64 = 10;

/// Each statement makes the rows `?1..=?2` of its table; `?3` is a JSON template from the first mail.
const STATEMENTS: [(&str, Unit); 11] = [
    (
        "INSERT INTO users SELECT 1000 + n, 1, 'Customer ' || n, ?3, 0, NULL, 0, 1, n * 1000000 FROM numbers",
        Unit::Person,
    ),
    (
        "INSERT INTO identities SELECT address, address, 1000 + n, 0
         FROM (SELECT n, 'customer' || (n * 2654435761 % 4294967296) || '.' || n || '@example.net' AS address FROM numbers)",
        Unit::Person,
    ),
    (
        "INSERT INTO tickets SELECT n, 4, randomblob(16), 'The printer is offline (' || n || ')', 'open', person, person,
             NULL, NULL, NULL, 'normal', NULL, NULL, 'mail', NULL, NULL, 4, 4, n * 1000000, n * 1000000, NULL
         FROM (SELECT n, 1001 + n % (SELECT MAX(id) - 1000 FROM users) AS person FROM numbers)",
        Unit::Ticket,
    ),
    (
        "INSERT INTO journal SELECT n, n * 1000000, ?3, 1000, NULL, 'done', NULL, 1 + (n - 1) / 4, n, 0, n * 1000000,
             'customer' || n || '@example.net', 'fill.' || n || '@example.net', random(), randomblob(32), random(), 'none', NULL
         FROM numbers",
        Unit::Comment,
    ),
    ("INSERT INTO journal_raw SELECT n, randomblob(1000) FROM numbers", Unit::Comment),
    (
        "INSERT INTO comments SELECT n, ticket, (SELECT requester FROM tickets WHERE id = ticket), 'public', 0, 'end-user',
             '[]', replace(hex(zeroblob(40)), '00', 'The printer is offline. '), 'mail', n, n * 1000000
         FROM (SELECT n, 1 + (n - 1) / 4 AS ticket FROM numbers)",
        Unit::Comment,
    ),
    (
        "INSERT INTO audits SELECT n, 1 + (n - 1) / 4, '{\"kind\":\"user\",\"id\":1}', 'mail', n, n * 1000000, ?3 FROM numbers",
        Unit::Comment,
    ),
    (
        "INSERT INTO events SELECT n, 0, 'comment_added', replace(?3, '\"comment\":1', '\"comment\":' || n) FROM numbers",
        Unit::Comment,
    ),
    (
        "INSERT INTO message_ids SELECT random(), 'fill.sent.' || n || '@example.net', 1 + (n - 1) / 4, 'public'
         FROM numbers",
        Unit::Comment,
    ),
    (
        "INSERT INTO private_fingerprints SELECT n, 1 + (n - 1) / 4, randomblob(400), NULL, NULL, zeroblob(0) FROM numbers
         WHERE n % 20 = 0",
        Unit::Comment,
    ),
    (
        "INSERT OR REPLACE INTO sequences SELECT column1, 2000 + n FROM numbers, (VALUES ('audit'), ('comment'), ('journal'),
             ('ticket'), ('user')) WHERE n = ?2",
        Unit::Comment,
    ),
];

/// What a statement's rows are counted in.
#[derive(Clone, Copy)]
enum Unit {
    Person,
    Ticket,
    Comment,
}

/// Fills the data directory `folder`.
pub fn fill(folder: &Path, count: i64) {
    let templates = Templates::of_one_mail(folder);
    let db = Connection::open(folder.join("postern.db")).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000; PRAGMA foreign_keys = OFF")
        .unwrap();
    let tickets = (count / COMMENTS_A_TICKET).max(1);
    let people = (tickets / TICKETS_A_PERSON).max(1);
    // The mail that the templates were taken from goes; the agents, who have ids below 1,000, stay.
    db.execute_batch(
        "DELETE FROM events; DELETE FROM audits; DELETE FROM attachments; DELETE FROM comments; DELETE FROM message_ids;
         DELETE FROM tags; DELETE FROM tickets; DELETE FROM journal_raw; DELETE FROM journal; DELETE FROM outbox;
         DELETE FROM notifications; DELETE FROM identities WHERE user IN (SELECT id FROM users WHERE internal = 0);
         DELETE FROM users WHERE internal = 0",
    )
    .unwrap();
    for (sql, unit) in STATEMENTS {
        let rows = match unit {
            Unit::Person => people,
            Unit::Ticket => tickets,
            Unit::Comment => count,
        };
        let sql = format!(
            "WITH RECURSIVE numbers(n) AS (SELECT ?1 FROM (SELECT ?3) UNION ALL SELECT n + 1 FROM numbers WHERE n < ?2) {sql}"
        );
        let template = templates.of(&sql);
        db.execute(&sql, (1, rows, template)).unwrap();
    }
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop(db);
    // Else the system writes all of it out while the daemon is measured.
    std::fs::File::open(folder.join("postern.db")).unwrap().sync_all().unwrap();
}

/// JSON texts as the program wrote them.
struct Templates {
    role: String,
    envelope: String,
    trace: String,
    event: String,
}

impl Templates {
    fn of_one_mail(folder: &Path) -> Self {
        let desk = Desk::open_in(folder);
        desk.deliver(&mail(1, 10_000));
        drop(desk);
        let db = Connection::open(folder.join("postern.db")).unwrap();
        let text = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
        Self {
            role: text("SELECT role FROM users WHERE internal = 0"),
            envelope: text("SELECT envelope FROM journal"),
            trace: text("SELECT trace FROM audits"),
            event: text("SELECT event FROM events WHERE type = 'comment_added'"),
        }
    }

    fn of(&self, sql: &str) -> &str {
        let tables = [
            ("INTO users", &self.role),
            ("INTO journal", &self.envelope),
            ("INTO audits", &self.trace),
            ("INTO events", &self.event),
        ];
        tables.iter().find(|(table, _)| sql.contains(table)).map_or("", |(_, template)| template)
    }
}
