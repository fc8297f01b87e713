//! The check and the sweep where Redis is more than one server, or speaks TLS: real Sentinels, a real Cluster, real
//! failovers.

#[allow(dead_code)] // Shared with the gateway's tests.
#[path = "../../gateway/tests/support/certificates.rs"]
mod certificates;
#[allow(dead_code)]
#[path = "../../gateway/tests/support/redis_server.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../../gateway/tests/support/redis_topology.rs"]
mod redis_topology;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use certificates::Certificates as Files;
use redis_topology::{RedisCluster, Sentinels, answers};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use wscluster_operator::metrics::Metrics;
use wscluster_operator::secrets::Certificates;
use wscluster_operator::streams::report::{Fault, Reachability, Report};
use wscluster_operator::streams::{Target, follow};
use wscluster_operator::workers::Publisher;

/// The operator's task for one Redis, and what it reports.
struct Following {
    report: Arc<Mutex<Report>>,
    changed: Arc<Notify>,
    task: JoinHandle<()>,
    _target: watch::Sender<Target>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Following {
    fn start(url: &str, certificates: Certificates) -> Self {
        let target = Target {
            url: url.to_owned(),
            certificates,
            namespace: "default".to_owned(),
            streams: serde_yaml::from_str("trim: {strategy: MaxLen, maxLen: 10, approximate: false}").unwrap(),
            resume_window_seconds: 120,
            sweep: true,
        };
        let changed = Arc::new(Notify::new());
        let poke = Arc::clone(&changed);
        let (publisher, report) = Publisher::new(Report::default(), Arc::new(move || poke.notify_one()));
        let (targets, receiver) = watch::channel(target);
        let task = tokio::spawn(follow(receiver, publisher, Metrics::default()));
        Self { report, changed, task, _target: targets }
    }

    async fn until(&self, wanted: impl Fn(&Report) -> bool) {
        let waiting = async {
            while !wanted(&self.report.lock().unwrap()) {
                self.changed.notified().await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(40), waiting).await;
        assert!(done.is_ok(), "only {:?}", self.report.lock().unwrap());
    }
}

fn reached_as(report: &Report, wanted: &str) -> bool {
    matches!(&report.reachability, Reachability::Reachable { mode, .. } if mode == wanted)
}

fn entries(key: &str) -> String {
    format!("for n=1,15 do redis.call('XADD','{key}','*','payload',n) end")
}

#[tokio::test]
async fn the_sweep_follows_the_master_that_sentinels_choose() {
    let mut sentinels = Sentinels::start().await;
    let old = sentinels.master(|port| port != 0).await;
    sentinels.servers[0].command(&["EVAL", &entries("room:a"), "0"]).await;
    let following = Following::start(&sentinels.url(), Certificates::default());
    following
        .until(|report| reached_as(report, "sentinel") && (report.rooms, report.trimmed_entries) == (Some(1), 5))
        .await;
    answers(&sentinels.servers[1].url(), &["XLEN", "room:a"], |length| length == "10").await;
    sentinels.servers[0].stop().await;
    let new = format!("redis://127.0.0.1:{}", sentinels.master(|port| port != old).await);
    answers(&new, &["ROLE"], |role| role.starts_with("master")).await;
    answers(&new, &["EVAL", &entries("room:b"), "0"], |_| true).await;
    following
        .until(|report| reached_as(report, "sentinel") && (report.rooms, report.trimmed_entries) == (Some(2), 10))
        .await;
}

#[tokio::test]
async fn every_master_of_a_cluster_is_swept_also_one_that_takes_over() {
    let mut cluster = RedisCluster::start(&[]).await;
    let keys: Vec<_> = (0..30).map(|n| format!("room:{n}")).collect();
    for key in &keys {
        cluster.command(key, &["EVAL", &entries(key).replace(&format!("'{key}'"), "KEYS[1]"), "1", key]).await;
    }
    let following = Following::start(&cluster.url(), Certificates::default());
    following
        .until(|report| reached_as(report, "cluster") && (report.rooms, report.trimmed_entries) == (Some(30), 150))
        .await;
    let owner = cluster.owner("room:0").await;
    let heir = cluster.servers[owner + 3].url();
    cluster.servers[owner].stop().await;
    answers(&heir, &["ROLE"], |role| role.starts_with("master")).await;
    answers(&heir, &["EVAL", &entries("").replace("''", "KEYS[1]"), "1", "room:0"], |_| true).await;
    // What the heir had not yet been told of is trimmed anew: at least what was written now.
    following.until(|report| reached_as(report, "cluster") && report.trimmed_entries >= 165).await;
    assert_eq!(following.report.lock().unwrap().rooms, Some(30));
}

#[tokio::test]
async fn tls_needs_the_authority_of_the_server_and_our_own_certificate() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let files = Files::new();
    let (redis, url) = files.redis().await;
    redis.command(&["EVAL", &entries("room:a"), "0"]).await;
    let read = |name: &str| std::fs::read(files.path(name)).unwrap();
    let (authority, own) = (Some(read("ca.crt")), Some((read("client.crt"), read("client.key"))));
    for lacking in
        [Certificates { authority: authority.clone(), own: None }, Certificates { authority: None, own: own.clone() }]
    {
        let stranger = Following::start(&url, lacking);
        stranger
            .until(|report| matches!(report.reachability, Reachability::Failed { fault: Fault::Connection, .. }))
            .await;
    }
    assert_eq!(redis.command(&["XLEN", "room:a"]).await, "15", "nobody has swept");
    let following = Following::start(&url, Certificates { authority, own });
    following
        .until(|report| reached_as(report, "standalone") && (report.rooms, report.trimmed_entries) == (Some(1), 5))
        .await;
}
