//! The `Set-Cookie` header (RFC 6265 section 4.1) that carries the affinity cookie. Knows nothing of what the value says.

use http::HeaderValue;

use crate::config::{Cookie, SameSite};

/// The header's value. `None` if the cookie's name or value cannot stand in a header, which the settings rule out.
pub fn header(cookie: &Cookie, value: &str) -> Option<HeaderValue> {
    let Cookie { name, max_age_seconds, same_site, secure } = cookie;
    let same_site = match same_site {
        SameSite::Lax => "Lax",
        SameSite::Strict => "Strict",
        SameSite::None => "None",
    };
    let secure = if *secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={max_age_seconds}; HttpOnly; SameSite={same_site}{secure}");
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_documented() {
        let usual = header(&Cookie::default(), "v1.a.b.c").unwrap();
        assert_eq!(usual, "wscluster=v1.a.b.c; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax");
        let other = Cookie { name: "ws".into(), max_age_seconds: 5, same_site: SameSite::None, secure: true };
        assert_eq!(header(&other, "x").unwrap(), "ws=x; Path=/; Max-Age=5; HttpOnly; SameSite=None; Secure");
        let strict = Cookie { same_site: SameSite::Strict, ..Cookie::default() };
        assert!(header(&strict, "x").unwrap().to_str().unwrap().ends_with("; SameSite=Strict"));
    }
}
