//! What a Kubernetes cluster has to scale gateways with: KEDA, or the metrics API of ours. Known by whoever looks, read by
//! whoever decides; this keeps it between the two and looks at nothing.

pub mod keda;

use tokio::sync::watch;

/// What there is to scale with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scalers {
    /// Whether KEDA's kinds are served; `None`: nobody has looked yet.
    pub keda: Option<bool>,
    /// Where KEDA is to ask for the connections of a cluster, as a URL that lacks namespace and name.
    pub figures_url: Option<String>,
    /// How the metrics API of ours stands.
    pub metrics_api: Standing,
}

/// How the metrics API of ours stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// This operator was not told to serve it.
    #[default]
    Off,
    /// It was, but nobody has looked yet.
    Unknown,
    /// Somebody else serves its group.
    Taken {
        /// Who, for a person.
        by: String,
    },
    /// It is registered, but the API server does not get through to it.
    Unavailable {
        /// The API server's words.
        why: String,
    },
    /// The API server passes requests on to it.
    Available,
}

/// What is known now. A clone knows the same.
#[derive(Clone)]
pub struct Known(watch::Sender<Scalers>);

impl Known {
    /// Nothing was looked at yet.
    pub fn new(first: Scalers) -> Self {
        Self(watch::Sender::new(first))
    }

    /// What is known.
    pub fn now(&self) -> Scalers {
        self.0.borrow().clone()
    }

    /// Notes whether KEDA's kinds are served.
    pub fn keda(&self, served: bool) {
        self.0.send_if_modified(|known| known.keda.replace(served) != Some(served));
    }

    /// Notes how the metrics API stands. Says whether that is new.
    pub fn metrics_api(&self, standing: &Standing) -> bool {
        self.0.send_if_modified(|known| std::mem::replace(&mut known.metrics_api, standing.clone()) != *standing)
    }

    /// Tells of every change from now on.
    pub fn changes(&self) -> watch::Receiver<Scalers> {
        self.0.subscribe()
    }

    /// Waits until somebody has looked for KEDA.
    pub async fn looked_for_keda(&self) {
        // The sender is here: it cannot be gone.
        let _ = self.changes().wait_for(|known| known.keda.is_some()).await;
    }
}

impl Default for Known {
    fn default() -> Self {
        Self::new(Scalers::default())
    }
}
