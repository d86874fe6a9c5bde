//! One look at everything that must not grow, and what is made of many.

use async_nats::jetstream;
use futures_util::TryStreamExt;
use shared::testing::broker::Broker;
use shared::testing::http;

use super::STREAM_NAME;
use super::picture::{Line, Panel};
use super::sessions::Report;
use super::trend::{Bound, Trend};
use crate::process::{descriptors, resident};
use crate::service::Service;

/// The processes, in the order of all columns.
pub(super) const PROCESSES: [&str; 3] = ["ingest", "notifier", "nats-server"];
const MIB: f64 = 1024.0 * 1024.0;

/// What may grow, from the end of the warm-up to the end: a share of the mean, or so much in any case.
const MEMORY_GROWTH: Bound = Bound { share: 0.05, least: 8.0 };
const DESCRIPTORS_GROWTH: Bound = Bound { share: 0.05, least: 5.0 };
const LAG_GROWTH: Bound = Bound { share: 0.25, least: 5.0 };
/// A batch or two under way more than before.
const BACKLOG_GROWTH: Bound = Bound { share: 0.25, least: 50.0 };

/// What is measured.
pub(super) struct Subjects<'a> {
    pub(super) ingest: &'a Service,
    pub(super) notifier: &'a Service,
    pub(super) broker: &'a Broker,
    pub(super) context: jetstream::Context,
}

/// One look.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) minute: f64,
    /// Of each process, in MiB.
    memory: [f64; 3],
    descriptors: [f64; 3],
    /// Milliseconds from the moment an event was due to its arrival at sessions that stay.
    lag: [f64; 2],
    /// Events: due and not acknowledged; stored and not read by the notifier; stored and not sent to it.
    backlog: [f64; 3],
    sessions: f64,
    acknowledged: f64,
    delivered: f64,
}

impl Subjects<'_> {
    fn pids(&self) -> [u32; 3] {
        [self.ingest.pid(), self.notifier.pid(), self.broker.pid()]
    }

    /// Open files and sockets of each process.
    pub(super) fn descriptors(&self) -> [f64; 3] {
        self.pids().map(|pid| descriptors(pid) as f64)
    }

    /// Looks at all of them. `waiting` is what the senders have not been answered for.
    pub(super) async fn look(&self, minute: f64, report: &Report, acknowledged: u64, waiting: u64) -> Sample {
        let stream = self.context.get_stream(STREAM_NAME).await.expect("the stream");
        let stored = stream.cached_info().state.last_sequence;
        let pending = stream.consumers().map_ok(|info| info.num_pending).try_collect::<Vec<u64>>();
        let pending: u64 = pending.await.expect("the consumers").into_iter().sum();
        let read = counter(self.notifier, "mandrill_live_notifier_feed_events_total").await;
        Sample {
            minute,
            memory: self.pids().map(|pid| resident(pid) as f64 / MIB),
            descriptors: self.descriptors(),
            lag: [report.p50_us, report.p99_us].map(|age| age as f64 / 1e3),
            backlog: [waiting, stored.saturating_sub(read), pending].map(|events| events as f64),
            sessions: report.sessions as f64,
            acknowledged: acknowledged as f64,
            delivered: report.delivered as f64,
        }
    }
}

async fn counter(service: &Service, name: &str) -> u64 {
    let metrics = http::get(service.admin(), "/metrics").await.body;
    let text = String::from_utf8(metrics).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the counter");
    line.trim().parse().expect("a number")
}

/// Quantities of a kind over all samples, and how much each may grow.
struct Group {
    title: &'static str,
    unit: &'static str,
    bound: Bound,
    names: &'static [&'static str],
    of: fn(&Sample) -> &[f64],
}

const GROUPS: [Group; 4] = [
    Group { title: "resident memory", unit: "MiB", bound: MEMORY_GROWTH, names: &PROCESSES, of: |s| &s.memory },
    Group { title: "descriptors", unit: "open", bound: DESCRIPTORS_GROWTH, names: &PROCESSES, of: |s| &s.descriptors },
    Group { title: "lag, event to socket", unit: "ms", bound: LAG_GROWTH, names: &["p50", "p99"], of: |s| &s.lag },
    Group {
        title: "backlog",
        unit: "events",
        bound: BACKLOG_GROWTH,
        names: &["before ingest", "before the notifier", "in the broker"],
        of: |s| &s.backlog,
    },
];

