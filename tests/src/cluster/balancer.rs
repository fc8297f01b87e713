//! Plays the cloud's load balancer: gives LoadBalancer Services an address and a port on 127.0.0.1 that leads to it.
//! kube-proxy does the balancing, or, for Services with the annotation [`DEREGISTRATION`], a load balancer of our own.

mod slow;
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api;
use super::forwarder::{Dialler, Forward};
use super::layout::Layout;
use super::pool::Pool;
use crate::cache::write_atomically;
use slow::{Shape, SlowBalancer};

/// Annotation of a LoadBalancer Service: it gets a load balancer of its own, which goes on sending new connections to a
/// removed target for so many seconds.
const DEREGISTRATION: &str = "testbed.wscluster.dev/deregistration-seconds";

/// Where a LoadBalancer Service can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exposed {
    /// Its address inside the testbed.
    pub address: Ipv4Addr,
    /// Its ports.
    pub ports: Vec<ExposedPort>,
}

/// One port of a LoadBalancer Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExposedPort {
    /// The port's name, where it has one.
    pub name: Option<String>,
    /// The Service's port.
    pub port: u16,
    /// The port of 127.0.0.1 that leads to it.
    pub forward: u16,
}

/// All LoadBalancer Services, by `namespace/name`.
pub type Exposures = BTreeMap<String, Exposed>;

/// Reads where the Services of a testbed can be reached.
pub(super) fn exposures(layout: &Layout) -> Exposures {
    fs::read(layout.forwards()).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// Runs until the keeper ends.
pub(super) async fn run(layout: &Layout, dialler: &Dialler) -> Result<()> {
    let client = api::client(&layout.kubeconfig()).await?;
    while !api::is_ready(&client).await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut balancer = Balancer::new(layout, dialler, &client);
    balancer.adopt(&Api::<Service>::all(client.clone()).list(&kube::api::ListParams::default()).await?.items);
    let services = Api::<Service>::all(client.clone());
    let mut events = pin!(watcher(services, watcher::Config::default()).default_backoff());
    loop {
        match events.try_next().await {
            Ok(Some(event)) => balancer.handle(event).await?,
            Ok(None) => return Ok(()),
            // The watcher backs off and begins anew.
            Err(error) => eprintln!("watching Services: {error}"),
        }
    }
}

struct Balancer<'a> {
    layout: &'a Layout,
    dialler: &'a Dialler,
    client: &'a Client,
    pool: Pool,
    /// Ports that Services had, so that they get them again.
    before: Exposures,
    listeners: BTreeMap<(String, u16), Forward>,
    slow: BTreeMap<String, SlowBalancer>,
    exposed: Exposures,
    /// The Services seen since a relist began.
    seen: Option<Vec<String>>,
}

impl<'a> Balancer<'a> {
    fn new(layout: &'a Layout, dialler: &'a Dialler, client: &'a Client) -> Self {
        Self {
            layout,
            dialler,
            client,
            pool: Pool::default(),
            before: exposures(layout),
            listeners: BTreeMap::new(),
            slow: BTreeMap::new(),
            exposed: Exposures::new(),
            seen: None,
        }
    }

    /// Services keep the addresses that they were given by a keeper before us.
    fn adopt(&mut self, services: &[Service]) {
        for service in services.iter().filter(|service| is_load_balancer(service)) {
            if let Some(address) = given_address(service) {
                self.pool.adopt(&key(service), address);
            }
        }
    }

    async fn handle(&mut self, event: watcher::Event<Service>) -> Result<()> {
        match event {
            watcher::Event::Init => self.seen = Some(Vec::new()),
            watcher::Event::InitApply(service) => {
                if let Some(seen) = &mut self.seen {
                    seen.push(key(&service));
                }
                self.changed(&service).await?;
            }
            watcher::Event::InitDone => {
                let seen = self.seen.take().unwrap_or_default();
                let gone: Vec<_> = self.exposed.keys().filter(|key| !seen.contains(key)).cloned().collect();
                for key in &gone {
                    self.release(key).await;
                }
            }
            watcher::Event::Apply(service) => self.changed(&service).await?,
            watcher::Event::Delete(service) => self.release(&key(&service)).await,
        }
        self.write_down()
    }

