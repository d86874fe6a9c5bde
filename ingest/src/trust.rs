//! Whom ingest believes: the webhooks' URLs and keys.
//!
//! **Owns** the configuration's rules about them and the decision whether a form is authentic.
//! **May not** log a key or a signature. Pure but for following the keys' file.

use shared::settings::{Mistakes, Value};
use shared::signature::{Signature, SignedText, TEST_KEY};
use tokio::sync::watch;

use crate::config::HookSettings;

/// Pairs of URL and key that one request may be tried with.
const PAIRS_MAX: usize = 64;

/// Webhook URLs, as text: separated by line breaks, or by a comma before the next `http`, since a URL may
/// hold commas of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrls(Vec<String>);

impl Value for WebhookUrls {
    const KIND: &'static str = "list of URLs";
    fn parse(text: &str) -> Result<WebhookUrls, String> {
        let mut urls: Vec<String> = Vec::new();
        for line in text.lines() {
            let mut continues = false;
            for part in line.split(',') {
                let begins = part.trim_start().starts_with("http://") || part.trim_start().starts_with("https://");
                match urls.last_mut() {
                    Some(last) if continues && !begins => {
                        last.push(',');
                        last.push_str(part);
                    }
                    _ if begins => urls.push(part.trim_start().to_owned()),
                    _ if part.trim().is_empty() => {}
                    _ => {
                        return Err(format!(
                            "{part:?} is not a URL: write it as it was typed into Mandrill, from http on"
                        ));
                    }
                }
                continues = true;
            }
        }
        urls.iter_mut().for_each(|url| url.truncate(url.trim_end().len()));
        Ok(WebhookUrls(urls))
    }
}

/// How requests are authenticated.
#[derive(Debug, Clone)]
pub struct Trust {
    urls: Vec<String>,
    keys: watch::Receiver<shared::settings::List<String>>,
    unsigned: bool,
}

/// What keys may be depends on what they are used with.
struct Rules {
    urls: Vec<String>,
    unsigned: bool,
}

impl Rules {
    fn of(settings: &HookSettings) -> Rules {
        let WebhookUrls(urls) = settings.mandrill_webhook_urls.clone();
        Rules { urls, unsigned: settings.allow_unsigned }
    }

    /// The variables at fault, and what is wrong with them: never a key.
    fn broken_by(&self, keys: &[String]) -> Vec<(&'static str, String)> {
        let mut broken = Vec::new();
        if !keys.is_empty() && self.unsigned {
            let what = "cannot be used together with MANDRILL_WEBHOOK_KEYS: remove one of them";
            broken.push(("allow_unsigned", what.to_owned()));
        }
        if !keys.is_empty() && self.urls.is_empty() {
            let what = "must hold the URLs registered in Mandrill: signatures are made over them";
            broken.push(("mandrill_webhook_urls", what.to_owned()));
        }
        if keys.len() * self.urls.len() > PAIRS_MAX {
            let what = format!("make more than {PAIRS_MAX} pairs with MANDRILL_WEBHOOK_URLS");
            broken.push(("mandrill_webhook_keys", what));
        }
        if keys.iter().any(|key| key == TEST_KEY) {
            broken.push(("mandrill_webhook_keys", format!("{TEST_KEY:?} is public: anybody can sign with it")));
        }
        broken
    }
}

/// What a form's signature shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authenticity {
    /// Signed with a key of ours.
    Signed,
    /// Mandrill's check of a new URL: an empty batch, and nothing else.
    Check,
    /// Taken without a signature: development.
    Unsigned,
    /// No key is configured, so nothing can be checked yet.
    NoKeyYet,
    /// Not signed by anybody we know.
    Forged,
}

impl Trust {
    /// Checks the rules about the settings before anything runs.
    pub fn check(settings: &HookSettings, mistakes: &mut Mistakes) {
        for (variable, what) in Rules::of(settings).broken_by(settings.mandrill_webhook_keys.get()) {
            mistakes.add(variable, what);
        }
    }

