//! The testbed keeps its own promises: idempotent, mendable, side by side, and gone without a trace.
//! Needs root; every test says that it was skipped where there is none.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio, exit};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use tokio::time::timeout;
use wscluster_tests::cluster::{Cluster, ClusterOptions, Instance, Layout, Status, wait};
use wscluster_tests::image;

#[path = "testbed/slow.rs"]
mod slow;
#[path = "testbed/traces.rs"]
mod traces;

use traces::Traces;

/// What is tested, and how.
type Fact = (&'static str, fn() -> Result<()>);

/// Starts this program as another that brings a testbed up, for tests that kill it.
const STARTER: &str = "testbed-starter";

fn main() -> ExitCode {
    wscluster_tests::become_node_if_asked();
    let words: Vec<String> = env::args().collect();
    if let [_, role, instance, lifeline] = words.as_slice()
        && role == STARTER
    {
        start_and_stay(instance, lifeline == "true");
    }
    let mut arguments = Arguments::from_args();
    // They measure the machine and time; and two at a time would be slower, too.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials()).exit_code()
}

fn trials() -> Vec<Trial> {
    let facts: [Fact; 13] = [
        ("up_finds_a_running_testbed_at_once", up_finds_a_running_testbed_at_once),
        ("pods_reach_a_service_by_name_from_every_node", pods_reach_a_service_by_name_from_every_node),
        ("load_balancer_is_reached_from_the_machine_and_from_nodes", load_balancer_is_reached),
        ("load_balancer_keeps_its_address_and_gives_it_back", load_balancer_keeps_its_address_and_gives_it_back),
        ("a_slow_load_balancer_sends_to_a_removed_target_for_a_while", slow::sends_to_a_removed_target_for_a_while),
        ("an_image_is_imported_once", an_image_is_imported_once),
        ("changes_are_in_the_audit_log_and_reads_are_not", changes_are_in_the_audit_log_and_reads_are_not),
        ("a_dump_holds_logs_events_and_objects", a_dump_holds_logs_events_and_objects),
        ("a_lost_node_is_noticed_and_comes_back", a_lost_node_is_noticed_and_comes_back),
        ("an_interrupted_up_can_be_repeated", an_interrupted_up_can_be_repeated),
        ("two_testbeds_stand_side_by_side_and_down_leaves_nothing", two_testbeds_stand_side_by_side),
        ("a_node_ends_with_its_keeper", a_node_ends_with_its_keeper),
        ("a_killed_owner_leaves_nothing", a_killed_owner_leaves_nothing),
    ];
    let root = Uid::effective().is_root();
    if !root {
        eprintln!("skipped: the testbed needs root");
    }
    let trial = |(name, fact): Fact| {
        Trial::test(name, move || fact().map_err(|error| Failed::from(format!("{error:#}")))).with_ignored_flag(!root)
    };
    facts.into_iter().map(trial).collect()
}

fn up_finds_a_running_testbed_at_once() -> Result<()> {
    let cluster = shared()?;
    let before = keepers(&Cluster::status(cluster.layout().instance())?);
    let started = Instant::now();
    let again = Cluster::up(&options(cluster.layout().instance(), 2, true))?;
    ensure!(again.was_running(), "it was started anew");
    ensure!(started.elapsed() < Duration::from_secs(3), "it took {:?}", started.elapsed());
    let after = Cluster::status(cluster.layout().instance())?;
    ensure!(after.ready, "{after}");
    ensure!(keepers(&after) == before, "its processes changed");
    Ok(())
}

fn pods_reach_a_service_by_name_from_every_node() -> Result<()> {
    let cluster = with_redis()?;
    let pods = kubectl(
        cluster,
        &["get", "pods", "-l", "app=redis", "-o", "jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}\n{end}"],
    )?;
    let pods: BTreeMap<&str, &str> = pods.lines().filter_map(|line| line.split_once(' ')).collect();
    let nodes: std::collections::BTreeSet<_> = pods.values().collect();
    ensure!(nodes.len() == 2, "pods are not on both nodes: {pods:?}");
    for pod in pods.keys() {
        // Often enough to meet each of the Service's pods: itself, one of the same node, one of another.
        let ask =
            ["exec", pod, "--", "redis-cli", "-h", "redis.default.svc.cluster.local", "-r", "12", "--no-raw", "ping"];
        let answer = kubectl(cluster, &ask)?;
        ensure!(answer.lines().filter(|line| line.contains("PONG")).count() == 12, "{pod}: {answer}");
        ensure!(kubectl(cluster, &["logs", pod])?.contains("Ready to accept connections"), "no log of {pod}");
    }
    Ok(())
}

fn load_balancer_is_reached() -> Result<()> {
    let cluster = with_redis()?;
    let outside = cluster.forward_address("default", "redis")?;
    ensure!(outside.ip().is_loopback(), "{outside}");
    until("an answer from outside", || ping(outside).ok())?;
    let inside = cluster.load_balancer_address("default", "redis")?;
    for node in 1..=2 {
        let runtime = cluster.node_runtime(node)?;
        let connecting = async move { timeout(Duration::from_secs(3), tokio::net::TcpStream::connect(inside)).await };
        let connected = runtime.block_on(runtime.spawn(connecting));
        connected??.with_context(|| format!("{inside} from node {node}"))?;
    }
    Ok(())
}

fn load_balancer_keeps_its_address_and_gives_it_back() -> Result<()> {
    let cluster = shared()?;
    kubectl(cluster, &["create", "service", "loadbalancer", "brief", "--tcp=80:80"])?;
    let address = cluster.load_balancer_address("default", "brief")?;
    let forward = cluster.forward_address("default", "brief")?;
    kubectl(
        cluster,
        &[
            "patch",
            "service",
            "brief",
            "--type=merge",
            "-p",
            r#"{"spec":{"ports":[{"name":"80-80","port":80,"targetPort":80},{"name":"two","port":81}]}}"#,
        ],
    )?;
    let both =
        until("the second port", || cluster.exposed("default", "brief").filter(|exposed| exposed.ports.len() == 2))?;
    ensure!(both.address == address.ip() && both.ports[0].forward == forward.port(), "{both:?}");
    kubectl(cluster, &["delete", "service", "brief"])?;
    until("its end", || cluster.exposed("default", "brief").is_none().then_some(()))?;
    until("its port to be closed", || TcpStream::connect(forward).is_err().then_some(()))?;
    kubectl(cluster, &["create", "service", "loadbalancer", "next", "--tcp=80:80"])?;
    let next = cluster.load_balancer_address("default", "next")?;
    kubectl(cluster, &["delete", "service", "next"])?;
    ensure!(next == address, "{next} instead of the free {address}");
    Ok(())
}

fn an_image_is_imported_once() -> Result<()> {
    let cluster = shared()?;
    let archive = image::redis()?;
    cluster.import_image(&archive)?;
    let started = Instant::now();
    cluster.import_image(&archive)?;
    ensure!(started.elapsed() < Duration::from_secs(1), "the second time took {:?}", started.elapsed());
    let listed = cluster.node_command(2, "ctr")?.args(["-n", "k8s.io", "images", "ls", "-q"]).output()?;
    ensure!(String::from_utf8_lossy(&listed.stdout).lines().any(|line| line == image::REDIS_IMAGE));
    Ok(())
}

fn changes_are_in_the_audit_log_and_reads_are_not() -> Result<()> {
    let cluster = shared()?;
    kubectl(cluster, &["create", "configmap", "audited"])?;
    kubectl(cluster, &["get", "configmap", "audited"])?;
    kubectl(cluster, &["delete", "configmap", "audited"])?;
    let verbs = until("both changes", || {
        let verbs = audited_verbs(&cluster.audit_log(), "audited").ok()?;
        (verbs.len() >= 2).then_some(verbs)
    })?;
    ensure!(verbs == ["create", "delete"], "{verbs:?}");
    Ok(())
}

fn audited_verbs(log: &Path, name: &str) -> Result<Vec<String>> {
    let lines = fs::read_to_string(log)?;
    let events = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let ours = events.filter(|event| event["objectRef"]["name"] == name);
    Ok(ours.filter_map(|event| event["verb"].as_str().map(str::to_owned)).collect())
}

fn a_dump_holds_logs_events_and_objects() -> Result<()> {
    let cluster = with_redis()?;
    let folder = tempfile::tempdir()?;
    cluster.dump("default", folder.path())?;
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).with_context(|| name.to_owned());
    ensure!(read("events.txt")?.contains("Started"), "{}", read("events.txt")?);
    ensure!(read("objects/deployments.yaml")?.contains("name: redis"));
    ensure!(!read("components/node2-kubelet.log")?.is_empty());
    let logs = fs::read_dir(folder.path().join("pods"))?.flatten();
    let texts: Vec<String> = logs.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    ensure!(texts.len() == 3 && texts.iter().all(|text| text.contains("Ready to accept")), "{texts:?}");
    Ok(())
}

