//! The words that synthetic events are made of, and how one is drawn.

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

pub(super) const GIVEN_NAMES: [&str; 32] = [
    "ada", "amelie", "anders", "bao", "chiara", "david", "elif", "emeka", "fatima", "grace", "hanna", "ines", "ivan",
    "jonas", "jun", "karim", "lena", "li", "luca", "maria", "mateo", "mina", "nadia", "noah", "olga", "priya", "rosa",
    "sam", "sofia", "tariq", "yuki", "zoe",
];
pub(super) const FAMILY_NAMES: [&str; 32] = [
    "abe", "ali", "adams", "bauer", "berg", "chen", "costa", "diaz", "dubois", "eriksen", "fischer", "garcia",
    "haddad", "ito", "jansen", "kaya", "khan", "kim", "kowalski", "lopez", "martin", "meyer", "nguyen", "novak",
    "okafor", "patel", "rossi", "silva", "singh", "smith", "tanaka", "weber",
];
const DOMAINS: [&str; 3] = ["example.com", "example.org", "example.net"];

/// `{n}` is replaced by the number of the order, invoice or ticket.
const SUBJECTS: [&str; 12] = [
    "Your order #{n} has shipped and will be with you in two days",
    "Receipt for your payment, invoice {n}",
    "Please confirm your address for order #{n}",
    "Your weekly summary: what happened in your projects",
    "Reset your password: this link is good for 30 minutes",
    "You left something behind: 10 % off basket {n} until Sunday",
    "Ihre Bestellung {n} ist unterwegs – schöne Grüße aus dem Lager",
    "Réservation n° {n} confirmée : à très bientôt à l’hôtel",
    "ご注文 {n} を発送しました。お届け予定日をご確認ください",
    "Ваш заказ №{n} принят и скоро будет отправлен",
    "🎉 It is your birthday: here is a present 🎁",
    "New reply to ticket {n}: \"Cannot sign in\" <urgent>",
];
pub(super) const SENDERS: [&str; 5] = [
    "orders@shop.example.com",
    "billing@shop.example.com",
    "hello@news.example.com",
    "no-reply@accounts.example.com",
    "support@help.example.com",
];
pub(super) const TEMPLATES: [Option<&str>; 5] =
    [Some("order-shipped-v3"), Some("invoice"), Some("newsletter-2026"), Some("password-reset"), None];
pub(super) const TAGS: [&[&str]; 6] = [
    &["orders", "shipping", "transactional"],
    &["billing", "receipt", "transactional"],
    &["newsletter", "weekly-summary"],
    &["password-reset", "account"],
    &["win-back", "experiment-b"],
    &[],
];
pub(super) const SUBACCOUNTS: [Option<&str>; 4] = [None, None, Some("shop-eu"), Some("shop-us")];
pub(super) const CAMPAIGNS: [&str; 4] = ["spring-sale-2026", "onboarding-day-3", "loyalty", "none"];
pub(super) const LOCALES: [&str; 5] = ["en_GB", "de_DE", "fr_FR", "ja_JP", "nb_NO"];
pub(super) const LINKS: [&str; 4] = ["orders/track", "account/confirm", "news/read-more", "basket/resume"];

/// One of the words.
pub(super) fn pick<T: Copy>(words: &[T], random: &mut StdRng) -> T {
    words[random.random_range(0..words.len())]
}

/// Somebody's address: the same person comes up again after a while, as customers do.
pub(super) fn address(random: &mut StdRng) -> String {
    let (given, family) = (pick(&GIVEN_NAMES, random), pick(&FAMILY_NAMES, random));
    let (number, domain) = (random.random_range(1..100), pick(&DOMAINS, random));
    match random.random_range(0..20) {
        0 => format!("{given}.{family}+shop{number}@{domain}"),
        1 => format!("{}{family}{number}@{domain}", given.to_uppercase()),
        _ => format!("{given}.{family}{number}@{domain}"),
    }
}

/// A message's subject about the matter of this number.
pub(super) fn subject(number: u32, random: &mut StdRng) -> String {
    pick(&SUBJECTS, random).replace("{n}", &number.to_string())
}

/// An id as Mandrill gives messages: 32 hex digits.
pub(super) fn hex_id(random: &mut StdRng) -> String {
    format!("{:032x}", random.random::<u128>())
}

/// A message's `_version`: 22 characters.
pub(super) fn version(random: &mut StdRng) -> String {
    const CHARACTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..22).map(|_| char::from(pick(CHARACTERS, random))).collect()
}

/// A UUID, as applications put into metadata.
pub(super) fn uuid(random: &mut StdRng) -> String {
    let mut text = String::with_capacity(36);
    for (index, part) in [32, 16, 16, 16, 48].into_iter().enumerate() {
        if index > 0 {
            text.push('-');
        }
        let width = part as usize / 4;
        // Writing to a string does not fail.
        let _ = write!(text, "{:0width$x}", random.next_u64() >> (64 - part));
    }
    text
}
