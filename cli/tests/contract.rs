//! The documents say what the services do: each path with its methods, and each problem's type and title, stand in
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

fn name(urn: &str) -> String {
    urn.strip_prefix("urn:mandrill-live:problem:").expect("one of our types").to_owned()
}

/// The problems that responses of the contract may be, anywhere in it.
fn described(value: &Value, found: &mut BTreeSet<Problem>) {
    let properties = &value["allOf"][1]["properties"];
    if let Some(status) = properties["status"]["const"].as_u64() {
        let one = properties["type"]["const"].as_str();
        let several = properties["type"]["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for urn in one.into_iter().chain(several) {
            found.insert((u16::try_from(status).expect("a status"), name(urn)));
        }
    }
    object(value).for_each(|(_, member)| described(member, found));
    value.as_array().into_iter().flatten().for_each(|element| described(element, found));
}

/// The problems that its examples show, with their titles.
fn shown(value: &Value, found: &mut BTreeSet<(Problem, String)>) {
    if let (Some(urn), Some(title), Some(status)) =
        (value["type"].as_str(), value["title"].as_str(), value["status"].as_u64())
    {
        found.insert(((u16::try_from(status).expect("a status"), name(urn)), title.to_owned()));
    }
    object(value).for_each(|(_, member)| shown(member, found));
    value.as_array().into_iter().flatten().for_each(|element| shown(element, found));
}

/// The problems that the services make, with their titles.
fn made() -> BTreeSet<(Problem, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    for folder in ["shared/src", "ingest/src", "notifier/src"] {
        sources(&root.join(folder), &mut |source| made_in(source, &mut found));
    }
    // Written out in shared/src/serve.rs: it is said before there is a request.
    found.insert(((503, "connections".to_owned()), "Too many connections".to_owned()));
    found
}

/// Those of a source: `Problem::new(StatusCode::GONE, "cursor-gone", "The cursor leads nowhere")`.
fn made_in(source: &str, found: &mut BTreeSet<(Problem, String)>) {
    for rest in source.split("StatusCode::").skip(1) {
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len());
        let (status, rest) = rest.split_at(end);
        let Some((name, rest)) = next_text(rest) else { continue };
        let Some((title, _)) = next_text(rest) else { continue };
        let status = number(status).expect("a status of `number`");
        found.insert(((status, name.to_owned()), title.to_owned()));
    }
}

/// What stands next, where it is `, "a text"`, and what comes after it.
fn next_text(rest: &str) -> Option<(&str, &str)> {
    rest.strip_prefix(',')?.trim_start().strip_prefix('"')?.split_once('"')
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
    let code: BTreeSet<Problem> = made().into_iter().map(|(problem, _)| problem).collect();
    let mut contract = BTreeSet::new();
    described(&self::contract(), &mut contract);
    let missing: Vec<&Problem> = code.difference(&contract).collect();
    assert!(missing.is_empty(), "the contract lacks {missing:?}");
    let idle: Vec<&Problem> = contract.difference(&code).collect();
    assert!(idle.is_empty(), "nothing answers {idle:?}");
}

#[test]
fn a_problem_has_one_title_and_the_examples_show_it() {
    let made = made();
    let mut titles = BTreeMap::new();
    for ((_, name), title) in &made {
        let first = titles.entry(name).or_insert(title);
        assert_eq!(*first, title, "`title` is the same for all of a type: {name}");
    }
    let mut shown = BTreeSet::new();
    self::shown(&contract(), &mut shown);
    assert!(!shown.is_empty(), "the contract shows problems");
    let unsaid: Vec<_> = shown.difference(&made).collect();
    assert!(unsaid.is_empty(), "examples show what nothing answers: {unsaid:?}");
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

#[test]
fn a_goaway_is_described_with_the_reasons_it_has() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut said = BTreeSet::new();
    sources(&root.join("notifier/src"), &mut |source| {
        for call in ["go_away(\"", ".go(\"", "Goaway { reason: \""] {
            said.extend(source.split(call).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    });
    let document: Value = serde_saphyr::from_str(include_str!("../../shared/asyncapi.yaml")).expect("YAML");
    let reason = &document["components"]["messages"]["goaway"]["payload"]["properties"]["reason"];
    let described = reason["enum"].as_array().expect("the reasons").iter().filter_map(Value::as_str);
    assert_eq!(said, described.map(str::to_owned).collect());
}
