//! The leak property (DESIGN §1.3, §11.2): whatever people write to each other through the desk, no mail to somebody
//! who is no agent ever holds text of a private comment.
//!
//! A journey is a random account, and random people who write, answer, quote, forge, forward and recover. After each
//! step the mails that left are looked at as bytes. The seed is fixed; a failure shrinks to a short story.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

#[path = "../desk/mod.rs"]
mod desk;

mod checks;
mod journey;
mod player;

use std::cell::RefCell;

use proptest::test_runner::{Config, RngSeed, TestRunner};

use player::{Player, Tally};

/// Played side by side, since most of the time goes into waiting for the disk.
const THREADS: u32 = 4;
const JOURNEYS: u32 = 45;

#[test]
fn no_mail_to_a_customer_ever_holds_text_of_a_private_comment() {
    let mut tally = Tally::default();
    std::thread::scope(|scope| {
        let seeds = (0..THREADS).map(|thread| 20_260_302 + u64::from(thread));
        let threads: Vec<_> = seeds.map(|seed| scope.spawn(move || play(seed))).collect();
        for thread in threads {
            tally.add(&thread.join().unwrap());
        }
    });
    println!("{tally:?}");
    // The property means something only where there was something to leak, and somebody to leak it to.
    tally.assert_all_above((THREADS * JOURNEYS / 9) as usize);
}

fn play(seed: u64) -> Tally {
    let config = Config {
        cases: JOURNEYS,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let tally = RefCell::new(Tally::default());
    let played = TestRunner::new(config).run(&journey::journeys(), |journey| {
        let mut player = Player::new(&journey);
        for step in &journey.steps {
            player.play(step)?;
        }
        player.post()?;
        tally.borrow_mut().add(&player.tally);
        Ok(())
    });
    played.unwrap_or_else(|failure| panic!("{failure}"));
    tally.into_inner()
}