    async fn changed(&mut self, service: &Service) -> Result<()> {
        let key = key(service);
        if !is_load_balancer(service) || service.metadata.deletion_timestamp.is_some() {
            self.release(&key).await;
            return Ok(());
        }
        let Some(address) = self.pool.assign(&key) else {
            eprintln!("no address left for {key}");
            return Ok(());
        };
        if let Err(error) = self.balance(&key, service, address).await {
            eprintln!("{key} has no load balancer: {error:#}");
            return Ok(());
        }
        // In mode `Proxy` kube-proxy leaves the address alone.
        let mode = if self.slow.contains_key(&key) { "Proxy" } else { "VIP" };
        if given_address(service) != Some(address) || given_mode(service) != Some(mode) {
            self.tell(service, address, mode).await;
        }
        self.expose(key, address, ports(service)).await
    }

    /// Gives the Service the load balancer that it asks for: none of ours, or a slow one.
    async fn balance(&mut self, key: &str, service: &Service, address: Ipv4Addr) -> Result<()> {
        let wanted = deregistration(service)?.map(|delay| Shape { address, delay, ports: ports_by_name(service) });
        if self.slow.get(key).map(|slow| &slow.shape) == wanted.as_ref() {
            return Ok(());
        }
        if let Some(before) = self.slow.remove(key) {
            before.end().await;
        }
        if let Some(shape) = wanted {
            let slices = Api::namespaced(self.client.clone(), &service.namespace().unwrap_or_default());
            let slow = SlowBalancer::start(self.dialler.inside(), slices, &service.name_any(), shape).await?;
            self.slow.insert(key.to_owned(), slow);
        }
        Ok(())
    }

    /// A Service that went away meanwhile, or changed, sends another event.
    async fn tell(&self, service: &Service, address: Ipv4Addr, mode: &str) {
        let api = Api::<Service>::namespaced(self.client.clone(), &service.namespace().unwrap_or_default());
        let patch = json!({"status": {"loadBalancer": {"ingress": [{"ip": address.to_string(), "ipMode": mode}]}}});
        if let Err(error) = api.patch_status(&service.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
            eprintln!("cannot give {} its address: {error}", key(service));
        }
    }

    async fn expose(&mut self, key: String, address: Ipv4Addr, wanted: Vec<ServicePort>) -> Result<()> {
        let numbers: Vec<u16> = wanted.iter().map(|port| port.port as u16).collect();
        self.listeners.retain(|(owner, port), _| *owner != key || numbers.contains(port));
        let mut ports = Vec::new();
        for (port, number) in wanted.into_iter().zip(numbers) {
            let slot = (key.clone(), number);
            if !self.listeners.contains_key(&slot) {
                let target = SocketAddr::from((address, number));
                let listener = Forward::listen(self.dialler, target, self.port_before(&key, number)).await?;
                self.listeners.insert(slot.clone(), listener);
            }
            let forward = self.listeners[&slot].port;
            ports.push(ExposedPort { name: port.name, port: number, forward });
        }
        self.exposed.insert(key, Exposed { address, ports });
        Ok(())
    }

    fn port_before(&self, key: &str, port: u16) -> Option<u16> {
        self.before.get(key)?.ports.iter().find(|before| before.port == port).map(|before| before.forward)
    }

    async fn release(&mut self, key: &str) {
        if let Some(slow) = self.slow.remove(key) {
            slow.end().await;
        }
        self.pool.release(key);
        self.exposed.remove(key);
        self.listeners.retain(|(owner, _), _| owner != key);
    }

    fn write_down(&self) -> Result<()> {
        if exposures(self.layout) == self.exposed && self.layout.forwards().exists() {
            return Ok(());
        }
        write_atomically(&self.layout.forwards(), &serde_json::to_vec_pretty(&self.exposed)?)
    }
}

fn key(service: &Service) -> String {
    format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any())
}

fn is_load_balancer(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer")
}

fn given_address(service: &Service) -> Option<Ipv4Addr> {
    let ingress = service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?;
    ingress.iter().find_map(|ingress| ingress.ip.as_ref()?.parse().ok())
}

fn given_mode(service: &Service) -> Option<&str> {
    service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?.ip_mode.as_deref()
}

fn deregistration(service: &Service) -> Result<Option<Duration>> {
    let Some(text) = service.annotations().get(DEREGISTRATION) else { return Ok(None) };
    let seconds = text.parse().with_context(|| format!("its annotation {DEREGISTRATION} is no number: {text:?}"))?;
    Ok(Some(Duration::from_secs(seconds)))
}

fn ports_by_name(service: &Service) -> BTreeMap<String, u16> {
    ports(service).into_iter().map(|port| (port.name.unwrap_or_default(), port.port as u16)).collect()
}

fn ports(service: &Service) -> Vec<ServicePort> {
    let all = service.spec.as_ref().and_then(|spec| spec.ports.clone()).unwrap_or_default();
    all.into_iter().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP").collect()
}
