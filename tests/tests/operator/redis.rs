//! A Redis of a test's own.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// A Redis without data, which ends with the test.
pub(crate) struct Redis {
    process: Child,
    port: u16,
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Redis {
    /// Starts it; it answers soon.
    pub(crate) fn start(port: u16) -> Result<Self> {
        let arguments = ["--bind", "127.0.0.1", "--save", "", "--dir", "/tmp", "--port"];
        let process = Command::new("redis-server").args(arguments).arg(port.to_string()).stdout(Stdio::null()).spawn();
        Ok(Self { process: process.context("redis-server is installed (apt-get install redis-server)")?, port })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
