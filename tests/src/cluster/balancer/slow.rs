//! A slow network load balancer for one Service, as clouds have them: an address of its own in node 1, pods as targets, and
//! a removed target that goes on getting new connections for a while. A connection that stands is never cut by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::targets::Targets;

/// What one is like; a change of anything here is another load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its ports, by the names that the Service gives them (empty: none).
    pub ports: BTreeMap<String, u16>,
    /// How long a removed target goes on getting new connections.
    pub delay: Duration,
}

/// The targets of each port, by its name.
type Table = BTreeMap<String, Arc<Mutex<Targets>>>;

/// A load balancer that runs until it is ended.
#[derive(Debug)]
pub(super) struct SlowBalancer {
    /// What it is like.
    pub shape: Shape,
    inside: Handle,
    tasks: Vec<JoinHandle<()>>,
}

impl SlowBalancer {
    /// Starts one for the Service `name`; `inside` is a runtime in the network of node 1.
    pub(super) async fn start(inside: &Handle, slices: Api<EndpointSlice>, name: &str, shape: Shape) -> Result<Self> {
        let mut balancer = Self { shape, inside: inside.clone(), tasks: Vec::new() };
        match balancer.open(slices, name).await {
            Ok(()) => Ok(balancer),
            Err(error) => {
                balancer.end().await;
                Err(error)
            }
        }
    }

    async fn open(&mut self, slices: Api<EndpointSlice>, name: &str) -> Result<()> {
        let Shape { address, ports, delay } = self.shape.clone();
        ip(&self.inside, "add", address).await?;
        let mut table = Table::new();
        for (port, number) in ports {
            let targets = Arc::new(Mutex::new(Targets::new(delay)));
            let at = SocketAddr::from((address, number));
            let listener = self.inside.spawn(TcpListener::bind(at)).await?;
            let listener = listener.with_context(|| format!("cannot listen on {at}"))?;
            self.tasks.push(self.inside.spawn(accept(listener, Arc::clone(&targets))));
            table.insert(port, targets);
        }
        self.tasks.push(tokio::spawn(follow(slices, name.to_owned(), table)));
        Ok(())
    }

    /// Takes no connection any more, and gives the address up.
    pub(super) async fn end(self) {
        for task in self.tasks {
            task.abort();
            let _aborted = task.await;
        }
        if let Err(error) = ip(&self.inside, "delete", self.shape.address).await {
            eprintln!("{error:#}");
        }
    }
}

/// `ip` runs in the network namespace of the thread that starts it.
async fn ip(inside: &Handle, verb: &'static str, address: Ipv4Addr) -> Result<()> {
    let command = async move {
        let address = format!("{address}/32");
        Command::new("ip").args(["address", verb, &address, "dev", "node0"]).output().await
    };
    let output = inside.spawn(command).await?.context("cannot run `ip`")?;
    if !output.status.success() {
        bail!("`ip address {verb} {address}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A connection outlives the listener that took it.
async fn accept(listener: TcpListener, targets: Arc<Mutex<Targets>>) {
    loop {
        // An error is of that one connection, or there is no file left for it: the next one may be luckier.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let target = targets.lock().unwrap_or_else(PoisonError::into_inner).next(Instant::now());
        if let Some(target) = target {
            tokio::spawn(carry(stream, target));
        }
    }
}

/// A target that refuses shows as a connection that is closed at once.
async fn carry(mut client: TcpStream, target: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

/// Keeps the targets as the Service's ready endpoints are.
async fn follow(slices: Api<EndpointSlice>, service: String, table: Table) {
    let (known, writer) = reflector::store();
    let config = watcher::Config::default().labels(&format!("kubernetes.io/service-name={service}"));
    let mut events = pin!(reflector(writer, watcher(slices, config).default_backoff()));
    loop {
        match events.try_next().await {
            Ok(Some(_)) => register(&table, &known.state(), Instant::now()),
            Ok(None) => return,
            // The watcher backs off and begins anew.
            Err(error) => eprintln!("watching the endpoints of {service}: {error}"),
        }
    }
}

fn register(table: &Table, slices: &[Arc<EndpointSlice>], now: Instant) {
    for (port, targets) in table {
        let wanted = slices.iter().flat_map(|slice| ready_endpoints(slice, port)).collect();
        targets.lock().unwrap_or_else(PoisonError::into_inner).register(&wanted, now);
    }
}

fn ready_endpoints(slice: &EndpointSlice, port: &str) -> BTreeSet<SocketAddr> {
    let mut ports = slice.ports.iter().flatten();
    let named = ports.find(|candidate| candidate.name.as_deref().unwrap_or_default() == port);
    let Some(number) = named.and_then(|port| u16::try_from(port.port?).ok()) else { return BTreeSet::new() };
    let ready = slice.endpoints.iter().filter(|endpoint| {
        // Unset stands for ready. Source: the API's own words on `conditions.ready`.
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    let addresses = ready.flat_map(|endpoint| &endpoint.addresses).filter_map(|address| address.parse::<IpAddr>().ok());
    addresses.map(|address| SocketAddr::from((address, number))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_ready_endpoints_of_the_named_port_are_targets() {
        let slice = json!({
            "addressType": "IPv4", "metadata": {},
            "ports": [{"name": "admin", "port": 9090}, {"name": "ws", "port": 8080}],
            "endpoints": [
                {"addresses": ["198.18.64.2"], "conditions": {"ready": true}},
                {"addresses": ["198.18.64.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                {"addresses": ["198.18.64.4"]},
            ],
        });
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        let targets: Vec<_> = ready_endpoints(&slice, "ws").iter().map(ToString::to_string).collect();
        assert_eq!(targets, ["198.18.64.2:8080", "198.18.64.4:8080"]);
        assert!(ready_endpoints(&slice, "").is_empty());
    }
}
