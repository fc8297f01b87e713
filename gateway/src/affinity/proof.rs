//! How gateways prove to each other that they are of one cluster, on a port that anybody in the pods' network may reach.
//! Each request carries a MAC over all that it says and over the time at which it was sent; each answer carries one over
//! the request's MAC and all that it says. Knows no sockets.
//!
//! `wscluster-proof: v1.<milliseconds since 1970>.<nonce>.<base64url of HMAC-SHA256>` on a request,
//! `wscluster-proof: v1.<base64url of HMAC-SHA256>` on an answer.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use sha2::Sha256;

use crate::clock::Millis;

/// The header with the proof.
pub const PROOF: HeaderName = HeaderName::from_static("wscluster-proof");
/// How far the clocks of two gateways may be apart, a request's way included, in milliseconds.
pub const WINDOW: Millis = 30_000;
/// Proofs that are remembered of each [`WINDOW`] and the next; more requests than that are refused.
const MOST_REMEMBERED: usize = 131_072;

/// What HTTP itself adds, takes away or changes between two gateways, and the proof.
const UNPROVEN: [HeaderName; 6] = [
    PROOF,
    header::DATE,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
];

/// A key that all gateways of a cluster have, and nobody else.
#[derive(Clone)]
pub struct ClusterKey(Hmac<Sha256>);

/// No secret in a log.
impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ClusterKey")
    }
}

/// A request between gateways, as far as it is proven.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET /ws?room=a`.
    pub method: &'a str,
    /// The path and the query.
    pub target: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: &'a [u8],
}

/// Why a request is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// There is no proof, or it cannot be read.
    #[error("without a proof")]
    Missing,
    /// Another key, or something was changed on the way.
    #[error("the proof is of another cluster or of another request")]
    Wrong,
    /// Sent too long ago, or the clocks differ by too much.
    #[error("sent at another time: do the nodes' clocks differ?")]
    Late,
    /// It came before.
    #[error("the proof was used before")]
    Repeated,
}

/// The MAC of a request: what its answer refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag([u8; 32]);

impl ClusterKey {
    /// A key of its own is derived from the admin token: what is signed here proves nothing there.
    pub fn from_token(token: &str) -> Self {
        let derived = key(token.as_bytes()).chain_update("wscluster peers, version 1").finalize().into_bytes();
        Self(key(&derived))
    }

    /// The proof for a request that is sent now. The nonce makes two requests of one millisecond differ.
    pub fn prove(&self, request: &Request<'_>, now: Millis) -> (HeaderValue, Tag) {
        let nonce = format!("{:016x}", rand::random::<u64>());
        let tag = self.tag(request, now, &nonce);
        let proof = format!("v1.{now}.{nonce}.{}", URL_SAFE_NO_PAD.encode(tag.0));
        (HeaderValue::from_str(&proof).expect("digits, letters and dots"), tag)
    }

    /// Whether a request is of a gateway of this cluster and new.
    pub fn check(&self, request: &Request<'_>, seen: &Seen, now: Millis) -> Result<Tag, Doubt> {
        let proof = request.headers.get(PROOF).and_then(|value| value.to_str().ok()).ok_or(Doubt::Missing)?;
        let mut parts = proof.split('.');
        let words = (parts.next(), parts.next(), parts.next(), parts.next(), parts.next());
        let (Some("v1"), Some(sent), Some(nonce), Some(mac), None) = words else { return Err(Doubt::Missing) };
        let sent: Millis = sent.parse().map_err(|_| Doubt::Missing)?;
        let tag = self.tag(request, sent, nonce);
        if !same(&tag, mac) {
            return Err(Doubt::Wrong);
        }
        if sent.abs_diff(now) > WINDOW {
            return Err(Doubt::Late);
        }
        if seen.first_time(&tag, now) { Ok(tag) } else { Err(Doubt::Repeated) }
    }

