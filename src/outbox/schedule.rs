//! When to try again, and when to give up. Pure: jitter is the caller's.

use crate::domain::time::{MINUTE, Timestamp};

/// What to do after a try that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    At(Timestamp),
    GiveUp,
}

const LONGEST_WAIT: i64 = 4 * 60 * MINUTE;

/// Doubles the wait from one minute to four hours, plus or minus a fifth, until the waits come to `give_up_after`
/// microseconds (RFC 5321 §4.5.4.1: at least four to five days).
///
/// `attempts` counts the tries so far, the failed one included; `jitter` is any random number. Only waits count, not
/// the age of the mail: one that a fault of the site held up for a week, or that a person queues again after a month,
/// is tried as long as any other.
#[must_use]
pub fn next(attempts: u32, now: Timestamp, jitter: u64, give_up_after: i64) -> Next {
    if waited(attempts) >= give_up_after {
        return Next::GiveUp;
    }
    Next::At(now.plus(wait(attempts, jitter)))
}

/// The pause after a fault of the site (smarthost down, wrong password): the whole queue waits, no row is blamed.
#[must_use]
pub fn site_pause(faults_in_a_row: u32, jitter: u64) -> i64 {
    wait(faults_in_a_row, jitter).min(15 * MINUTE)
}

fn wait(attempts: u32, jitter: u64) -> i64 {
    let base = base(attempts);
    let fifth = base / 5;
    let spread = i64::try_from(jitter % (2 * fifth.unsigned_abs() + 1)).unwrap_or(0);
    base - fifth + spread
}

/// The wait after that many tries, without jitter.
fn base(attempts: u32) -> i64 {
    let doublings = attempts.saturating_sub(1).min(20);
    MINUTE.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}

/// The waits between so many tries.
fn waited(attempts: u32) -> i64 {
    (1..attempts).map(base).fold(0, i64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::DAY;

    fn minutes(attempts: u32, jitter: u64) -> i64 {
        match next(attempts, Timestamp(0), jitter, 50 * DAY) {
            Next::At(at) => at.0 / MINUTE,
            Next::GiveUp => -1,
        }
    }

    #[test]
    fn waits_double_from_a_minute_to_four_hours() {
        let middle = |attempts: u32| {
            let base = MINUTE * (1_i64 << (attempts - 1)).min(240_i64);
            u64::try_from(base / 5).unwrap()
        };
        assert_eq!(minutes(1, middle(1)), 1);
        assert_eq!(minutes(2, middle(2)), 2);
        assert_eq!(minutes(5, middle(5)), 16);
        assert_eq!(minutes(9, middle(9)), 240);
        assert_eq!(minutes(40, middle(9)), 240);
    }

    #[test]
    fn jitter_spreads_by_a_fifth_either_way() {
        for jitter in [0, 1, 7, u64::MAX, 123_456_789] {
            let Next::At(at) = next(3, Timestamp(0), jitter, DAY) else { panic!("gave up") };
            assert!((4 * MINUTE * 4 / 5..=4 * MINUTE * 6 / 5).contains(&at.0), "{at:?}");
        }
    }

    /// After which try a mail is dead, and how long the waits before it were.
    fn last_try(give_up_after: i64) -> (u32, i64) {
        let gives_up = |attempts: &u32| next(*attempts, Timestamp(0), 0, give_up_after) == Next::GiveUp;
        let attempts = (1..).find(gives_up).unwrap();
        (attempts, waited(attempts))
    }

    #[test]
    fn it_gives_up_when_the_waits_come_to_the_set_time_and_not_before() {
        let (attempts, waited) = last_try(5 * DAY);
        assert!((5 * DAY..5 * DAY + LONGEST_WAIT).contains(&waited), "{attempts} tries in {waited}");
        assert_eq!(last_try(3 * MINUTE), (3, 3 * MINUTE));
        assert_eq!(last_try(0), (1, 0), "no days: one try");
    }
}
