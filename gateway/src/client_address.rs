//! Who the client is behind proxies: `X-Forwarded-For` and `Forwarded` (RFC 7239), believed of listed proxies alone and
//! only as far as those have written them. Pure; knows no socket.
//!
//! Read from the right, where the nearest proxy wrote: the first address that is no listed proxy is the client. What is
//! left of that anybody can have made up, and is not looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

/// Bytes of one header, over all of its lines, that are looked at; a longer one is ignored. An address takes 47 at most.
pub const LONGEST: usize = 2048;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks that proxies are in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

/// Text that is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no network: write it as 10.0.0.0/8 or fd00::/8; one address is 10.0.0.1/32")]
pub struct InvalidNetwork;

impl Proxies {
    /// Networks in CIDR notation (RFC 4632, RFC 4291 section 2.3).
    pub fn parse(networks: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, InvalidNetwork> {
        let network = |text: &str| text.parse().map_err(|_| InvalidNetwork);
        Ok(Self(networks.into_iter().map(|text| network(text.as_ref())).collect::<Result<_, _>>()?))
    }

    /// Whether an address is in one of them. An IPv4 address is the same in its IPv6 form (RFC 4291 section 2.5.5.2).
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Why what a listed proxy said was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// It is not written as it should be.
    #[error("not well-formed")]
    Malformed,
    /// It is longer than [`LONGEST`].
    #[error("longer than {LONGEST} bytes")]
    TooLong,
    /// The proxy does not say who it was: `unknown`, or a name of its own.
    #[error("without an address")]
    Unknown,
    /// The two headers name different clients: one of them passed through a proxy that does not write it.
    #[error("X-Forwarded-For and Forwarded disagree")]
    Disagree,
}

impl Ignored {
    /// Every value of the metrics' label.
    pub const LABELS: [&str; 4] = ["malformed", "too_long", "unknown", "disagree"];

    /// Value of the metrics' label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Unknown => "unknown",
            Self::Disagree => "disagree",
        }
    }
}

/// The client of a request that came from `peer`. After an error it is the peer, too: it cannot be told from others
/// behind the same proxy, but nobody can pass as somebody else.
pub fn client(peer: IpAddr, proxies: &Proxies, headers: &HeaderMap) -> Result<IpAddr, Ignored> {
    let peer = peer.to_canonical();
    if !proxies.contain(peer) {
        return Ok(peer);
    }
    let list = lines(headers, &X_FORWARDED_FOR)?;
    let list =
        list.map(|lines| furthest(peer, proxies, lines.iter().rev().flat_map(|line| line.rsplit(',')).map(listed)));
    let forwarded = lines(headers, &header::FORWARDED)?.map(|lines| forwarded(peer, proxies, &lines));
    match (list.transpose()?, forwarded.transpose()?) {
        (None, None) => Ok(peer),
        (Some(one), Some(other)) if one != other => Err(Ignored::Disagree),
        (Some(client), _) | (None, Some(client)) => Ok(client),
    }
}

/// The lines of a header, if there are any.
fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Vec<&'a str>>, Ignored> {
    let lines = headers.get_all(name);
    if lines.iter().map(HeaderValue::len).sum::<usize>() > LONGEST {
        return Err(Ignored::TooLong);
    }
    let lines = lines.iter().map(HeaderValue::to_str).collect::<Result<Vec<_>, _>>().map_err(|_| Ignored::Malformed)?;
    Ok(Some(lines).filter(|lines| !lines.is_empty()))
}

/// The first that is no proxy, or the last proxy if all of them are.
fn furthest(
    peer: IpAddr,
    proxies: &Proxies,
    nodes: impl Iterator<Item = Result<IpAddr, Ignored>>,
) -> Result<IpAddr, Ignored> {
    let mut last = peer;
    for node in nodes {
        last = node?.to_canonical();
        if !proxies.contain(last) {
            break;
        }
    }
    Ok(last)
}

fn forwarded(peer: IpAddr, proxies: &Proxies, lines: &[&str]) -> Result<IpAddr, Ignored> {
    let mut nodes = Vec::new();
    for line in lines {
        elements(line, &mut nodes)?;
    }
    let address = |node: Option<&str>| node.map_or(Err(Ignored::Unknown), node_of_forwarded);
    furthest(peer, proxies, nodes.into_iter().rev().map(address))
}

/// An entry of `X-Forwarded-For`: an address, of IPv6 with or without brackets, and maybe a port.
fn listed(text: &str) -> Result<IpAddr, Ignored> {
    let text = text.trim_matches(OWS);
    text.parse::<Ipv6Addr>().map(IpAddr::V6).or_else(|_| node(text, is_port))
}

