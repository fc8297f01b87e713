//! How spans reach their receiver: by the HTTP client that is here already, on the gateway's own runtime. Whether the
//! receiver is there is said once, when that changes.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

use super::PATIENCE;
use crate::https;

/// Largest answer that is read, in bytes.
const MOST_BYTES: usize = 64 * 1024;

/// A client for one receiver.
#[derive(Debug)]
pub(super) struct Client {
    http: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
    /// Whether the last request was taken; told when it changes.
    lost: AtomicBool,
}

impl Client {
    /// Must be made within a tokio runtime.
    pub(super) fn new() -> Self {
        let http = Http::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(https::connector());
        Self { http, runtime: Handle::current(), lost: AtomicBool::new(false) }
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    /// Called by the exporter's own thread, which knows no runtime.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sending = send(self.http.clone(), request.map(Full::new));
        // The timer, too, must be made within the runtime: without one it panics, and the gateway with it.
        let sending = async move { tokio::time::timeout(PATIENCE, sending).await };
        let answer = match self.runtime.spawn(sending).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            Err(_) => Err("the gateway stops".into()),
        };
        let fault = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("answered {}", answer.status())),
            Err(fault) => Some(fault.clone()),
        };
        self.tell(fault.as_deref());
        answer.map_err(Into::into)
    }
}

impl Client {
    fn tell(&self, fault: Option<&str>) {
        match (self.lost.swap(fault.is_some(), Relaxed), fault) {
            (false, Some(reason)) => tracing::warn!(reason, "traces cannot be delivered; what is collected is dropped"),
            (true, None) => tracing::info!("traces are delivered again"),
            _ => {}
        }
    }
}

async fn send(
    http: Http<HttpsConnector<HttpConnector>, Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, String> {
    let (head, body) = http.request(request).await.map_err(|error| https::chain(&error))?.into_parts();
    let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|error| error.to_string())?;
    Ok(Response::from_parts(head, body.to_bytes()))
}
