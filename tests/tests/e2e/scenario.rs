//! One test's fleet, and the sessions that are held on it while something happens to it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use wscluster_probe::{Report, Verdict};
use wscluster_tests::fleet::{self, Fleet, ProbePlan, ProbePod, ProbeStatus};
use wscluster_tests::rollouts::{FILE, Record, Records};

use crate::world::{MINUTE, logs, repository};

/// Within this a wrong input must show in the status.
pub(crate) const SHOWS_WITHIN: Duration = Duration::from_secs(30);

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What sessions there are, and what is sent to them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Sessions that are held.
    pub(crate) sessions: u32,
    /// Rooms that they spread over.
    pub(crate) rooms: u32,
    /// Messages per second, over all rooms.
    pub(crate) rate: u32,
}

/// What a fleet of six is measured under.
pub(crate) const FULL: Load = Load { sessions: 3000, rooms: 300, rate: 200 };

impl Load {
    /// So many sessions, ten to a room.
    pub(crate) fn of(sessions: u32) -> Self {
        Self { sessions, rooms: sessions.div_ceil(10), rate: 100 }
    }
}

/// One test's namespace and fleet.
pub(crate) struct Scenario {
    /// The WsCluster `chat`.
    pub(crate) fleet: Fleet,
    /// The node that Redis and the probe are on: nothing happens to it.
    pub(crate) home: String,
}

impl Scenario {
    /// The image that the fleet starts with.
    pub(crate) fn image() -> String {
        format!("wscluster.dev/wscluster:{VERSION}")
    }

    /// The image that a fleet is upgraded to.
    pub(crate) fn next_image() -> String {
        format!("wscluster.dev/wscluster:{VERSION}-next")
    }

    /// The one of both that the fleet does not run.
    pub(crate) async fn other_image(&self) -> Result<String> {
        let image = self.fleet.get().await?.spec.gateway.image;
        Ok(if image.as_deref() == Some(&*Self::next_image()) { Self::image() } else { Self::next_image() })
    }

    /// Starts Redis and `examples/chat.yaml` with these fields of the spec changed, and waits until it takes connections.
    pub(crate) async fn deploy(&self, spec: &Value) -> Result<()> {
        self.deploy_redis().await?;
        let mut chat = read("examples/chat.yaml")?;
        for document in &mut chat {
            merge(&mut document["spec"], spec);
        }
        self.apply(chat).await?;
        self.fleet.wait_rolled_out(2 * MINUTE).await
    }

    /// Starts Redis where nothing happens to it.
    pub(crate) async fn deploy_redis(&self) -> Result<()> {
        let mut redis = read("examples/redis.yaml")?;
        let place = json!({"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": self.home}}}});
        let deployments = redis.iter_mut().filter(|document| document["kind"] == "Deployment");
        deployments.for_each(|document| merge(&mut document["spec"], &place));
        self.apply(redis).await
    }

    /// Applies manifests.
    pub(crate) async fn apply(&self, manifests: Vec<Value>) -> Result<()> {
        let objects = manifests.into_iter().map(serde_json::from_value).collect::<Result<Vec<_>, _>>()?;
        fleet::apply(self.fleet.client(), self.fleet.namespace(), &objects).await
    }

    /// Waits until the fleet of six that others have used is as it was.
    pub(crate) async fn settle(&self) -> Result<()> {
        self.fleet.patch(json!({"spec": {"replicas": 6, "paused": false}})).await?;
        self.fleet.wait_rolled_out(2 * MINUTE).await
    }

    /// Connects sessions and publishes for them; returns when all are connected and messages flow.
    pub(crate) async fn hold(&self, load: Load) -> Result<Held> {
        self.hold_as("probe", load, 0).await
    }

    /// The same by a probe of that name, beside so many sessions that others hold.
    pub(crate) async fn hold_as(&self, probe: &str, load: Load, others: u32) -> Result<Held> {
        let url = self.fleet.endpoint(MINUTE).await?;
        let held = self.start(probe, &url, load).await?;
        let counted = i64::from(load.sessions + others);
        self.fleet.wait_status(MINUTE, "to have counted all sessions", |status| status.connections == counted).await?;
        Ok(Held { since: Instant::now(), ..held })
    }

    /// The same at an address of which the WsCluster does not know.
    pub(crate) async fn hold_at(&self, url: &str, load: Load) -> Result<Held> {
        self.start("probe", url, load).await
    }

    /// The same beside others, by a probe of that name.
    pub(crate) async fn hold_beside(&self, probe: &str, url: &str, load: Load) -> Result<Held> {
        self.start(probe, url, load).await
    }

    async fn start(&self, name: &str, url: &str, load: Load) -> Result<Held> {
        let plan = ProbePlan {
            image: Self::image(),
            url: url.to_owned(),
            redis: "redis://redis:6379".to_owned(),
            sessions: load.sessions,
            rooms: load.rooms,
            rate: load.rate,
            connect_rate: 600,
            patience: ProbePlan::PATIENCE,
            mixed: false,
            detail: false,
            node: Some(self.home.clone()),
        };
        let probe = ProbePod::start(self.fleet.client(), self.fleet.namespace(), name, &plan).await?;
        probe.wait_running(MINUTE).await?;
        let gateways = self.fleet.gateways().await?.len() as u32;
        Ok(Held { probe, load, gateways, since: Instant::now() })
    }
}

