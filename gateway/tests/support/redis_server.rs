//! A real Redis for one test: its own port and folder, gone with the test.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A `redis-server` of our own.
pub(crate) struct RedisServer {
    port: u16,
    options: Vec<String>,
    folder: TempDir,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts one, and waits until it answers.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let options = options.iter().map(ToString::to_string).collect();
        let mut server = Self { port: free_port(), options, folder: TempDir::new().unwrap(), process: None };
        server.launch().await;
        server
    }

    /// Its port.
    #[allow(dead_code)] // Of use to some tests only.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash would, and starts it again with its data.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.launch().await;
    }

    /// Ends it as a crash would.
    pub(crate) async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await.unwrap();
        }
    }

    /// Starts it again after `stop`.
    pub(crate) async fn launch(&mut self) {
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.folder.path())
            .args(&self.options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is needed for this test: apt-get install redis-server");
        self.process = Some(process);
        let answers = async {
            while self.try_command(&["PING"]).await.is_none_or(|answer| !answer.contains("PONG")) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answers).await.expect("redis-server does not answer");
    }

    /// Does a command, as any other program would; returns the texts and numbers of the answer.
    pub(crate) async fn command(&self, arguments: &[&str]) -> String {
        self.try_command(arguments).await.expect("Redis did not answer")
    }

    async fn try_command(&self, arguments: &[&str]) -> Option<String> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let mut command = redis::cmd(arguments[0]);
        command.arg(&arguments[1..]);
        let reply: redis::Value = command.query_async(&mut connection).await.ok()?;
        Some(texts(&reply).join(" "))
    }
}

/// The texts and numbers in a reply.
pub(crate) fn texts(value: &redis::Value) -> Vec<String> {
    match value {
        redis::Value::BulkString(bytes) => vec![String::from_utf8_lossy(bytes).into_owned()],
        redis::Value::SimpleString(text) => vec![text.clone()],
        redis::Value::Int(number) => vec![number.to_string()],
        redis::Value::Okay => vec!["OK".to_owned()],
        redis::Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// A port that nobody listens on. Below the range that the kernel gives to outgoing connections, so that nobody gets it
/// by chance while a server is being restarted.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = 20_000 + rand::random_range(0..12_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
