//! `mandrill-live rejected`: what was authentic and of no use, looked at and taken in after all.
//!
//! **Owns** the arguments and what is printed. Reading and deleting is [`shelf`]'s, an entry's
//! line [`line`]'s, storing [`redrive`]'s; what content means is the ingest library's. Tested in
//! `tests/rejected.rs`.

mod line;
mod redrive;
mod shelf;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use ingest::config::HookSettings;
use shared::broker::BrokerSettings;
use shared::settings::{Environment, Mistakes, Settings as _};
use shared::stream::StreamSettings;

use crate::ending;
use redrive::Redrive;
use shelf::{Shelf, ShelfError};

/// The arguments of `rejected`.
#[derive(clap::Args)]
pub(crate) struct Rejected {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// One line each, oldest first: sequence, time, bytes and why; never what was sent
    List {
        /// A line of JSON each
        #[arg(long)]
        json: bool,
    },
    /// Write what was sent to standard output, and what is known of it to standard error
    Show {
        /// Its number in the list
        #[arg(value_name = "SEQ")]
        sequence: u64,
    },
    /// Read it again with this version, store its events and delete it; what is still of no use stays
    Redrive {
        /// Their numbers in the list
        #[arg(value_name = "SEQ", required_unless_present = "all", conflicts_with = "all")]
        sequences: Vec<u64>,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Take this file's content, put right by hand, in place of what was sent; for one SEQ
        #[arg(long, conflicts_with = "all")]
        file: Option<PathBuf>,
    },
}

/// What may go wrong beside reading and writing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    #[error("--file stands for one rejected message: name its SEQ")]
    OneForFile,
}

type Failure = ending::Failure<Trouble>;

impl From<ShelfError> for Failure {
    fn from(why: ShelfError) -> Failure {
        Failure::Own(why.into())
    }
}

/// The variables of the services that matter here.
struct Settings {
    broker: BrokerSettings,
    stream: StreamSettings,
    hook: HookSettings,
}

/// Does it and says how it went.
pub(crate) async fn run(arguments: Rejected) -> ExitCode {
    let done = async {
        let settings = Settings::read(&Environment::of_process()).map_err(Failure::Settings)?;
        match arguments.verb {
            Verb::List { json } => list(&settings, json).await,
            Verb::Show { sequence } => show(&settings, sequence).await,
            Verb::Redrive { sequences, all, file } => {
                redrive(&settings, (!all).then_some(sequences), file.as_deref()).await
            }
        }
    };
    ending::code("rejected", Box::pin(done).await)
}

impl Settings {
    fn read(environment: &Environment) -> Result<Settings, Mistakes> {
        let mut mistakes = Mistakes::default();
        let broker = BrokerSettings::read(environment, &mut mistakes);
        let stream = StreamSettings::read(environment, &mut mistakes);
        let hook = HookSettings::read(environment, &mut mistakes);
        broker.iter().for_each(|settings| settings.check(&mut mistakes));
        stream.iter().for_each(|settings| settings.check(&mut mistakes));
        let settings = broker.zip(stream).zip(hook);
        mistakes.or(settings.map(|((broker, stream), hook)| Settings { broker, stream, hook }))
    }
}

async fn list(settings: &Settings, json: bool) -> Result<ExitCode, Failure> {
    let entries = Shelf::open(settings).await?.entries().await?;
    let mut out = io::stdout().lock();
    if json {
        entries.iter().try_for_each(|entry| writeln!(out, "{}", line::json(entry)))?;
    } else {
        line::aligned(&entries).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    out.flush()?;
    if entries.is_empty() {
        eprintln!("nothing has been rejected");
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(settings: &Settings, sequence: u64) -> Result<ExitCode, Failure> {
    let (entry, content) = Shelf::open(settings).await?.take(sequence).await?;
    eprint!("{}", line::card(&entry));
    let mut out = io::stdout().lock();
    out.write_all(&content)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// All of them where no sequences are given. Each is stored before the next is looked at.
async fn redrive(settings: &Settings, sequences: Option<Vec<u64>>, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let fixed = match (file, sequences.as_deref()) {
        (None, _) => None,
        (Some(path), Some([_])) => Some(read(path)?),
        (Some(_), _) => return Err(Failure::Own(Trouble::OneForFile)),
    };
    let shelf = Shelf::open(settings).await?;
    let redrive = Redrive::new(shelf.broker(), settings);
    let sequences = match sequences {
        Some(sequences) => sequences,
        None => shelf.entries().await?.into_iter().map(|entry| entry.sequence).collect(),
    };
    let mut left = 0;
    for sequence in sequences {
        match redrive.one(&shelf, sequence, fixed.clone()).await {
            Ok(done) => writeln!(io::stdout().lock(), "{sequence}: {done}")?,
            Err(why) => {
                left += 1;
                eprintln!("{sequence}: left where it is: {why}");
            }
        }
    }
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path) -> Result<Bytes, Failure> {
    std::fs::read(path).map(Bytes::from).map_err(|error| Failure::File { path: path.to_owned(), error })
}
