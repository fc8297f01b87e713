//! Fetches a key set: one GET, bounded in time and size. Follows no redirect: what is trusted is the address that was
//! configured.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::https;

/// Largest key set that is read, in bytes.
pub(super) const MOST_BYTES: usize = 256 * 1024;

/// What was fetched.
pub(super) struct Fetched {
    pub(super) body: Bytes,
    /// How long it is good, if its server says so (RFC 9111 section 5.2.2.1).
    pub(super) max_age: Option<Duration>,
}

/// A client for key sets.
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: http::Uri,
}

impl Fetcher {
    pub(super) fn new(url: http::Uri) -> Self {
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https::connector());
        Self { client, url }
    }

    /// One attempt.
    pub(super) async fn fetch(&self, patience: Duration) -> Result<Fetched, String> {
        let attempt = tokio::time::timeout(patience, self.attempt()).await;
        attempt.map_err(|_| format!("no answer within {} s", patience.as_secs_f32()))?
    }

    async fn attempt(&self) -> Result<Fetched, String> {
        let request = Request::get(self.url.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, "wscluster-gateway")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| https::chain(&error))?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => {
                return Err(format!("answered {status}: redirects are not followed; set the final address"));
            }
            status => return Err(format!("answered {status}")),
        }
        let max_age = max_age(response.headers());
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body =
            body.map_err(|error| format!("cannot be read ({error}); at most {MOST_BYTES} bytes are"))?.to_bytes();
        Ok(Fetched { body, max_age })
    }
}

fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|line| line.to_str().ok());
    let mut directives = lines.flat_map(|line| line.split(',')).map(str::trim);
    let seconds = directives.find_map(|each| each.strip_prefix("max-age=")?.trim_matches('"').parse().ok());
    seconds.map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_read_from_cache_control() {
        let age = |text: &str| max_age(&HeaderMap::from_iter([(header::CACHE_CONTROL, text.parse().unwrap())]));
        assert_eq!(age("public, max-age=600, must-revalidate"), Some(Duration::from_mins(10)));
        assert_eq!(age("max-age=\"5\""), Some(Duration::from_secs(5)));
        for none in ["no-cache", "max-age=soon", "max-age=-1", "s-maxage=5"] {
            assert_eq!(age(none), None, "{none}");
        }
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
