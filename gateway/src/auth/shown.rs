//! Where a request shows its token: `Authorization: Bearer` (RFC 6750 section 2.1) or, because a browser cannot set
//! that on a WebSocket, an entry among the offered subprotocols. Never the URL: those are logged everywhere.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, header};

use super::Refused;

/// What the subprotocol entry begins with; base64url of the token follows.
pub const SUBPROTOCOL_PREFIX: &str = "wscluster.bearer.";

/// How a token was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In a header: the client sees the status of the answer.
    Header,
    /// Among the subprotocols: a browser sees nothing of a refused handshake, only close codes.
    Subprotocol,
}

/// The token of a WebSocket handshake. A header is above a subprotocol.
pub(crate) fn in_handshake<'a>(
    headers: &'a HeaderMap,
    offered: impl Iterator<Item = &'a str>,
) -> Option<(Way, Result<Cow<'a, str>, Refused>)> {
    match in_header(headers) {
        Ok(Some(token)) => Some((Way::Header, Ok(token.into()))),
        Err(refused) => Some((Way::Header, Err(refused))),
        Ok(None) => in_subprotocols(offered).map(|token| (Way::Subprotocol, token.map(Cow::Owned))),
    }
}

/// The credentials of `Authorization: Bearer`. Other schemes are not ours to judge.
pub(super) fn in_header(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let Some((scheme, rest)) = value.as_bytes().split_at_checked(7) else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Ok(None);
    }
    std::str::from_utf8(rest).map(|token| Some(token.trim())).map_err(|_| Refused::Malformed)
}

fn in_subprotocols<'a>(mut offered: impl Iterator<Item = &'a str>) -> Option<Result<String, Refused>> {
    let entry = offered.find_map(|name| name.strip_prefix(SUBPROTOCOL_PREFIX))?;
    if offered.any(|name| name.starts_with(SUBPROTOCOL_PREFIX)) {
        return Some(Err(Refused::Malformed));
    }
    let bytes = URL_SAFE_NO_PAD.decode(entry).map_err(|_| Refused::Malformed);
    Some(bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|_| Refused::Malformed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(authorization: Option<&str>, offered: &[&str]) -> Option<(Way, Result<String, Refused>)> {
        let headers = authorization.map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
        let headers = HeaderMap::from_iter(headers);
        in_handshake(&headers, offered.iter().copied()).map(|(way, token)| (way, token.map(Cow::into_owned)))
    }

    fn ok(way: Way, token: &str) -> (Way, Result<String, Refused>) {
        (way, Ok(token.to_owned()))
    }

    #[test]
    fn a_token_is_found_in_the_header_or_among_the_subprotocols() {
        let entry = format!("{SUBPROTOCOL_PREFIX}{}", URL_SAFE_NO_PAD.encode("a.b.c"));
        assert_eq!(shown(None, &[]), None);
        assert_eq!(shown(None, &["wscluster.v1.json"]), None);
        assert_eq!(shown(Some("Bearer a.b.c"), &[]), Some(ok(Way::Header, "a.b.c")));
        assert_eq!(shown(Some("bearer  a.b.c "), &[]), Some(ok(Way::Header, "a.b.c")));
        assert_eq!(shown(None, &["x", &entry]), Some(ok(Way::Subprotocol, "a.b.c")));
        assert_eq!(shown(Some("Basic x"), &[&entry]), Some(ok(Way::Subprotocol, "a.b.c")));
        assert_eq!(shown(Some("Bearer d.e.f"), &[&entry]), Some(ok(Way::Header, "d.e.f")));
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_refused() {
        let malformed = Some((Way::Subprotocol, Err(Refused::Malformed)));
        for entries in [&["wscluster.bearer.a.b.c"][..], &["wscluster.bearer.YQ=="], &["wscluster.bearer._w"]] {
            assert_eq!(shown(None, entries), malformed, "{entries:?}");
        }
        assert_eq!(shown(None, &["wscluster.bearer.YQ", "wscluster.bearer.Yg"]), malformed, "which one?");
    }
}
