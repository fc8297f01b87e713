//! Who serves a handshake: this gateway, or the one that the client was on. Pure: decides from the cookie, this gateway
//! and the peers that it knows.

use super::cookie::Affinity;
use super::peers::Peer;
use crate::clock::Millis;

/// What this gateway is.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// Name of its pod.
    pub pod: &'a str,
    /// The revision of the fleet that it is of; one is active at a time.
    pub revision: &'a str,
    /// It is being emptied: who is forwarded now would have to move soon, and who is served here, too.
    pub draining: bool,
    /// One more connection may be forwarded.
    pub has_room: bool,
    /// How long a cookie holds, in milliseconds.
    pub max_age: Millis,
}

/// Who serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This gateway.
    Serve {
        /// What is counted.
        outcome: Outcome,
        /// The client gets a cookie that names this gateway.
        set: bool,
    },
    /// Another gateway.
    Forward {
        /// Which one.
        owner: Peer,
        /// The client gets a fresh cookie that names that gateway.
        set: bool,
    },
}

/// What became of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It showed no cookie that holds: forged, expired and foreign ones are none.
    New,
    /// It came to the gateway that it was on.
    Local,
    /// It was taken to the gateway that it was on, and that one answered welcome.
    Forwarded,
    /// It was taken to the gateway that it was on, and that one refused it for good.
    Refused,
    /// It was served elsewhere than it was.
    Missed(Missed),
}

/// Why a client is not served where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// This gateway was not told of any gateways yet, or cannot prove itself to them.
    NoPeers,
    /// The owner is not among the gateways that serve.
    Gone,
    /// The owner is of another revision.
    Revision,
    /// This gateway drains.
    Draining,
    /// As many connections are forwarded as may be.
    Limit,
    /// The owner did not answer a moment ago.
    Shunned,
    /// The owner cannot be connected to, or the connection broke before it answered.
    Unreachable,
    /// The owner did not answer in time.
    Timeout,
    /// The owner drains, is full or cannot serve just now.
    Busy,
    /// Who answered did not prove that it is of this cluster.
    Unproven,
}

impl Outcome {
    /// Every value of the metrics' label `outcome`.
    pub const LABELS: [&str; 5] = ["new", "local", "forwarded", "refused", "missed"];

    /// Value of the metrics' label `outcome`.
    pub fn label(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Local => "local",
            Self::Forwarded => "forwarded",
            Self::Refused => "refused",
            Self::Missed(_) => "missed",
        }
    }
}

impl Missed {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NoPeers,
        Self::Gone,
        Self::Revision,
        Self::Draining,
        Self::Limit,
        Self::Shunned,
        Self::Unreachable,
        Self::Timeout,
        Self::Busy,
        Self::Unproven,
    ];

    /// Value of the metrics' label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoPeers => "no_peers",
            Self::Gone => "gone",
            Self::Revision => "revision",
            Self::Draining => "draining",
            Self::Limit => "limit",
            Self::Shunned => "shunned",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Unproven => "unproven",
        }
    }
}

/// Who serves a client that showed a cookie which holds, or none. `find` knows the peers.
pub fn choose(
    shown: Option<&Affinity>,
    here: &Here<'_>,
    find: impl FnOnce(&str) -> Result<Peer, Missed>,
    now: Millis,
) -> Choice {
    let serve = |outcome, set: bool| Choice::Serve { outcome, set: set && !here.draining };
    let Some(shown) = shown else { return serve(Outcome::New, true) };
    let foreign_revision = shown.revision != here.revision;
    let half_over = shown.expires_at.saturating_sub(now) < here.max_age / 2;
    if shown.pod == here.pod {
        return serve(Outcome::Local, half_over || foreign_revision);
    }
    match look_for_owner(shown, here, foreign_revision, find) {
        Ok(owner) => Choice::Forward { owner, set: half_over },
        Err(missed) => serve(Outcome::Missed(missed), true),
    }
}

fn look_for_owner(
    shown: &Affinity,
    here: &Here<'_>,
    foreign_revision: bool,
    find: impl FnOnce(&str) -> Result<Peer, Missed>,
) -> Result<Peer, Missed> {
    if here.draining {
        return Err(Missed::Draining);
    }
    if foreign_revision {
        return Err(Missed::Revision);
    }
    let owner = find(&shown.pod)?;
    if here.has_room { Ok(owner) } else { Err(Missed::Limit) }
}