/// A node of `Forwarded` (RFC 7239 section 6).
fn node_of_forwarded(text: &str) -> Result<IpAddr, Ignored> {
    node(text, |port| is_port(port) || is_obfuscated(port))
}

fn node(text: &str, port_is_good: fn(&str) -> bool) -> Result<IpAddr, Ignored> {
    let (address, port) = if let Some(rest) = text.strip_prefix('[') {
        let (name, after) = rest.split_once(']').ok_or(Ignored::Malformed)?;
        let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(Ignored::Malformed)?) };
        (name.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| Ignored::Malformed), port)
    } else {
        let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
        (named(name), port)
    };
    if port.is_none_or(port_is_good) { address } else { Err(Ignored::Malformed) }
}

fn named(name: &str) -> Result<IpAddr, Ignored> {
    if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
        return Err(Ignored::Unknown);
    }
    name.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| Ignored::Malformed)
}

fn is_port(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// RFC 7239 section 6.3.
fn is_obfuscated(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    text.strip_prefix('_').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(good))
}

/// Optional white space (RFC 9110 section 5.6.3).
const OWS: [char; 2] = [' ', '\t'];

/// The `for` of each element of a line of `Forwarded` (RFC 7239 section 4), in order.
fn elements<'a>(line: &'a str, nodes: &mut Vec<Option<&'a str>>) -> Result<(), Ignored> {
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches(OWS);
        nodes.push(element(&mut rest)?);
        rest = rest.trim_start_matches(OWS);
        if rest.is_empty() {
            return Ok(());
        }
        rest = rest.strip_prefix(',').ok_or(Ignored::Malformed)?;
    }
}

fn element<'a>(rest: &mut &'a str) -> Result<Option<&'a str>, Ignored> {
    let mut found = None;
    loop {
        let name = token(rest);
        if !name.is_empty() {
            *rest = rest.strip_prefix('=').ok_or(Ignored::Malformed)?;
            let value =
                if let Some(quoted) = rest.strip_prefix('"') { until_quote(quoted, rest)? } else { token(rest) };
            if value.is_empty() || (name.eq_ignore_ascii_case("for") && found.replace(value).is_some()) {
                return Err(Ignored::Malformed);
            }
        }
        match rest.strip_prefix(';') {
            Some(after) => *rest = after,
            None => return Ok(found),
        }
    }
}

/// Takes a token (RFC 9110 section 5.6.2) off the front.
fn token<'a>(rest: &mut &'a str) -> &'a str {
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = rest.bytes().position(|byte| !of_token(byte)).unwrap_or(rest.len());
    let (token, after) = rest.split_at(end);
    *rest = after;
    token
}

