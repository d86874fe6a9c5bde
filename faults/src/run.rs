//! One run, from its first process to its verdict.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use shared::cursor::Cursor;
use shared::testing::websocket::{Client, V1};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::checker;
use crate::eraser::{Erasures, erase};
use crate::event::{Content, Events, PEOPLE, Wish, address};
use crate::processes::Holds;
use crate::readers::{self, Questions};
use crate::record::{Ledger, Pace, Session, Truth};
use crate::report::{Journal, Numbers};
use crate::schedule::{Service, schedule};
use crate::senders::{Book, send};
use crate::sessions::{self, Handle, Shared};
use crate::stage::Stage;

/// Senders at once.
const SENDERS: u32 = 4;
/// From healed to ready, at most.
const READY: Duration = Duration::from_secs(10);
/// The same where the cluster may have lost its leader.
const READY_CLUSTER: Duration = Duration::from_secs(20);
/// For the first start of everything.
const START: Duration = Duration::from_secs(60);
/// Quiet before the first fault and between rounds.
const QUIET: Duration = Duration::from_secs(2);
/// For every session to have read to the end, now that nothing is broken.
const CAUGHT_UP: Duration = Duration::from_secs(30);
/// For processes to let go of what their clients held.
const LET_GO: Duration = Duration::from_secs(20);
/// Descriptors that a service may hold more than before it had its first client.
const DESCRIPTORS_MORE: usize = 12;
/// What a service may hold in memory, with the little that it is configured to keep.
const BYTES_MAX: u64 = 160 << 20;

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Decides what is broken, when, and what is sent.
    #[arg(long)]
    seed: Option<u64>,
    /// For about how long things are broken.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Where `ingest` and `notifier` are.
    #[arg(long, default_value = "target/release")]
    binaries: PathBuf,
    /// By how much times that are promised may be exceeded: for machines that are slow or busy.
    #[arg(long, default_value_t = 1.0)]
    slack: f64,
}

/// Runs; says whether all was well.
pub(crate) async fn run(options: Options) -> bool {
    let seed = options.seed.unwrap_or_else(|| rand::random_range(1..1_000_000));
    let folder = tempfile::Builder::new().prefix("mandrill-live-faults").tempdir().expect("a folder");
    let again = format!("SEED={seed} MINUTES={}", options.minutes);
    println!("make faults {again}");
    let journal = Journal::new();
    let numbers = play(&options, seed, folder.path(), &journal).await;
    let clean = journal.is_clean();
    let logs = (!clean).then(|| folder.keep());
    println!("{}", journal.verdict(&numbers, &again, logs.as_deref()));
    clean
}

async fn play(options: &Options, seed: u64, folder: &Path, journal: &Journal) -> Numbers {
    let (book, mut numbers) = (Book::default(), Numbers::default());
    let stage = Stage::start(&options.binaries, folder, (journal.clone(), book.clone()), seed, options.slack).await;
    if stage.ready(stage.at_most(START)).await.is_none() {
        journal.finding(format!("not everything started: {}", stage.unready().await));
        stage.panics(folder).await;
        return numbers;
    }
    let idle = stage.holds().await;
    let crowd = Crowd::gather(&stage, &book, seed).await;
    journal.say(&format!("everything runs: {} sessions, {SENDERS} senders", crowd.sessions.len()));
    sleep(QUIET).await;

    let rounds = schedule(seed, Duration::from_secs_f64(options.minutes * 60.0));
    for (number, round) in rounds.iter().enumerate() {
        journal.say(&format!("round {} of {}", number + 1, rounds.len()));
        stage.go_through(round).await;
        let cluster = round.touches_the_cluster();
        let limit = stage.at_most(if cluster { READY_CLUSTER } else { READY });
        match stage.ready(limit).await {
            Some(took) => {
                journal.say(&format!("all healed; everything is ready {:.1} s later", took.as_secs_f64()));
                let worst = &mut numbers.worst[usize::from(cluster)];
                *worst = took.max(*worst);
            }
            None => journal
                .finding(format!("healed, and after {limit:.0?} not everything is ready: {}", stage.unready().await)),
        }
        stage.check_lives().await;
        journal.check(stage.archive.lock().await.read().await);
        sleep(QUIET).await;
    }

    journal.say("nothing is broken any more");
    crowd.settle(&stage, journal).await;
    let mut archive = stage.archive.lock().await;
    journal.check(archive.read().await);
    journal.check(archive.look_for_dropped(journal.began()).await);
    check_listings(&stage, &archive.truth, &book, journal, &mut numbers).await;
    let (questions, erasures) = (crowd.questions.clone(), crowd.erasures.clone());
    let sessions = crowd.leave().await;
    numbers.held = check_holds(&stage, &idle, journal).await;
    end_services(&stage, folder, journal).await;

    let truth = &archive.truth;
    let ledger = std::mem::take(&mut *book.open());
    let asked = std::mem::take(&mut *questions.lock().unwrap_or_else(PoisonError::into_inner));
    let mut findings = ledger.odd.clone();
    let desk = std::mem::take(&mut *erasures.lock().unwrap_or_else(PoisonError::into_inner));
    findings.extend(desk.odd.iter().cloned());
    let erasures = &desk.erasures;
    findings.extend(checker::stored(truth, &ledger, erasures));
    findings.extend(sessions.iter().flat_map(|session| checker::session(truth, session, erasures)));
    findings.extend(asked.odd.iter().cloned());
    findings.extend(checker::pages(truth, &ledger, &asked.pages, erasures, journal.began()));
    findings.into_iter().for_each(|finding| journal.finding(finding));
    count(&mut numbers, truth, &ledger, &sessions);
    numbers.erased = desk.erasures.len();
    (numbers.pages, numbers.unanswered) = (asked.pages.len(), asked.unanswered);
    numbers
}

