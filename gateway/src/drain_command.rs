//! `wscluster-gateway drain`: asks the gateway over its socket to drain, and waits. The preStop hook of a pod.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::drain::{Phase, Status, Wish};

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Drains the gateway behind `socket`. Returns when it is empty, or when its deadline has passed.
pub async fn run(socket: &Path, timeout_seconds: Option<u64>) -> anyhow::Result<()> {
    let wish = Wish { timeout_seconds, ..Wish::default() };
    let mut status = call(socket, "POST", serde_json::to_vec(&wish)?).await?;
    let mut shown = None;
    loop {
        if shown != Some((status.state, status.remaining)) {
            println!(
                "{}: {} left, {} moved, {} forced",
                name(status.state),
                status.remaining,
                status.moved,
                status.forced
            );
            shown = Some((status.state, status.remaining));
        }
        match status.state {
            Phase::Drained => return Ok(()),
            Phase::Running => bail!("the drain was cancelled"),
            Phase::Draining if past_deadline(&status) => {
                println!("the deadline has passed");
                return Ok(());
            }
            Phase::Draining => tokio::time::sleep(LOOK_EVERY).await,
        }
        status = match call(socket, "GET", Vec::new()).await {
            Ok(status) => status,
            // It was told to exit meanwhile, and has.
            Err(_) => return Ok(()),
        };
    }
}

fn name(state: Phase) -> &'static str {
    match state {
        Phase::Running => "running",
        Phase::Draining => "draining",
        Phase::Drained => "drained",
    }
}

/// A little later than the gateway's deadline, so that those it forces are counted.
fn past_deadline(status: &Status) -> bool {
    status.deadline_at.is_some_and(|at| at + 1000 < crate::clock::now())
}

async fn call(socket: &Path, method: &str, body: Vec<u8>) -> anyhow::Result<Status> {
    let stream = UnixStream::connect(socket)
        .await
        .with_context(|| format!("no gateway listens at {} (see --socket)", socket.display()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = http::Request::builder().method(method).uri("/v1/drain").header("host", "gateway");
    let response = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        bail!("the gateway answered {status}: {}", String::from_utf8_lossy(&body).trim());
    }
    Ok(serde_json::from_slice(&body)?)
}
