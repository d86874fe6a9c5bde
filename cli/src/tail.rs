//! `mandrill-live tail`: events in a terminal or a pipe, as they happen.
//!
//! **Owns** the life of the connection (it comes back by itself, after the last event it has shown), the wait
//! for one event, and the exit code. The stream's form is [`stream`]'s, an event's line [`line`]'s, the
//! condition [`until`]'s, sending on [`forward`]'s. Tested in `tests/tail.rs`.

mod forward;
mod line;
mod stream;
mod until;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use hyper::Uri;
use shared::form;
use tokio::time::{sleep, timeout};

use forward::Forward;
use line::Style;
use stream::{Ended, Message, Source};
use until::Condition;

use crate::sign_in::SignIn;

/// A shell's exit code for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;
/// What nobody can answer differently the next time: a wrong address, a filter that is none.
const REFUSED: u8 = 2;
/// Waits between attempts, from the first to the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// The arguments of `tail`.
#[derive(clap::Args)]
pub(crate) struct Tail {
    /// The service's address
    #[arg(long, default_value = "http://127.0.0.1:8000/")]
    url: Uri,
    #[command(flatten)]
    sign_in: SignIn,
    /// Only this kind of event (open, hard_bounce, …); each filter may be repeated or comma-separated
    /// (`\,` is a comma within a value)
    #[arg(long, value_name = "KIND")]
    event: Vec<String>,
    /// Only events of this recipient
    #[arg(long, value_name = "ADDRESS")]
    email: Vec<String>,
    /// Only events of mail from this sender
    #[arg(long, value_name = "ADDRESS")]
    sender: Vec<String>,
    /// Only events of mail with this tag
    #[arg(long)]
    tag: Vec<String>,
    /// Only events of this subaccount
    #[arg(long)]
    subaccount: Vec<String>,
    /// Only events of mail made with this template
    #[arg(long)]
    template: Vec<String>,
    /// Only events of this message
    #[arg(long, value_name = "ID")]
    message: Vec<String>,
    /// Only events of mail with this metadata
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<Condition>,
    /// Begin after this cursor (the `_cursor` of an event)
    #[arg(long, value_name = "CURSOR", conflicts_with = "last")]
    since: Option<String>,
    /// Begin with the newest N events that match, at most 1000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    last: Option<u16>,
    /// Print each event as it came, a line of JSON
    #[arg(long)]
    json: bool,
    /// End with exit code 0 at the first event for which this holds; repeated, all must hold
    #[arg(long, value_name = "NAME=VALUE")]
    until: Vec<Condition>,
    /// With --until: end with exit code 1 after this time (60s, 5m)
    #[arg(long, value_parser = humantime::parse_duration, requires = "until")]
    timeout: Option<Duration>,
    /// Post each event to this webhook, as Mandrill would
    #[arg(long, value_name = "URL")]
    forward: Option<Uri>,
    /// With --forward: the key to sign with
    #[arg(long, requires = "forward")]
    key: Option<String>,
}

/// Follows until it is told to end, the event it waits for comes, or nothing can come.
pub(crate) async fn run(arguments: Tail) -> ExitCode {
    let waited = arguments.timeout;
    let follow = follow(arguments);
    let timed = async {
        match waited {
            Some(limit) => timeout(limit, follow).await.ok(),
            None => Some(follow.await),
        }
    };
    tokio::select! {
        ended = timed => match ended {
            Some(Ok(End::Found | End::NobodyReads)) => ExitCode::SUCCESS,
            Some(Err(why)) => {
                eprintln!("mandrill-live tail: {why}");
                ExitCode::from(REFUSED)
            }
            None => {
                eprintln!("mandrill-live tail: no such event came in time");
                ExitCode::FAILURE
            }
        },
        _ = tokio::signal::ctrl_c() => ExitCode::from(INTERRUPTED),
    }
}

/// Why it ended well.
enum End {
    /// The event that was waited for came.
    Found,
    /// Nobody reads what is printed any more (`| head`).
    NobodyReads,
}

async fn follow(arguments: Tail) -> Result<End, String> {
    let mut source =
        Source::new(&arguments.url, query(&arguments), arguments.sign_in.clone()).map_err(|error| error.to_string())?;
    let forward = match &arguments.forward {
        Some(url) => Some(Forward::new(url.clone(), arguments.key.clone()).map_err(|error| error.to_string())?),
        None => None,
    };
    let style = Style::of_terminal();
    let mut wait = BACKOFF.0;
    loop {
        let ended = match source.connect().await {
            Ok(()) => loop {
                match source.next().await {
                    Ok(Message::Event(text)) => {
                        wait = BACKOFF.0;
                        if print(&arguments, &style, &text).is_err() {
                            return Ok(End::NobodyReads);
                        }
                        if let Some(forward) = &forward {
                            forward.post(&text).await;
                        }
                        if !arguments.until.is_empty() && until::all_hold(&arguments.until, &text) {
                            return Ok(End::Found);
                        }
                    }
                    Ok(Message::Notice(text)) => eprintln!("{}", style.notice(&text)),
                    Ok(Message::Quiet) => {}
                    Err(ended) => break ended,
                }
            },
            Err(ended) => ended,
        };
        match ended {
            Ended::Refused(why) => return Err(why),
            Ended::Moved => wait = BACKOFF.0,
            Ended::Lost { why, retry_after } => {
                let pause = retry_after.unwrap_or(wait);
                eprintln!("{}", style.notice(&format!("{why}; trying again in {:.1} s", pause.as_secs_f64())));
                sleep(pause).await;
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
    }
}

fn print(arguments: &Tail, style: &Style, text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{text}")?;
    } else {
        writeln!(out, "{}", line::of(text, style))?;
    }
    out.flush()
}

/// The parameters of the stream.
fn query(arguments: &Tail) -> String {
    let mut query = String::new();
    let filters = [
        ("event", &arguments.event),
        ("email", &arguments.email),
        ("sender", &arguments.sender),
        ("tag", &arguments.tag),
        ("subaccount", &arguments.subaccount),
        ("template", &arguments.template),
        ("message", &arguments.message),
    ];
    for (name, values) in filters {
        values.iter().for_each(|value| form::encode_pair(&mut query, name, value));
    }
    for Condition { name, value } in &arguments.metadata {
        form::encode_pair(&mut query, &format!("metadata.{name}"), value);
    }
    if let Some(cursor) = &arguments.since {
        form::encode_pair(&mut query, "since", cursor);
    }
    if let Some(count) = arguments.last {
        form::encode_pair(&mut query, "last", &count.to_string());
    }
    query
}

impl Style {
    fn of_terminal() -> Style {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Style { colour: wanted && io::stdout().is_terminal() }
    }
}
