//! A NATS operator with one account and one user, as `nsc` makes them: their JWTs, signed with NKEYs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// What the broker has to know, and the user's credentials file.
pub struct Operator {
    pub configuration: String,
    pub credentials: String,
}

impl Operator {
    pub fn new() -> Operator {
        let (operator, account, system) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_account());
        let user = KeyPair::new_user();
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1
        });
        let of_operator = jwt(&operator, &operator, json!({ "type": "operator", "version": 2 }));
        let of_account = jwt(&operator, &account, json!({ "type": "account", "version": 2, "limits": limits }));
        let of_system = jwt(&operator, &system, json!({ "type": "account", "version": 2 }));
        let unlimited =
            json!({ "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1 });
        let of_user = jwt(&account, &user, unlimited);
        let (account, system) = (account.public_key(), system.public_key());
        Operator {
            configuration: format!(
                "operator: \"{of_operator}\"\nsystem_account: {system}\nresolver: MEMORY\n\
                 resolver_preload: {{ {account}: \"{of_account}\", {system}: \"{of_system}\" }}"
            ),
            credentials: format!(
                "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
                 -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
                user.seed().expect("a seed")
            ),
        }
    }
}

fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = part(&json!({
        "jti": "of-a-test", "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": "of a test", "nats": nats
    }));
    let text = format!("{head}.{claims}");
    let signature = issuer.sign(text.as_bytes()).expect("signed");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}