fn a_lost_node_is_noticed_and_comes_back() -> Result<()> {
    let cluster = shared()?;
    cluster.kill_node(2)?;
    let ready = || {
        kubectl(cluster, &["get", "node", "node2", "-o", r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#])
    };
    until("node 2 to be missed", || ready().ok().filter(|status| status == "Unknown"))?;
    let status = Cluster::status(cluster.layout().instance())?;
    ensure!(status.nodes[1].keeper.is_none() && !status.ready, "{status}");
    cluster.start_node(2)?;
    ensure!(ready()? == "True");
    let answer = cluster.node_command(2, "kubectl")?.args(["get", "--raw", "/readyz"]).output()?;
    ensure!(answer.stdout == b"ok", "node 2 does not reach the API server");
    Ok(())
}

fn an_interrupted_up_can_be_repeated() -> Result<()> {
    let name = name("cut");
    let layout = Layout::of(&name.parse::<Instance>()?);
    let _down = DownAtEnd(name.clone());
    let running = |layout: &Layout| layout.log(1, "keeper").exists();
    let stages: [(&str, &dyn Fn() -> bool); 4] = [
        ("its folder", &|| layout.root().exists()),
        ("its certificates", &|| layout.pki().join("ca.crt").exists()),
        ("its first node", &|| running(&layout)),
        ("its API server's port", &|| layout.kubeconfig().exists()),
    ];
    for (what, reached) in stages {
        let mut starter = starter(&name, false)?;
        until(what, || reached().then_some(()))?;
        starter.kill()?;
        starter.wait()?;
    }
    let cluster = Cluster::up(&options(&name, 1, false))?;
    let status = Cluster::status(&name)?;
    ensure!(status.ready, "{status}");
    ensure!(kubectl(&cluster, &["get", "--raw", "/readyz"])? == "ok");
    Ok(())
}

fn two_testbeds_stand_side_by_side() -> Result<()> {
    let (first, second) = (shared()?, name("beside"));
    let _down = DownAtEnd(second.clone());
    let before = Traces::of(&second)?;
    let beside = Cluster::up(&options(&second, 1, false))?;
    let identity = |cluster| kubectl(cluster, &["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"]);
    ensure!(identity(first)? != identity(&beside)?, "both are the same");
    let during = Traces::of(&second)?;
    ensure!(during.mounts == before.mounts, "mounts of the machine changed");
    ensure!(during.network == before.network, "the machine's network changed");
    ensure!(!during.processes.is_empty() && !during.cgroups.is_empty(), "nothing to be found of a running testbed");
    ensure!(Cluster::down(&second)?);
    let after = Traces::of(&second)?;
    ensure!(after == before, "something is left:\n{}", traces::difference(&before, &after));
    let status = Cluster::status(first.layout().instance())?;
    ensure!(status.ready, "the other suffered: {status}");
    ensure!(!Cluster::down(&second)?, "there was something to take down twice");
    Ok(())
}

/// No farewell, no cleaning: the kernel alone ends a node with the one process that holds it.
fn a_node_ends_with_its_keeper() -> Result<()> {
    let name = name("keeper");
    let layout = Layout::of(&name.parse::<Instance>()?);
    let _down = DownAtEnd(name.clone());
    Cluster::up(&options(&name, 1, false))?;
    let keeper = Cluster::status(&name)?.nodes[0].keeper.context("node 1 has a keeper")?;
    kill(Pid::from_raw(keeper), Signal::SIGKILL)?;
    until("all processes to end", || Traces::of(&name).ok().filter(|traces| traces.processes.is_empty()))?;
    ensure!(layout.root().exists());
    let again = Cluster::up(&options(&name, 1, false))?;
    ensure!(kubectl(&again, &["get", "--raw", "/readyz"])? == "ok", "it cannot be started again with what it had");
    Ok(())
}

fn a_killed_owner_leaves_nothing() -> Result<()> {
    let name = name("owned");
    let _down = DownAtEnd(name.clone());
    let before = Traces::of(&name)?;
    let mut starter = starter(&name, true)?;
    until("a pod's worth of testbed", || Cluster::status(&name).ok().filter(|status| status.ready))?;
    starter.kill()?;
    starter.wait()?;
    until("nothing to be left", || Traces::of(&name).ok().filter(|after| *after == before))?;
    Ok(())
}

/// The testbed that most tests share. It ends with this process.
fn shared() -> Result<&'static Cluster> {
    static SHARED: OnceLock<Result<Cluster, String>> = OnceLock::new();
    let up = || Cluster::up(&options(&name("shared"), 2, true)).map_err(|error| format!("{error:#}"));
    SHARED.get_or_init(up).as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

/// The shared testbed with three Redis pods and a LoadBalancer Service.
fn with_redis() -> Result<&'static Cluster> {
    let cluster = shared()?;
    cluster.import_image(&image::redis()?)?;
    let mut apply = cluster.kubectl().args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    apply.stdin.take().context("kubectl has a standard input")?.write_all(REDIS.as_bytes())?;
    ensure!(apply.wait()?.success(), "kubectl apply failed");
    kubectl(cluster, &["rollout", "status", "deployment/redis", "--timeout=40s"])?;
    Ok(cluster)
}

const REDIS: &str = r"
apiVersion: apps/v1
kind: Deployment
metadata: {name: redis}
spec:
  replicas: 3
  selector: {matchLabels: {app: redis}}
  template:
    metadata: {labels: {app: redis}}
    spec:
      terminationGracePeriodSeconds: 1
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: redis}}}
      containers:
      - name: redis
        image: docker.io/library/redis:7
        imagePullPolicy: Never
        ports: [{containerPort: 6379}]
        readinessProbe: {tcpSocket: {port: 6379}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: redis}