impl Group {
    /// Each quantity's name, and its values over the minutes.
    fn lines(&self, samples: &[Sample]) -> Vec<Line> {
        let points = |at: usize| samples.iter().map(|sample| (sample.minute, (self.of)(sample)[at])).collect();
        self.names.iter().enumerate().map(|(at, name)| Line { name, points: points(at) }).collect()
    }

    fn judge(&self, line: &Line) -> Judged {
        let trend = Trend::of(&line.points);
        let most = line.points.iter().map(|point| point.1).fold(0.0, f64::max);
        let is_flat = trend.is_flat(self.bound);
        let line = format!(
            "{:22}{:20}{:>9.1}{:>9.1}{:>10.2}{:>9.2}{:>9.1} {:7}{}",
            self.title,
            line.name,
            trend.mean,
            most,
            trend.growth,
            trend.error,
            self.bound.of(trend.mean),
            self.unit,
            if is_flat { "flat" } else { "GROWS" },
        );
        Judged { line, is_flat }
    }
}

/// A line of the judgement: what it says, and whether it is as it has to be.
pub(super) struct Judged {
    pub(super) line: String,
    pub(super) is_flat: bool,
}

/// Whether anything grows in what was measured after the warm-up.
pub(super) fn judge(samples: &[Sample], warm_up: f64) -> Vec<Judged> {
    let measured = &samples[samples.partition_point(|sample| sample.minute < warm_up)..];
    let judge = |group: &Group| group.lines(measured).iter().map(|line| group.judge(line)).collect::<Vec<_>>();
    GROUPS.iter().flat_map(judge).collect()
}

/// The head of what [`judge`] says.
pub(super) fn judged_head() -> String {
    format!("{:42}{:>9}{:>9}{:>10}{:>9}{:>9}", "", "mean", "most", "growth", "+-", "bound")
}

/// The lines of a picture.
pub(super) fn panels(samples: &[Sample]) -> Vec<Panel> {
    let panel = |group: &Group| Panel { title: group.title, unit: group.unit, lines: group.lines(samples) };
    GROUPS.iter().map(panel).collect()
}

/// A table with a line a step of so many minutes: the mean of the samples in it.
pub(super) fn table(samples: &[Sample], step: f64) -> Vec<String> {
    let mut lines = vec![
        format!(
            "{:>7}{:>9}{:>12}{:>9}   {:^24}   {:^21}   {:^17}   {:^24}",
            "", "", "", "", "resident memory, MiB", "descriptors", "lag, ms", "backlog, events"
        ),
        format!(
            "{:>7}{:>9}{:>12}{:>9}   {:>8}{:>8}{:>8}   {:>7}{:>7}{:>7}   {:>8}{:>9}   {:>8}{:>8}{:>8}",
            "minute",
            "events/s",
            "deliveries/s",
            "sessions",
            "ingest",
            "notif.",
            "nats",
            "ingest",
            "notif.",
            "nats",
            "p50",
            "p99",
            "ingest",
            "notif.",
            "nats"
        ),
    ];
    let Some(first) = samples.first() else { return lines };
    let mut before = first;
    let mut rest = samples;
    while let Some(begin) = rest.first() {
        let end = rest.iter().position(|sample| sample.minute >= begin.minute + step).unwrap_or(rest.len());
        let (now, later) = rest.split_at(end);
        let mean = |of: &dyn Fn(&Sample) -> f64| now.iter().map(of).sum::<f64>() / now.len() as f64;
        let last = now.last().unwrap_or(begin);
        let seconds = ((last.minute - before.minute) * 60.0).max(f64::MIN_POSITIVE);
        let rate = |of: fn(&Sample) -> f64| (of(last) - of(before)) / seconds;
        let mut line = format!(
            "{:>7.2}{:>9.0}{:>12.0}{:>9.0}  ",
            last.minute,
            rate(|s| s.acknowledged),
            rate(|s| s.delivered),
            mean(&|s| s.sessions)
        );
        (0..3).for_each(|process| line.push_str(&format!(" {:>7.1}", mean(&|s| s.memory[process]))));
        line.push_str("  ");
        (0..3).for_each(|process| line.push_str(&format!(" {:>6.0}", mean(&|s| s.descriptors[process]))));
        line.push_str("  ");
        line.push_str(&format!(" {:>7.1} {:>8.1}  ", mean(&|s| s.lag[0]), mean(&|s| s.lag[1])));
        (0..3).for_each(|process| line.push_str(&format!(" {:>7.0}", mean(&|s| s.backlog[process]))));
        lines.push(line);
        (before, rest) = (last, later);
    }
    lines
}
