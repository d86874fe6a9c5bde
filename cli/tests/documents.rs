//! The documents say what the code does: every variable, its type, default, bounds and meaning stand in
//! README.md and in .env.example as the settings tables of both services have them; every metric of the running
//! services stands in docs/OPERATIONS.md with its type.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use shared::settings::{Environment, Variable};
use shared::testing::broker::Broker;
use shared::testing::http;
use shared::testing::process::Process;

const README: &str = include_str!("../../README.md");
const OPERATIONS: &str = include_str!("../../docs/OPERATIONS.md");
const EXAMPLE: &str = include_str!("../../.env.example");
const COMPOSE: [&str; 2] = [include_str!("../../compose.yaml"), include_str!("../../compose.tls.yaml")];

/// A variable and the services that read it.
struct Documented {
    variable: Variable,
    services: Vec<&'static str>,
}

impl Documented {
    fn doc(&self) -> String {
        let lines: Vec<&str> = self.variable.doc.iter().map(|line| line.trim()).collect();
        lines.join(" ")
    }

    fn service(&self) -> &'static str {
        match self.services[..] {
            [only] => only,
            _ => "both",
        }
    }

    fn bounds(&self) -> String {
        self.variable.bounds.iter().map(|(low, high)| format!("`{low}` to `{high}`")).collect()
    }

    /// Its row in the README.
    fn row(&self) -> String {
        let name = self.variable.name();
        // The notation of sizes and times is explained once, above the tables.
        let mut kind = self.variable.kind.split(" (").next().unwrap_or_default().to_owned();
        if self.variable.secret {
            let _ = write!(kind, "; or `{name}_FILE`");
        }
        let default = match self.variable.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let cells = [format!("`{name}`"), kind, default, self.bounds(), self.service().to_owned(), self.doc()];
        format!("| {} |", cells.join(" | "))
    }

    /// Its two lines in .env.example: what it is for, and the default behind a comment sign.
    fn example(&self) -> String {
        format!("# {}\n#{}={}\n", self.doc(), self.variable.name(), self.variable.default)
    }
}

/// All variables by name. Where both services have one, the first service's words stand for both.
fn variables() -> BTreeMap<String, Documented> {
    let mut all = BTreeMap::<String, Documented>::new();
    let of_ingest = ingest::Config::variables().map(|variable| ("ingest", variable));
    let of_notifier = notifier::Config::VARIABLES.into_iter().flatten().map(|variable| ("notifier", variable));
    for (service, variable) in of_ingest.chain(of_notifier) {
        let known =
            all.entry(variable.name()).or_insert_with(|| Documented { variable: *variable, services: Vec::new() });
        assert_eq!(known.variable.default, variable.default, "{}: one default for both services", variable.name());
        known.services.push(service);
    }
    all
}

/// The rows of the README's configuration tables by their variable.
fn rows() -> BTreeMap<String, String> {
    let section = README.split("\n## Configuration\n").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let name = |line: &str| {
        let name = line.strip_prefix("| `")?.split('`').next()?;
        name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_').then(|| name.to_owned())
    };
    section.lines().filter_map(|line| Some((name(line)?, line.to_owned()))).collect()
}

/// Every difference at once, each with the line that should be there.
fn check(file: &str, found: &BTreeMap<String, String>, expected: &BTreeMap<String, String>) {
    let mut wrong = String::new();
    for (name, expected) in expected {
        match found.get(name) {
            Some(found) if found == expected => {}
            Some(found) => {
                let _ = writeln!(wrong, "{name} is wrong. It says\n{found}\nand should say\n{expected}");
            }
            None => {
                let _ = writeln!(wrong, "{name} is missing. It should say\n{expected}");
            }
        }
    }
    for name in found.keys().filter(|name| !expected.contains_key(*name)) {
        let _ = writeln!(wrong, "{name} is documented, and no service reads it");
    }
    assert!(wrong.is_empty(), "{file}:\n{wrong}");
}

