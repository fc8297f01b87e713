//! Whatever headers say, the client is the peer, or somebody that a trusted proxy wrote down and who is no proxy unless all
//! are. The first byte says how many lines there are of each header.

#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use wscluster_gateway::client_address::{Proxies, client};

static PROXIES: LazyLock<Proxies> =
    LazyLock::new(|| Proxies::parse(["10.0.0.0/8", "fd00::/8"]).expect("they are networks"));

fuzz_target!(|input: &[u8]| {
    let Some((split, rest)) = input.split_first() else { return };
    let mut headers = HeaderMap::new();
    for (number, line) in rest.split(|byte| *byte == b'\n').enumerate() {
        let name = if number < usize::from(*split % 4) { "x-forwarded-for" } else { "forwarded" };
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(HeaderName::from_static(name), value);
    }
    let (stranger, proxy) = (IpAddr::from([203, 0, 113, 9]), IpAddr::from([10, 0, 0, 1]));
    assert_eq!(client(stranger, &PROXIES, &headers), Ok(stranger), "a stranger is believed");
    assert_eq!(client(proxy, &Proxies::default(), &headers), Ok(proxy), "nobody is listed");
    let Ok(told) = client(proxy, &PROXIES, &headers) else { return };
    assert_eq!(told, told.to_canonical());
    // One more proxy of ours behind it changes nothing.
    for name in ["x-forwarded-for", "forwarded"] {
        if headers.contains_key(name) {
            let hop = if name == "forwarded" { "for=10.0.0.2" } else { "10.0.0.2" };
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(hop));
        }
    }
    if let Ok(again) = client(proxy, &PROXIES, &headers) {
        assert_eq!(again, told);
    }
});
