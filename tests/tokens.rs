//! Nothing but a token of ours, for this purpose and this ticket, ever verifies; and what mail clients do to
//! text on its way never keeps one of ours from verifying.

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "tests may panic")]

use postern::domain::address::Address;
use postern::domain::ids::{OutboxId, Salt, TicketId, UserId};
use postern::domain::token::{
    ClaimedToken, KeyRing, KeyState, MAX_TOKEN_LEN, Purpose, Rendered, TicketRef, TokenKey, address_token,
    defuse, find_body_tokens, message_id_token, reverse_path_token,
};
use proptest::collection::vec;
use proptest::prelude::*;

const DOMAIN: &str = "desk.example";
const PURPOSES: [Purpose; 4] = [Purpose::Address, Purpose::Body, Purpose::MessageId, Purpose::Verp];
const SYMBOLS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

fn key(id: u8, secret: u8, state: KeyState) -> TokenKey {
    TokenKey { id, secret: [secret; 32], state }
}

fn ring_of(domain: &str, keys: Vec<TokenKey>) -> KeyRing {
    KeyRing::new(domain, keys).unwrap()
}

fn ring() -> KeyRing {
    ring_of(DOMAIN, vec![key(3, 7, KeyState::Active)])
}

fn about(ticket: i64) -> TicketRef {
    TicketRef { ticket: TicketId(ticket), recipient: UserId(2), visibility: Rendered::Public }
}

/// A body token of the usual ring and a fixed salt.
fn body_token(ticket: i64) -> String {
    ring().mint(Purpose::Body, &about(ticket), &Salt([4; 16]))
}

fn refs(id: impl Strategy<Value = i64> + Clone) -> impl Strategy<Value = TicketRef> {
    let visibility = prop_oneof![Just(Rendered::None), Just(Rendered::Public), Just(Rendered::Private)];
    (id.clone(), id, visibility).prop_map(|(ticket, recipient, visibility)| TicketRef {
        ticket: TicketId(ticket),
        recipient: UserId(recipient),
        visibility,
    })
}

fn any_ref() -> impl Strategy<Value = TicketRef> {
    refs(prop_oneof![0..300i64, 0..=i64::from(u32::MAX), 0..=i64::MAX])
}

fn small_ref() -> impl Strategy<Value = TicketRef> {
    refs(0..=i64::from(u32::MAX))
}

fn any_purpose() -> impl Strategy<Value = Purpose> {
    prop::sample::select(PURPOSES.to_vec())
}

fn any_salt() -> impl Strategy<Value = Salt> {
    any::<[u8; 16]>().prop_map(Salt)
}

/// What `ring` makes of a text that claims to be a token.
fn verified(ring: &KeyRing, text: &str, purpose: Purpose, salt: &Salt) -> Option<TicketRef> {
    ring.verify(&ClaimedToken::read(text)?, purpose, salt)
}

/// The token with some letters as people and fonts confuse them, in any case.
fn confused(token: &str, choices: &[u8]) -> String {
    let confuse = |(letter, choice): (char, &u8)| match (letter, choice % 4) {
        ('0', 1) => 'O',
        ('0', 2) => 'o',
        ('1', 1) => 'I',
        ('1', 2) => 'l',
        ('1', 3) => 'L',
        (_, 1) => letter.to_ascii_lowercase(),
        _ => letter,
    };
    token.chars().zip(choices.iter().cycle()).map(confuse).collect()
}

fn crockford() -> data_encoding::Encoding {
    let mut specification = data_encoding::Specification::new();
    specification.symbols.push_str(SYMBOLS);
    specification.encoding().unwrap()
}