/// Everybody who talks to the services.
struct Crowd {
    senders: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    listeners: Vec<JoinHandle<()>>,
    sessions: Vec<Handle>,
    questions: Questions,
    erasures: Erasures,
    stop: CancellationToken,
    shared: Shared,
}

impl Crowd {
    async fn gather(stage: &Stage, book: &Book, seed: u64) -> Crowd {
        let notifiers = stage.notifiers();
        let shared = Shared {
            notifiers: notifiers.clone(),
            start: start(notifiers[0]).await,
            hurry: CancellationToken::new(),
            over: CancellationToken::new(),
        };
        let stop = CancellationToken::new();
        let of = |number: usize| seed.wrapping_mul(7919).wrapping_add(number as u64);
        let sessions: Vec<Handle> = sessions::sorts()
            .into_iter()
            .enumerate()
            .map(|(number, sort)| sessions::new(number, sort, shared.start.sequence))
            .collect();
        let listeners = sessions.iter().enumerate();
        let listeners = listeners
            .map(|(number, session)| tokio::spawn(sessions::live(session.clone(), shared.clone(), of(number))))
            .collect();
        let senders = (0..SENDERS).map(|number| {
            let (events, seed) = (Events::new(seed, number), of(1000 + number as usize));
            tokio::spawn(send(events, seed, stage.hooks(), book.clone(), stop.clone()))
        });
        let questions = Questions::default();
        let (erasures, archive) = (Erasures::default(), Arc::clone(&stage.archive));
        let eraser = erase(notifiers.clone(), of(3000), (archive, book.clone()), erasures.clone(), stop.clone());
        let reader = readers::ask(notifiers, of(2000), book.clone(), questions.clone(), stop.clone());
        Crowd {
            senders: senders.chain([tokio::spawn(eraser)]).collect(),
            readers: vec![tokio::spawn(reader)],
            listeners,
            sessions,
            questions,
            erasures,
            stop,
            shared,
        }
    }

