//! Values of one moment, in the order in which they were told.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Label names and values.
type Labels = Vec<(&'static str, String)>;

/// What is read off the running daemon for one scrape.
#[derive(Debug, Default)]
pub struct Gauges(Vec<Gauge>);

#[derive(Debug)]
struct Gauge {
    name: &'static str,
    help: &'static str,
    values: Vec<(Labels, f64)>,
}

impl Gauges {
    /// Adds a metric with a single value; `help` without its full stop.
    pub fn one<'a>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: impl IntoIterator<Item = (&'static str, &'a str)>,
        value: f64,
    ) {
        let labels = labels.into_iter().map(|(label, text)| (label, text.to_owned())).collect();
        self.0.push(Gauge { name, help, values: vec![(labels, value)] });
    }

    /// Adds a metric with a value for each set of labels; none at all is left out.
    pub fn each<'a, const N: usize>(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: [&'static str; N],
        values: impl IntoIterator<Item = ([&'a str; N], f64)>,
    ) {
        let owned = |texts: [&str; N]| labels.into_iter().zip(texts.map(str::to_owned)).collect();
        let values: Vec<_> = values.into_iter().map(|(texts, value)| (owned(texts), value)).collect();
        if !values.is_empty() {
            self.0.push(Gauge { name, help, values });
        }
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Gauge { name, help, values } in &self.0 {
            // As the registry does for what is registered there.
            let help = format!("{help}.");
            let mut metric = encoder.encode_descriptor(name, &help, None, MetricType::Gauge)?;
            for (labels, value) in values {
                ConstGauge::new(*value).encode(metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}
