//! Real Redis servers joined as Sentinels or as a Cluster, for one test: gone with it.

use std::process::Stdio;
use std::time::Duration;

use super::redis_server::{RedisServer, free_port, texts};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// How long servers may take to agree.
const PATIENCE: Duration = Duration::from_secs(20);

/// One command to a server by its URL, `None` where it does not answer.
pub(crate) async fn ask(url: &str, arguments: &[&str]) -> Option<String> {
    let client = redis::Client::open(url).unwrap();
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_response_timeout(Some(Duration::from_secs(5)));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.ok()?;
    let mut command = redis::cmd(arguments[0]);
    command.arg(&arguments[1..]);
    let reply: redis::Value = command.query_async(&mut connection).await.ok()?;
    Some(texts(&reply).join(" "))
}

/// Waits for an answer that fits.
pub(crate) async fn answers(url: &str, arguments: &[&str], fits: impl Fn(&str) -> bool) -> String {
    let mut last = None;
    let wait = async {
        loop {
            last = ask(url, arguments).await;
            if let Some(answer) = last.as_ref().filter(|answer| fits(answer)) {
                return answer.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, wait).await.ok();
    found.unwrap_or_else(|| panic!("{arguments:?} at {url}: {last:?}"))
}

/// A master, a replica, and three Sentinels that watch them.
pub(crate) struct Sentinels {
    pub(crate) servers: Vec<RedisServer>,
    ports: Vec<u16>,
    _processes: Vec<Child>,
    _folder: TempDir,
}

impl Sentinels {
    pub(crate) async fn start() -> Self {
        let master = RedisServer::start(&[]).await;
        let port = master.port().to_string();
        let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"]).await;
        answers(&replica.url(), &["INFO", "replication"], |info| info.contains("master_link_status:up")).await;
        let folder = TempDir::new().unwrap();
        let ports: Vec<_> = (0..3).map(|_| free_port()).collect();
        let sentinels = ports.iter().map(|each| sentinel(&folder, *each, &port)).collect();
        let all = Self { servers: vec![master, replica], ports, _processes: sentinels, _folder: folder };
        for port in &all.ports {
            let ready = |info: &str| info.contains("slaves=1,sentinels=3");
            answers(&format!("redis://127.0.0.1:{port}"), &["INFO", "sentinel"], ready).await;
        }
        all
    }

    /// What a gateway is told.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    /// The port of the master that the Sentinels agree on, once it is `is`.
    pub(crate) async fn master(&self, is: impl Fn(u16) -> bool) -> u16 {
        let port = |answer: &str| answer.split(' ').nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
        let url = format!("redis://127.0.0.1:{}", self.ports[0]);
        port(&answers(&url, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"], |answer| is(port(answer))).await)
    }
}

fn sentinel(folder: &TempDir, port: u16, master: &str) -> Child {
    let file = folder.path().join(format!("{port}.conf"));
    let settings = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds main 700\nsentinel failover-timeout main 3000\n"
    );
    std::fs::write(&file, settings).unwrap();
    Command::new("redis-server")
        .arg(&file)
        .arg("--sentinel")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Three masters, each with a replica.
pub(crate) struct RedisCluster {
    /// Masters first.
    pub(crate) servers: Vec<RedisServer>,
}

impl RedisCluster {
    pub(crate) async fn start(options: &[&str]) -> Self {
        // The bus port is not left to be the port plus 10,000: someone else may have that one.
        let (mut servers, mut bus) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            let port = free_port().to_string();
            let mut all = vec!["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &port];
            all.extend(["--repl-diskless-sync-delay", "0"]);
            all.extend(options);
            servers.push(RedisServer::start(&all).await);
            bus.push(port);
        }
        let cluster = Self { servers };
        cluster.join(&bus).await;
        cluster
    }

    /// What `redis-cli --cluster create` does, without a terminal.
    async fn join(&self, bus: &[String]) {
        let first = self.servers[0].port().to_string();
        for (index, server) in self.servers.iter().enumerate() {
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
            if index > 0 {
                server.command(&["CLUSTER", "MEET", "127.0.0.1", &first, &bus[0]]).await;
            }
            if let Some((from, to)) = [("0", "5460"), ("5461", "10922"), ("10923", "16383")].get(index) {
                server.command(&["CLUSTER", "ADDSLOTSRANGE", from, to]).await;
            }
        }
        for server in &self.servers {
            answers(&server.url(), &["CLUSTER", "NODES"], |nodes| {
                nodes.lines().count() == 6 && !nodes.contains("handshake")
            })
            .await;
        }
        for (index, server) in self.servers[3..].iter().enumerate() {
            let master = self.servers[index].command(&["CLUSTER", "MYID"]).await;
            answers(&server.url(), &["CLUSTER", "REPLICATE", &master], |answer| answer == "OK").await;
        }
        for server in &self.servers {
            answers(&server.url(), &["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok")).await;
        }
        for server in &self.servers[3..] {
            answers(&server.url(), &["INFO", "replication"], |info| info.contains("master_link_status:up")).await;
        }
        // A failover needs every master to know the replicas.
        for server in &self.servers {
            answers(&server.url(), &["CLUSTER", "NODES"], |nodes| nodes.matches("slave").count() == 3).await;
        }
    }

    /// What a gateway is told: two of the nodes are enough.
    pub(crate) fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", self.servers[1].port(), self.servers[2].port())
    }

    /// Number of the master that serves a key.
    pub(crate) async fn owner(&self, key: &str) -> usize {
        let slot: u16 = self.servers[0].command(&["CLUSTER", "KEYSLOT", key]).await.parse().unwrap();
        [5460, 10_922, 16_383].iter().position(|last| slot <= *last).unwrap()
    }

    /// Does a command with a key on the node that serves it.
    pub(crate) async fn command(&self, key: &str, arguments: &[&str]) -> String {
        let owner = self.owner(key).await;
        self.servers[owner].command(arguments).await
    }
}
