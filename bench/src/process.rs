//! What the kernel knows of a process.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

/// What a process has used so far, or between two looks at it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Usage {
    /// Processor time of all its threads, to the nanosecond.
    pub(crate) cpu: Duration,
    /// Ticks in the program and in the kernel: coarse, good for their ratio only.
    ticks: (u64, u64),
    /// Calls that write, to sockets as well.
    pub(crate) writes: u64,
    /// Times a thread had nothing to do and waited.
    pub(crate) waits: u64,
}

impl Usage {
    /// What a process has used since its start.
    pub(crate) fn of(pid: u32) -> Usage {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).expect("the process lives");
        let stat = read("stat");
        // Its name may hold anything; what follows it is numbers.
        let numbers: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let tick = |at: usize| numbers[at].parse().expect("ticks");
        let (mut cpu, mut waits) = (0, 0);
        for task in fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives").flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            cpu += text.split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
            let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            waits += field(&text, "voluntary_ctxt_switches:");
        }
        let writes = field(&read("io"), "syscw:");
        Usage { cpu: Duration::from_nanos(cpu), ticks: (tick(11), tick(12)), writes, waits }
    }

    /// The share of its time that was spent in the kernel.
    pub(crate) fn kernel_share(&self) -> f64 {
        self.ticks.1 as f64 / (self.ticks.0 + self.ticks.1).max(1) as f64
    }
}

impl Sub for Usage {
    type Output = Usage;
    fn sub(self, before: Usage) -> Usage {
        Usage {
            cpu: self.cpu - before.cpu,
            ticks: (self.ticks.0 - before.ticks.0, self.ticks.1 - before.ticks.1),
            writes: self.writes - before.writes,
            waits: self.waits - before.waits,
        }
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

/// How many files and sockets it has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").count()
}

/// Its resident set, in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a resident set");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
