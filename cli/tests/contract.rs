//! The documents say what the services do: each path with its methods, and each problem's type, stand in
//! shared/openapi.yaml as the code has them, and nothing else does. The answers themselves are held to it by
//! cli/tests/contract, on running services.

#![allow(clippy::expect_used, reason = "a test ends where something unexpected happens")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

fn contract() -> Value {
    serde_saphyr::from_str(include_str!("../../shared/openapi.yaml")).expect("YAML")
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

type Methods = BTreeMap<String, BTreeSet<String>>;

/// Where there is `GET` there is `HEAD`, and `OPTIONS` is everywhere: the contract says so once for all.
fn but_for_the_usual(methods: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let methods: BTreeSet<String> = methods.into_iter().collect();
    let is_usual = |method: &str| method == "OPTIONS" || (method == "HEAD" && methods.contains("GET"));
    methods.iter().filter(|method| !is_usual(method)).cloned().collect()
}

#[test]
fn every_route_stands_in_the_contract_and_the_other_way_round() {
    let served: Methods = ingest::paths()
        .chain(notifier::paths())
        .map(|(path, methods)| (path.to_owned(), but_for_the_usual(methods.split(", ").map(str::to_owned))))
        .collect();
    let contract = contract();
    let described = object(&contract["paths"]).map(|(path, operations)| {
        let plain = if path == "/" { path } else { path.trim_end_matches('/') };
        (plain.to_owned(), but_for_the_usual(object(operations).map(|(method, _)| method.to_uppercase())))
    });
    assert_eq!(served, described.collect::<Methods>());
}

/// A problem's status and name.
type Problem = (u16, String);

/// The problems that responses of the contract may be, anywhere in it.
fn described(value: &Value, found: &mut BTreeSet<Problem>) {
    let properties = &value["allOf"][1]["properties"];
    if let Some(status) = properties["status"]["const"].as_u64() {
        let one = properties["type"]["const"].as_str();
        let several = properties["type"]["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for urn in one.into_iter().chain(several) {
            let name = urn.strip_prefix("urn:mandrill-live:problem:").expect("one of our types");
            found.insert((u16::try_from(status).expect("a status"), name.to_owned()));
        }
    }
    object(value).for_each(|(_, member)| described(member, found));
    value.as_array().into_iter().flatten().for_each(|element| described(element, found));
}

/// The problems a source makes: `Problem::new(StatusCode::GONE, "cursor-gone", …)`, `unauthorized("token-missing", …)`.
fn made(source: &str, found: &mut BTreeSet<Problem>) {
    for rest in source.split("unauthorized(\"").skip(1) {
        found.extend(rest.split('"').next().map(|name| (401, name.to_owned())));
    }
    for rest in source.split("StatusCode::").skip(1) {
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len());
        let (status, rest) = rest.split_at(end);
        let name = rest.strip_prefix(',').and_then(|rest| rest.trim_start().strip_prefix('"'));
        let name = name.and_then(|rest| rest.split('"').next());
        if let (Some(status), Some(name)) = (number(status), name) {
            found.insert((status, name.to_owned()));
        }
    }
}

/// The statuses that problems have, by the names the code has for them.
fn number(name: &str) -> Option<u16> {
    Some(match name {
        "BAD_REQUEST" => 400,
        "UNAUTHORIZED" => 401,
        "FORBIDDEN" => 403,
        "NOT_FOUND" => 404,
        "METHOD_NOT_ALLOWED" => 405,
        "NOT_ACCEPTABLE" => 406,
        "REQUEST_TIMEOUT" => 408,
        "GONE" => 410,
        "PAYLOAD_TOO_LARGE" => 413,
        "UNSUPPORTED_MEDIA_TYPE" => 415,
        "MISDIRECTED_REQUEST" => 421,
        "UPGRADE_REQUIRED" => 426,
        "TOO_MANY_REQUESTS" => 429,
        "SERVICE_UNAVAILABLE" => 503,
        _ => return None,
    })
}

fn sources(folder: &Path, each: &mut impl FnMut(&str)) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, each);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            each(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn every_problem_stands_in_the_contract_and_the_other_way_round() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut code = BTreeSet::new();
    for folder in ["shared/src", "ingest/src", "notifier/src"] {
        sources(&root.join(folder), &mut |source| made(source, &mut code));
    }
    // Written out in shared/src/serve.rs: it is said before there is a request.
    code.insert((503, "connections".to_owned()));
    let mut contract = BTreeSet::new();
    described(&self::contract(), &mut contract);
    let missing: Vec<&Problem> = code.difference(&contract).collect();
    assert!(missing.is_empty(), "the contract lacks {missing:?}");
    let idle: Vec<&Problem> = contract.difference(&code).collect();
    assert!(idle.is_empty(), "nothing answers {idle:?}");
}

#[test]
fn the_documents_have_the_version_of_the_program() {
    let asyncapi: Value = serde_saphyr::from_str(include_str!("../../shared/asyncapi.yaml")).expect("YAML");
    for document in [contract(), asyncapi] {
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn the_socket_is_described_with_the_close_codes_and_next_steps_it_has() {
    use shared::close::{Close, Next};
    let document: Value = serde_saphyr::from_str(include_str!("../../shared/asyncapi.yaml")).expect("YAML");
    let described = document["channels"]["live"]["x-close-codes"].as_array().expect("the table").clone();
    let next = |close: Close| match close.next() {
        Next::Reconnect => "reconnect",
        Next::Backoff => "backoff",
        Next::Wait => "wait",
        Next::NewToken => "new-token",
        Next::WithoutSince => "without-since",
        Next::Stop => "stop",
    };
    let line = |close: Close| serde_json::json!({"code": close.code(), "reason": close.reason(), "next": next(close)});
    assert_eq!(described, Close::ALL.map(line));
}
