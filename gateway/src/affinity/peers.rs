//! The gateways of this cluster that a client may be forwarded to, as the operator tells them: active, ready and not
//! draining. Until it was told, a gateway knows none; what it was told last holds while the operator is away.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::choice::Missed;
use super::cookie::is_pod;
use crate::clock::Millis;

/// Gateways that a list may hold.
pub const MOST: usize = 5000;
/// How long a gateway is not asked again that did not answer, in milliseconds: who comes meanwhile need not wait.
pub const SHUN: Millis = 5000;

/// A gateway that clients can be forwarded to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// Name of its pod.
    pub name: Arc<str>,
    /// Where it takes over.
    pub address: SocketAddr,
}

/// Peers by the names of their pods.
pub type List = BTreeMap<Arc<str>, SocketAddr>;

/// The peers that this gateway knows.
#[derive(Default)]
pub struct Peers {
    list: ArcSwapOption<List>,
    /// Those that did not answer, and until when they are not asked.
    shunned: Mutex<HashMap<Peer, Millis>>,
}

/// `GET` and `PUT /v1/peers`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    peers: BTreeMap<String, String>,
}

impl Told {
    /// Checks names and addresses. The error names what is bad.
    pub fn check(self) -> Result<List, String> {
        if self.peers.len() > MOST {
            return Err(format!("peers: at most {MOST}"));
        }
        self.peers.into_iter().map(check).collect()
    }
}

fn check((name, address): (String, String)) -> Result<(Arc<str>, SocketAddr), String> {
    if !is_pod(&name) {
        return Err(format!("peers: {name:?} is no name of a pod"));
    }
    match address.parse::<SocketAddr>() {
        Ok(sound) if sound.port() != 0 && !sound.ip().is_unspecified() => Ok((name.into(), sound)),
        _ => Err(format!("peers: {name}: {address:?} is no address: write IP:PORT")),
    }
}

impl Peers {
    /// These are all from now on. `true`: something changed.
    pub fn replace(&self, list: List) -> bool {
        self.shunned.lock().retain(|peer, _| list.get(&peer.name) == Some(&peer.address));
        let changed = self.list.load().as_deref() != Some(&list);
        self.list.store(Some(Arc::new(list)));
        changed
    }

    /// What was told last.
    pub fn told(&self) -> Told {
        let list = self.list.load();
        let pairs = list.iter().flat_map(|list| list.iter());
        Told { peers: pairs.map(|(name, address)| (name.to_string(), address.to_string())).collect() }
    }

    /// The peer of a name, if it can be asked now.
    pub fn find(&self, name: &str, now: Millis) -> Result<Peer, Missed> {
        let list = self.list.load();
        let (name, address) = list.as_ref().ok_or(Missed::NoPeers)?.get_key_value(name).ok_or(Missed::Gone)?;
        let peer = Peer { name: Arc::clone(name), address: *address };
        match self.shunned.lock().get(&peer) {
            Some(until) if now < *until => Err(Missed::Shunned),
            _ => Ok(peer),
        }
    }

    /// It did not answer: it is not asked for a while.
    pub fn shun(&self, peer: &Peer, now: Millis) {
        let known = self.list.load().as_ref().is_some_and(|list| list.get(&peer.name) == Some(&peer.address));
        if known {
            self.shunned.lock().insert(peer.clone(), now + SHUN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pairs: &[(&str, &str)]) -> Result<List, String> {
        let peers = pairs.iter().map(|(name, address)| ((*name).to_owned(), (*address).to_owned())).collect();
        Told { peers }.check()
    }

    #[test]
    fn nobody_is_known_until_it_was_told() {
        let peers = Peers::default();
        assert_eq!(peers.find("a", 0), Err(Missed::NoPeers));
        assert!(peers.replace(List::new()));
        assert_eq!(peers.find("a", 0), Err(Missed::Gone));
        assert!(peers.replace(list(&[("a", "10.0.0.1:8081")]).unwrap()));
        assert!(!peers.replace(list(&[("a", "10.0.0.1:8081")]).unwrap()));
        assert_eq!(peers.find("a", 0).unwrap().address, "10.0.0.1:8081".parse().unwrap());
        assert_eq!(serde_json::to_string(&peers.told()).unwrap(), r#"{"peers":{"a":"10.0.0.1:8081"}}"#);
    }

    #[test]
    fn who_does_not_answer_is_left_alone_for_a_while_or_until_it_is_another() {
        let peers = Peers::default();
        peers.replace(list(&[("a", "10.0.0.1:8081")]).unwrap());
        let peer = peers.find("a", 0).unwrap();
        peers.shun(&peer, 1000);
        assert_eq!(peers.find("a", 1000 + SHUN - 1), Err(Missed::Shunned));
        assert_eq!(peers.find("a", 1000 + SHUN), Ok(peer.clone()));
        peers.shun(&peer, 1000);
        peers.replace(list(&[("a", "10.0.0.2:8081")]).unwrap());
        assert!(peers.find("a", 1000).is_ok(), "another pod of that name");
        peers.shun(&peer, 1000);
        assert!(peers.shunned.lock().is_empty(), "nobody is remembered who is not listed");
    }

    #[test]
    fn what_is_bad_is_named() {
        assert!(list(&[("a", "[fd00::1]:8081"), ("b.c-1", "127.0.0.1:1")]).is_ok());
        for (name, address, fault) in [
            ("", "10.0.0.1:1", "\"\" is no name"),
            ("A b", "10.0.0.1:1", "\"A b\" is no name"),
            ("a", "10.0.0.1", "a: \"10.0.0.1\" is no address"),
            ("a", "host:80", "a: \"host:80\" is no address"),
            ("a", "10.0.0.1:0", "is no address"),
            ("a", "0.0.0.0:80", "is no address"),
        ] {
            let error = list(&[(name, address)]).unwrap_err();
            assert!(error.contains(fault), "{error}");
        }
        for (count, sound) in [(MOST - 1, true), (MOST, true), (MOST + 1, false)] {
            let peers = (0..count).map(|n| (format!("p{n}"), "10.0.0.1:1".to_owned())).collect();
            assert_eq!(Told { peers }.check().is_ok(), sound, "{count}");
        }
        assert!(serde_json::from_str::<Told>(r#"{"peers": {}, "more": 1}"#).is_err());
        assert!(serde_json::from_str::<Told>("{}").is_err());
    }
}
