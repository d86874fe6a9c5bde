//! Sessions that come and go, in a process of their own, and keep account of every event.
//!
//! One is the witness: it follows everything and never leaves, so that what it saw is what there was. Of the others
//! some stay, some come, filter, leave and resume from their cursor, and some of those are slow: they stop reading for
//! seconds at a time and are overtaken by the notifier's memory. After each visit what came is compared with what the
//! witness saw. A session may be told that events are lost to it, because the stream does not keep them any more; what
//! it misses and was not told of is lost in silence.
//!
//! It prints `ready`, then obeys lines on its input: `report` prints a [`Report`]; `end N` waits until the witness has
//! seen N events and everybody else has what is theirs, lets all of them leave, and prints the last report.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use async_nats::jetstream;
use serde::{Deserialize, Serialize};
use shared::cursor::Cursor;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::account::{Account, Heard, Wish, Witness, heard, told};
use super::first_kept;
use super::socket::{Frame, Socket};
use crate::ages::Ages;
use crate::clients::CONNECTING_MAX;
use crate::event::now_us;

/// What has become of all sessions so far; ages are those since the report before.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Open now.
    pub(crate) sessions: u64,
    /// Events that came to them.
    pub(crate) delivered: u64,
    /// Of sessions that stay, in microseconds from the moment an event was due to be posted.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// Visits that began, and those of them that went on from a cursor.
    pub(crate) visits: u64,
    pub(crate) resumes: u64,
    /// Times that a session stopped reading.
    pub(crate) pauses: u64,
    /// Visits whose events were compared.
    pub(crate) compared: u64,
    /// Events that did not come to a session that wanted them: in silence, and announced.
    pub(crate) lost: u64,
    pub(crate) announced: u64,
    pub(crate) doubled: u64,
    /// Sessions that were ended by the other side.
    pub(crate) cut: u64,
    /// The last place that the witness has seen.
    pub(crate) seen: u64,
}

/// Sessions in so many that never leave, and that are slow; the others come and go.
const OF: usize = 10;
const STAY: usize = 3;
const SLOW: usize = 2;
/// How long a visit lasts and, for a slow session, how long it stops reading, in seconds.
const VISIT_SECONDS: std::ops::Range<f64> = 1.0..20.0;
const SLOW_VISIT_SECONDS: std::ops::Range<f64> = 20.0..60.0;
const PAUSE_SECONDS: std::ops::Range<f64> = 2.0..12.0;
/// A session whose events are younger than this has caught up.
const CAUGHT_UP: Duration = Duration::from_secs(2);
/// Between two pauses, and between two visits.
const BETWEEN_SECONDS: std::ops::Range<f64> = 0.0..5.0;
/// For everybody to get what there is, before the end.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// What sessions are about.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The notifier
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    sessions: usize,
    /// The broker, which is asked what it still keeps
    #[arg(long)]
    broker: String,
    /// Events that are stored already, and concern nobody
    #[arg(long)]
    after: u64,
}

struct World {
    address: SocketAddr,
    context: jetstream::Context,
    witness: RefCell<Witness>,
    /// The witness has seen more.
    seen: Notify,
    ages: RefCell<Ages>,
    report: RefCell<Report>,
    connecting: Semaphore,
    /// Sessions and comparisons that have not ended.
    busy: Cell<usize>,
    idle: Notify,
    /// Once it is set, whoever has all there is leaves.
    leaving: CancellationToken,
    /// All there is, and until when they have time for it.
    end: Cell<(u64, Option<Instant>)>,
}

pub(crate) async fn run(options: Options) {
    let Options { address, sessions, broker, after } = options;
    let world = Rc::new(World {
        address,
        context: jetstream::new(async_nats::connect(broker).await.expect("the broker")),
        witness: RefCell::new(Witness::after(after)),
        seen: Notify::new(),
        ages: RefCell::new(Ages::new()),
        report: RefCell::default(),
        connecting: Semaphore::new(CONNECTING_MAX),
        busy: Cell::new(0),
        idle: Notify::new(),
        leaving: CancellationToken::new(),
        end: Cell::default(),
    });
    LocalSet::new()
        .run_until(async {
            let socket = Socket::open(address, "/ws/email/", false).await;
            world.begin(watch(Rc::clone(&world), socket));
            for number in 1..sessions {
                let world_of_it = Rc::clone(&world);
                match number % OF {
                    0..STAY => world.begin(stay(world_of_it)),
                    kind => world.begin(come_and_go(world_of_it, kind < STAY + SLOW)),
                }
            }
            println!("ready");
            let mut lines = BufReader::new(stdin()).lines();
            while let Some(line) = lines.next_line().await.expect("a line") {
                if let Some(events) = line.strip_prefix("end ") {
                    world.end(events.parse().expect("a number")).await;
                }
                println!("{}", serde_json::to_string(&world.report()).expect("a report"));
            }
        })
        .await;
}