#[test]
fn the_readme_has_every_variable_as_the_services_read_it() {
    let expected = variables().into_iter().map(|(name, documented)| (name, documented.row())).collect();
    check("README.md", &rows(), &expected);
}

#[test]
fn the_example_has_every_variable_with_its_default() {
    let expected = variables().into_iter().map(|(name, documented)| (name, documented.example())).collect();
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let of_compose = of_compose();
    let pairs = lines.windows(2).filter_map(|pair| {
        let name = pair[1].strip_prefix('#').unwrap_or(pair[1]).split_once('=')?.0;
        if of_compose.contains_key(name) {
            return None;
        }
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        is_name.then(|| (name.to_owned(), format!("{}\n{}\n", pair[0], pair[1])))
    });
    check(".env.example", &pairs.collect(), &expected);
}

/// What Compose itself reads, with its defaults: `${NAME:-default}`, or `${NAME-default}` where empty is a value.
fn of_compose() -> BTreeMap<String, String> {
    let texts = COMPOSE.iter().flat_map(|file| file.split("${").skip(1));
    let named = texts.filter_map(|text| text.split('}').next()?.split_once('-'));
    named.map(|(name, default)| (name.trim_end_matches(':').to_owned(), default.to_owned())).collect()
}

#[test]
fn the_example_has_every_variable_of_compose_with_its_default() {
    let all = of_compose();
    assert!(all.len() > 10, "{all:?}");
    let missing: Vec<String> = all.iter().map(|(name, default)| format!("#{name}={default}")).collect();
    let missing: Vec<&String> = missing.iter().filter(|line| !EXAMPLE.lines().any(|found| found == *line)).collect();
    assert!(missing.is_empty(), ".env.example lacks {missing:?}");
}

#[test]
fn the_example_says_which_variables_compose_sets_in_place_of_it() {
    let variables = variables();
    let lines = COMPOSE[0].lines().filter(|line| !line.trim_start().starts_with('#'));
    let keys = lines.flat_map(|line| line.split([' ', '{', ',']).filter_map(|word| word.strip_suffix(':')));
    let expected: BTreeSet<&str> = keys.filter(|key| variables.contains_key(*key)).collect();
    let paragraph =
        EXAMPLE.split("\n# compose.yaml sets these itself").nth(1).and_then(|rest| rest.split("\n\n").next());
    let words = paragraph.expect("the list").split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    let found: BTreeSet<&str> = words.filter(|word| variables.contains_key(*word)).collect();
    assert!(expected.len() > 5, "{expected:?}");
    assert_eq!(found, expected);
}

#[test]
fn every_default_that_is_written_down_can_be_used() {
    // The one thing the notifier has to be told.
    let mut environment = Environment::from([("ALLOW_ANONYMOUS", "true")]);
    for (name, documented) in variables() {
        environment = environment.or(&name, documented.variable.default);
    }
    ingest::Config::read(&environment).expect("ingest's defaults");
    notifier::Config::read(&environment).expect("the notifier's defaults");
}

/// The metrics in the tables of docs/OPERATIONS.md, with their types. A row may have several, and one type for all.
fn documented_metrics() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for row in OPERATIONS.lines().filter(|line| line.starts_with("| `ingest_") || line.starts_with("| `notifier_")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (names, kinds) = (cells[1].split('`').skip(1).step_by(2), cells[2].split(", ").collect::<Vec<_>>());
        for (at, name) in names.enumerate() {
            let name = name.split_once('{').map_or(name, |(name, _)| name);
            all.insert(name.to_owned(), kinds[at.min(kinds.len() - 1)].to_owned());
        }
    }
    all
}

