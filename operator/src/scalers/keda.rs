//! Whether KEDA is installed: looked for every half minute, for it may come and go while the operator runs.

use std::time::Duration;

use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::reflector::Store;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Known;
use crate::kinds::Kind;

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(30);
/// The same, while the API server cannot be asked.
const RETRY: Duration = Duration::from_secs(2);

/// Longest wait for the first list of its objects.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks for KEDA for as long as `tasks` are there, and tells `known`: that it is there only when `store`, which is to be
/// filled from the end of the returned future on, holds what there was of it.
pub fn there(
    client: Client,
    known: Known,
    store: Store<DynamicObject>,
    tasks: &mut JoinSet<()>,
) -> impl Future<Output = ()> + Send + use<> {
    let (first, seen) = oneshot::channel();
    tasks.spawn(look(client, known, store, first));
    async {
        if seen.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn look(client: Client, known: Known, store: Store<DynamicObject>, first: oneshot::Sender<()>) {
    let mut first = Some(first);
    loop {
        let pause = match served(&client).await {
            Ok(served) => {
                if let Some(first) = first.take_if(|_| served) {
                    let _ = first.send(());
                }
                known.keda(served && is_filled(&store).await);
                LOOK
            }
            Err(error) => {
                tracing::warn!(%error, "cannot ask whether KEDA is installed");
                RETRY
            }
        };
        sleep(pause).await;
    }
}

/// Whether the store holds what there is. Without the right to list it, it never will.
async fn is_filled(store: &Store<DynamicObject>) -> bool {
    let filled = timeout(PATIENCE, store.wait_until_ready()).await.is_ok_and(|ready| ready.is_ok());
    if !filled {
        tracing::warn!("KEDA is installed, but its ScaledObjects cannot be listed: it is not made use of");
    }
    filled
}

async fn served(client: &Client) -> kube::Result<bool> {
    let resource = Kind::ScaledObject.resource();
    match client.list_api_group_resources(&resource.api_version).await {
        Ok(list) => Ok(list.resources.iter().any(|found| found.name == resource.plural)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}
