//! A WsCluster client: resumes, deduplicates and moves between gateways without a gap.
//!
//! It speaks `wscluster.v1.json`. A [`Client`] holds one *session*: the connection below it may break, be drained
//! or be replaced by another while the application goes on reading one ordered stream of [`Event`]s per room.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use wscluster_client::{Client, Event};
//!
//! let (client, mut events) = Client::builder("ws://127.0.0.1:8080/ws").connect()?;
//! client.subscribe("lobby", None);
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Subscribed { .. } => {
//!             let id = client.publish("lobby", &serde_json::json!({"text": "hello"}))?.await?;
//!             println!("published as {id}");
//!         }
//!         Event::Message { room, id, payload, .. } => println!("{room} {id} {payload}"),
//!         other => println!("{other:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What decides (`core`, [`after_close`], [`Backoff`]) knows neither sockets nor clocks; what does IO (`driver`,
//! `socket`) decides nothing.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod backoff;
mod client;
mod close;
mod cookies;
mod core;
mod driver;
mod event;
mod frame;
mod id;
mod socket;
mod tls;
mod token;

pub use backoff::Backoff;
pub use client::{Asking, BuildError, Builder, Client, Events, Publishing, Subscribe};
pub use close::{Retry, after_close, after_refusal};
pub use cookies::CookieJar;
pub use event::{Event, History, Listing, Member, Past, PublishError, RequestError};
pub use id::{InvalidId, MessageId};

/// The WebSocket subprotocol that this client speaks.
pub const SUBPROTOCOL: &str = "wscluster.v1.json";
