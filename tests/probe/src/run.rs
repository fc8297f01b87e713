//! One run from the first session to the report: wiring, in the order of its phases.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use wscluster_client::Client;

use crate::{
    clock,
    control::{self, Control, Phase},
    options::Options,
    payload::Rooms,
    publisher::{Plan, Publisher, RedisPublisher, SocketPublisher},
    recorder::Recorder,
    report::Report,
    sessions,
    shared::Shared,
};

const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// Between two looks at what is outstanding, which takes a while with many sessions.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the sessions' goodbyes may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// After the report was fetched: for whoever asks again because the answer was lost.
const ENCORE: Duration = Duration::from_secs(3);

/// A run that has not begun.
pub struct Run {
    options: Options,
    rooms: Rooms,
    control: Control,
    phase: watch::Sender<Phase>,
    report: watch::Sender<Option<Report>>,
    started: Instant,
}

impl Run {
    /// Prepares a run; `finish` ends it early.
    pub fn new(options: Options, finish: CancellationToken) -> Self {
        let name = options.run_id.clone().unwrap_or_else(|| format!("{:x}", (clock::now() * 1000.0) as u64));
        let rooms = Rooms::new(&name, options.rooms.get());
        let (phase, phases) = watch::channel(Phase::Connecting);
        let (report, reports) = watch::channel(None);
        let shared = Shared::new(Recorder::new(options.sessions.get(), rooms.clone()));
        let control = Control { shared, phase: phases, report: reports, finish, collected: watch::Sender::new(false) };
        Self { options, rooms, control, phase, report, started: Instant::now() }
    }

    /// Runs, with progress on standard error and the control port served; `print` gets the report as soon as it is there.
    ///
    /// # Errors
    /// If the run could not take place: a wrong address, an unreachable Redis, no session that connected.
    pub async fn run(self, print: impl FnOnce(&Report) -> Result<()>) -> Result<Report> {
        let stop_control = CancellationToken::new();
        let _stop_control = stop_control.clone().drop_guard();
        let server = match self.options.control {
            Some(address) => {
                let serving =
                    control::serve(address, control::routes(self.control.clone()), stop_control.clone()).await;
                let (address, server) = serving.with_context(|| format!("cannot listen on {address}"))?;
                eprintln!("control port on http://{address}");
                Some(tokio::spawn(server))
            }
            None => None,
        };
        let report = tokio::select! {
            report = self.measure() => report?,
            never = self.tell_progress() => match never {},
        };
        print(&report)?;
        if let Some(server) = server {
            self.linger().await;
            stop_control.cancel();
            server.await.context("the control port failed")?;
        }
        Ok(report)
    }

    async fn measure(&self) -> Result<Report> {
        let shared = &self.control.shared;
        let finish = &self.control.finish;
        // Said at once, and not as so many sessions that are refused.
        self.options.token().map(|token| token.read()).transpose()?;
        let publisher = self.publisher().await?;
        if let Some(warning) = sessions::allow_files(self.options.sessions.get()) {
            eprintln!("{warning}");
        }
        let clients = sessions::open(&self.options, &self.rooms, shared, finish).await?;
        self.wait_for_sessions().await?;
        self.phase.send_replace(Phase::Running);
        let stop = finish.child_token();
        let publishing = tokio::spawn(publisher.run(shared.clone(), stop.clone()));
        self.wait_for_the_end().await;
        self.phase.send_replace(Phase::Settling);
        stop.cancel();
        publishing.await.context("the publisher failed")?;
        self.settle(shared).await;
        let report = self.report_now();
        close(&clients, shared).await;
        self.report.send_replace(Some(report.clone()));
        self.phase.send_replace(Phase::Done);
        Ok(report)
    }

    fn report_now(&self) -> Report {
        let (recorder, now) = (self.control.shared.lock(), clock::now());
        let report = recorder.report(self.started.elapsed().as_secs_f64(), now);
        Report { detail: self.options.detail.then(|| recorder.activity.detail(now)), ..report }
    }

    async fn publisher(&self) -> Result<Publisher> {
        let Options { redis, rate, payload_bytes, settle, .. } = self.options.clone();
        let plan = Plan { rooms: self.rooms.clone(), rate, payload_bytes, settle };
        Ok(if let Some(url) = redis {
            let connecting = RedisPublisher::connect(&url, self.options.key_prefix.clone(), plan).await;
            Publisher::Redis(Box::new(connecting.context("cannot reach Redis (--redis)")?))
        } else {
            let token = self.options.token();
            Publisher::Socket(SocketPublisher::connect(&self.options.url, token.as_ref(), plan)?)
        })
    }

    /// Sessions that are late do not stop the run; a run without any is none.
    async fn wait_for_sessions(&self) -> Result<()> {
        let Control { shared, finish, .. } = &self.control;
        let patience = self.options.connect_timeout;
        let all = sessions::all_subscribed(&self.options, shared, patience, finish).await;
        let (subscriptions, last_error) = {
            let recorder = shared.lock();
            (recorder.subscriptions(), recorder.last_error.clone().unwrap_or_default())
        };
        if subscriptions == 0 {
            bail!("no session could subscribe at {}: {last_error}", self.options.url);
        }
        if !all && !finish.is_cancelled() {
            eprintln!("not all sessions have subscribed in time, going on; the last error: {last_error}");
        }
        Ok(())
    }

    async fn wait_for_the_end(&self) {
        let time = async {
            match self.options.publishing_time() {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => {}
            () = self.control.finish.cancelled() => {}
        }
    }

    /// Waits until everything owed has arrived, or for the time that is given for it.
    async fn settle(&self, shared: &Shared) {
        let arrived = async {
            while shared.lock().checker.outstanding() > 0 {
                shared.changed().await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(self.options.settle, arrived).await.ok();
    }

    async fn tell_progress(&self) -> std::convert::Infallible {
        let mut ticks = tokio::time::interval(PROGRESS_EVERY);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let status = self.control.status();
            let phase = format!("{:?}", status.phase).to_lowercase();
            eprintln!(
                "{:6.1} s  {phase:<10}  {}/{} connected  {} published  {} received  {} moves",
                self.started.elapsed().as_secs_f64(),
                status.connected,
                self.options.sessions,
                status.published,
                status.received,
                status.moves,
            );
        }
    }

    /// Keeps the report for whoever has not fetched it yet.
    async fn linger(&self) {
        let mut collected = self.control.collected.subscribe();
        let fetched = async {
            collected.wait_for(|collected| *collected).await.ok();
            tokio::time::sleep(ENCORE).await;
        };
        if !*self.control.collected.borrow() {
            eprintln!("keeping the report for POST /finish (at most {:?})", self.options.linger);
        }
        tokio::time::timeout(self.options.linger, fetched).await.ok();
    }
}

async fn close(clients: &[Client], shared: &Arc<Shared>) {
    shared.lock().close();
    clients.iter().for_each(Client::close);
    let goodbyes = futures::future::join_all(clients.iter().map(Client::closed));
    tokio::time::timeout(GOODBYE, goodbyes).await.ok();
}
