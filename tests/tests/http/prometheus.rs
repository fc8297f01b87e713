//! A real Prometheus, and its own judge of metrics.

use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Failed;
use serde_json::Value;
use wscluster_client::{Client, Event};
use wscluster_tests::packages;

use crate::gateway::{Gateway, Running, await_listener, free_address, get, until};

/// `promtool check metrics` on what a gateway serves to who does not ask for OpenMetrics.
pub(crate) fn promtool() -> Result<(), Failed> {
    let judge = || -> Result<String> {
        packages::ensure_http()?;
        let gateway = Gateway::start(false)?;
        let metrics = get(gateway.admin, "/metrics", "Accept: text/plain;version=0.0.4\r\n")?;
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        promtool.stdin.take().context("no input")?.write_all(metrics.as_bytes())?;
        let output = promtool.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && said.trim().is_empty(), "promtool says:\n{said}\nof:\n{metrics}");
        Ok(metrics)
    };
    let metrics = judge().map_err(|error| format!("{error:#}"))?;
    if metrics.contains("ws_active_connections") { Ok(()) } else { Err(metrics.into()) }
}

/// Clients connect and publish; Prometheus knows.
pub(crate) fn scrape() -> Result<(), Failed> {
    observed().map_err(|error| format!("{error:#}").into())
}

fn observed() -> Result<()> {
    packages::ensure_http()?;
    let gateway = Gateway::start(false)?;
    let folder = gateway.folder.path();
    let listen = free_address()?;
    let scrape = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: gateway, static_configs: [{{targets: ['{}']}}]}}]\n",
        gateway.admin
    );
    std::fs::write(folder.join("prometheus.yml"), scrape)?;
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", folder.join("prometheus.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address={listen}"));
    command.stderr(std::fs::File::create(folder.join("prometheus.log"))?);
    let _prometheus = Running::start(&mut command)?;
    await_listener(listen)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let _clients = runtime.block_on(talk(gateway.public))?;
    for (query, expect) in [
        ("ws_active_connections", 3.0),
        ("ws_messages_sent_total", 15.0),
        ("ws_rooms", 1.0),
        ("ws_subscriptions", 3.0),
        // One for each write, however many messages it carried.
        ("redis_stream_lag_seconds_count > bool 2", 1.0),
        // Its value is not known, but that it has one: the buckets are whole.
        ("histogram_quantile(0.99, redis_stream_lag_seconds_bucket) < bool 60", 1.0),
        (r#"sum(ws_connections_opened_total{protocol="v1"})"#, 3.0),
        ("count(wscluster_gateway_config_info)", 1.0),
    ] {
        until(query, || value(listen, query).is_ok_and(|value| value == Some(expect)))
            .with_context(|| format!("{query} is {:?}, not {expect}", value(listen, query)))?;
    }
    Ok(())
}

/// Three clients in a room; one writes five messages, which all get.
pub(crate) async fn talk(gateway: SocketAddr) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (client, mut events) = Client::builder(format!("ws://{gateway}/ws")).connect()?;
        client.subscribe("lobby", None);
        within(async { while !matches!(events.next().await, Some(Event::Subscribed { .. })) {} }).await?;
        clients.push((client, events));
    }
    for number in 0..5 {
        within(clients[0].0.publish("lobby", &number)?).await??;
    }
    for (_, events) in &mut clients {
        for _ in 0..5 {
            within(async { while !matches!(events.next().await, Some(Event::Message { .. })) {} }).await?;
        }
    }
    // The events are read no more; the connections stay.
    Ok(clients.into_iter().map(|(client, _)| client).collect())
}

async fn within<T>(what: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(Duration::from_secs(20), what).await.context("it did not happen in time")
}

/// What a query comes to now, if it is one number.
fn value(prometheus: SocketAddr, expression: &str) -> Result<Option<f64>> {
    Ok(query(prometheus, expression)?.first().and_then(|first| first["value"][1].as_str()?.parse().ok()))
}

/// What a query comes to now: series, and the value of each.
pub(crate) fn query(prometheus: SocketAddr, expression: &str) -> Result<Vec<Value>> {
    let encoded = expression.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02x}");
        text
    });
    let answer: Value = serde_json::from_str(&get(prometheus, &format!("/api/v1/query?query={encoded}"), "")?)?;
    Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
}
