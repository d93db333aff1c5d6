//! Ticket references. The first bytes of an input are a reference and a salt, the rest is text that a stranger wrote.
//!
//! Holds: what was made verifies, for its own purpose, ticket and salt only; nothing a stranger writes verifies unless it is what
//! was made; defused text holds no token any more.

use postern::domain::address::Address;
use postern::domain::ids::{OutboxId, Salt, TicketId, UserId};
use postern::domain::token::{
    ClaimedToken, KeyRing, KeyState, Purpose, Rendered, TicketRef, TokenKey, address_token, defuse,
    find_body_tokens, message_id_token, reverse_path_token,
};

const PURPOSES: [Purpose; 4] = [Purpose::Address, Purpose::Body, Purpose::MessageId, Purpose::Verp];
const MAIL_DOMAIN: &str = "desk.example";

pub fn check(input: &[u8]) {
    let Some((head, text)) = input.split_first_chunk::<16>() else { return };
    let keys = keys();
    let what = reference(head);
    let salt = Salt(*head);
    check_places(&keys, &what, &salt);
    let text = String::from_utf8_lossy(text);
    for purpose in PURPOSES {
        let minted = keys.mint(purpose, &what, &salt);
        let claimed = ClaimedToken::read(&minted).expect("what was made can be read");
        assert_eq!(keys.verify(&claimed, purpose, &salt), Some(what));
        assert_eq!(ClaimedToken::read(&minted.to_lowercase()), Some(claimed.clone()), "case matters");
        for other in PURPOSES.into_iter().filter(|other| *other != purpose) {
            assert_eq!(keys.verify(&claimed, other, &salt), None, "{purpose:?} verifies as {other:?}");
        }
        // Text put over the token, at any place: it verifies only where it says the same.
        for at in 0..minted.len().min(text.len()) {
            let Some(piece) = text.get(at..at + 1) else { continue };
            let mut forged = minted.clone();
            forged.replace_range(at..=at, piece);
            if let Some(read) = ClaimedToken::read(&forged) {
                assert_eq!(keys.verify(&read, purpose, &salt).is_some(), read == claimed, "{forged}");
            }
        }
        if let Some(stranger) = ClaimedToken::read(&text)
            && keys.verify(&stranger, purpose, &salt).is_some()
        {
            assert_eq!(stranger, claimed, "`{text}` was forged");
        }
        let planted = format!("{text} [{minted}]\n{text}");
        assert!(find_body_tokens(&defuse(&planted)).is_empty(), "a token survived in {planted:?}");
    }
    check_text(&text);
}

/// What is written into a mail is found there again.
fn check_places(keys: &KeyRing, what: &TicketRef, salt: &Salt) {
    let verified = |claimed: Option<ClaimedToken>, purpose| {
        keys.verify(&claimed.expect("it is there"), purpose, salt).expect("it is ours")
    };
    let outbox = OutboxId(1);
    if let Ok(address) = keys.address(&Address::parse("support@desk.example").unwrap(), what, salt) {
        assert_eq!(verified(address_token(&address), Purpose::Address), *what);
    }
    let id = keys.message_id(what, salt, outbox);
    assert_eq!(verified(message_id_token(&id, MAIL_DOMAIN), Purpose::MessageId), *what);
    if let Ok(path) = keys.reverse_path(what, salt, outbox) {
        assert_eq!(verified(reverse_path_token(&path), Purpose::Verp), *what);
    }
    let text = format!("above\n> [{}]\n", keys.mint(Purpose::Body, what, salt));
    assert_eq!(verified(find_body_tokens(&text).into_iter().next(), Purpose::Body), *what);
}

fn check_text(text: &str) {
    let harmless = defuse(text);
    assert!(find_body_tokens(&harmless).is_empty(), "a token survived in {text:?}");
    assert!(harmless.len() <= 2 * text.len(), "{} bytes grew to {}", text.len(), harmless.len());
    if let Ok(address) = Address::parse(text) {
        let _ = (address_token(&address), reverse_path_token(&address));
    }
}

fn reference(head: &[u8; 16]) -> TicketRef {
    let number = |from: usize| i64::from_be_bytes(std::array::from_fn(|at| head[from + at])) & i64::MAX;
    // Small ids are the usual ones, and have tokens of other lengths.
    let (shift, visibility) = (u32::from(head[0] % 60), head[15] % 3);
    TicketRef {
        ticket: TicketId(number(0) >> shift),
        recipient: UserId(number(8) >> shift),
        visibility: [Rendered::None, Rendered::Public, Rendered::Private][usize::from(visibility)],
    }
}

fn keys() -> KeyRing {
    let key = |id, state| TokenKey { id, secret: [id; 32], state };
    let keys = vec![key(1, KeyState::Retired), key(2, KeyState::Active), key(3, KeyState::Revoked)];
    KeyRing::new(MAIL_DOMAIN, keys).expect("the keys are sound")
}
