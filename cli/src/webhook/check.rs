//! The way from outside to ingest, one step after the other.
//!
//! **Owns** the order of the steps and what ends them. Nothing it sends is stored: batches are empty, the large
//! one too, which is 2.5 MiB of white space within its brackets.

use ingest::config::HookSettings;
use ingest::trust::Trust;
use shared::settings::{Environment, Mistakes, Settings};
use shared::signature::TEST_KEY;

use super::api::Api;
use super::hop::{Target, is_private};
use crate::terminal::plain;

/// More than many proxies let through unless they are told to; a batch of 1000 full events is as large.
const LARGE_BYTES: usize = 5 << 19;
const EMPTY_BYTES: usize = 2;

/// What is known here of ingest and of the account.
pub(super) struct Known {
    urls: Vec<String>,
    keys: Vec<String>,
    api: Option<Api>,
}

impl Known {
    pub(super) fn of(environment: &Environment) -> Result<Known, Mistakes> {
        let mut mistakes = Mistakes::default();
        let hook = HookSettings::read(environment, &mut mistakes);
        let hook = mistakes.or(hook)?;
        let urls = Trust::new(&hook).urls().to_vec();
        Ok(Known { urls, keys: hook.mandrill_webhook_keys.get().to_vec(), api: Api::if_set(environment)? })
    }

    pub(super) fn first_url(&self) -> Option<String> {
        self.urls.first().cloned()
    }
}

/// Goes all the way; whether it is free. Each step is told as it ends.
pub(super) async fn run(target: &Target, known: &Known, mut say: impl FnMut(String)) -> bool {
    let mut keys = known.keys.clone();
    let mut fine = true;
    if let Some(api) = &known.api {
        fine &= account(api, target, &mut keys, &mut say).await;
    }
    let Some(()) = reach(target, &mut say).await else { return false };

    let looked = target.look().await.and_then(|reply| reply.accepted(true));
    if !told("HEAD", looked, "answered 200, which is all Mandrill asks of a new address", &mut say) {
        return false;
    }
    let checked = target.post_empty(TEST_KEY, EMPTY_BYTES).await.and_then(|reply| reply.accepted(false));
    if !told("check", checked, "ingest takes Mandrill's signed empty batch", &mut say) {
        return false;
    }
    let key = match signed_with_any(target, &keys).await {
        Ok(Some(key)) => {
            say("ok    signature  ingest takes a batch signed with the webhook's key".to_owned());
            key
        }
        Ok(None) => {
            say("note  signature  no key is known here: set MANDRILL_WEBHOOK_KEYS or MANDRILL_API_KEY to try it"
                .to_owned());
            TEST_KEY
        }
        Err(what) => {
            say(format!("FAIL  signature  {what}"));
            fine = false;
            TEST_KEY
        }
    };
    let large = target.post_empty(key, LARGE_BYTES).await.and_then(|reply| reply.accepted(false));
    let large = large.map_err(|what| format!("{what} (a small batch went through, one of 2.5 MiB does not)"));
    fine & told("large", large, "2.5 MiB arrive at ingest", &mut say)
}

async fn reach(target: &Target, say: &mut impl FnMut(String)) -> Option<()> {
    let addresses = match target.resolve().await {
        Ok(addresses) => addresses,
        Err(what) => {
            say(format!("FAIL  DNS        {what}"));
            return None;
        }
    };
    let list = addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ");
    say(format!("ok    DNS        {list}"));
    if addresses.iter().all(|address| is_private(address.ip())) {
        say("note  DNS        only this network reaches such an address: Mandrill cannot, unless DNS says otherwise outside".to_owned());
    }
    if !target.is_encrypted() {
        say("note  TLS        the address is plain http: whoever is between sees the events, and can send them again"
            .to_owned());
    }
    match target.connect(&addresses).await {
        Ok(address) => say(format!("ok    TCP        {address} takes connections")),
        Err(what) => {
            say(format!("FAIL  TCP        {what}"));
            return None;
        }
    }
    Some(())
}

/// What Mandrill has of this address; its key joins those known.
async fn account(api: &Api, target: &Target, keys: &mut Vec<String>, say: &mut impl FnMut(String)) -> bool {
    let all = match api.list().await {
        Ok(all) => all,
        Err(error) => {
            say(format!("FAIL  Mandrill   {error}"));
            return false;
        }
    };
    let Some(webhook) = all.iter().find(|webhook| webhook.url == target.url) else {
        say(format!("note  Mandrill   {} webhooks, none with exactly this address", all.len()));
        return true;
    };
    say(format!("ok    Mandrill   {}", webhook.line()));
    let Some(key) = &webhook.auth_key else { return true };
    let lacks = !keys.is_empty() && !keys.contains(key);
    if lacks {
        let id = webhook.id;
        say(format!(
            "FAIL  key        MANDRILL_WEBHOOK_KEYS here lacks this webhook's (`webhook info {id} --show-key`)"
        ));
    }
    // What ingest has is what counts: the account's is tried first.
    keys.insert(0, key.clone());
    !lacks
}

/// The first key that ingest takes; nothing where none is known.
async fn signed_with_any<'a>(target: &Target, keys: &'a [String]) -> Result<Option<&'a str>, String> {
    let mut refused = None;
    for key in keys {
        let reply = target.post_empty(key, EMPTY_BYTES).await?;
        match reply.accepted(false) {
            Ok(()) => return Ok(Some(key)),
            Err(what) if reply.is_signature() => refused = Some(what),
            Err(what) => return Err(what),
        }
    }
    refused.map_or(Ok(None), Err)
}

fn told(step: &str, outcome: Result<(), String>, fine: &str, say: &mut impl FnMut(String)) -> bool {
    match &outcome {
        Ok(()) => say(format!("ok    {step:<10} {fine}")),
        Err(what) => say(format!("FAIL  {step:<10} {}", plain(what))),
    }
    outcome.is_ok()
}
