//! What a forwarded connection costs the gateway that it runs through.

use std::time::Instant;

use serde_json::json;

use crate::processes::{Two, visits};
use crate::support::{Process, until};
use crate::{Visit, Visitor};

const IDLE: usize = 2000;
/// Most that an idle one may take of its forwarder's own memory, in bytes.
const MOST_MEMORY: u64 = 1024;

/// Of a process's status (proc(5)), in bytes.
fn anonymous_memory(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// CPU time of a process, in microseconds: kernel and user.
fn cpu(process: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.child.id().unwrap())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Ticks of ten milliseconds.
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10_000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_one_takes_less_than_a_kilobyte() {
    let two = Two::start().await;
    // What handshakes leave behind in the allocator is there before.
    drop(visits(two.through.public, IDLE / 4).await);
    until(async || two.forwarded().await == 0).await;
    let before = anonymous_memory(&two.through);
    let held = visits(two.through.public, IDLE).await;
    assert_eq!(two.forwarded().await, IDLE as u64);
    let each = anonymous_memory(&two.through).saturating_sub(before) / IDLE as u64;
    println!("{IDLE} idle forwarded connections: {each} bytes of RssAnon each");
    assert!(each < MOST_MEMORY, "{each} bytes");
    drop(held);
}

/// Messages of 100 bytes, one at a time: CPU time of both gateways for each, in microseconds.
async fn cpu_per_message(two: &Two, visit: &mut Visit) -> (f64, f64) {
    const MESSAGES: u64 = 20_000;
    let before = (cpu(&two.through), cpu(&two.owner));
    let began = Instant::now();
    for _ in 0..MESSAGES {
        visit.client.publish("nobody", json!("x".repeat(100))).await;
    }
    println!("{:.1} µs a round trip", began.elapsed().as_micros() as f64 / MESSAGES as f64);
    let each = |now: u64, before: u64| (now - before) as f64 / MESSAGES as f64;
    (each(cpu(&two.through), before.0), each(cpu(&two.owner), before.1))
}

/// `cargo test --release -p wscluster-gateway --test affinity cost -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for docs/decisions/0012-cookie-affinity.md"]
async fn what_a_message_costs() {
    let two = Two::start().await;
    let direct = cpu_per_message(&two, &mut Visitor::default().visit(two.owner.public).await).await;
    let forwarded = cpu_per_message(&two, &mut visits(two.through.public, 1).await[0]).await;
    println!("direct: {:.1} µs of the owner", direct.1);
    println!("forwarded: {:.1} µs of the owner, {:.1} µs of the one in between", forwarded.1, forwarded.0);
}