    /// From settings that were checked. Follows the keys' file, where they stand in one, and holds what it comes to
    /// hold to the same rules.
    #[must_use]
    pub fn new(settings: &HookSettings) -> Trust {
        let Rules { urls, unsigned } = Rules::of(settings);
        let rules = Rules::of(settings);
        let keys = settings.mandrill_webhook_keys.clone().watch_if(move |keys| match rules.broken_by(keys).pop() {
            Some((variable, what)) => Err(format!("{}: {what}", variable.to_ascii_uppercase())),
            None => Ok(()),
        });
        Trust { urls, keys, unsigned }
    }

    /// Whether requests are taken without a signature.
    #[must_use]
    pub fn takes_unsigned(&self) -> bool {
        self.unsigned
    }

    /// Whether no key is configured yet.
    #[must_use]
    pub fn has_no_key(&self) -> bool {
        !self.unsigned && self.keys.borrow().is_empty()
    }

    /// The URLs that signatures are tried with.
    #[must_use]
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Judges a form's signature; `is_empty` says whether its batch is empty.
    #[must_use]
    pub fn judge(&self, text: &SignedText<'_>, header: Option<&[u8]>, is_empty: bool) -> Authenticity {
        if self.unsigned {
            return Authenticity::Unsigned;
        }
        let signature = header.and_then(Signature::parse);
        let signed_by = |key: &str| {
            signature.is_some_and(|signature| self.urls.iter().any(|url| text.is_signed(&signature, url, key)))
        };
        // The keys are copied out: a lock held while a large body is hashed would delay their renewal.
        let keys = self.keys.borrow().clone();
        if keys.iter().any(|key| signed_by(key)) {
            return Authenticity::Signed;
        }
        // Before the webhook exists its URL may not have been configured either; there is nothing in an
        // empty batch that a forger could gain by.
        if is_empty && (signed_by(TEST_KEY) || (keys.is_empty() && self.urls.is_empty())) {
            return Authenticity::Check;
        }
        if keys.is_empty() && !is_empty { Authenticity::NoKeyYet } else { Authenticity::Forged }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use shared::settings::Environment;
    use std::time::Duration;

    #[test]
    fn urls_are_text_and_may_hold_commas() {
        let check = |text: &str, urls: &[&str]| assert_eq!(WebhookUrls::parse(text).expect("URLs").0, urls, "{text}");
        check("", &[]);
        check("https://a.b/c", &["https://a.b/c"]);
        check("https://a.b/c, http://d.e/?x=1,2 ,https://f.g", &["https://a.b/c", "http://d.e/?x=1,2", "https://f.g"]);
        check("https://a.b/\nhttps://A.b:443/%2f\n", &["https://a.b/", "https://A.b:443/%2f"]);
        assert!(WebhookUrls::parse("a.b/c").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn keys_in_a_file_are_renewed_and_one_that_is_gone_or_may_not_be_used_leaves_the_last() {
        let file = std::env::temp_dir().join(format!("mandrill-live-keys-{}", std::process::id()));
        let write = |keys: &str| std::fs::write(&file, keys).expect("a file");
        write("old\n");
        let environment = Environment::from([
            ("MANDRILL_WEBHOOK_URLS", "https://a.b/"),
            ("MANDRILL_WEBHOOK_KEYS_FILE", file.to_str().expect("a path")),
        ]);
        let mut trust = Trust::new(&Config::read(&environment).expect("settings").hook);
        assert_eq!(**trust.keys.borrow(), ["old"]);
        write("new,old\n");
        trust.keys.changed().await.expect("it is followed");
        assert_eq!(**trust.keys.borrow(), ["new", "old"]);
        std::fs::remove_file(&file).expect("removed");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(**trust.keys.borrow(), ["new", "old"]);
        let many = (0..=PAIRS_MAX).map(|number| format!("key{number}\n")).collect::<String>();
        for refused in ["new\ntest-webhook\n", &many] {
            write(refused);
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(**trust.keys.borrow(), ["new", "old"], "{refused}");
        }
        write("new\n");
        trust.keys.changed().await.expect("it is followed");
        assert_eq!(**trust.keys.borrow(), ["new"]);
        std::fs::remove_file(&file).expect("removed");
    }
}
