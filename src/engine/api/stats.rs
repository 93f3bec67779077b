//! What a container uses: CPU, memory, network, disk.

use std::time::Duration;

use bollard::errors::Error as ApiError;
use bollard::models::{ContainerBlkioStats, ContainerCpuStats, ContainerMemoryStats, ContainerStatsResponse};
use bollard::query_parameters::StatsOptionsBuilder;
use futures::StreamExt;

use crate::engine::client::Engine;
use crate::engine::error::EngineError;

/// One measurement of a running container, counted as `docker stats` counts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ContainerUsage {
    /// Of one CPU: 100 where it keeps one busy, 200 for two. `None` where there is nothing to compare with yet.
    pub cpu_percent: Option<f64>,
    /// Without the page cache that the kernel would give up first.
    pub memory_bytes: u64,
    /// The container's own limit, else the host's memory; 0 where the engine says none.
    pub memory_limit_bytes: u64,
    /// Since it started, over all networks.
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Since it started, over all devices.
    pub read_bytes: u64,
    pub written_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// The engine measures twice, a second apart; a host that is busy takes its time.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(30);

impl Engine {
    /// One measurement, which takes the engine a second or two; `None` where the container does not run
    /// (`GET /containers/{id}/stats`).
    pub async fn usage(&self, container: &str) -> Result<Option<ContainerUsage>, EngineError> {
        // Not one-shot: the engine then measures twice, and the share of the CPU is that of the time between.
        let options = StatsOptionsBuilder::default().stream(false).one_shot(false).build();
        let mut answers = std::pin::pin!(self.docker().stats(container, Some(options)));
        match tokio::time::timeout(MEASURE_TIMEOUT.min(self.call_limit()), answers.next()).await {
            Ok(Some(Ok(answer))) => Ok(usage(&answer)),
            Ok(Some(Err(error))) => {
                let error =
                    EngineError::new(message!("verb-measure"), message!("object-container", name = container), error);
                if error.is_not_found() { Ok(None) } else { Err(error) }
            }
            Ok(None) => Ok(None),
            Err(_) => Err(EngineError::new(
                message!("verb-measure"),
                message!("object-container", name = container),
                ApiError::RequestTimeoutError,
            )),
        }
    }
}

fn usage(answer: &ContainerStatsResponse) -> Option<ContainerUsage> {
    // What does not run has no memory statistics at all.
    let memory = answer.memory_stats.as_ref().filter(|memory| memory.usage.is_some())?;
    let networks = answer.networks.iter().flat_map(|networks| networks.values());
    let (received_bytes, sent_bytes) = networks.fold((0, 0), |(received, sent), network| {
        (received + network.rx_bytes.unwrap_or_default(), sent + network.tx_bytes.unwrap_or_default())
    });
    let (read_bytes, written_bytes) = answer.blkio_stats.as_ref().map(disk).unwrap_or_default();
    Some(ContainerUsage {
        cpu_percent: answer.cpu_stats.as_ref().zip(answer.precpu_stats.as_ref()).and_then(|(now, was)| cpu(now, was)),
        memory_bytes: memory_in_use(memory),
        memory_limit_bytes: memory.limit.unwrap_or_default(),
        received_bytes,
        sent_bytes,
        read_bytes,
        written_bytes,
        pids: answer.pids_stats.as_ref().and_then(|pids| pids.current).unwrap_or_default(),
    })
}

/// The container's share of all CPU time between two measurements, times the number of CPUs.
fn cpu(now: &ContainerCpuStats, was: &ContainerCpuStats) -> Option<f64> {
    let total = |stats: &ContainerCpuStats| stats.cpu_usage.as_ref().and_then(|usage| usage.total_usage);
    let used = total(now)?.saturating_sub(total(was)?);
    // The first answer of a stream has no measurement before it.
    let of = now.system_cpu_usage?.checked_sub(was.system_cpu_usage.filter(|usage| *usage > 0)?)?;
    let each = now.cpu_usage.as_ref().and_then(|usage| usage.percpu_usage.as_ref()).map_or(0, Vec::len);
    let cpus = now.online_cpus.filter(|cpus| *cpus > 0).map_or(each.max(1) as f64, f64::from);
    (of > 0).then(|| used as f64 / of as f64 * cpus * 100.0)
}

