//! The slow network load balancer that a Service can ask for.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::timeout;
use wscluster_tests::cluster::Cluster;

use crate::{kubectl, until, with_redis};

const DELAY: Duration = Duration::from_secs(4);
const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: slow, annotations: {testbed.wscluster.dev/deregistration-seconds: "4"}}
spec: {type: LoadBalancer, selector: {app: redis, turn: old}, ports: [{name: redis, port: 80, targetPort: 6379}]}
"#;

/// A removed pod goes on getting new connections for as long as the Service says, and keeps those that it has.
pub(crate) fn sends_to_a_removed_target_for_a_while() -> Result<()> {
    let cluster = with_redis()?;
    let (old, new) = two_pods(cluster)?;
    let mut apply = cluster.kubectl().args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    apply.stdin.take().context("kubectl has a standard input")?.write_all(SERVICE.as_bytes())?;
    ensure!(apply.wait()?.success(), "kubectl apply failed");
    let outside = cluster.forward_address("default", "slow")?;
    let mut standing = until("a connection to the old pod", || Connection::to(outside).ok())?;
    ensure!(standing.server()? == old, "a pod that is no target got a connection");
    is_one_of_its_own(cluster)?;

    let turned = Instant::now();
    kubectl(cluster, &["patch", "service", "slow", "-p", r#"{"spec":{"selector":{"turn":"new"}}}"#])?;
    until("a connection to the new pod", || (server(outside).ok()? == new).then_some(()))?;
    let mut last_seen = Instant::now();
    until("the old pod to be left alone", || {
        let met: BTreeSet<_> = (0..6).filter_map(|_| server(outside).ok()).collect();
        if met.contains(&old) {
            last_seen = Instant::now();
        }
        (last_seen.elapsed() > DELAY / 2).then_some(())
    })?;
    let lasted = last_seen - turned;
    ensure!((DELAY * 3 / 4..DELAY * 2).contains(&lasted), "the old pod got connections for {lasted:?}");
    ensure!(standing.server()? == old, "the connection that stood was cut");

    kubectl(cluster, &["annotate", "service", "slow", "testbed.wscluster.dev/deregistration-seconds-"])?;
    until("kube-proxy to balance again", || mode(cluster).ok().filter(|mode| mode == "VIP"))?;
    until("an answer by kube-proxy", || (server(outside).ok()? == new).then_some(()))?;
    kubectl(cluster, &["delete", "service", "slow"])?;
    Ok(())
}

/// Kubernetes is told that this is no address for kube-proxy, and every node reaches it.
fn is_one_of_its_own(cluster: &Cluster) -> Result<()> {
    ensure!(mode(cluster)? == "Proxy", "{}", mode(cluster)?);
    let inside = cluster.load_balancer_address("default", "slow")?;
    for node in 1..=2 {
        let runtime = cluster.node_runtime(node)?;
        let connecting = async move { timeout(Duration::from_secs(3), tokio::net::TcpStream::connect(inside)).await };
        let connected = runtime.block_on(runtime.spawn(connecting));
        connected??.with_context(|| format!("{inside} from node {node}"))?;
    }
    Ok(())
}

fn mode(cluster: &Cluster) -> Result<String> {
    kubectl(cluster, &["get", "service", "slow", "-o", "jsonpath={.status.loadBalancer.ingress[0].ipMode}"])
}

/// Labels two of Redis' pods, and tells how each calls itself.
fn two_pods(cluster: &Cluster) -> Result<(String, String)> {
    let names = kubectl(cluster, &["get", "pods", "-l", "app=redis", "-o", "name"])?;
    let mut names = names.lines();
    let mut pod = |turn: &str| {
        let name = names.next().context("Redis has three pods")?;
        kubectl(cluster, &["label", "--overwrite", name, &format!("turn={turn}")])?;
        let info = kubectl(cluster, &["exec", name, "--", "redis-cli", "info", "server"])?;
        run_id(info.lines()).context("Redis says its run id")
    };
    Ok((pod("old")?, pod("new")?))
}

fn run_id<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<String> {
    lines.find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned())
}

fn server(address: SocketAddr) -> Result<String> {
    Connection::to(address)?.server()
}

/// A connection to one of the servers.
struct Connection(BufReader<TcpStream>);

impl Connection {
    /// One that answers.
    fn to(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut connection = Self(BufReader::new(stream));
        connection.server()?;
        Ok(connection)
    }

    /// How the server at the other end calls itself.
    fn server(&mut self) -> Result<String> {
        self.0.get_mut().write_all(b"INFO server\r\n")?;
        let mut length = String::new();
        self.0.read_line(&mut length)?;
        let length: usize = length.trim_start_matches('$').trim().parse().context("a length")?;
        let mut text = vec![0; length + 2];
        std::io::Read::read_exact(&mut self.0, &mut text)?;
        run_id(String::from_utf8_lossy(&text).lines()).context("a run id")
    }
}
