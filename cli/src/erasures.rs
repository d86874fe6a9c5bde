//! `mandrill-live erasures`: who was erased, listed; and erased again after a backup was restored.
//!
//! **Owns** the arguments, and what is read and printed. What is done on the broker is the notifier library's. Tested in `tests/erasures.rs`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use notifier::config::NotifierSettings;
use notifier::erasures::{EraseSettings, Erasures, NotErased, Outcome, Record};
use shared::broker::BrokerSettings;
use shared::settings::{Environment, Mistakes, Settings as _};
use shared::stream;

use crate::ending;

/// The path that stands for standard input.
const STDIN: &str = "-";

/// The arguments of `erasures`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// One line of JSON for each person who was erased, to be kept apart from the broker: never an address
    List,
    /// Erase them again after a backup was restored: those in the logs of notifiers, and in lists
    Apply {
        /// Logs and lists; `-` is standard input
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
}

/// What may go wrong beside reading and writing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    NotErased(#[from] NotErased),
    #[error(
        "there is no erasure in what was given, so that there is nothing to do; it has to be logs of notifiers, or \
         what `erasures list` printed"
    )]
    Nothing,
}

type Failure = ending::Failure<Trouble>;

impl From<NotErased> for Failure {
    fn from(why: NotErased) -> Failure {
        Failure::Own(why.into())
    }
}

/// The variables of the notifier that matter here.
struct Settings {
    broker: BrokerSettings,
    erase: EraseSettings,
    stream: String,
}

/// Does it and says how it went.
pub(crate) async fn run(arguments: Arguments) -> ExitCode {
    let done = async {
        let settings = Settings::read(&Environment::of_process()).map_err(Failure::Settings)?;
        match arguments.verb {
            Verb::List => list(&settings).await,
            Verb::Apply { files } => apply(&settings, &files).await,
        }
    };
    ending::code("erasures", Box::pin(done).await)
}

impl Settings {
    fn read(environment: &Environment) -> Result<Settings, Mistakes> {
        let mut mistakes = Mistakes::default();
        let broker = BrokerSettings::read(environment, &mut mistakes);
        let erase = EraseSettings::read(environment, &mut mistakes);
        let notifier = NotifierSettings::read(environment, &mut mistakes);
        broker.iter().for_each(|settings| settings.check(&mut mistakes));
        erase.iter().for_each(|settings| settings.check(&mut mistakes));
        let stream = notifier.map(|settings| settings.stream_name);
        stream.iter().for_each(|name| stream::check_name(name, &mut mistakes));
        let settings = broker.zip(erase).zip(stream);
        mistakes.or(settings.map(|((broker, erase), stream)| Settings { broker, erase, stream }))
    }

    async fn open(&self) -> Result<Erasures, NotErased> {
        Erasures::open(&self.broker, &self.erase, &self.stream).await
    }
}

async fn list(settings: &Settings) -> Result<ExitCode, Failure> {
    let records = settings.open().await?.list().await?;
    let mut out = io::stdout().lock();
    records.iter().try_for_each(|record| writeln!(out, "{}", record.line()))?;
    out.flush()?;
    if records.is_empty() {
        eprintln!("nobody was erased");
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads all files before anything is done: one that cannot be used shall not leave half of the work.
async fn apply(settings: &Settings, files: &[PathBuf]) -> Result<ExitCode, Failure> {
    let mut records = Vec::new();
    for path in files {
        let found = read(path)?;
        eprintln!("{}: {} erasures", path.display(), found.len());
        records.extend(found);
    }
    if records.is_empty() {
        return Err(Failure::Own(Trouble::Nothing));
    }
    let erasures = settings.open().await?;
    let mut out = io::stdout().lock();
    let mut written = Ok(());
    let say = |record: &Record, outcome: Outcome| {
        let (recipient, (word, events)) = (record.recipient, words(outcome));
        if written.is_ok() {
            written = writeln!(out, "{recipient}: {word}, {events} events taken away");
        }
    };
    erasures.apply(&records, say).await?;
    written?;
    Ok(ExitCode::SUCCESS)
}

fn words(outcome: Outcome) -> (&'static str, u64) {
    match outcome {
        Outcome::Known(events) => ("was known", events),
        Outcome::Applied(events) => ("applied again", events),
    }
}

fn read(path: &Path) -> Result<Vec<Record>, Failure> {
    let unreadable = |error: io::Error| Failure::File { path: path.to_owned(), error };
    let reader: Box<dyn BufRead> = if path == Path::new(STDIN) {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(unreadable)?))
    };
    let mut records = Vec::new();
    for line in reader.split(b'\n') {
        records.extend(Record::read(&String::from_utf8_lossy(&line.map_err(unreadable)?)));
    }
    Ok(records)
}