/// The same of running services.
fn running_metrics(scraped: &str) -> BTreeMap<String, String> {
    let types = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE mandrill_live_"));
    let named = types.filter_map(|line| line.split_once(' '));
    let named = named.filter(|(name, _)| name.starts_with("ingest_") || name.starts_with("notifier_"));
    named
        .map(|(name, kind)| {
            (if kind == "counter" { format!("{name}_total") } else { name.to_owned() }, kind.to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_documented_and_the_refusals_of_the_webhook_are_counted_from_zero() {
    let broker = Broker::start().await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mandrill-live"));
    command.arg("up");
    let variables = [
        ("NATS_URL", broker.url()),
        ("JWT_SECRET", "a secret of thirty-two bytes or more".to_owned()),
        ("PUBLIC_URLS", "http://localhost".to_owned()),
        ("MANDRILL_WEBHOOK_URLS", http::WEBHOOK.url.to_owned()),
        ("MANDRILL_WEBHOOK_KEYS", http::WEBHOOK.key.to_owned()),
    ];
    let up = Process::start(command, &variables.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    // Some are there only once there is something to say: a stored batch, and a token that is missing.
    assert_eq!(http::WEBHOOK.post(up.address, r#"[{"event":"open","_id":"m"}]"#).await.status, 200);
    assert_eq!(http::get(up.address, "/api/events/").await.status, 401);
    let scraped = String::from_utf8(http::get(up.admin, "/metrics").await.body).expect("text");

    let documented = documented_metrics();
    assert!(documented.len() > 25, "{documented:?}");
    assert_eq!(running_metrics(&scraped), documented);

    let table = README.split("### The webhook").nth(1).and_then(|rest| rest.split("\n### ").next()).expect("the table");
    let answers = table.lines().filter_map(|line| line.split("` `").nth(1)?.split('`').next());
    let refusals: Vec<&str> = answers.filter(|name| !name.starts_with('{')).collect();
    assert!(refusals.len() > 12, "{refusals:?}");
    for name in refusals {
        let series = format!(r#"mandrill_live_ingest_requests_total{{outcome="{name}"}} 0"#);
        assert!(scraped.lines().any(|line| line == series), "no {series}");
    }
}

/// The tests that a document names as `path::name`.
fn named_tests(document: &str) -> Vec<(&str, &str)> {
    let quoted = document.split('`').skip(1).step_by(2);
    let named = quoted.filter_map(|text| text.rsplit_once("::"));
    named.filter(|(path, _)| [".rs", ".py", ".js", ".mjs"].iter().any(|end| path.ends_with(end))).collect()
}

#[test]
fn every_test_that_guards_an_invariant_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let documents = [include_str!("../../docs/ARCHITECTURE.md"), include_str!("../../docs/SECURITY.md")];
    let named: Vec<_> = documents.into_iter().flat_map(named_tests).collect();
    assert!(named.len() > 80, "{} tests are named", named.len());
    let missing = named.into_iter().filter(|(path, name)| {
        let source = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        let written = [format!("fn {name}("), format!("def {name}("), format!("it(\"{name}\"")];
        !written.iter().any(|test| source.contains(test))
    });
    let missing: Vec<String> = missing.map(|(path, name)| format!("{path}::{name}")).collect();
    assert!(missing.is_empty(), "the documents name tests that do not exist:\n{}", missing.join("\n"));
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut broken = Vec::new();
    for document in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/OPERATIONS.md",
        "docs/NATS.md",
        "docs/CHANGELOG.md",
        "docs/SECURITY.md",
    ] {
        let path = root.join(document);
        let text = std::fs::read_to_string(&path).expect("the document");
        let folder = path.parent().expect("a folder");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { folder.join(file) };
            let found = target.exists() && (anchor.is_empty() || has_heading(&target, anchor));
            if !found {
                broken.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Whether a document has a heading of this anchor, as Git hosts make them of headings.
fn has_heading(document: &std::path::Path, anchor: &str) -> bool {
    let text = std::fs::read_to_string(document).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings.map(|heading| heading.to_lowercase().replace(' ', "-")).any(|made| made == anchor)
}