impl World {
    /// Lets something go on beside the rest, and knows when it has ended.
    fn begin(self: &Rc<World>, task: impl Future<Output = ()> + 'static) {
        self.busy.set(self.busy.get() + 1);
        let world = Rc::clone(self);
        spawn_local(async move {
            task.await;
            world.busy.set(world.busy.get() - 1);
            world.idle.notify_waiters();
        });
    }

    async fn end(&self, events: u64) {
        let deadline = Instant::now() + END_TIMEOUT;
        while self.witness.borrow().seen() < events && Instant::now() < deadline {
            let _ = timeout_at(deadline, self.seen.notified()).await;
        }
        self.end.set((events, Some(Instant::now() + END_TIMEOUT)));
        self.leaving.cancel();
        while self.busy.get() > 0 {
            self.idle.notified().await;
        }
    }

    fn report(&self) -> Report {
        let (witness, mut ages) = (self.witness.borrow(), self.ages.borrow_mut());
        let mut report = self.report.borrow().clone();
        (report.p50_us, report.p99_us, report.seen) = (ages.at(0.5), ages.at(0.99), witness.seen());
        report.lost += witness.lost;
        report.doubled += witness.doubled;
        ages.clear();
        report
    }

    fn count(&self, count: impl FnOnce(&mut Report)) {
        count(&mut self.report.borrow_mut());
    }

    /// Whether a session that has reached this place may go.
    fn lets_go(&self, place: u64) -> bool {
        let (events, deadline) = self.end.get();
        deadline.is_some_and(|deadline| place >= events || Instant::now() >= deadline)
    }

    /// Compares a visit with what the witness saw, once it has seen as much.
    fn close(self: &Rc<World>, account: Account) {
        let world = Rc::clone(self);
        self.begin(async move {
            let end = account.end();
            while world.witness.borrow().seen() < end && !world.lets_go(end) {
                let more = world.seen.notified();
                tokio::select! { () = more => {}, () = sleep(Duration::from_secs(1)) => {} }
            }
            let difference = account.compare(&world.witness.borrow());
            world.count(|report| {
                report.compared += 1;
                report.lost += difference.lost;
                report.announced += difference.announced;
                report.doubled += difference.doubled;
            });
        });
    }
}

/// Sees everything.
async fn watch(world: Rc<World>, mut socket: Socket) {
    world.count(|report| report.sessions += 1);
    let mut reached = 0;
    while !world.lets_go(reached) {
        let alive = tokio::select! {
            alive = socket.more() => alive,
            () = world.leaving.cancelled(), if !world.leaving.is_cancelled() => true,
        };
        if !alive {
            world.count(|report| report.cut += 1);
            break;
        }
        let now = now_us();
        let mut pinged = false;
        while let Some(frame) = socket.next() {
            match frame {
                Frame::Text(text) => {
                    let heard: Heard = heard(text).expect("an event");
                    world.ages.borrow_mut().add(now.saturating_sub(heard.made_us));
                    world.witness.borrow_mut().see(heard);
                    world.count(|report| report.delivered += 1);
                    reached = heard.cursor.sequence;
                }
                Frame::Ping => pinged = true,
                Frame::Close(_) => {}
            }
        }
        world.seen.notify_waiters();
        if pinged {
            socket.pong().await;
        }
    }
    world.count(|report| report.sessions -= 1);
}

/// Follows everything as clients of the original do, and stays.
async fn stay(world: Rc<World>) {
    let account = Account::new(Wish::All, None);
    let account = visit(&world, account, Manner { control: false, slow: false, until: None }).await;
    world.close(account);
}

