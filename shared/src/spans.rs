//! Traces: how long requests, commits and deliveries take, as spans sent to a collector (OTLP over HTTP).
//!
//! **Owns** whether there are any, which of them, and how they are joined over the broker by W3C's `traceparent`.
//! The SDK reads the rest of the standard variables (`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`,
//! `OTEL_BSP_…`). Without a collector nothing is made: every call is one comparison. **May not** hold an address, an
//! event's content or a key.

mod collector;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::Uri;
pub use opentelemetry::trace::SpanKind;
use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue, Value as Attribute};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use crate::settings::{Mistakes, Value};
use crate::telemetry::TelemetrySettings;
use collector::Collector;

/// For what is left to be sent when a process ends.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that one commit or delivery names.
const LINKS_MAX: usize = 128;
/// Where a collector takes traces, below its address.
const PATH: &str = "/v1/traces";

/// Which traces are made, by the standard's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    root: Root,
    /// Whether a caller's decision holds.
    parent_based: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    On,
    Off,
    Ratio,
}

impl Value for Sampling {
    const KIND: &'static str = "sampler";
    fn parse(text: &str) -> Result<Sampling, String> {
        let (parent_based, root) = match text.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, text),
        };
        let root = match root {
            "always_on" => Root::On,
            "always_off" => Root::Off,
            "traceidratio" => Root::Ratio,
            _ => {
                return Err(format!(
                    "{text:?} is no sampler: write always_on, always_off or traceidratio, or one of them behind \
                     parentbased_"
                ));
            }
        };
        Ok(Sampling { root, parent_based })
    }
}

/// A part of all traces, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio(f64);

impl Value for Ratio {
    const KIND: &'static str = "number from 0 to 1";
    fn parse(text: &str) -> Result<Ratio, String> {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Ratio).ok_or_else(|| format!("{text:?} is no number from 0 to 1"))
    }
}

/// How the collector is spoken to: this program knows one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol;

impl Value for Protocol {
    const KIND: &'static str = "`http/protobuf`";
    fn parse(text: &str) -> Result<Protocol, String> {
        match text {
            "http/protobuf" => Ok(Protocol),
            _ => Err(format!("{text:?} is not spoken: collectors take http/protobuf too, usually on port 4318")),
        }
    }
}

/// Reports an address that no collector can have.
pub(crate) fn check(settings: &TelemetrySettings, mistakes: &mut Mistakes) {
    if let Some(text) = &settings.otel_exporter_otlp_endpoint
        && !text.parse::<Uri>().is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
    {
        mistakes.add("otel_exporter_otlp_endpoint", "is no address: write it like http://collector:4318");
    }
}