spec: {type: LoadBalancer, selector: {app: redis}, ports: [{name: redis, port: 6379}]}
";

fn ping(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    ensure!(&answer == b"+PONG\r\n", "{answer:?}");
    Ok(())
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let output = cluster.kubectl().args(arguments).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn keepers(status: &Status) -> Vec<Option<i32>> {
    status.nodes.iter().map(|node| node.keeper).collect()
}

fn options(instance: &str, nodes: u32, lifeline: bool) -> ClusterOptions {
    ClusterOptions { instance: instance.to_owned(), nodes, lifeline }
}

fn name(what: &str) -> String {
    format!("tb-{}-{what}", std::process::id())
}

fn starter(instance: &str, lifeline: bool) -> Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    command.args([STARTER, instance, &lifeline.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

fn start_and_stay(instance: &str, lifeline: bool) -> ! {
    let cluster = Cluster::up(&options(instance, 1, lifeline));
    if let Err(error) = &cluster {
        eprintln!("{error:#}");
        exit(1);
    }
    loop {
        thread::park();
    }
}

fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
    wait::until(what, Duration::from_secs(45), || Ok(ready()))
}

/// Takes a testbed down that does not end with this process, also when the test fails.
struct DownAtEnd(String);

impl Drop for DownAtEnd {
    fn drop(&mut self) {
        if let Err(error) = Cluster::down(&self.0) {
            eprintln!("cannot take {} down: {error:#}", self.0);
        }
    }
}
