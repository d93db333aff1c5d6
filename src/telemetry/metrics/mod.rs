//! Metrics in the words of [`METRICS`]: counted where the fact is told, read off where they are asked for.
//!
//! They go through the `metrics` facade. Where nobody asked for metrics there is no recorder behind it, and counting costs next to
//! nothing.
//!
//! **Invariant:** a metric that is not in [`METRICS`] does not exist; `docs/metrics.md` is made from it.

mod table;

use std::fmt::Write as _;
use std::time::Duration;

use metrics::{Key, Level, Metadata, Recorder, with_recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use self::table::*;

/// One metric, as documented.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: &'static str,
    pub labels: &'static [Label],
    pub meaning: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only ever grows, from 0 at each start of the process.
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

#[derive(Clone, Copy, Debug)]
pub struct Label {
    pub name: &'static str,
    pub meaning: &'static str,
    /// All values it can have; none if they are not known before they occur. A series with known labels is there from
    /// the start, at 0: an alert on its growth must not miss the first time.
    pub values: &'static [&'static str],
}

/// The end of a scrape: what was counted and set, as text.
#[derive(Clone, Debug)]
pub struct Exporter(PrometheusHandle);

const METADATA: Metadata<'static> = Metadata::new("postern", Level::INFO, None);

impl Label {
    const fn open(name: &'static str, meaning: &'static str) -> Self {
        Self { name, meaning, values: &[] }
    }
}

impl Metric {
    /// Adds one. The values of the labels come in the order of the table.
    pub(super) fn count(&self, values: &[&str]) {
        with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA).increment(1));
    }

    pub(super) fn observe(&self, values: &[&str], took: Duration) {
        let histogram = with_recorder(|recorder| recorder.register_histogram(&self.key(values), &METADATA));
        histogram.record(took.as_secs_f64());
    }

    /// Moves a gauge up or down.
    pub(super) fn add(&self, values: &[&str], change: f64) {
        with_recorder(|recorder| recorder.register_gauge(&self.key(values), &METADATA).increment(change));
    }

    /// Says what a gauge, or a counter that is kept elsewhere, is at now.
    #[expect(clippy::cast_precision_loss, reason = "a float is what the text format has")]
    pub fn set(&self, values: &[&str], now: u64) {
        let key = self.key(values);
        with_recorder(|recorder| match self.kind {
            Kind::Counter => recorder.register_counter(&key, &METADATA).absolute(now),
            Kind::Gauge | Kind::Histogram(_) => recorder.register_gauge(&key, &METADATA).set(now as f64),
        });
    }

    pub fn set_seconds(&self, time: Duration) {
        let gauge = with_recorder(|recorder| recorder.register_gauge(&self.key(&[]), &METADATA));
        gauge.set(time.as_secs_f64());
    }

    fn key(&self, values: &[&str]) -> Key {
        let labels = self.labels.iter().zip(values);
        let labels = labels.map(|(label, value)| metrics::Label::new(label.name, (*value).to_owned()));
        Key::from_parts(self.name, labels.collect::<Vec<_>>())
    }

    /// Makes the series that are known before anything happens.
    fn begin(&self, recorder: &impl Recorder) {
        let known: Vec<Vec<&str>> = match self.labels {
            [] => vec![Vec::new()],
            [label] => label.values.iter().map(|value| vec![*value]).collect(),
            _ => Vec::new(),
        };
        for values in known {
            match self.kind {
                Kind::Counter => drop(recorder.register_counter(&self.key(&values), &METADATA)),
                // A gauge says nothing until somebody has looked: 0 may be an alarm.
                Kind::Gauge => {}
                Kind::Histogram(_) => drop(recorder.register_histogram(&self.key(&values), &METADATA)),
            }
        }
    }
}

impl Exporter {
    /// The text format of Prometheus, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// To be called every few seconds: puts the times measured since into their buckets. Until then each takes memory.
    pub fn tidy(&self) {
        self.0.run_upkeep();
    }
}

/// From now on what is counted in this process is kept.
///
/// # Errors
/// If it was so before.
pub fn install() -> Result<Exporter, String> {
    let recorder = recorder()?;
    let exporter = Exporter(recorder.handle());
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    BYTES_IN_FLIGHT.add(&[], 0.0);
    Ok(exporter)
}

fn recorder() -> Result<PrometheusRecorder, String> {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS {
        if let Kind::Histogram(buckets) = metric.kind {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder.set_buckets_for_metric(name, buckets).map_err(|error| error.to_string())?;
        }
    }
    let recorder = builder.build_recorder();
    for metric in METRICS {
        let (name, meaning) = (metric.name.into(), metric.meaning.into());
        match metric.kind {
            Kind::Counter => recorder.describe_counter(name, None, meaning),
            Kind::Gauge => recorder.describe_gauge(name, None, meaning),
            Kind::Histogram(_) => recorder.describe_histogram(name, None, meaning),
        }
        metric.begin(&recorder);
    }
    Ok(recorder)
}

/// `docs/metrics.md`: how to ask, what to raise an alarm for, and every metric.
#[must_use]
pub fn metrics_markdown() -> String {
    let mut page = include_str!("page.md").to_owned();
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let _ = write!(page, "\n### `{}` ({kind}, {})\n\n{}\n", metric.name, metric.unit, metric.meaning);
        if let Kind::Histogram(buckets) = metric.kind {
            let bounds: Vec<String> = buckets.iter().map(f64::to_string).collect();
            let _ = writeln!(page, "\nIts buckets end at {}.", bounds.join(", "));
        }
        if !metric.labels.is_empty() {
            page.push_str("\n| label | meaning |\n|---|---|\n");
        }
        for label in metric.labels {
            let _ = writeln!(page, "| `{}` | {} |", label.name, label.meaning);
        }
    }
    page
}

#[cfg(test)]
mod tests;