/// Comes, leaves, comes again: with the same wish from its cursor, or with another from now on.
async fn come_and_go(world: Rc<World>, slow: bool) {
    let mut known: Option<(Wish, Cursor)> = None;
    while !world.leaving.is_cancelled() {
        let seconds = if slow { SLOW_VISIT_SECONDS } else { VISIT_SECONDS };
        let until = Instant::now() + Duration::from_secs_f64(rand::random_range(seconds));
        let account = match known.take().filter(|_| rand::random_bool(0.7)) {
            Some((wish, cursor)) => Account::new(wish, Some(cursor)),
            None => Account::new(Wish::random(), None),
        };
        let account = visit(&world, account, Manner { control: true, slow, until: Some(until) }).await;
        known = account.reached.map(|cursor| (account.wish.clone(), cursor));
        world.close(account);
        let away = sleep(Duration::from_secs_f64(rand::random_range(BETWEEN_SECONDS)));
        tokio::select! { () = away => {}, () = world.leaving.cancelled() => {} }
    }
}

/// How a session behaves.
#[derive(Debug, Clone, Copy)]
struct Manner {
    control: bool,
    slow: bool,
    until: Option<Instant>,
}

/// One visit. It ends when its time has come or, at the end of all, when it has everything.
async fn visit(world: &Rc<World>, mut account: Account, manner: Manner) -> Account {
    let since = account.reached.map(|cursor| format!("since={cursor}")).unwrap_or_default();
    let path = format!("/ws/email/?{}{since}", account.wish.query());
    let mut socket = {
        let _one = world.connecting.acquire().await.expect("open");
        Socket::open(world.address, &path, manner.control).await
    };
    world.count(|report| {
        report.sessions += 1;
        report.visits += 1;
        report.resumes += u64::from(!since.is_empty());
    });
    let pause = || Instant::now() + Duration::from_secs_f64(rand::random_range(BETWEEN_SECONDS));
    let mut pause_at = manner.slow.then(pause);
    let (mut has_caught_up, mut is_cut) = (false, false);
    loop {
        let now = now_us();
        let mut pinged = false;
        while let Some(frame) = socket.next() {
            match frame {
                Frame::Text(text) => {
                    let age = hear(world, &mut account, text, now, manner.control);
                    has_caught_up = age.map_or(has_caught_up, |age| age < CAUGHT_UP);
                }
                Frame::Ping => pinged = true,
                Frame::Close(_) => is_cut = true,
            }
        }
        if account.has_begun_anew() {
            account.kept_from(first_kept(&world.context).await);
        }
        if pinged {
            socket.pong().await;
        }
        if is_cut {
            world.count(|report| report.cut += 1);
            break;
        }
        if world.leaving.is_cancelled() {
            if world.lets_go(account.reached()) {
                account.owe(world.end.get().0);
                break;
            }
        } else if manner.until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        // It falls behind again and again, but not ever farther: at the end of what is kept events would be lost to it.
        if has_caught_up && !world.leaving.is_cancelled() && pause_at.is_some_and(|at| Instant::now() >= at) {
            world.count(|report| report.pauses += 1);
            sleep(Duration::from_secs_f64(rand::random_range(PAUSE_SECONDS))).await;
            pause_at = Some(pause());
            has_caught_up = false;
        }
        let wake = match manner.until {
            Some(until) if !world.leaving.is_cancelled() => until,
            _ => Instant::now() + Duration::from_secs(1),
        };
        let alive = tokio::select! {
            alive = timeout_at(wake, socket.more()) => alive.unwrap_or(true),
            () = world.leaving.cancelled(), if !world.leaving.is_cancelled() => true,
        };
        is_cut = !alive;
    }
    world.count(|report| report.sessions -= 1);
    // Some say goodbye, some are just gone.
    if rand::random() {
        socket.close().await;
    }
    account
}

/// Takes a frame; how old its event is, where it is one.
fn hear(world: &World, account: &mut Account, text: &[u8], now: u64, control: bool) -> Option<Duration> {
    if let Some(heard) = heard(text) {
        let age = now.saturating_sub(heard.made_us);
        account.event(heard.cursor);
        world.count(|report| report.delivered += 1);
        if !control {
            world.ages.borrow_mut().add(age);
        }
        return Some(Duration::from_micros(age));
    }
    if let Some(told) = told(text) {
        account.told(told);
    }
    None
}
