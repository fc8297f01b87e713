//! Which gateway has heard of which others, and who is to hear again. Pure bookkeeping.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::Target;

/// Time after which a gateway hears again, though nothing changed: what it has may have come from an operator before.
const AGAIN: Duration = Duration::from_secs(30);

/// What each gateway has heard, by pod.
#[derive(Default)]
pub(super) struct Told(HashMap<String, Word>);

struct Word {
    process: String,
    body: String,
    at: Instant,
}

impl Told {
    /// The gateways that are to hear `body` now.
    pub(super) fn due(&mut self, target: &Target, body: &str, now: Instant) -> Vec<(String, IpAddr)> {
        self.0.retain(|pod, _| target.listeners.contains_key(pod));
        let listeners = target.listeners.iter().filter(|(pod, process)| {
            let last = self.0.get(*pod);
            last.is_none_or(|word| word.process != **process || word.body != body || now >= word.at + AGAIN)
        });
        listeners.filter_map(|(pod, _)| Some((pod.clone(), *target.pods.get(pod)?))).collect()
    }

    /// Those gateways have heard it.
    pub(super) fn heard(&mut self, target: &Target, body: &str, pods: Vec<String>, now: Instant) {
        for pod in pods {
            let Some(process) = target.listeners.get(&pod).cloned() else { continue };
            self.0.insert(pod, Word { process, body: body.to_owned(), at: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn target(listeners: &[(&str, &str)]) -> Target {
        Target {
            pods: ["a", "b"].map(|pod| (pod.to_owned(), IpAddr::from([127, 0, 0, 1]))).into(),
            port: 9090,
            token: None,
            drains: BTreeMap::new(),
            cancels: BTreeSet::new(),
            peers: BTreeMap::new(),
            rebalance: None,
            listeners: listeners.iter().map(|(pod, process)| ((*pod).to_owned(), (*process).to_owned())).collect(),
        }
    }

    #[test]
    fn a_gateway_hears_of_a_change_once_and_of_nothing_new_twice_a_minute() {
        let (mut told, now, both) = (Told::default(), Instant::now(), target(&[("a", "1"), ("b", "1")]));
        let due = |told: &mut Told, target: &Target, body: &str, now| -> String {
            told.due(target, body, now).into_iter().map(|(pod, _)| pod).collect()
        };
        assert_eq!(due(&mut told, &both, "x", now), "ab");
        told.heard(&both, "x", vec!["a".to_owned()], now);
        assert_eq!(due(&mut told, &both, "x", now), "b", "who has not heard is told again");
        told.heard(&both, "x", vec!["b".to_owned()], now);
        assert_eq!(due(&mut told, &both, "x", now + Duration::from_millis(29_999)), "");
        assert_eq!(due(&mut told, &both, "x", now + AGAIN), "ab");
        assert_eq!(due(&mut told, &both, "y", now), "ab");
        assert_eq!(
            due(&mut told, &target(&[("a", "2"), ("b", "1")]), "x", now),
            "a",
            "a new process has heard nothing"
        );
        assert_eq!(due(&mut told, &target(&[("c", "1")]), "x", now), "", "nobody knows where it is");
        assert_eq!(due(&mut told, &both, "x", now), "ab", "who was gone is told anew");
    }
}