/// cgroup v1 names the cache `total_inactive_file`, v2 `inactive_file`, as the docker command tells them apart.
fn memory_in_use(memory: &ContainerMemoryStats) -> u64 {
    let usage = memory.usage.unwrap_or_default();
    let of = |name: &str| memory.stats.as_ref().and_then(|stats| stats.get(name).copied());
    let cache = of("total_inactive_file").or_else(|| of("inactive_file")).unwrap_or_default();
    if cache < usage { usage - cache } else { usage }
}

/// Read and written; cgroup v1 says `Read`, v2 `read`.
fn disk(disk: &ContainerBlkioStats) -> (u64, u64) {
    let sum = |what: &str| {
        let entries = disk.io_service_bytes_recursive.iter().flatten();
        let of = entries.filter(|entry| entry.op.as_deref().is_some_and(|op| op.eq_ignore_ascii_case(what)));
        of.filter_map(|entry| entry.value).sum()
    };
    (sum("read"), sum("write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(memory: &str, op: &str) -> ContainerStatsResponse {
        let text = r#"{
          "cpu_stats": { "cpu_usage": { "total_usage": 3000, "percpu_usage": [1000, 2000] }, "system_cpu_usage": 20000, "online_cpus": 2 },
          "precpu_stats": { "cpu_usage": { "total_usage": 1000 }, "system_cpu_usage": 10000 },
          "memory_stats": MEMORY,
          "networks": { "eth0": { "rx_bytes": 10, "tx_bytes": 1 }, "eth1": { "rx_bytes": 20, "tx_bytes": 2 } },
          "blkio_stats": { "io_service_bytes_recursive": [
            { "major": 8, "minor": 0, "op": "OPread", "value": 4096 }, { "major": 8, "minor": 16, "op": "OPread", "value": 1 },
            { "major": 8, "minor": 0, "op": "OPwrite", "value": 512 }, { "major": 8, "minor": 0, "op": "Total", "value": 9999 } ] },
          "pids_stats": { "current": 7 }
        }"#;
        let [read, write] = if op == "v1" { ["Read", "Write"] } else { ["read", "write"] };
        serde_json::from_str(&text.replace("MEMORY", memory).replace("OPread", read).replace("OPwrite", write)).unwrap()
    }

    #[test]
    fn both_kinds_of_cgroups_are_read() {
        let v1 = r#"{ "usage": 5000, "limit": 9000, "stats": { "total_inactive_file": 1500, "inactive_file": 1 } }"#;
        let v2 = r#"{ "usage": 5000, "limit": 9000, "stats": { "inactive_file": 1500, "file": 1 } }"#;
        for (memory, kind) in [(v1, "v1"), (v2, "v2")] {
            let expected = ContainerUsage {
                cpu_percent: Some(40.0),
                memory_bytes: 3500,
                memory_limit_bytes: 9000,
                received_bytes: 30,
                sent_bytes: 3,
                read_bytes: 4097,
                written_bytes: 512,
                pids: 7,
            };
            assert_eq!(usage(&answer(memory, kind)), Some(expected), "{kind}");
        }
    }

    #[test]
    fn what_does_not_run_has_no_measurement_and_a_first_one_no_share_of_the_cpu() {
        assert_eq!(usage(&answer("{}", "v1")), None);
        let mut first = answer(r#"{ "usage": 1 }"#, "v1");
        first.precpu_stats = Some(ContainerCpuStats::default());
        assert_eq!(usage(&first).unwrap().cpu_percent, None);
    }
}
