use super::*;

/// What a test says is measured.
#[derive(Clone, Default)]
struct Told(Arc<(AtomicUsize, AtomicU64)>);

impl Gauges for Told {
    fn pending(&self, _most: usize) -> Result<usize, String> {
        Ok(self.0.0.load(Ordering::SeqCst))
    }
    fn free(&self) -> io::Result<u64> {
        Ok(self.0.1.load(Ordering::SeqCst))
    }
}

const MIB: u64 = 1 << 20;

fn pressure(max_pending: usize) -> (Told, Pressure) {
    let told = Told::default();
    told.0.1.store(100 * MIB, Ordering::SeqCst);
    let limits = Limits { max_pending, disk_reserve: 40 * MIB };
    (told.clone(), Pressure::new(limits, Box::new(told)))
}

impl Told {
    fn pending_is(&self, pending: usize, pressure: &Pressure) {
        self.0.0.store(pending, Ordering::SeqCst);
        pressure.measure();
    }
    fn free_is(&self, free: u64, pressure: &Pressure) {
        self.0.1.store(free, Ordering::SeqCst);
        pressure.measure();
    }
}

fn verdict(pressure: &Pressure, bytes: usize) -> Result<(), Pressed> {
    pressure.admit(bytes).map(drop)
}

#[test]
fn a_mail_waits_the_longer_the_more_are_pending() {
    let (told, pressure) = pressure(100);
    let mut delays = Vec::new();
    for pending in [0, 50, 60, 75, 100, 1000] {
        told.pending_is(pending, &pressure);
        delays.push(pressure.delay().as_millis());
    }
    assert_eq!(delays, [0, 0, 200, 500, 1000, 1000]);
}

#[test]
fn at_the_bound_mail_is_refused_until_half_is_worked_off() {
    let (told, pressure) = pressure(100);
    let mut verdicts = Vec::new();
    for pending in [99, 100, 99, 51, 50, 99] {
        told.pending_is(pending, &pressure);
        let verdict = verdict(&pressure, 1);
        assert_eq!(pressure.pressed(), verdict.err(), "{pending}");
        verdicts.push(verdict.is_ok());
    }
    assert_eq!(verdicts, [true, false, false, false, true, true]);
}

#[test]
fn mails_taken_since_the_last_count_and_mails_on_their_way_are_counted() {
    let (told, pressure) = pressure(3);
    let first = pressure.admit(1).unwrap();
    pressure.admit(1).unwrap().taken();
    let third = pressure.admit(1).unwrap();
    assert_eq!(pressure.admit(1).unwrap_err(), Pressed::Backlog);
    drop(third);
    first.taken();
    assert_eq!(pressure.admit(1).unwrap_err(), Pressed::Backlog, "two of three are still more than half");
    // Both were decided.
    told.pending_is(0, &pressure);
    verdict(&pressure, 1).unwrap();
}

#[test]
fn a_mail_that_was_not_taken_gives_its_place_back() {
    let (_told, pressure) = pressure(1);
    for _ in 0..3 {
        verdict(&pressure, 1).unwrap();
    }
}

#[test]
fn below_the_reserve_mail_is_refused_until_there_is_a_quarter_more() {
    let (told, pressure) = pressure(100);
    let mut verdicts = Vec::new();
    for free in [41, 40, 39, 41, 49, 51, 41] {
        told.free_is(free * MIB, &pressure);
        verdicts.push(verdict(&pressure, 1).is_ok());
    }
    assert_eq!(verdicts, [true, false, false, false, false, true, true]);
}

#[test]
fn a_mail_that_does_not_fit_is_refused_before_anything_is_measured_again() {
    let (_told, pressure) = pressure(100);
    let mut verdicts = Vec::new();
    for _ in 0..3 {
        verdicts.push(verdict(&pressure, 14 << 20));
    }
    // 60 MiB are above the reserve, and a mail is written twice.
    assert_eq!(verdicts, [Ok(()), Ok(()), Err(Pressed::Disk)]);
}

#[test]
fn a_mail_too_large_for_what_is_left_is_refused_alone_and_costs_nothing() {
    let (told, pressure) = pressure(100);
    for _ in 0..10 {
        assert_eq!(verdict(&pressure, 40 << 20), Err(Pressed::Disk));
        assert_eq!(pressure.pressed(), None);
    }
    verdict(&pressure, 29 << 20).unwrap();
    verdict(&pressure, 1).unwrap();
    // Not even the smallest has room.
    told.free_is(40 * MIB + 1, &pressure);
    assert_eq!((verdict(&pressure, 1), pressure.pressed()), (Err(Pressed::Disk), Some(Pressed::Disk)));
}

#[test]
fn a_place_is_never_given_to_more_than_fit_however_many_ask_at_once() {
    let (_told, pressure) = pressure(20);
    let given = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    if let Ok(place) = pressure.admit(1) {
                        given.fetch_add(1, Ordering::SeqCst);
                        place.taken();
                    }
                }
            });
        }
    });
    let given = given.load(Ordering::SeqCst);
    assert!((10..=20).contains(&given), "{given}");
}