/// Takes the rest of a quoted string. One with an escape in it is no address, and stays as it is written.
fn until_quote<'a>(quoted: &'a str, rest: &mut &'a str) -> Result<&'a str, Ignored> {
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            b'"' if !escaped => {
                *rest = &quoted[at + 1..];
                return Ok(&quoted[..at]);
            }
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    Err(Ignored::Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The proxies of all cases.
    fn proxies() -> Proxies {
        Proxies::parse(["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"]).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Header lines, one a line: `xff: …` or `fwd: …`.
    fn headers(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in text.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            let name = if name == "xff" { X_FORWARDED_FOR } else { header::FORWARDED };
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn check(peer: &str, text: &str, expect: Result<&str, Ignored>) {
        let got = client(address(peer), &proxies(), &headers(text));
        assert_eq!(got, expect.map(address), "{peer} says {text:?}");
    }

    #[test]
    fn only_a_listed_proxy_is_believed() {
        check("203.0.113.9", "xff: 198.51.100.7", Ok("203.0.113.9"));
        check("203.0.113.9", "fwd: for=198.51.100.7", Ok("203.0.113.9"));
        check("203.0.113.9", "xff: nonsense", Ok("203.0.113.9"));
        check("192.0.2.2", "xff: 198.51.100.7", Ok("192.0.2.2"));
        check("192.0.2.1", "xff: 198.51.100.7", Ok("198.51.100.7"));
        check("::ffff:10.1.2.3", "xff: 198.51.100.7", Ok("198.51.100.7"));
        check("fd12::1", "fwd: for=198.51.100.7", Ok("198.51.100.7"));
        check("10.0.0.1", "", Ok("10.0.0.1"));
        assert_eq!(client(address("10.0.0.1"), &Proxies::default(), &headers("xff: 1.2.3.4")), Ok(address("10.0.0.1")));
    }

    #[test]
    fn the_client_is_the_rightmost_address_that_is_no_proxy() {
        check("10.0.0.1", "xff: 1.2.3.4, 198.51.100.7", Ok("198.51.100.7"));
        check("10.0.0.1", "xff: 1.2.3.4, 198.51.100.7, 10.9.9.9,192.0.2.1", Ok("198.51.100.7"));
        check("10.0.0.1", "xff: 1.2.3.4\nxff: 198.51.100.7\nxff: 10.9.9.9", Ok("198.51.100.7"));
        check("10.0.0.1", "fwd: for=1.2.3.4, for=198.51.100.7;by=10.0.0.1, for=10.9.9.9", Ok("198.51.100.7"));
        check("10.0.0.1", "fwd: for=1.2.3.4\nfwd: for=198.51.100.7", Ok("198.51.100.7"));
        check("10.0.0.1", "xff: 10.0.0.3, 10.0.0.2", Ok("10.0.0.3"));
    }

    #[test]
    fn what_is_left_of_the_client_is_not_looked_at() {
        check("10.0.0.1", "xff: , <script>, unknown, 198.51.100.7", Ok("198.51.100.7"));
        check("10.0.0.1", "fwd: for=unknown, for=\"_x\", for=198.51.100.7", Ok("198.51.100.7"));
    }

    #[test]
    fn addresses_are_read_in_every_form_that_proxies_write() {
        for (text, expect) in [
            ("xff: 198.51.100.7:4711", "198.51.100.7"),
            ("xff: 2001:db8::7", "2001:db8::7"),
            ("xff: [2001:db8::7]", "2001:db8::7"),
            ("xff: [2001:db8::7]:4711", "2001:db8::7"),
            ("xff:  \t198.51.100.7 ", "198.51.100.7"),
            ("xff: ::ffff:198.51.100.7", "198.51.100.7"),
            ("xff: 2001:DB8::7, ::ffff:10.1.1.1", "2001:db8::7"),
            ("fwd: for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("fwd: For=\"[2001:db8:cafe::17]\"", "2001:db8:cafe::17"),
            ("fwd: for=\"198.51.100.7:_port\"", "198.51.100.7"),
            ("fwd: FOR=198.51.100.7;proto=http;by=203.0.113.43", "198.51.100.7"),
            ("fwd: proto=http;host=\"a\\\"b,;c\";for=198.51.100.7;", "198.51.100.7"),
            ("fwd: for=198.51.100.7 , \t for=\"10.1.1.1\"", "198.51.100.7"),
        ] {
            check("10.0.0.1", text, Ok(expect));
        }
    }

    #[test]
    fn what_is_not_well_formed_is_ignored() {
        for text in [
            "xff: ",
            "xff: ,",
            "xff: 198.51.100.7,",
            "xff: 198.51.100",
            "xff: 198.51.100.007",
            "xff: 198.51.100.7:",
            "xff: 198.51.100.7:65536",
            "xff: 198.51.100.7:+80",
            "xff: 198.51.100.7:_x",
            "xff: [198.51.100.7]",
            "xff: [2001:db8::7",
            "xff: 2001:db8::7]",
            "xff: [2001:db8::7]80",
            "xff: fe80::1%eth0",
            "xff: example.com",
            "xff: 198.51.100.7 10.0.0.2",
            "xff: \"198.51.100.7\"",
            "fwd: 198.51.100.7",
            "fwd: for=2001:db8::7",
            "fwd: for=\"2001:db8::7\"",
            "fwd: for=[2001:db8::7]",
            "fwd: for = 198.51.100.7",
            "fwd: for=",
            "fwd: for=\"\"",
            "fwd: for=198.51.100.7:80",
            "fwd: for=\"198.51.100.7",
            "fwd: for=198.51.100.7; proto=http",
            "fwd: for=198.51.100.7;for=198.51.100.8",
            "fwd: for=\"198.51.100.\\7\"",
            "fwd: for=198.51.100.7 proto=http",
            "fwd: =198.51.100.7",
        ] {
            check("10.0.0.1", text, Err(Ignored::Malformed));
        }
    }

    #[test]
    fn a_proxy_that_does_not_say_who_it_was_is_the_client() {
        for text in [
            "xff: unknown",
            "fwd: for=unknown",
            "fwd: for=_hidden",
            "fwd: for=\"_SEVKISEK:1\"",
            "fwd: by=10.0.0.1",
            "fwd: ",
        ] {
            check("10.0.0.1", text, Err(Ignored::Unknown));
        }
    }

    #[test]
    fn two_headers_must_name_the_same_client() {
        check("10.0.0.1", "xff: 198.51.100.7\nfwd: for=198.51.100.7", Ok("198.51.100.7"));
        check("10.0.0.1", "xff: 198.51.100.7\nfwd: for=1.2.3.4", Err(Ignored::Disagree));
        check("10.0.0.1", "xff: 198.51.100.7\nfwd: nonsense", Err(Ignored::Malformed));
    }

    #[test]
    fn a_header_may_be_as_long_as_the_limit_and_not_a_byte_longer() {
        for (length, ok) in [(LONGEST - 1, true), (LONGEST, true), (LONGEST + 1, false)] {
            let text = format!("{:>length$}", "198.51.100.7");
            let one = headers(&format!("xff: {text}"));
            let two = headers(&format!("xff: {}\nxff: {}", &text[..length / 2 - 1], &text[length / 2 - 1..]));
            for headers in [one, two] {
                let got = client(address("10.0.0.1"), &proxies(), &headers);
                let expect = if ok { Ok(address("198.51.100.7")) } else { Err(Ignored::TooLong) };
                assert_eq!(got, expect, "{length}");
            }
        }
    }

    #[test]
    fn networks_are_parsed_or_refused() {
        for good in ["10.0.0.0/8", "10.0.0.1/32", "0.0.0.0/0", "::/0", "fd00::/8", "10.1.2.3/8"] {
            assert!(Proxies::parse([good]).is_ok(), "{good}");
        }
        for bad in
            ["", "10.0.0.1", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/ 8", "example.com/8", "10.0.0.0/8 "]
        {
            assert_eq!(Proxies::parse([bad]), Err(InvalidNetwork), "{bad:?}");
        }
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from),
            any::<[u8; 3]>().prop_map(|[a, b, c]| IpAddr::from([10, a, b, c])),
        ]
    }

    proptest! {
        /// Whatever a client sends, a proxy that appends to it (a line, or to the last one) has the last word.
        #[test]
        fn nobody_passes_as_somebody_else(
            sent in proptest::collection::vec("[ -~\t]{0,60}", 0..4),
            same_line: bool,
            real in any_address(),
        ) {
            prop_assume!(!proxies().contain(real));
            let mut headers = HeaderMap::new();
            for line in &sent {
                headers.append(X_FORWARDED_FOR, line.parse().unwrap());
            }
            let before: Vec<String> = sent.clone();
            if same_line && !before.is_empty() {
                headers.insert(X_FORWARDED_FOR, format!("{}, {real}", before.join(", ")).parse().unwrap());
            } else {
                headers.append(X_FORWARDED_FOR, real.to_string().parse().unwrap());
            }
            prop_assert_eq!(client(address("10.0.0.1"), &proxies(), &headers), Ok(real.to_canonical()));
        }

        /// The same for `Forwarded`, where what a client sends may at most spoil the line.
        #[test]
        fn nobody_passes_as_somebody_else_by_the_other_header(sent in "[ -~\t]{0,80}", real in any_address()) {
            prop_assume!(!proxies().contain(real));
            let real = real.to_canonical();
            let node = if real.is_ipv6() { format!("\"[{real}]\"") } else { real.to_string() };
            let mut headers = HeaderMap::new();
            headers.insert(header::FORWARDED, format!("{sent}, for={node}").parse().unwrap());
            let got = client(address("10.0.0.1"), &proxies(), &headers);
            prop_assert!(got == Ok(real) || got == Err(Ignored::Malformed), "{got:?}");
        }

        #[test]
        fn both_headers_say_the_same_of_the_same_chain(chain in proptest::collection::vec(any_address(), 1..6)) {
            let list = chain.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let node = |each: &IpAddr| if each.is_ipv6() { format!("for=\"[{each}]\"") } else { format!("for={each}") };
            let forwarded = chain.iter().map(node).collect::<Vec<_>>().join(",");
            let one = client(address("10.0.0.1"), &proxies(), &headers(&format!("xff: {list}")));
            prop_assert_eq!(one, client(address("10.0.0.1"), &proxies(), &headers(&format!("fwd: {forwarded}"))));
            let expect = chain.iter().rev().find(|each| !proxies().contain(**each)).or(chain.first()).unwrap();
            prop_assert_eq!(one, Ok(expect.to_canonical()));
        }
    }
}