    /// The proof for an answer to the request of this tag.
    pub fn prove_answer(&self, tag: &Tag, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> HeaderValue {
        let mac = URL_SAFE_NO_PAD.encode(self.answer_tag(tag, status, headers, body).0);
        HeaderValue::from_str(&format!("v1.{mac}")).expect("digits, letters and dots")
    }

    /// Whether an answer is of a gateway of this cluster, and to the request of this tag.
    pub fn check_answer(&self, tag: &Tag, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> bool {
        let proof = headers.get(PROOF).and_then(|value| value.to_str().ok());
        let mac = proof.and_then(|proof| proof.strip_prefix("v1."));
        mac.is_some_and(|mac| same(&self.answer_tag(tag, status, headers, body), mac))
    }

    fn tag(&self, request: &Request<'_>, sent: Millis, nonce: &str) -> Tag {
        let Request { method, target, headers, body } = request;
        let head = format!("request\n{sent}\n{nonce}\n{method} {target}\n");
        self.mac(&[head.as_bytes(), &canonical(headers), b"\n", body])
    }

    fn answer_tag(&self, tag: &Tag, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Tag {
        let head = format!("answer\n{}\n{}\n", URL_SAFE_NO_PAD.encode(tag.0), status.as_u16());
        self.mac(&[head.as_bytes(), &canonical(headers), b"\n", body])
    }

    fn mac(&self, parts: &[&[u8]]) -> Tag {
        let mac = parts.iter().fold(self.0.clone(), Mac::chain_update);
        Tag(mac.finalize().into_bytes().into())
    }
}

fn key(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes secrets of any length")
}

/// In constant time.
fn same(tag: &Tag, shown: &str) -> bool {
    use subtle::ConstantTimeEq;
    URL_SAFE_NO_PAD.decode(shown).is_ok_and(|shown| shown.ct_eq(&tag.0).into())
}

/// Headers as one text. Neither names nor values can hold a line break.
fn canonical(headers: &HeaderMap) -> Vec<u8> {
    let mut names: Vec<_> = headers.keys().filter(|name| !UNPROVEN.contains(name)).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    let mut text = Vec::with_capacity(512);
    for name in names {
        for value in headers.get_all(name) {
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b':');
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
    }
    text
}

/// The requests that came in the last [`WINDOW`]s: none of them is taken again. What is older is refused by its time.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    current: HashSet<u64>,
    former: HashSet<u64>,
    began: Millis,
}

impl Seen {
    /// Whether a request came for the first time. Only such are remembered as prove themselves, so strangers fill nothing.
    fn first_time(&self, tag: &Tag, now: Millis) -> bool {
        let short = u64::from_be_bytes(*tag.0.first_chunk().expect("32 bytes"));
        let mut generations = self.0.lock();
        generations.turn(now);
        let known = generations.current.contains(&short) || generations.former.contains(&short);
        !known && generations.current.len() < MOST_REMEMBERED && generations.current.insert(short)
    }
}

impl Generations {
    /// A request may come a window before its time by our clock, and until a window after it.
    fn turn(&mut self, now: Millis) {
        let age = now.saturating_sub(self.began);
        if age < 2 * WINDOW {
            return;
        }
        self.former = std::mem::take(&mut self.current);
        if age >= 4 * WINDOW {
            self.former = HashSet::new();
        }
        self.began = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    struct Sent {
        headers: HeaderMap,
        body: Vec<u8>,
        tag: Tag,
    }

    impl Sent {
        fn new(key: &ClusterKey, now: Millis) -> Self {
            let mut headers = headers(&[("host", "chat.example"), ("wscluster-to", "b"), ("origin", "https://a")]);
            let body = b"{}".to_vec();
            let request = Request { method: "GET", target: "/ws?room=a", headers: &headers, body: &body };
            let (proof, tag) = key.prove(&request, now);
            headers.insert(PROOF, proof);
            Self { headers, body, tag }
        }

        fn request(&self) -> Request<'_> {
            Request { method: "GET", target: "/ws?room=a", headers: &self.headers, body: &self.body }
        }
    }

    #[test]
    fn a_gateway_of_the_cluster_is_believed_once() {
        let (key, seen) = (ClusterKey::from_token("t0ken"), Seen::default());
        let sent = Sent::new(&key, 1_000_000);
        assert_eq!(key.check(&sent.request(), &seen, 1_000_005), Ok(sent.tag));
        assert_eq!(key.check(&sent.request(), &seen, 1_000_006), Err(Doubt::Repeated));
        let again = Sent::new(&key, 1_000_000);
        assert!(key.check(&again.request(), &seen, 1_000_006).is_ok(), "the same request, sent once more");
    }

    #[test]
    fn a_repeated_request_is_refused_as_long_as_its_time_is_not() {
        let key = ClusterKey::from_token("t0ken");
        for begin in (0..=120).map(|step| 1_000_000 + step * 1000) {
            let seen = Seen::default();
            // The first one sets when generations turn.
            assert!(key.check(&Sent::new(&key, 1_000_000).request(), &seen, 1_000_000).is_ok());
            let early = Sent::new(&key, begin + WINDOW);
            assert!(key.check(&early.request(), &seen, begin).is_ok());
            for later in (0..=2 * WINDOW).step_by(5000) {
                let other = Sent::new(&key, begin + later);
                assert!(key.check(&other.request(), &seen, begin + later).is_ok());
                assert_eq!(key.check(&early.request(), &seen, begin + later), Err(Doubt::Repeated), "{begin} {later}");
            }
            assert_eq!(key.check(&early.request(), &seen, begin + 2 * WINDOW + 1), Err(Doubt::Late));
        }
    }

    #[test]
    fn what_is_too_old_or_too_early_is_refused() {
        let key = ClusterKey::from_token("t0ken");
        let sent = Sent::new(&key, 1_000_000);
        let check = |now| key.check(&sent.request(), &Seen::default(), now).err();
        assert_eq!(
            [WINDOW - 1, WINDOW, WINDOW + 1].map(|late| check(1_000_000 + late)),
            [None, None, Some(Doubt::Late)]
        );
        assert_eq!([WINDOW, WINDOW + 1].map(|early| check(1_000_000 - early)), [None, Some(Doubt::Late)]);
    }

    #[test]
    fn another_cluster_or_another_request_is_refused() {
        let (key, other) = (ClusterKey::from_token("t0ken"), ClusterKey::from_token("other"));
        let sent = Sent::new(&key, 5);
        let check = |key: &ClusterKey, request: &Request<'_>| key.check(request, &Seen::default(), 5).err();
        assert_eq!(check(&other, &sent.request()), Some(Doubt::Wrong));
        assert_eq!(check(&key, &Request { method: "PUT", ..sent.request() }), Some(Doubt::Wrong));
        assert_eq!(check(&key, &Request { target: "/ws?room=b", ..sent.request() }), Some(Doubt::Wrong));
        assert_eq!(check(&key, &Request { body: b"{ }", ..sent.request() }), Some(Doubt::Wrong));
        let with = |name: &'static str, value: &str| {
            let mut changed = sent.headers.clone();
            changed.insert(name, value.parse().unwrap());
            check(&key, &Request { headers: &changed, ..sent.request() })
        };
        assert_eq!(with("wscluster-to", "c"), Some(Doubt::Wrong));
        assert_eq!(with("authorization", "Bearer x"), Some(Doubt::Wrong));
        assert_eq!(with("date", "now"), None, "what HTTP adds by itself");
        for proof in ["", "v1", "v2.5.0.YQ", "v1.x.0.YQ", "v1.5.0.YQ.", "v1.5.0"] {
            assert_eq!(with("wscluster-proof", proof), Some(Doubt::Missing), "{proof}");
        }
        assert_eq!(with("wscluster-proof", "v1.5.0.YQ"), Some(Doubt::Wrong));
        assert!(!format!("{key:?}").contains("t0ken"));
    }

    #[test]
    fn the_answering_side_proves_itself_for_this_request_and_this_answer() {
        let (key, other) = (ClusterKey::from_token("t0ken"), ClusterKey::from_token("other"));
        let (sent, second) = (Sent::new(&key, 5), Sent::new(&key, 5));
        let mut said = headers(&[("sec-websocket-accept", "x")]);
        let proof = key.prove_answer(&sent.tag, StatusCode::SWITCHING_PROTOCOLS, &said, b"");
        said.insert(PROOF, proof);
        let check = |key: &ClusterKey, tag, status, body: &[u8]| key.check_answer(tag, status, &said, body);
        let switching = StatusCode::SWITCHING_PROTOCOLS;
        assert!(check(&key, &sent.tag, switching, b""));
        assert!(!check(&other, &sent.tag, switching, b""));
        assert!(!check(&key, &second.tag, switching, b""));
        assert!(!check(&key, &sent.tag, StatusCode::FORBIDDEN, b""));
        assert!(!check(&key, &sent.tag, switching, b"x"));
        assert!(!key.check_answer(&sent.tag, switching, &headers(&[]), b""));
        // An answer is no request: a request's proof does not serve as an answer's.
        assert!(!key.check_answer(&sent.tag, switching, &sent.headers, b""));
    }

    proptest! {
        #[test]
        fn no_proof_makes_it_panic(text in "[ -~]{0,200}") {
            let key = ClusterKey::from_token("t");
            let headers = headers(&[("wscluster-proof", &text)]);
            let request = Request { method: "GET", target: "/", headers: &headers, body: b"" };
            prop_assert!(key.check(&request, &Seen::default(), 0).is_err());
        }

        #[test]
        fn headers_are_the_same_text_in_whatever_order_they_came(
            pairs in proptest::collection::btree_map("[a-z]{1,8}", "[a-z]{0,8}", 0..8)
        ) {
            let build = |pairs: Vec<(&String, &String)>| -> HeaderMap {
                pairs.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
            };
            let there = build(pairs.iter().collect());
            let back = build(pairs.iter().rev().collect());
            prop_assert_eq!(canonical(&there), canonical(&back));
        }
    }
}
