//! What a report says of the device itself: memory, disk, processor, address.
//!
//! Read from the kernel when a report is made. What cannot be read is 0, as the original has it:
//! its clients expect the keys.

use rustix::fs::statvfs;
use serde_json::{Value, json};
use std::net::IpAddr;
use tokio::net::UdpSocket;

/// Where the device's own files are, and those of the worker when it runs in a container: then the
/// root is a layer on the same disk.
const ROOT: &str = "/";

/// What the processors did since the device was switched on, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CpuTimes {
    busy: u64,
    all: u64,
}

impl CpuTimes {
    /// What they have done so far.
    pub(super) fn now() -> Self {
        std::fs::read_to_string("/proc/stat")
            .map_or_else(|_| Self::default(), |text| Self::read(&text))
    }

    /// Reads the first line: user, nice, system, idle, iowait, irq, softirq, steal; what guests take
    /// is within user.
    pub(super) fn read(text: &str) -> Self {
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line
            .split_ascii_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|word| word.parse().ok())
            .collect();
        let all: u64 = ticks.iter().sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        Self { busy: all.saturating_sub(idle), all }
    }

    /// The share that was busy since an earlier look, in percent with one decimal.
    pub(super) fn used_percent_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        let busy = self.busy.saturating_sub(before.busy);
        let tenths = (busy.saturating_mul(1_000) / all).min(1_000);
        f64::from(u32::try_from(tenths).unwrap_or(1_000)) / 10.0
    }
}

/// `{cores, used_percent}`
pub(super) fn cpu(cores: u32, now: CpuTimes, before: CpuTimes) -> Value {
    json!({ "cores": cores, "used_percent": now.used_percent_since(before) })
}

/// `{total, used, free, available}` in MB.
pub(super) fn memory() -> Value {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    memory_of(&text)
}

/// Reads `/proc/meminfo`. What the kernel can give back at once counts as not used.
pub(super) fn memory_of(text: &str) -> Value {
    let kilobytes = |key: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    let (total, free, available) =
        (kilobytes("MemTotal"), kilobytes("MemFree"), kilobytes("MemAvailable"));
    let megabytes = |kilobytes: u64| kilobytes >> 10;
    json!({
        "total": megabytes(total),
        "used": megabytes(total.saturating_sub(available)),
        "free": megabytes(free),
        "available": megabytes(available),
    })
}

/// `{total, used, free}` in MB, of the root.
pub(super) fn root_disk() -> Value {
    let Ok(seen) = statvfs(ROOT) else { return json!({ "total": 0, "used": 0, "free": 0 }) };
    let megabytes = |blocks: u64| blocks.saturating_mul(seen.f_frsize) >> 20;
    json!({
        "total": megabytes(seen.f_blocks),
        "used": megabytes(seen.f_blocks.saturating_sub(seen.f_bfree)),
        "free": megabytes(seen.f_bavail),
    })
}

/// The address from which this device reaches a host. Nothing is sent.
pub(super) async fn address_towards(host: &str, port: u16) -> Option<IpAddr> {
    let there = tokio::net::lookup_host((host, port)).await.ok()?.next()?;
    let any = if there.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await.ok()?;
    socket.connect(there).await.ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}
