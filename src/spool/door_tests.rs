use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::domain::time::Timestamp;

fn spool(dir: &Path) -> Spool {
    std::fs::DirBuilder::new().mode(0o700).create(dir.join("spool")).unwrap();
    Spool::open(&dir.join("spool")).unwrap()
}

fn letter(text: &str) -> Letter {
    Letter { reverse_path: None, recipients: Vec::new(), raw: text.as_bytes().to_vec() }
}

/// Takes this many files, and then none; remembers what it took.
fn reception(places: usize) -> (Arc<Mutex<Vec<String>>>, Reception) {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let keep = {
        let taken = Arc::clone(&taken);
        move |raw: Vec<u8>| {
            let mut taken = taken.lock().unwrap();
            if taken.len() == places {
                return Err(NotNow::Pressed);
            }
            taken.push(String::from_utf8(raw).unwrap());
            Ok(JournalId(taken.len() as i64))
        }
    };
    let keep_spooled = keep.clone();
    let reception = Reception {
        clock: Clock::system(),
        trust: TrustSource::None,
        recipient: Address::parse("support@desk.example").unwrap(),
        max_message_size: 1000,
        keep: Arc::new(move |_, raw| keep(raw).map_err(|_| "pressed".to_owned())),
        keep_spooled: Arc::new(move |_, _, raw| keep_spooled(raw)),
    };
    (taken, reception)
}

#[test]
fn files_wait_while_there_is_no_place_for_them() {
    let home = tempfile::tempdir().unwrap();
    let spool = spool(home.path());
    for (at, text) in ["one", "two", "three"].into_iter().enumerate() {
        spool.put(&letter(text), Timestamp(at as i64)).unwrap();
    }
    let round = |places| {
        let (taken, reception) = reception(places);
        let ended = take_all(&spool, &reception, &CancellationToken::new(), &mut BTreeSet::new());
        let taken = taken.lock().unwrap().clone();
        (ended, taken, spool.waiting().unwrap().len())
    };
    assert_eq!(round(0), (Err(NotNow::Pressed), Vec::new(), 3));
    assert_eq!(round(1), (Err(NotNow::Pressed), vec!["one".to_owned()], 2));
    assert_eq!(round(2), (Ok(()), vec!["two".to_owned(), "three".to_owned()], 0));
}

#[test]
fn closing_waits_for_nobody_who_is_silent() {
    let home = tempfile::tempdir().unwrap();
    let spool = spool(home.path());
    let (taken, reception) = reception(9);
    let door = Door::open(spool.clone(), reception).unwrap();
    let mut half = Vec::new();
    letter("a letter").write(&mut half).unwrap();
    let silent: Vec<_> = (0..CREW).map(|_| UnixStream::connect(spool.socket()).unwrap()).collect();
    { &silent[0] }.write_all(&half[..half.len() - 1]).unwrap();
    // Until each of the crew has one of them.
    while door.seats.iter().any(|seat| seat.is_free()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let began = std::time::Instant::now();
    door.close();
    assert!(began.elapsed() < LETTER_TIME / 2);
    assert!(matches!(Answer::read(&silent[0]), Ok(Answer::Trouble(_))), "half a letter is to come again");
    assert!(taken.lock().unwrap().is_empty());
}

#[test]
fn a_letter_that_was_sent_is_kept_while_the_door_closes() {
    let (taken, reception) = reception(9);
    let (ours, theirs) = UnixStream::pair().unwrap();
    letter("sent").write(&mut { &theirs }).unwrap();
    let seat = Seat::default();
    let stream = seat.take(ours);
    seat.hear_no_more();
    answer(&stream, &reception, &Signal::default());
    assert_eq!(Answer::read(&theirs).unwrap(), Answer::Kept(JournalId(1)));
    assert_eq!(*taken.lock().unwrap(), ["sent"]);
}
