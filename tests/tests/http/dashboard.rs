//! The dashboard and the rules against a real Prometheus that scrapes a real gateway at work: every panel has something to show,
//! every rule has series to look at.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Failed;
use serde_json::{Value, json};
use wscluster_client::Client;
use wscluster_crds::{WsCluster, WsClusterStatus};
use wscluster_operator::metrics::Metrics;
use wscluster_tests::packages;

use crate::gateway::{Gateway, Running, ask, await_listener, free_address, get, until};
use crate::prometheus::{query, talk};
use crate::rules;

const DASHBOARD: &str = include_str!("../../../charts/wscluster-operator/dashboards/wscluster.json");
/// Little may wait for a client, so that a slow one is soon told from the others.
const SETTINGS: &str = "{
    maxConnections: 50, backpressure: {maxBufferedBytes: 65536, totalBufferBytes: 33554432},
    limits: {messagesPerSecond: 10000, burst: 10000},
}";
/// Bytes of a message, and most of them that a kernel holds for who does not read.
const BYTES: usize = 60_000;
const MOST: usize = 2000;

/// Each panel's query and each rule's series have data.
pub(crate) fn has_data() -> Result<(), Failed> {
    shown().map_err(|error| format!("{error:#}").into())
}

fn shown() -> Result<()> {
    packages::ensure_http()?;
    let gateway = Gateway::start_with(true, SETTINGS)?;
    let folder = gateway.folder.path();
    let rules = rules::write(folder)?;
    let (operator, listen) = (operator()?, free_address()?);
    std::fs::write(folder.join("prometheus.yml"), configuration(gateway.admin, operator))?;
    let _prometheus = prometheus(folder, listen)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let clients = runtime.block_on(talk(gateway.public))?;
    // Rates are of what happened since the first look.
    until("a first look", || has(listen, "ws_active_connections == 3"))?;
    runtime.block_on(work(&gateway, &clients))?;

    let queries = panels()?;
    ensure!(queries.len() > 40, "these are not all: {queries:#?}");
    all_answer(listen, &queries)?;
    all_answer(listen, &looked_at(&rules)?)?;
    for happened in [
        r#"ws_slow_closes_total{limit="connection"} == 1"#,
        "ws_drain_noticed_total > 0",
        "wscluster:ws_active_connections:sum >= 3",
        r#"max by (pod, namespace) (wscluster_operator_gateways{namespace="default",state="wanted"}) == 2"#,
    ] {
        until(happened, || has(listen, happened)).with_context(|| format!("it is not so: {happened}"))?;
    }
    healthy(listen, rules.len())
}

/// As the Prometheus operator would make it of the PodMonitors of a gateway and of the operator.
fn configuration(gateway: SocketAddr, operator: SocketAddr) -> String {
    let labels = json!({"namespace": "default", "wscluster": "chat", "pod": "chat-0", "revision": "a"});
    let job = |name: &str, target: SocketAddr, labels: Value| {
        let targets = json!([{"targets": [target.to_string()], "labels": labels}]);
        json!({"job_name": name, "honor_labels": name == "operator", "static_configs": targets})
    };
    let own = json!({"namespace": "wscluster-system", "pod": "wscluster-operator-0"});
    json!({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [job("gateway", gateway, labels), job("operator", operator, own)],
    })
    .to_string()
}

fn prometheus(folder: &Path, listen: SocketAddr) -> Result<Running> {
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address={listen}"));
    command.stderr(std::fs::File::create(folder.join("prometheus.log"))?);
    let running = Running::start(&mut command)?;
    await_listener(listen)?;
    Ok(running)
}

/// Messages, one client that does not read them, and a drain that is cancelled.
async fn work(gateway: &Gateway, clients: &[Client]) -> Result<()> {
    let slow = stalled(gateway.public)?;
    let payload = "x".repeat(BYTES);
    let closed = || -> Result<bool> {
        Ok(get(gateway.admin, "/metrics", "")?.contains("ws_slow_closes_total{limit=\"connection\"} 1"))
    };
    for number in 0.. {
        ensure!(number < MOST, "a client that does not read was not closed");
        clients[0].publish("lobby", &payload)?.await?;
        if number % 10 == 0 && closed()? {
            break;
        }
    }
    drop(slow);
    ask("POST", gateway.admin, "/v1/drain", r#"{"connectionsPerSecond":100,"timeoutSeconds":60}"#)?;
    until("clients to be told to move", || {
        let text = get(gateway.admin, "/metrics", "").unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("ws_drain_noticed_total ").is_some_and(|number| number != "0"))
    })?;
    ask("DELETE", gateway.admin, "/v1/drain", "")?;
    clients[0].publish("lobby", &1)?.await?;
    Ok(())
}