/// Who serves instead when the owner did not: this gateway.
pub fn instead(missed: Missed, draining: bool) -> Choice {
    Choice::Serve { outcome: Outcome::Missed(missed), set: !draining }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: Here<'_> = Here { pod: "me", revision: "r1", draining: false, has_room: true, max_age: 1000 };

    fn shown(pod: &str, revision: &str, expires_at: Millis) -> Affinity {
        Affinity { pod: pod.into(), revision: revision.into(), expires_at }
    }

    #[expect(clippy::unnecessary_wraps)] // As `choose` asks for peers.
    fn peer(name: &str) -> Result<Peer, Missed> {
        Ok(Peer { name: name.into(), address: ([10, 0, 0, 1], 8081).into() })
    }

    fn served(outcome: Outcome, set: bool) -> Choice {
        Choice::Serve { outcome, set }
    }

    #[test]
    fn who_has_no_cookie_is_served_here_and_gets_one() {
        assert_eq!(choose(None, &HERE, peer, 0), served(Outcome::New, true));
    }

    #[test]
    fn who_was_here_is_served_here_and_its_cookie_renewed_when_half_is_over() {
        for (now, renew) in [(0, false), (500, false), (501, true), (999, true)] {
            assert_eq!(
                choose(Some(&shown("me", "r1", 1000)), &HERE, peer, now),
                served(Outcome::Local, renew),
                "{now}"
            );
        }
        let before = shown("me", "r0", 1000);
        assert_eq!(choose(Some(&before), &HERE, peer, 0), served(Outcome::Local, true), "this pod in its former life");
    }

    #[test]
    fn who_was_elsewhere_is_forwarded_and_its_cookie_renewed_when_half_is_over() {
        for (now, set) in [(0, false), (500, false), (501, true)] {
            let owner = peer("b").unwrap();
            assert_eq!(choose(Some(&shown("b", "r1", 1000)), &HERE, peer, now), Choice::Forward { owner, set });
        }
    }

    #[test]
    fn who_cannot_be_forwarded_is_served_here_with_a_new_cookie() {
        let cases = [
            (shown("b", "r0", 1000), HERE, peer("b"), Missed::Revision),
            (shown("b", "r1", 1000), HERE, Err(Missed::Gone), Missed::Gone),
            (shown("b", "r1", 1000), HERE, Err(Missed::NoPeers), Missed::NoPeers),
            (shown("b", "r1", 1000), HERE, Err(Missed::Shunned), Missed::Shunned),
            (shown("b", "r1", 1000), Here { has_room: false, ..HERE }, peer("b"), Missed::Limit),
        ];
        for (shown, here, found, missed) in cases {
            assert_eq!(choose(Some(&shown), &here, |_| found, 0), served(Outcome::Missed(missed), true));
        }
    }

    #[test]
    fn a_gateway_that_drains_forwards_nobody_and_asks_nobody_to_come_back() {
        let here = Here { draining: true, ..HERE };
        assert_eq!(choose(None, &here, peer, 0), served(Outcome::New, false));
        assert_eq!(choose(Some(&shown("me", "r1", 1000)), &here, peer, 999), served(Outcome::Local, false));
        let missed = served(Outcome::Missed(Missed::Draining), false);
        assert_eq!(choose(Some(&shown("b", "r1", 1000)), &here, peer, 0), missed);
    }

    proptest! {
        #[test]
        fn only_a_listed_gateway_of_our_revision_is_forwarded_to_and_never_ourselves(
            pod in "me|b|c", revision in "r[01]", listed in proptest::collection::btree_set("me|b|c", 0..4),
            draining: bool, has_room: bool, expires_at in 1u64..3000, now in 0u64..3000,
        ) {
            let here = Here { draining, has_room, ..HERE };
            let find = |name: &str| if listed.contains(name) { peer(name) } else { Err(Missed::Gone) };
            match choose(Some(&shown(&pod, &revision, expires_at)), &here, find, now) {
                Choice::Forward { owner, .. } => {
                    prop_assert_eq!(&*owner.name, &*pod);
                    prop_assert!(pod != "me" && revision == "r1" && listed.contains(&pod) && !draining && has_room);
                }
                Choice::Serve { outcome, set } => {
                    let could = pod != "me" && revision == "r1" && listed.contains(&pod);
                    prop_assert!(!could || draining || !has_room);
                    prop_assert!(!(set && draining));
                    prop_assert_eq!(outcome == Outcome::Local, pod == "me");
                    prop_assert!(!matches!(outcome, Outcome::Missed(_)) || set || draining);
                }
            }
        }
    }
}
