//! Two hosts: this network namespace is the desk's, and one of its own is the site's, with addresses on a veth pair that has a
//! rate, loses packets, and can be cut or unplugged.

#![allow(dead_code)]

use std::net::Ipv4Addr;
use std::process::Command;

use crate::support_engine::{free_port, unique};

/// The wire between them, and the site's host behind it.
pub struct Wire {
    space: String,
    /// This end's interface.
    here: String,
    pub desk: Ipv4Addr,
    pub site: Ipv4Addr,
}

impl Wire {
    #[track_caller]
    pub fn new() -> Self {
        // Four addresses that no other test has: the number is held as a port is.
        let number = u32::from(free_port()) - 10_000;
        let first = u32::from(Ipv4Addr::new(10, 192, 0, 0)) + 4 * number;
        let (desk, site) = (Ipv4Addr::from(first + 1), Ipv4Addr::from(first + 2));
        let wire = Self { space: format!("dpl-{}", unique("w")), here: format!("dplw{number}"), desk, site };
        let (space, here) = (&wire.space, &wire.here);
        run(&format!(
            "ip netns add {space}
             ip link add {here} type veth peer name wire netns {space}
             ip address add {desk}/30 dev {here}
             ip link set {here} up
             ip -n {space} address add {site}/30 dev wire
             ip -n {space} link set wire up
             ip -n {space} link set lo up"
        ));
        wire
    }

    /// How much goes over it, each way, as tc writes rates.
    #[track_caller]
    pub fn rate(&self, rate: &str) {
        let shaped = |tc: &str, end: &str| {
            run(&format!("{tc} qdisc replace dev {end} root tbf rate {rate} burst 32kb latency 200ms"))
        };
        shaped("tc", &self.here);
        shaped(&self.inside("tc"), "wire");
    }

    /// Loses so many packets of a hundred, each way.
    #[track_caller]
    pub fn lose(&self, percent: f64) {
        let rule = |table: &str, end: &str| {
            let probability = percent / 100.0;
            run(&format!(
                "{table} -w -A INPUT -i {end} -m statistic --mode random --probability {probability} -j DROP"
            ));
        };
        rule("iptables", &self.here);
        rule(&self.inside("iptables"), "wire");
    }

    /// Nothing passes any more, and neither side is told.
    #[track_caller]
    pub fn unplug(&self) {
        run(&format!("iptables -w -I INPUT -i {} -j DROP; iptables -w -I OUTPUT -o {} -j DROP", self.here, self.here));
    }

    #[track_caller]
    pub fn plug_in(&self) {
        run(&format!("iptables -w -D INPUT -i {} -j DROP; iptables -w -D OUTPUT -o {} -j DROP", self.here, self.here));
    }

    /// Breaks every connection: both sides are told. Whether there was one.
    pub fn cut(&self) -> bool {
        let site = self.site;
        let said =
            Command::new("ss").args(["-K", "-H", "-t", "state", "established", "dst", &site.to_string()]).output();
        !said.unwrap().stdout.is_empty()
    }

    /// The bytes that have gone over it, both ways.
    pub fn bytes(&self) -> u64 {
        let text = std::fs::read_to_string("/proc/self/net/dev").unwrap();
        let line =
            text.lines().find_map(|line| line.trim().strip_prefix(&format!("{}:", self.here))).unwrap_or_default();
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        numbers.first().unwrap_or(&0) + numbers.get(8).unwrap_or(&0)
    }

    /// A program in the site's network.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.space)).arg(program);
        command
    }

    fn inside(&self, program: &str) -> String {
        format!("nsenter --net=/run/netns/{} {program}", self.space)
    }

    /// Which processes of dpl are in the site's network: their arguments.
    pub fn processes_there(&self) -> Vec<String> {
        let said = Command::new("ip").args(["netns", "pids", &self.space]).output().unwrap();
        let pids = String::from_utf8_lossy(&said.stdout).into_owned();
        let of_dpl = |pid: &str| {
            let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
            let is_dpl = program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dpl"));
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            is_dpl.then(|| format!("{pid}: {}", String::from_utf8_lossy(&words).replace('\0', " ")))
        };
        pids.split_whitespace().filter_map(of_dpl).collect()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let (here, space) = (&self.here, &self.space);
        // Processes in it keep a namespace, but not its name.
        let line = format!(
            "iptables -w -S | grep -F -- ' {here} ' | sed 's/^-A/-D/' | while read -r rule; do iptables -w $rule; done; \
             ip link delete {here}; ip netns delete {space}"
        );
        let _ = Command::new("sh").args(["-c", &line]).output();
    }
}

#[track_caller]
fn run(lines: &str) {
    let done = Command::new("sh").args(["-ec", lines]).output().unwrap();
    assert!(done.status.success(), "{lines}: {}", String::from_utf8_lossy(&done.stderr));
}