proptest! {
    #[test]
    fn what_was_minted_verifies_and_says_what_was_meant(
        what in any_ref(), purpose in any_purpose(), salt in any_salt(),
    ) {
        let token = ring().mint(purpose, &what, &salt);
        prop_assert!(token.len() <= MAX_TOKEN_LEN);
        prop_assert!(token.chars().all(|c| SYMBOLS.contains(c)));
        prop_assert_eq!(verified(&ring(), &token, purpose, &salt), Some(what));
    }

    #[test]
    fn ids_below_2_to_32_need_at_most_32_characters(what in small_ref(), salt in any_salt()) {
        prop_assert!(ring().mint(Purpose::Address, &what, &salt).len() <= 32);
    }

    #[test]
    fn forged_octets_never_verify(
        what in small_ref(), forged in any::<[u8; 10]>(), purpose in any_purpose(), salt in any_salt(),
    ) {
        let mut octets = crockford().decode(ring().mint(purpose, &what, &salt).as_bytes()).unwrap();
        let mac_at = octets.len() - 10;
        prop_assume!(octets[mac_at..] != forged);
        octets[mac_at..].copy_from_slice(&forged);
        let text = crockford().encode(&octets);
        prop_assert!(ClaimedToken::read(&text).is_some(), "it has the form of a token");
        prop_assert_eq!(verified(&ring(), &text, purpose, &salt), None);
    }

    #[test]
    fn a_token_with_any_bit_flipped_never_verifies(
        what in any_ref(), at in any::<prop::sample::Index>(), salt in any_salt(),
    ) {
        let mut octets = crockford().decode(ring().mint(Purpose::Body, &what, &salt).as_bytes()).unwrap();
        let bit = at.index(octets.len() * 8);
        octets[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(verified(&ring(), &crockford().encode(&octets), Purpose::Body, &salt), None);
    }

    #[test]
    fn a_token_with_any_character_changed_never_verifies(
        what in any_ref(), at in any::<prop::sample::Index>(), other in "[0-9A-HJKMNP-TV-Z]", salt in any_salt(),
    ) {
        let token = ring().mint(Purpose::Body, &what, &salt);
        let at = at.index(token.len());
        prop_assume!(token[at..=at] != other);
        let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
        prop_assert_eq!(verified(&ring(), &changed, Purpose::Body, &salt), None);
    }

    #[test]
    fn a_token_cut_short_or_made_longer_never_verifies(
        what in any_ref(), cut in 1..45usize, more in "[0-9A-HJKMNP-TV-Z]{1,20}", salt in any_salt(),
    ) {
        let token = ring().mint(Purpose::Body, &what, &salt);
        let shorter = &token[..token.len().saturating_sub(cut)];
        for text in [shorter, &format!("{token}{more}"), &format!("{more}{token}"), &format!("{token}=")] {
            prop_assert_eq!(verified(&ring(), text, Purpose::Body, &salt), None, "{}", text);
        }
    }

    #[test]
    fn another_key_domain_salt_or_purpose_never_verifies(
        what in any_ref(), purpose in any_purpose(), salt in any_salt(), other_salt in any_salt(),
    ) {
        prop_assume!(salt != other_salt);
        let token = ring().mint(purpose, &what, &salt);
        let foreign_key = ring_of(DOMAIN, vec![key(3, 8, KeyState::Active)]);
        let unknown_key = ring_of(DOMAIN, vec![key(4, 7, KeyState::Active)]);
        let foreign_domain = ring_of("other.example", vec![key(3, 7, KeyState::Active)]);
        for foreign in [foreign_key, unknown_key, foreign_domain] {
            prop_assert_eq!(verified(&foreign, &token, purpose, &salt), None);
        }
        prop_assert_eq!(verified(&ring(), &token, purpose, &other_salt), None);
        for other in PURPOSES.into_iter().filter(|other| *other != purpose) {
            prop_assert_eq!(verified(&ring(), &token, other, &salt), None);
        }
    }

    #[test]
    fn a_retired_key_verifies_and_a_revoked_one_does_not(what in any_ref(), salt in any_salt()) {
        let token = ring().mint(Purpose::Address, &what, &salt);
        let after = |state| ring_of(DOMAIN, vec![key(3, 7, state), key(4, 9, KeyState::Active)]);
        prop_assert_eq!(verified(&after(KeyState::Retired), &token, Purpose::Address, &salt), Some(what));
        prop_assert_eq!(verified(&after(KeyState::Revoked), &token, Purpose::Address, &salt), None);
    }

    #[test]
    fn lower_case_and_confused_letters_verify(
        what in any_ref(), choices in vec(any::<u8>(), 1..45), salt in any_salt(),
    ) {
        let token = ring().mint(Purpose::Body, &what, &salt);
        prop_assert_eq!(verified(&ring(), &confused(&token, &choices), Purpose::Body, &salt), Some(what));
    }

    #[test]
    fn a_body_token_is_found_however_a_client_wraps_and_quotes_it(
        what in any_ref(), breaks in vec((0..45usize, 0..6usize), 0..6),
        choices in vec(any::<u8>(), 1..45), salt in any_salt(),
    ) {
        let token = confused(&ring().mint(Purpose::Body, &what, &salt), &choices);
        let breakage = ["\n", "\n> ", "\n> > ", "\r\n>", " ", "\u{200b}"];
        let mut wrapped = String::new();
        for (at, letter) in token.chars().enumerate() {
            wrapped.extend(breaks.iter().filter(|(place, _)| *place == at).map(|(_, kind)| breakage[*kind]));
            wrapped.push(letter);
        }
        for (open, close) in [("[", "]"), ("[[", "]]"), ("&#91;", "&#93;"), ("&lbrack;", "&RBRACK;")] {
            let text = format!("Thanks!\n\n> Hello [ & <x> {open}{wrapped}{close} bye");
            let found = find_body_tokens(&text);
            let found: Vec<_> = found.iter().filter_map(|it| ring().verify(it, Purpose::Body, &salt)).collect();
            prop_assert_eq!(found, vec![what], "in {}", text);
        }
    }

    #[test]
    fn nothing_reads_as_a_token_once_defused(
        parts in vec((0..8usize, small_ref()), 0..12), noise in "[\\[\\]&#;91> \n+@id0-9A-Z]{0,60}",
    ) {
        let mut text = noise;
        for (form, what) in parts {
            let token = ring().mint(Purpose::Body, &what, &Salt([4; 16]));
            text.push_str(&match form {
                0 => format!("[{token}]"),
                1 => format!("[[{}]", token.to_lowercase()),
                2 => format!("&#91;{token}&#93;"),
                3 => format!(" support+id{token}@desk.example "),
                4 => format!("+ID{}@", token.to_lowercase()),
                5 => format!("[{}\n> {}]", &token[..9], &token[9..]),
                6 => format!("+id+id{token}@x"),
                _ => "[&#91;+id".to_owned(),
            });
        }
        let harmless = defuse(&text);
        prop_assert!(find_body_tokens(&harmless).is_empty(), "{}", harmless);
        let details = harmless.split('+').filter_map(|piece| piece.split_once('@'));
        let live = details.filter_map(|(detail, _)| {
            address_token(&Address::parse(&format!("support+{detail}@desk.example")).ok()?)
        });
        prop_assert_eq!(live.count(), 0, "{}", harmless);
        prop_assert_eq!(defuse(&harmless), harmless);
    }

    #[test]
    fn text_without_tokens_is_left_as_it_stands(text in any::<String>()) {
        prop_assume!(find_body_tokens(&text).is_empty());
        prop_assert_eq!(defuse(&text), text);
    }

    #[test]
    fn every_place_gives_back_its_token_for_its_purpose_only(
        what in any_ref(), outbox in 1..=i64::MAX, salt in any_salt(),
    ) {
        let ring = ring();
        let support = Address::parse("support@mail.example").unwrap();
        let address = ring.address(&support, &what, &salt).unwrap();
        prop_assert_eq!(address.without_detail(), support);
        let lower = Address::parse(&address.to_string().to_lowercase()).unwrap();
        for address in [address, lower] {
            let claimed = address_token(&address).unwrap();
            prop_assert_eq!(claimed.ticket(), what.ticket);
            prop_assert_eq!(ring.verify(&claimed, Purpose::Address, &salt), Some(what));
            prop_assert_eq!(ring.verify(&claimed, Purpose::Verp, &salt), None);
        }
        let id = ring.message_id(&what, &salt, OutboxId(outbox));
        let claimed = message_id_token(&id, DOMAIN).unwrap();
        prop_assert_eq!(ring.verify(&claimed, Purpose::MessageId, &salt), Some(what));
        prop_assert_eq!(message_id_token(&id, "other.example"), None);
    }

    #[test]
    fn a_return_address_fits_and_names_its_row(what in small_ref(), outbox in 1..1i64 << 50, salt in any_salt()) {
        let path = ring().reverse_path(&what, &salt, OutboxId(outbox)).unwrap();
        let row = format!(".{outbox}");
        prop_assert!(path.local().ends_with(&row));
        let claimed = reverse_path_token(&path).unwrap();
        prop_assert_eq!(ring().verify(&claimed, Purpose::Verp, &salt), Some(what));
    }
}

#[test]
fn a_token_has_the_layout_of_its_description() {
    let what = TicketRef { ticket: TicketId(0x0102), recipient: UserId(5), visibility: Rendered::Private };
    let token = ring().mint(Purpose::Body, &what, &Salt([9; 16]));
    let octets = crockford().decode(token.as_bytes()).unwrap();
    assert_eq!(octets[..5], [0x13, 0b1000_1000, 1, 2, 5]);
    assert_eq!(octets.len(), 5 + 10);
}

#[test]
fn octets_that_are_not_canonical_are_not_read() {
    let reads = |head: &[u8]| {
        let octets: Vec<u8> = head.iter().copied().chain([0xaa; 10]).collect();
        ClaimedToken::read(&crockford().encode(&octets)).is_some()
    };
    assert!(reads(&[0x13, 0b0100_0000, 1, 0]), "the plain case");
    assert!(!reads(&[0x23, 0b0100_0000, 1, 0]), "an unknown version");
    assert!(!reads(&[0x13, 0b1100_0000, 1, 0]), "an unknown visibility");
    assert!(!reads(&[0x13, 0b0100_1000, 0, 1, 0]), "a ticket with a leading zero");
    assert!(!reads(&[0x13, 0b0100_0001, 1, 0, 1]), "a recipient with a leading zero");
    assert!(!reads(&[0x13, 0b0111_1000, 0xff, 0, 0, 0, 0, 0, 0, 0, 1]), "a number that no id can be");
    assert!(!reads(&[0x13, 0b0100_0000, 1, 0, 0]), "an octet too many");
    assert!(!reads(&[0x13, 0b0100_0000, 1]), "an octet too few");
}

#[test]
fn padding_bits_must_be_zero() {
    let token = body_token(1);
    assert_eq!(token.len(), 23, "14 octets leave 3 bits of padding");
    let last =
        SYMBOLS.chars().filter(|last| ClaimedToken::read(&format!("{}{last}", &token[..22])).is_some());
    assert_eq!(last.count(), 4, "of 32 characters those whose last 3 bits are zero");
}

#[test]
fn the_root_message_id_is_stable_and_bound_to_nobody() {
    let salt = Salt([4; 16]);
    let root = ring().root_message_id(TicketId(12), &salt);
    assert_eq!(root, ring().root_message_id(TicketId(12), &salt));
    let says = ring().verify(&message_id_token(&root, DOMAIN).unwrap(), Purpose::MessageId, &salt).unwrap();
    assert_eq!((says.ticket, says.recipient, says.visibility), (TicketId(12), UserId(0), Rendered::None));
}

#[test]
fn the_topmost_token_comes_first_and_each_counts_once() {
    let text = format!("[{}] and [{}] and [{}]", body_token(8), body_token(7), body_token(8).to_lowercase());
    let tickets: Vec<_> = find_body_tokens(&text).iter().map(ClaimedToken::ticket).collect();
    assert_eq!(tickets, [TicketId(8), TicketId(7)]);
}

#[test]
fn floods_are_bounded() {
    let flood: String = (1..200).map(|ticket| format!("[{}]\n", body_token(ticket))).collect();
    assert_eq!(find_body_tokens(&flood).len(), 50);
    assert_eq!(find_body_tokens(&"[".repeat(1_000_000)), []);
    assert_eq!(find_body_tokens(&"&#91;0".repeat(200_000)), []);
    assert_eq!(find_body_tokens(&"[\n> > >".repeat(200_000)), []);
}

#[test]
fn without_closed_brackets_there_is_no_body_token() {
    let token = body_token(8);
    for text in
        [token.clone(), format!("({token})"), format!("[{token}"), format!("[{token}!]"), "[#123]".into()]
    {
        assert_eq!(find_body_tokens(&text), [], "{text}");
    }
}

#[test]
fn defused_text_stays_readable() {
    let token = body_token(8);
    let text = format!("see [{token}] or support+id{token}@desk.example [not one] 1+1");
    let expected = format!("see ({token}) or support+id-{token}@desk.example [not one] 1+1");
    assert_eq!(defuse(&text), expected);
}
