//! Looking again and again at what the API server serves: kinds may be installed, upgraded or removed while the operator runs.

use std::fmt::Debug;
use std::time::Duration;

use futures::channel::mpsc::UnboundedSender;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::watch;
use tokio::time::sleep;
use wscluster_crds::WsCluster;

/// Time between two looks, until the first one has succeeded.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Something that the API server may serve.
pub trait Look: Send + Sized + 'static {
    /// What is known of it.
    type Found: Copy + Debug + PartialEq + Send + Sync + 'static;
    /// What it is, in the plural.
    const WHAT: &str;
    /// Time between two looks.
    const PAUSE: Duration;

    /// Looks once.
    fn look(&mut self) -> impl Future<Output = kube::Result<Self::Found>> + Send;

    /// Whether a cluster is to be reconciled when what is known has changed.
    fn concerns(cluster: &WsCluster) -> bool;

    /// The first look, which must succeed: what is there already must not be taken for gone.
    fn first(&mut self) -> impl Future<Output = Self::Found> + Send {
        async {
            loop {
                match self.look().await {
                    Ok(found) => return found,
                    Err(error) => tracing::warn!(%error, what = Self::WHAT, "cannot ask what the API server serves"),
                }
                sleep(FIRST_PAUSE).await;
            }
        }
    }

    /// Goes on looking, and has every cluster reconciled that is concerned by a change.
    fn follow(
        mut self,
        known: watch::Sender<Self::Found>,
        clusters: Store<WsCluster>,
        triggers: UnboundedSender<ObjectRef<WsCluster>>,
    ) -> impl Future<Output = ()> + Send {
        async move {
            loop {
                sleep(Self::PAUSE).await;
                let found = match self.look().await {
                    Ok(found) => found,
                    Err(error) => {
                        tracing::debug!(%error, what = Self::WHAT, "cannot ask what the API server serves");
                        continue;
                    }
                };
                if known.send_if_modified(|before| std::mem::replace(before, found) != found) {
                    tracing::info!(?found, what = Self::WHAT, "what the API server serves has changed");
                    for cluster in clusters.state_filter(Self::concerns) {
                        let _ = triggers.unbounded_send(ObjectRef::from_obj(&*cluster));
                    }
                }
            }
        }
    }
}
