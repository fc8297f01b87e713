//! Proves that clients which keep cookies come back to the gateway that they were on, whichever one is chosen for their
//! connections. Wiring: `clients` makes the connections, `tally` judges them, `report` tells it, `control` is steered by.

mod clients;
mod control;
mod report;
mod tally;

use anyhow::{Context, Result};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{Options, control::serve, sessions};
use clients::Clients;
pub use control::{Phase, Status};
pub use report::{Affinity, Spread};

/// Measures once, or with a control port as often as it is asked to, until `finish`; `print` gets each report. The last
/// report is returned.
///
/// # Errors
/// If nobody could connect, or nobody asked for a measurement.
pub async fn run(
    options: &Options,
    finish: CancellationToken,
    print: impl Fn(&Affinity) -> Result<()>,
) -> Result<Affinity> {
    // Said at once, and not as so many clients that are refused.
    options.token().map(|token| token.read()).transpose()?;
    if let Some(warning) = sessions::allow_files(options.sessions.get()) {
        eprintln!("{warning}");
    }
    let clients = Clients::new(options, finish.clone());
    let Some(address) = options.control else {
        let report = clients.measure().await?;
        print(&report)?;
        return Ok(report);
    };
    let (phase, phases) = watch::channel(Phase::Waiting);
    let (asking, asked) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let serving = serve(address, control::routes(phases, asking), stop.clone()).await;
    let (address, server) = serving.with_context(|| format!("cannot listen on {address}"))?;
    eprintln!("control port on http://{address}: POST /measure");
    let server = tokio::spawn(server);
    let last = measure_when_asked(&clients, asked, &phase, &finish, print).await?;
    stop.cancel();
    server.await.context("the control port failed")?;
    last.context("it was ended before anybody asked for a measurement (POST /measure)")
}

async fn measure_when_asked(
    clients: &Clients,
    mut asked: mpsc::Receiver<control::Reply>,
    phase: &watch::Sender<Phase>,
    finish: &CancellationToken,
    print: impl Fn(&Affinity) -> Result<()>,
) -> Result<Option<Affinity>> {
    let mut last = None;
    loop {
        let reply = tokio::select! {
            Some(reply) = asked.recv() => reply,
            () = finish.cancelled() => return Ok(last),
        };
        phase.send_replace(Phase::Measuring);
        let report = clients.measure().await;
        if let Ok(report) = &report {
            print(report)?;
            last = Some(report.clone());
        }
        phase.send_replace(Phase::Waiting);
        // Whoever asked may have left meanwhile.
        reply.send(report.map_err(|error| format!("{error:#}"))).ok();
    }
}
