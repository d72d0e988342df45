//! What the system tells of this process, under the names that every Prometheus client uses.

use std::fmt;

use procfs::WithCurrentSystemInfo;
use procfs::process::{LimitValue, Process};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::model::UnixMs;

/// Adds the process to one scrape.
pub(super) fn register(registry: &mut Registry, started: UnixMs) {
    registry.register_collector(Box::new(Told { started }));
}

#[derive(Debug)]
struct Told {
    started: UnixMs,
}

impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name, help, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
        };
        #[expect(clippy::cast_precision_loss, reason = "a f64 counts milliseconds for 285,000 years")]
        let started = self.started.0 as f64 / 1000.0;
        gauge("process_start_time_seconds", "Start of the process, in seconds since 1970.", started)?;
        // What a sandbox hides is left out.
        let Ok(process) = Process::myself() else { return Ok(()) };
        if let Ok(open) = process.fd_count() {
            gauge("process_open_fds", "Open file descriptors of the process.", to_f64(open as u64))?;
        }
        if let Ok(limits) = process.limits()
            && let LimitValue::Value(most) = limits.max_open_files.soft_limit
        {
            gauge("process_max_fds", "File descriptors that the process may open.", to_f64(most))?;
        }
        let Ok(stat) = process.stat() else { return Ok(()) };
        let resident = stat.rss_bytes().get();
        gauge("process_resident_memory_bytes", "Memory of the process that is in RAM.", to_f64(resident))?;
        gauge("process_virtual_memory_bytes", "Address space of the process.", to_f64(stat.vsize))?;
        gauge("process_threads", "Threads of the process.", to_f64(stat.num_threads.unsigned_abs()))?;
        let spent = to_f64(stat.utime + stat.stime) / to_f64(procfs::ticks_per_second());
        let help = "CPU time that the process has used, user and system.";
        let counter = ConstCounter::new(spent);
        counter.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?)
    }
}

/// Prometheus knows no other numbers.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2⁵³")]
fn to_f64(value: u64) -> f64 {
    value as f64
}
