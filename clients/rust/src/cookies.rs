//! Cookies that gateways set, as far as a client of one address needs them (RFC 6265 section 5): names, values, `Max-Age`
//! and `Secure`. A browser keeps them by itself; a program that wants to find the gateway that it was on keeps them here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, header};

/// Cookies that are kept; what comes beyond is dropped.
const MOST: usize = 16;
/// Longest cookie that is kept, in bytes.
const LONGEST: usize = 4096;

/// Cookies. Clones share them: clients of one address may, as the tabs of a browser do.
#[derive(Clone, Default)]
pub struct CookieJar(Arc<Mutex<BTreeMap<String, Cookie>>>);

struct Cookie {
    value: String,
    secure: bool,
    until: Option<Instant>,
}

/// Values may be as good as a key.
impl std::fmt::Debug for CookieJar {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("CookieJar").field(&self.lock().keys()).finish()
    }
}

impl CookieJar {
    /// The value of a cookie, while it holds.
    pub fn get(&self, name: &str) -> Option<String> {
        let now = Instant::now();
        self.lock().get(name).filter(|cookie| cookie.holds(now)).map(|cookie| cookie.value.clone())
    }

    /// Whether no cookie is kept that holds.
    pub fn is_empty(&self) -> bool {
        let now = Instant::now();
        !self.lock().values().any(|cookie| cookie.holds(now))
    }

    /// Puts a cookie in that holds until another of its name comes.
    pub fn set(&self, name: impl Into<String>, value: impl Into<String>) {
        self.lock().insert(name.into(), Cookie { value: value.into(), secure: false, until: None });
    }

    /// What the next request says; `None` if nothing is kept.
    pub(crate) fn header(&self, tls: bool) -> Option<HeaderValue> {
        let now = Instant::now();
        let cookies = self.lock();
        let sent = cookies.iter().filter(|(_, cookie)| cookie.holds(now) && (tls || !cookie.secure));
        let pairs: Vec<String> = sent.map(|(name, cookie)| format!("{name}={}", cookie.value)).collect();
        HeaderValue::from_str(&pairs.join("; ")).ok().filter(|_| !pairs.is_empty())
    }

    /// Takes what an answer sets.
    pub(crate) fn take(&self, headers: &HeaderMap, tls: bool) {
        let lines = headers.get_all(header::SET_COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        for (name, cookie) in lines.filter_map(|line| parse(line, Instant::now())) {
            let mut cookies = self.lock();
            if cookie.until.is_some_and(|until| until <= Instant::now()) {
                cookies.remove(&name);
            } else if (tls || !cookie.secure) && (cookies.len() < MOST || cookies.contains_key(&name)) {
                cookies.insert(name, cookie);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Cookie>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cookie {
    fn holds(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// One `Set-Cookie` line. What it says of paths and domains is not looked at: one address is asked, at one path.
fn parse(line: &str, now: Instant) -> Option<(String, Cookie)> {
    let mut parts = line.split(';').map(str::trim);
    let (name, value) = parts.next()?.split_once('=').map(|(name, value)| (name.trim(), value.trim()))?;
    if name.is_empty() || line.len() > LONGEST {
        return None;
    }
    let mut cookie = Cookie { value: value.to_owned(), secure: false, until: None };
    for part in parts {
        match part.split_once('=') {
            Some((key, seconds)) if key.eq_ignore_ascii_case("max-age") => {
                let seconds = seconds.parse::<i64>().unwrap_or(0).clamp(0, 400 * 86_400);
                cookie.until = Some(now + Duration::from_secs(seconds.unsigned_abs()));
            }
            None if part.eq_ignore_ascii_case("secure") => cookie.secure = true,
            _ => {}
        }
    }
    Some((name.to_owned(), cookie))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(lines: &[&str], tls: bool) -> CookieJar {
        let jar = CookieJar::default();
        take(&jar, lines, tls);
        jar
    }

    fn take(jar: &CookieJar, lines: &[&str], tls: bool) {
        let lines = lines.iter().map(|line| (header::SET_COOKIE, line.parse().unwrap()));
        jar.take(&lines.collect(), tls);
    }

    fn header(jar: &CookieJar, tls: bool) -> Option<String> {
        jar.header(tls).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn what_was_set_is_sent_and_what_is_set_anew_takes_its_place() {
        let jar = jar(&["wscluster=v1.a.b.c; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax", "theme=dark"], false);
        assert_eq!(header(&jar, false).as_deref(), Some("theme=dark; wscluster=v1.a.b.c"));
        take(&jar, &["wscluster=new; max-age=5"], false);
        assert_eq!((jar.get("wscluster").as_deref(), jar.is_empty()), (Some("new"), false));
        take(&jar, &["wscluster=; Max-Age=0", "theme=x; Max-Age=-1"], false);
        assert_eq!((header(&jar, false), jar.get("theme"), jar.is_empty()), (None, None, true));
    }

    #[test]
    fn a_cookie_for_tls_goes_over_tls_alone() {
        let secure = ["a=1; Secure", "b=2"];
        assert_eq!(header(&jar(&secure, false), false).as_deref(), Some("b=2"));
        let jar = jar(&secure, true);
        assert_eq!(header(&jar, true).as_deref(), Some("a=1; b=2"));
        assert_eq!(header(&jar, false).as_deref(), Some("b=2"));
    }

    #[test]
    fn what_is_none_is_not_kept_and_the_jar_is_bounded() {
        let long = format!("a={}", "x".repeat(LONGEST));
        assert_eq!(header(&jar(&["", "a", "=b", "; Secure", &long], false), false), None);
        let many: Vec<String> = (0..MOST + 5).map(|n| format!("c{n:02}=v")).collect();
        let jar = jar(&many.iter().map(String::as_str).collect::<Vec<_>>(), false);
        assert_eq!(jar.lock().len(), MOST);
        take(&jar, &["c00=w"], false);
        assert_eq!(jar.get("c00").as_deref(), Some("w"));
        assert!(!format!("{jar:?}").contains("=w") && format!("{jar:?}").contains("c00"));
    }

    #[test]
    fn a_cookie_ends() {
        let (_, cookie) = parse("a=1; Max-Age=2", Instant::now()).unwrap();
        let until = cookie.until.unwrap();
        assert!(cookie.holds(until.checked_sub(Duration::from_millis(1)).unwrap()) && !cookie.holds(until));
    }
}