/// A raw client of the room that reads its handshake and nothing more.
fn stalled(gateway: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(gateway)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(
        stream,
        "GET /ws?room=lobby HTTP/1.1\r\nHost: {gateway}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )?;
    let mut first = [0; 12];
    stream.read_exact(&mut first)?;
    ensure!(&first == b"HTTP/1.1 101", "no handshake: {}", String::from_utf8_lossy(&first));
    Ok(stream)
}

/// What an operator shows that looks after the cluster, on an address of its own.
fn operator() -> Result<SocketAddr> {
    let metrics = Metrics::default();
    let mut cluster = WsCluster::new("chat", serde_yaml::from_str("{redis: {url: 'redis://r'}}")?);
    cluster.metadata.namespace = Some("default".to_owned());
    let conditions: Vec<_> = ["Ready", "Degraded", "ScalingActive"].map(|type_| json!({
        "type": type_, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z",
    })).into();
    let status: WsClusterStatus = serde_json::from_value(json!({"readyReplicas": 2, "conditions": conditions}))?;
    metrics.shows(&cluster, &status);
    metrics.leads(true);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            metrics.reconciled("ok", Duration::from_millis(3));
            metrics.wrote("Deployment", "apply");
            // Who has gone needs no answer.
            let _ = answer(stream, &metrics.render());
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, text: &str) -> Result<()> {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request)?;
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
    Ok(())
}

/// The queries of all panels, for the one cluster.
fn panels() -> Result<BTreeSet<String>> {
    let dashboard: Value = serde_json::from_str(DASHBOARD)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let held = |target: &Value| {
        let query = target["expr"].as_str().unwrap_or_default();
        query.replace("$namespace", "default").replace("$wscluster", "chat").replace("$__rate_interval", "1m")
    };
    let queries: BTreeSet<_> = targets.map(held).collect();
    match queries.iter().find(|query| query.contains('$')) {
        Some(unknown) => bail!("a variable that nobody gives a value: {unknown}"),
        None => Ok(queries),
    }
}

/// What is recorded, and every series that a rule looks at: whether an alert holds is another matter.
fn looked_at(rules: &[Value]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for rule in rules {
        found.extend(rule["record"].as_str().map(str::to_owned));
        let expression = rule["expr"].as_str().context("an expression")?;
        for (start, _) in expression.match_indices(&format!("{{{}", rules::CLUSTER)) {
            let letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let name = expression[..start].trim_end_matches(letter).len();
            let end = start + expression[start..].find('}').context("an end of the labels")?;
            found.insert(expression[name..=end].to_owned());
        }
    }
    Ok(found)
}

/// Waits until each query has a number for an answer.
fn all_answer(prometheus: SocketAddr, queries: &BTreeSet<String>) -> Result<()> {
    let empty = || queries.iter().filter(|query| !has(prometheus, query)).cloned().collect::<Vec<_>>();
    until("all queries to have an answer", || empty().is_empty()).with_context(|| format!("no data: {:#?}", empty()))
}

fn has(prometheus: SocketAddr, expression: &str) -> bool {
    let found = query(prometheus, expression).unwrap_or_default();
    found.iter().any(|one| one["value"][1].as_str().is_some_and(|number| number != "NaN"))
}

/// Whether Prometheus has evaluated all rules without an error.
fn healthy(prometheus: SocketAddr, number: usize) -> Result<()> {
    let answer: Value = serde_json::from_str(&get(prometheus, "/api/v1/rules", "")?)?;
    let groups = answer["data"]["groups"].as_array().context("groups")?;
    let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()).collect();
    ensure!(rules.len() == number, "{} rules, not {number}", rules.len());
    match rules.iter().find(|rule| rule["health"] != "ok") {
        Some(rule) => bail!("{} is {}: {}", rule["name"], rule["health"], rule["lastError"]),
        None => Ok(()),
    }
}