/// The traces of one service. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Starts them where a collector is set. `service` is the name they go under unless `OTEL_SERVICE_NAME` is.
    ///
    /// Must be called where a runtime is: that is where they are sent from.
    #[must_use]
    pub fn start(settings: &TelemetrySettings, service: &'static str) -> Traces {
        let Some(endpoint) = &settings.otel_exporter_otlp_endpoint else { return Traces::default() };
        match provider(settings, endpoint, service) {
            Ok(provider) => {
                tracing::info!(endpoint, service, "traces are sent");
                let tracer = provider.tracer("mandrill-live");
                Traces(Some(Arc::new(On { provider, tracer })))
            }
            Err(error) => {
                tracing::error!(%error, "traces cannot be sent: none are made; check the OTEL_ variables");
                Traces::default()
            }
        }
    }

    /// Begins a span; `parent` is the `traceparent` of who asked for it.
    #[must_use]
    pub fn begin(&self, name: &'static str, kind: SpanKind, parent: Option<&str>) -> Span {
        let Some(on) = &self.0 else { return Span(None) };
        let parent = parent.and_then(context);
        Span(Some(on.begin(name, kind, parent, Vec::new(), SystemTime::now())))
    }

    /// Begins what is done for several at once: a child of the first whose trace is kept, with a link to each.
    /// Nothing where no trace is kept.
    #[must_use]
    pub fn join<'a>(
        &self,
        name: &'static str,
        kind: SpanKind,
        traceparents: impl Iterator<Item = &'a str>,
        since: SystemTime,
    ) -> Span {
        let Some(on) = &self.0 else { return Span(None) };
        let mut last = "";
        let mut kept: Vec<SpanContext> = Vec::new();
        for traceparent in traceparents {
            // Events of one request stand side by side.
            if traceparent != last {
                last = traceparent;
                kept.extend(context(traceparent).filter(|context| context.is_sampled() && !kept.contains(context)));
            }
            if kept.len() == LINKS_MAX {
                break;
            }
        }
        if kept.is_empty() {
            return Span(None);
        }
        let parent = kept.first().cloned();
        let links = kept.into_iter().map(Link::with_context).collect();
        Span(Some(on.begin(name, kind, parent, links, since)))
    }

    /// Whether there are any: what a span would need is made only then.
    #[must_use]
    pub fn are_made(&self) -> bool {
        self.0.is_some()
    }

    /// Sends what is left, in bounded time.
    pub async fn end(&self) {
        let Some(on) = self.0.clone() else { return };
        let ended = tokio::task::spawn_blocking(move || on.provider.shutdown_with_timeout(END_TIMEOUT)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

impl On {
    fn begin(
        &self,
        name: &'static str,
        kind: SpanKind,
        parent: Option<SpanContext>,
        links: Vec<Link>,
        since: SystemTime,
    ) -> opentelemetry_sdk::trace::Span {
        let span = self.tracer.span_builder(name).with_kind(kind).with_links(links).with_start_time(since);
        // To a sampler that asks the parent, a parent that is none has decided against the trace.
        let context = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        span.start_with_context(&self.tracer, &context)
    }
}

/// Something that is under way; it ends when it is dropped.
#[derive(Debug)]
pub struct Span(Option<opentelemetry_sdk::trace::Span>);

impl Span {
    /// No span.
    #[must_use]
    pub const fn none() -> Span {
        Span(None)
    }

    /// Adds what is known of it: names and numbers, never what a sender wrote.
    pub fn set(&mut self, name: &'static str, value: impl Into<Attribute>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// Says that it came to nothing.
    pub fn failed(&mut self, why: &'static str) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(why));
        }
    }

    /// What those asked on its behalf get as their `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> Option<Arc<str>> {
        let context = self.0.as_ref()?.span_context();
        let flags = context.trace_flags() & TraceFlags::SAMPLED;
        Some(format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), flags).into())
    }
}

fn provider(
    settings: &TelemetrySettings,
    endpoint: &str,
    service: &'static str,
) -> Result<SdkTracerProvider, Box<dyn std::error::Error>> {
    let endpoint = format!("{}{PATH}", endpoint.trim_end_matches('/'));
    let collector = Collector::new(&endpoint.parse()?)?;
    let exporter = SpanExporter::builder().with_http().with_http_client(collector).with_endpoint(endpoint).build()?;
    let name = settings.otel_service_name.clone().unwrap_or_else(|| service.to_owned());
    let resource = Resource::builder()
        .with_attributes([KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))])
        .with_service_name(name)
        .build();
    let builder = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource);
    Ok(builder.with_sampler(sampler(settings)).build())
}

fn sampler(settings: &TelemetrySettings) -> Sampler {
    let Ratio(ratio) = settings.otel_traces_sampler_arg;
    let root = match settings.otel_traces_sampler.root {
        Root::On => Sampler::AlwaysOn,
        Root::Off => Sampler::AlwaysOff,
        Root::Ratio => Sampler::TraceIdRatioBased(ratio),
    };
    if settings.otel_traces_sampler.parent_based { Sampler::ParentBased(Box::new(root)) } else { root }
}

/// Reads a `traceparent` of W3C's Trace Context, version 00.
fn context(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::NONE);
    (version == "00" && parts.next().is_none() && context.is_valid()).then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_and_what_is_none_is_not() {
        let known = context("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").expect("a context");
        assert!(known.is_sampled() && known.is_remote());
        for wrong in [
            "",
            "00",
            "00-0-0-0",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(context(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn without_a_collector_nothing_is_made() {
        let traces = Traces::default();
        assert!(!traces.are_made());
        let kept = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(traces.begin("x", SpanKind::Server, Some(kept)).traceparent().is_none());
        assert!(traces.join("x", SpanKind::Internal, [kept].into_iter(), SystemTime::now()).0.is_none());
    }

    #[test]
    fn samplers_are_known_by_the_standards_names() {
        for text in ["always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_traceidratio"] {
            assert!(Sampling::parse(text).is_ok(), "{text}");
        }
        for text in ["", "jaeger_remote", "parentbased_", "Always_On"] {
            assert!(Sampling::parse(text).is_err(), "{text}");
        }
        assert!(Ratio::parse("0.25").is_ok() && Ratio::parse("1.5").is_err() && Protocol::parse("grpc").is_err());
    }
}
