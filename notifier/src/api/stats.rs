//! `GET /api/stats`: events counted by kind and time.
//!
//! **Owns** which counts answer a request: those the ring keeps by the minute, or the ring's events themselves
//! where a filter or a shorter step asks for it. Either says from when on nothing is missing.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::{Request, Response};
use serde::Serialize;
use shared::http::{Body, json};

use super::stored::wanted;
use super::{Api, refused, takes_json};
use crate::access::{Access, now_ms};
use crate::error::Refusal;
use crate::params::{Asked, InvalidParams};
use crate::query::Counts;
use crate::tally::MINUTE_MS;

const WINDOW_DEFAULT: Duration = Duration::from_secs(3600);
const STEP_DEFAULT: Duration = Duration::from_secs(60);
const WINDOW_MIN: Duration = Duration::from_secs(60);
const WINDOW_MAX: Duration = Duration::from_secs(30 * 86_400);
const STEP_MAX: Duration = Duration::from_secs(86_400);
const STEPS_MAX: u64 = 1000;

#[derive(Serialize)]
struct Document<'a> {
    from: u64,
    to: u64,
    step_ms: u64,
    complete_from: Option<u64>,
    counted_to: u64,
    total: u64,
    totals: BTreeMap<&'a str, u64>,
    counts: &'a BTreeMap<String, Vec<u64>>,
}

impl Api {
    /// Events counted by kind and time.
    pub(crate) async fn stats<B>(&self, request: &Request<B>, access: &Access) -> Result<Response<Body>, Refusal> {
        takes_json(request.headers())?;
        let asked = Asked::read(request.uri().query(), &["window", "step"], None).map_err(Refusal::Query)?;
        let (window, step) = bounds(&asked).map_err(Refusal::Query)?;
        let fault = |error| refused(error, "window");
        let view = self.archive.view().await.map_err(fault)?;
        let steps = window.div_ceil(step);
        let to = (now_ms().max(view.last_ms()) / step + 1) * step;
        let from = to.saturating_sub(steps * step);
        let wanted = wanted(&asked, access);
        let by_minute = wanted.filter.is_none() && step.is_multiple_of(MINUTE_MS);
        let counted =
            if by_minute { view.counts_by_minute(from, to, step) } else { view.counts(&wanted, from, to, step).await };
        let Counts { by_kind, complete_from, counted_to } = counted.map_err(fault)?;
        let totals = by_kind.iter().map(|(kind, counts)| (kind.as_str(), counts.iter().sum()));
        let totals: BTreeMap<&str, u64> = totals.collect();
        Ok(json(&Document {
            from,
            to,
            step_ms: step,
            complete_from: complete_from.map(|complete| complete.max(from)),
            counted_to,
            total: totals.values().sum(),
            totals,
            counts: &by_kind,
        }))
    }
}

/// Window and step in milliseconds.
fn bounds(asked: &Asked) -> Result<(u64, u64), InvalidParams> {
    let window = asked.window.unwrap_or(WINDOW_DEFAULT);
    let step = asked.step.unwrap_or(STEP_DEFAULT.min(window));
    if !(WINDOW_MIN..=WINDOW_MAX).contains(&window) {
        return Err(InvalidParams::new("window", "it is too short or too long", "1m to 30d"));
    }
    if step > STEP_MAX || step > window {
        return Err(InvalidParams::new("step", "it is too long", "1s to 1d, and no longer than the window"));
    }
    let (window, step) = (window.as_secs(), step.as_secs());
    if window.div_ceil(step) > STEPS_MAX {
        let allowed =
            format!("at most {STEPS_MAX} steps in the window: for this one, {}s or more", window.div_ceil(STEPS_MAX));
        return Err(InvalidParams::new("step", "there would be too many steps", allowed));
    }
    Ok((window * 1000, step * 1000))
}