    /// Has the senders finish, and waits until every session has read to the end.
    async fn settle(&self, stage: &Stage, journal: &Journal) {
        self.stop.cancel();
        let limit = stage.at_most(CAUGHT_UP);
        let deadline = Instant::now() + limit;
        let finished = || self.senders.iter().all(JoinHandle::is_finished);
        while !finished() && Instant::now() < deadline {
            sleep(Duration::from_millis(100)).await;
        }
        if !finished() {
            journal
                .finding(format!("a batch or an erasure was not taken within {limit:.0?} after everything was ready"));
        }
        if timeout(limit, stage.last_words((0..PEOPLE).map(address))).await.is_err() {
            journal.finding("the last batch was not taken".to_owned());
        }
        self.shared.hurry.cancel();
        let mut archive = stage.archive.lock().await;
        journal.check(archive.read().await);
        let last = |session: &Session| archive.truth.wanted(&session.wish).last().map_or(0, |stored| stored.sequence);
        let behind = |handle: &&Handle| {
            let session = sessions::open(handle);
            session.reached() < last(&session)
        };
        let deadline = Instant::now() + limit;
        while self.sessions.iter().any(|handle| behind(&handle)) && Instant::now() < deadline {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Everybody goes; what the sessions saw remains.
    async fn leave(self) -> Vec<Session> {
        self.shared.over.cancel();
        let all = self.senders.into_iter().chain(self.readers).chain(self.listeners);
        // A task that panicked has seen what no server may do; the panic's own text is on stderr.
        let ended = join_all(all.map(|task| async move {
            task.abort();
            task.await.is_err_and(|error| error.is_panic())
        }));
        let panicked = ended.await.into_iter().filter(|panicked| *panicked).count();
        let taken = self.sessions.into_iter().map(|handle| {
            let mut session = sessions::open(&handle);
            let (way, wish) = (session.way, session.wish.clone());
            let empty = Session {
                number: 0,
                way,
                pace: Pace::Steady,
                wish,
                start: 0,
                entries: vec![],
                odd: vec![],
                resumes: 0,
            };
            std::mem::replace(&mut *session, empty)
        });
        let mut sessions: Vec<Session> = taken.collect();
        if let (true, Some(first)) = (panicked > 0, sessions.first_mut()) {
            first.odd.push(format!("{panicked} clients got what they could not read; see above"));
        }
        sessions
    }
}

/// Where the stream is before anything is sent.
async fn start(notifier: SocketAddr) -> Cursor {
    let mut client = Client::connect(notifier, "/ws/email/", &[V1]).await;
    let hello = client.json().await;
    hello["at"].as_str().and_then(|at| at.parse().ok()).unwrap_or_else(|| panic!("a hello, not {hello}"))
}

/// Every notifier's stored events are the stream's.
async fn check_listings(stage: &Stage, truth: &Truth, book: &Book, journal: &Journal, numbers: &mut Numbers) {
    for (name, address) in stage.named_notifiers() {
        let all = [
            readers::pages(&name, address, Wish::Everything).await,
            readers::pages(&name, address, Wish::Person(1)).await,
            readers::export(&name, address, Wish::Everything).await,
            readers::export(&name, address, Wish::Kinds(&["open", "click"])).await,
        ];
        for listing in all {
            numbers.listings += 1;
            match listing {
                Ok(listing) => checker::listing(truth, &listing).into_iter().for_each(|one| journal.finding(one)),
                Err(error) => journal.finding(error),
            }
        }
        let sent =
            |content: &Content| book.open().sent.get(&content.name).is_some_and(|sent| sent.digest == content.digest);
        match readers::originals(&name, address, sent).await {
            Ok(count) => numbers.originals += count,
            Err(error) => journal.finding(error),
        }
    }
}

/// Services hold little more than before their first client. Says what the one holds that holds most.
async fn check_holds(stage: &Stage, idle: &[(Service, Option<Holds>)], journal: &Journal) -> Holds {
    let deadline = Instant::now() + stage.at_most(LET_GO);
    loop {
        let now = stage.holds().await;
        let leak = |service: &Service, before: Holds, holds: Holds| {
            let leaks = holds.descriptors > before.descriptors + DESCRIPTORS_MORE || holds.bytes > BYTES_MAX;
            leaks.then(|| format!("{service} holds {holds} without clients; at its start {before}"))
        };
        let pairs = idle.iter().zip(&now).map(|((service, before), (_, after))| (service, *before, *after));
        let found: Vec<String> = pairs.filter_map(|(service, before, after)| leak(service, before?, after?)).collect();
        if found.is_empty() || Instant::now() > deadline {
            found.into_iter().for_each(|finding| journal.finding(finding));
            let held = now.iter().filter_map(|(_, holds)| *holds);
            return held.fold(Holds::default(), |most, holds| Holds {
                bytes: most.bytes.max(holds.bytes),
                descriptors: most.descriptors.max(holds.descriptors),
            });
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Ends all services and reads their logs.
async fn end_services(stage: &Stage, folder: &Path, journal: &Journal) {
    stage.check_lives().await;
    stage.stop().await;
    stage.panics(folder).await.into_iter().for_each(|panic| journal.finding(panic));
}

fn count(numbers: &mut Numbers, truth: &Truth, ledger: &Ledger, sessions: &[Session]) {
    numbers.acknowledged = ledger.acknowledged.len();
    (numbers.requests, numbers.refused, numbers.repeated) = (ledger.taken, ledger.refused, ledger.repeated);
    (numbers.stored, numbers.dropped) = (truth.stored.len(), truth.dropped());
    numbers.sessions = sessions.len();
    numbers.delivered = sessions.iter().map(Session::events).sum();
    numbers.resumes = sessions.iter().map(|session| session.resumes).sum();
    numbers.gaps = sessions.iter().map(Session::gaps).sum();
}
