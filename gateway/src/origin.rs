//! Which pages a browser may connect from (RFC 6454).

use http::{HeaderMap, header};

/// Only browsers send an origin, and only they can be made to connect by a page that the user visits.
pub(crate) fn allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    if !allowed.is_empty() {
        return allowed.iter().any(|pattern| matches(pattern, origin));
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let same = origin.split_once("://").map(|(_, rest)| rest);
    matches!((host, same), (Some(host), Some(same)) if host.eq_ignore_ascii_case(same))
}

fn matches(pattern: &str, origin: &str) -> bool {
    let Some((scheme, parent)) = pattern.split_once("://*.") else { return pattern.eq_ignore_ascii_case(origin) };
    let Some((origin_scheme, host)) = origin.split_once("://") else { return false };
    let Some(split) = host.len().checked_sub(parent.len()) else { return false };
    let (sub, same) = (host.get(..split), host.get(split..));
    scheme.eq_ignore_ascii_case(origin_scheme)
        && same.is_some_and(|same| same.eq_ignore_ascii_case(parent))
        && sub.is_some_and(|sub| sub.len() > 1 && sub.ends_with('.') && !sub.contains(['/', '@', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn origins_are_matched_exactly_or_by_subdomain() {
        let cases = [
            ("https://example.com", "https://example.com", true),
            ("https://example.com", "https://EXAMPLE.com", true),
            ("https://example.com", "http://example.com", false),
            ("https://example.com", "https://example.com:8443", false),
            ("https://example.com", "https://a.example.com", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*.example.com", "https://a.example.com.evil.com", false),
            ("https://*.example.com", "https://evil.com/.example.com", false),
            ("https://*.example.com", "http://a.example.com", false),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            ("https://*.example.com", "null", false),
        ];
        for (pattern, origin, expect) in cases {
            let allowed = [pattern.to_owned()];
            assert_eq!(super::allowed(&headers(&[("origin", origin)]), &allowed), expect, "{pattern} {origin}");
        }
    }

    #[test]
    fn without_a_list_only_the_same_host_and_what_is_no_browser_may_come() {
        let allowed = |pairs: &[(&'static str, &str)]| super::allowed(&headers(pairs), &[]);
        assert!(allowed(&[]));
        assert!(allowed(&[("origin", "https://chat.example.com"), ("host", "chat.example.com")]));
        assert!(allowed(&[("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")]));
        assert!(!allowed(&[("origin", "http://127.0.0.1:8081"), ("host", "127.0.0.1:8080")]));
        assert!(!allowed(&[("origin", "https://evil.com"), ("host", "chat.example.com")]));
        assert!(!allowed(&[("origin", "null"), ("host", "chat.example.com")]));
        assert!(!allowed(&[("origin", "https://evil.com")]));
    }
}
