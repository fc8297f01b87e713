//! Clients with a cookie jar each, and their connections: each is made, welcomed and closed again. The jars are kept from
//! one measurement to the next. What the connections came to is the tally's to say.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use futures::future::join_all;
use tokio::time::{Interval, interval};
use tokio_util::sync::CancellationToken;
use wscluster_client::{Client, CookieJar, Event};

use super::{report::Affinity, tally::Tally};
use crate::{Options, token};

/// Most seconds between two connections.
const LONGEST_PAUSE: f64 = 3600.0;

pub(super) struct Clients {
    options: Options,
    finish: CancellationToken,
    jars: Vec<CookieJar>,
}

/// One measurement.
struct Measurement {
    /// When the next connection is due.
    turns: tokio::sync::Mutex<Interval>,
    tally: Mutex<Tally>,
}

impl Clients {
    pub(super) fn new(options: &Options, finish: CancellationToken) -> Self {
        let jars = (0..options.sessions.get()).map(|_| CookieJar::default()).collect();
        Self { options: options.clone(), finish, jars }
    }

    /// A connection without a cookie for each client; then each client connects, and comes back again and again.
    ///
    /// # Errors
    /// If nobody can connect.
    pub(super) async fn measure(&self) -> Result<Affinity> {
        let started = Instant::now();
        let turns = interval(Duration::from_secs_f64((1.0 / self.options.connect_rate).min(LONGEST_PAUSE)));
        let measurement = Measurement { turns: turns.into(), tally: Mutex::default() };
        join_all(self.jars.iter().map(|_| self.without_cookie(&measurement))).await;
        if let Some(error) = measurement.tally().nobody_came() {
            bail!("no client could connect at {}: {error}", self.options.url);
        }
        join_all(self.jars.iter().enumerate().map(|(client, jar)| self.come_back(client, jar, &measurement))).await;
        let mut tally = measurement.tally();
        if self.jars.iter().all(CookieJar::is_empty) {
            tally.no_cookies();
        }
        let (clients, reconnects) = (self.jars.len() as u64, self.options.reconnects.get() as u64);
        Ok(tally.report(clients, reconnects, started.elapsed().as_secs_f64()))
    }

    async fn without_cookie(&self, measurement: &Measurement) {
        if let Some(came) = self.visit(None, measurement).await {
            measurement.tally().without_cookie(came);
        }
    }

    async fn come_back(&self, client: usize, jar: &CookieJar, measurement: &Measurement) {
        let mut home = None;
        for _ in 0..=self.options.reconnects.get() {
            let Some(came) = self.visit(Some(jar), measurement).await else { return };
            measurement.tally().with_cookie(client, &mut home, came);
        }
    }

    /// One connection, when it is due: the node that welcomed it, or why there is none. `None`: the run is to end.
    async fn visit(&self, jar: Option<&CookieJar>, measurement: &Measurement) -> Option<Result<String, String>> {
        measurement.turns.lock().await.tick().await;
        if self.finish.is_cancelled() {
            return None;
        }
        let builder = token::show(Client::builder(&self.options.url), self.options.token().as_ref());
        let builder = if let Some(jar) = jar { builder.cookies(jar) } else { builder };
        let (client, mut events) = match builder.connect() {
            Ok(connecting) => connecting,
            Err(error) => return Some(Err(error.to_string())),
        };
        let came = loop {
            match events.next().await {
                Some(Event::Connected { node, .. }) => break Ok(node),
                Some(Event::ConnectFailed { reason, .. } | Event::Closed { reason }) => break Err(reason),
                Some(_) => {}
                None => break Err("the session ended".to_owned()),
            }
        };
        client.close();
        client.closed().await;
        Some(came)
    }
}

impl Measurement {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
