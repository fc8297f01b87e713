//! Which nodes are being emptied. Asked for only while a gateway on them ends, and not again for a few seconds: the operator
//! keeps no watch on nodes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

/// Time for which an answer holds.
const FRESH: Duration = Duration::from_secs(5);

/// What is known of nodes.
pub struct Nodes {
    client: Client,
    known: Mutex<HashMap<String, (Instant, bool)>>,
}

impl Nodes {
    /// Nothing is known yet.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// Those of `names` that take no new pods. One that cannot be asked after is taken to be well: its gateways then drain
    /// one by one as they are evicted.
    pub async fn cordoned(&self, names: BTreeSet<String>) -> BTreeSet<String> {
        let mut cordoned = BTreeSet::new();
        for name in names {
            if self.is_cordoned(&name).await {
                cordoned.insert(name);
            }
        }
        cordoned
    }

    async fn is_cordoned(&self, name: &str) -> bool {
        if let Some(answer) = self.fresh(name) {
            return answer;
        }
        let answer = match Api::<Node>::all(self.client.clone()).get_opt(name).await {
            Ok(node) => node.is_some_and(|node| node.spec.is_some_and(|spec| spec.unschedulable == Some(true))),
            Err(error) => {
                tracing::warn!(node = name, %error, "cannot ask whether the node is being emptied");
                false
            }
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (since, _)| since.elapsed() < FRESH);
        known.insert(name.to_owned(), (Instant::now(), answer));
        answer
    }

    fn fresh(&self, name: &str) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).filter(|(since, _)| since.elapsed() < FRESH).map(|(_, answer)| *answer)
    }
}