/// Sessions that are held.
pub(crate) struct Held {
    probe: ProbePod,
    load: Load,
    gateways: u32,
    since: Instant,
}

impl Held {
    /// What the probe says now.
    pub(crate) async fn status(&self) -> Result<ProbeStatus> {
        self.probe.status().await
    }

    /// Waits until so many more changes of connection have been made than there were.
    pub(crate) async fn wait_moves(&self, moves: u64) -> Result<()> {
        self.probe.wait_status(MINUTE, "sessions move", |status| status.moves >= moves).await?;
        Ok(())
    }

    /// Waits until messages have been received for about so many seconds from now.
    pub(crate) async fn wait_messages(&self, seconds: u64) -> Result<()> {
        let Load { sessions, rooms, rate } = self.load;
        let more = u64::from(rate) * seconds * u64::from(sessions) / u64::from(rooms);
        let received = self.status().await?.received;
        self.probe.wait_status(MINUTE, "messages flow", |status| status.received >= received + more).await?;
        Ok(())
    }

    /// The verdict, which nobody else is to know.
    pub(crate) async fn finish(self) -> Result<Report> {
        let report = self.probe.finish().await?;
        self.probe.delete(MINUTE).await?;
        Ok(report)
    }

    /// The verdict; it is kept for the table of all scenarios, in this place and under this name.
    pub(crate) async fn record(self, order: u32, scenario: &str) -> Result<Report> {
        let change_seconds = self.since.elapsed().as_secs_f64();
        let (gateways, rate) = (self.gateways, self.load.rate);
        let report = self.finish().await?;
        eprintln!("{scenario}, {change_seconds:.1} s:\n{report}");
        let scenario = scenario.to_owned();
        let record = Record { order, scenario, gateways, rate, change_seconds, report: report.clone() };
        Records::add(&logs().join(FILE), record)?;
        Ok(report)
    }
}

/// Asserts that nothing was lost, doubled or reordered.
pub(crate) fn assert_seamless(report: &Report) -> Result<()> {
    ensure!(report.verdict == Verdict::Ok, "the sessions did not come through:\n{report}");
    ensure!(report.received > 0 && report.published > 0, "nothing was published:\n{report}");
    ensure!(report.resyncs == 0, "sessions were told of a hole where there was none:\n{report}");
    Ok(())
}

/// Asserts in addition that no session changed its connection more often than this, and none without being asked.
pub(crate) fn assert_moved_at_most(report: &Report, times: u64) -> Result<()> {
    assert_seamless(report)?;
    ensure!(report.moves.max <= times, "a session moved {} times instead of {times}:\n{report}", report.moves.max);
    ensure!(report.disconnects_without_notice == 0, "sessions were dropped without a notice:\n{report}");
    ensure!(report.forced == 0, "sessions were still there at the drain deadline:\n{report}");
    Ok(())
}

/// The first node that takes pods, by name.
pub(crate) async fn home(client: &Client) -> Result<String> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let open = nodes.items.iter().filter(|node| {
        let spec = node.spec.as_ref();
        spec.is_none_or(|spec| spec.taints.as_ref().is_none_or(Vec::is_empty) && spec.unschedulable != Some(true))
    });
    open.map(ResourceExt::name_any).min().context("no node takes pods")
}

/// The pod of the fleet's Redis.
pub(crate) async fn redis_pod(scenario: &Scenario) -> Result<Pod> {
    let pods = scenario.fleet.pods().list(&ListParams::default().labels("app.kubernetes.io/name=redis")).await?;
    pods.items.into_iter().next().context("Redis has no pod")
}

fn read(path: &str) -> Result<Vec<Value>> {
    let path = repository(path);
    let yaml = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    fleet::render(&yaml)?.into_iter().map(|object| Ok(serde_json::to_value(object)?)).collect()
}

/// A JSON merge patch without nulls.
fn merge(target: &mut Value, patch: &Value) {
    let (Value::Object(fields), Value::Object(changes)) = (&mut *target, patch) else {
        *target = patch.clone();
        return;
    };
    for (name, change) in changes {
        merge(fields.entry(name).or_insert(Value::Null), change);
    }
}
