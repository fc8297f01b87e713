//! Scenes in words: what is wanted, what is there, and the plan, each as a short line.
//!
//! - Wanted: `b x3 surge 3`, then any of `paused`, `budget 2`, `dropped 3`, `on a` (what the Service selects).
//! - A revision: `a x3 noted 1 available 3: a1 ready 5, a2 drained rollout@20 cheap`; also `late` (its deadline passed),
//!   `gone` (its Deployment does not exist). A pod not said to be `ready` runs and is not ready; `falters@20`: nor
//!   has it been for so many seconds; `down`: it does not run; `ending`; `leaving`: its node is emptied; `rollout@20`, `scale@20`, `node@20`: its mark, and for how many seconds;
//!   `draining`, `drained`, `silent`: what it says; a number: its connections.
//! - A plan: `Draining on b: a=3* b=3*, drain a1 a2, back a3, cheap a4, silent a5, hold LossBudget`; `*`: noted.

use jiff::Timestamp;
use wscluster_operator::rollout::{DrainState, Fleet, Mark, Plan, Pod, Reason, Revision, Seen, Wish, step};

const NOW: i64 = 1_800_000_000;

/// Plans what is to be done in a scene, and compares.
#[track_caller]
pub(crate) fn check(wanted: &str, revisions: &[&str], expected: &str) {
    assert_eq!(words(&plan(wanted, revisions)), expected);
}

/// Plans what is to be done in a scene.
pub(crate) fn plan(wanted: &str, revisions: &[&str]) -> Plan {
    let (wish, mut seen) = read_wanted(wanted);
    seen.revisions = revisions.iter().map(|line| read_revision(line)).collect();
    step(&wish, &seen)
}

/// A wish and, but for the revisions, what is there.
pub(crate) fn read_wanted(line: &str) -> (Wish, Seen) {
    let mut wish = Wish {
        revision: String::new(),
        replicas: 0,
        max_surge: 100,
        paused: false,
        loss_budget: None,
        min_seconds: 5,
        timeout_seconds: 60,
        connections_per_second: None,
        handshakes_per_second: 100,
        max_connections: 1000,
    };
    let mut seen = Seen { now: at(0), active: None, revisions: Vec::new(), dropped: 0 };
    let mut words = line.split_whitespace();
    words.next().unwrap().clone_into(&mut wish.revision);
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap();
        match word {
            "surge" => wish.max_surge = next().parse().unwrap(),
            "paused" => wish.paused = true,
            "budget" => wish.loss_budget = Some(next().parse().unwrap()),
            "dropped" => seen.dropped = next().parse().unwrap(),
            "on" => seen.active = Some(next().to_owned()),
            _ => wish.replicas = count(word),
        }
    }
    (wish, seen)
}

fn read_revision(line: &str) -> Revision {
    let (head, pods) = line.split_once(':').unwrap_or((line, ""));
    let mut words = head.split_whitespace();
    let mut revision = Revision {
        hash: words.next().unwrap().to_owned(),
        deployed: true,
        replicas: 0,
        available: 0,
        created_at: at(1000),
        activated_at: None,
        deadline_exceeded: false,
        pods: pods.split(',').filter(|pod| !pod.trim().is_empty()).map(read_pod).collect(),
    };
    while let Some(word) = words.next() {
        let mut next = || words.next().unwrap().parse::<i64>().unwrap();
        match word {
            "noted" => revision.activated_at = Some(at(1000 - next())),
            "available" => revision.available = next() as i32,
            "late" => revision.deadline_exceeded = true,
            "gone" => revision.deployed = false,
            _ => revision.replicas = count(word),
        }
    }
    revision
}

pub(crate) fn read_pod(line: &str) -> Pod {
    let mut words = line.split_whitespace();
    let mut pod = Pod {
        name: words.next().unwrap().to_owned(),
        ready: false,
        unready_since: None,
        running: true,
        terminating: false,
        connections: None,
        drain: DrainState::Serving,
        mark: None,
        cheap: false,
        leaving_node: false,
    };
    for word in words {
        match word {
            "ready" => pod.ready = true,
            "down" => pod.running = false,
            "ending" => pod.terminating = true,
            "cheap" => pod.cheap = true,
            "leaving" => pod.leaving_node = true,
            "draining" => pod.drain = DrainState::Draining,
            "drained" => pod.drain = DrainState::Drained,
            "silent" => pod.drain = DrainState::Silent,
            _ if word.starts_with("falters@") => {
                pod.unready_since = Some(at(word["falters@".len()..].parse().unwrap()));
            }
            _ if word.contains('@') => pod.mark = Some(read_mark(word)),
            _ => pod.connections = Some(word.parse().unwrap_or_else(|_| panic!("{word}?"))),
        }
    }
    pod
}

fn read_mark(word: &str) -> Mark {
    let (reason, age) = word.split_once('@').unwrap();
    let reason = match reason {
        "rollout" => Reason::Rollout,
        "scale" => Reason::ScaleIn,
        "node" => Reason::NodeDrain,
        _ => panic!("{word}?"),
    };
    Mark { reason, since: at(age.parse().unwrap()) }
}

fn words(plan: &Plan) -> String {
    let fleet = |(hash, Fleet { replicas, activated }): (&String, &Fleet)| {
        format!("{hash}={replicas}{}", if *activated { "*" } else { "" })
    };
    let fleets: Vec<_> = plan.fleets.iter().map(fleet).collect();
    let mut parts = vec![format!("{:?} on {}: {}", plan.phase, plan.active, fleets.join(" "))];
    let mut list = |word: &str, names: Vec<&str>| {
        if !names.is_empty() {
            parts.push(format!("{word} {}", names.join(" ")));
        }
    };
    let ordered = |reason| plan.drains.iter().filter(move |(_, order)| order.reason == reason);
    list("drain", ordered(Reason::Rollout).map(|(name, _)| name.as_str()).collect());
    list("scale in", ordered(Reason::ScaleIn).map(|(name, _)| name.as_str()).collect());
    list("off node", ordered(Reason::NodeDrain).map(|(name, _)| name.as_str()).collect());
    list("back", plan.cancels.iter().map(String::as_str).collect());
    list("cheap", plan.cheap.iter().map(String::as_str).collect());
    list("silent", plan.silent.iter().map(String::as_str).collect());
    parts.extend(plan.hold.map(|hold| format!("hold {hold:?}")));
    parts.join(", ")
}

fn count(word: &str) -> i32 {
    word.strip_prefix('x').and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{word}?"))
}

/// So many seconds ago.
fn at(ago: i64) -> Timestamp {
    Timestamp::from_second(NOW - ago).unwrap()
}
