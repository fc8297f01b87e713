//! Runs the gateway: `run(listeners, settings, shutdown)`. Wires the parts; each decides for itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use crate::api;
use crate::proxy_protocol;
use crate::routes;
use crate::shared::{Parts, Shared};
use crate::socket::{Item, Stream, Withhold, Withholding};
use crate::tls::{self, Mode};

/// How long connections have to end after the gateway was told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// How long it may take to remove its sessions from the lists of members.
const PRESENCE_PATIENCE: Duration = Duration::from_secs(1);
/// How long it may take to send the last traces.
const TRACES_PATIENCE: Duration = Duration::from_secs(1);
/// How long a client may take to send its request.
const HEADER_PATIENCE: Duration = Duration::from_secs(10);

/// What the gateway needs from outside.
pub struct World {
    /// Where clients come in.
    pub public: TcpListener,
    /// Where operators and probes come in.
    pub admin: TcpListener,
    /// Where other gateways come in.
    pub peer: Option<TcpListener>,
    /// Where `wscluster-gateway drain` comes in.
    pub socket: Option<UnixListener>,
    /// What the gateway is made of.
    pub parts: Parts,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Move all sessions first.
    Drain,
    /// At once.
    Now,
}

/// Runs the gateway until it was told to stop and has done so. A second word on `shutdown` hurries it.
pub async fn run(world: World, mut shutdown: mpsc::Receiver<Shutdown>) {
    let shared = Shared::new(&world.parts);
    let stop = CancellationToken::new();
    let servers = TaskTracker::new();
    let public = routes::public(Arc::clone(&shared));
    let admin = routes::admin(Arc::clone(&shared), routes::Trust::Token);
    let local = routes::admin(Arc::clone(&shared), routes::Trust::Local);
    servers.spawn(serve_tcp(world.public, public, Some(Arc::clone(&shared)), stop.clone()));
    servers.spawn(serve_tcp(world.admin, admin, None, stop.clone()));
    if let Some(peer) = world.peer {
        servers.spawn(serve_tcp(peer, routes::peer(Arc::clone(&shared)), None, stop.clone()));
    }
    if let Some(socket) = world.socket {
        servers.spawn(serve_unix(socket, local, stop.clone()));
    }
    servers.spawn(stop.clone().run_until_cancelled_owned(api::follow_signals(Arc::clone(&shared))));
    let how = shutdown.recv().await.unwrap_or(Shutdown::Now);
    if how == Shutdown::Drain {
        leave(&shared, &mut shutdown).await;
    }
    shared.drain.close();
    shared.shards.tell_all(&Item::GoingAway);
    shared.drain.leave_elsewhere();
    let ended = async { tokio::join!(shared.connections.ended(), shared.affinity.forwards.ended()) };
    let _ = tokio::time::timeout(STOP_PATIENCE, ended).await;
    shared.shards.stop().await;
    shared.affinity.splicers.stop().await;
    shared.presence.stop(PRESENCE_PATIENCE).await;
    shared.hub.log().stop();
    stop.cancel();
    servers.close();
    let _ = tokio::time::timeout(STOP_PATIENCE, servers.wait()).await;
    shared.metrics.traces.stop(TRACES_PATIENCE).await;
    tracing::info!("stopped");
}

/// Drains until nobody is left, the deadline has passed, or someone is in a hurry. Being told to drain once more is no
/// hurry: whoever supervises processes may repeat it.
async fn leave(shared: &Arc<Shared>, shutdown: &mut mpsc::Receiver<Shutdown>) {
    shared.drain.start_to_exit();
    let hurried = async { while !matches!(shutdown.recv().await, Some(Shutdown::Now) | None) {} };
    tokio::select! {
        // Those at the deadline are told 1012, not 1001.
        _ = shared.drain.finished() => shared.shards.tell_all(&Item::DrainForced),
        () = hurried => {}
    }
}

/// `clients` is there where clients come in: the settings say whether a load balancer names them first.
async fn serve_tcp(listener: TcpListener, router: Router, clients: Option<Arc<Shared>>, stop: CancellationToken) {
    let make = router.into_make_service_with_connect_info::<SocketAddr>();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                tune(&stream);
                let (mut make, clients, stop) = (make.clone(), clients.clone(), stop.clone());
                tokio::spawn(async move {
                    let Some((stream, peer)) = greet(stream, peer, clients.as_deref()).await else { return };
                    let Ok(service) = make.call(peer).await;
                    let withhold = Withhold::default();
                    let stream = Withholding::new(stream, withhold.clone());
                    let service = service.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
                        request.extensions_mut().insert(withhold.clone());
                        request
                    });
                    serve_http(stream, service, stop).await;
                });
            }
            Err(error) => not_accepted(&error).await,
        }
    }
}

/// What comes before HTTP: word of who the client is, then TLS, each if the settings of now ask for it. `None`: the
/// connection is to be closed.
async fn greet(
    mut stream: TcpStream,
    peer: SocketAddr,
    clients: Option<&Shared>,
) -> Option<(Stream<TcpStream>, SocketAddr)> {
    let Some(shared) = clients else { return Some((stream.into(), peer)) };
    let peer = client_address(&mut stream, peer, shared).await?;
    let stream = match shared.certificates.mode() {
        Mode::Plain => stream.into(),
        Mode::Secured(config) => {
            let rate = shared.config().limits.handshakes_per_second;
            tls::accept(stream, peer, config, &shared.tls_handshakes, rate).await?
        }
        Mode::Unavailable => {
            shared.tls_handshakes.unavailable(peer);
            return None;
        }
    };
    Some((stream, peer))
}

/// Who the client is: the other end, or whom the load balancer names. `None`: it should have named one, and did not.
async fn client_address(stream: &mut TcpStream, peer: SocketAddr, shared: &Shared) -> Option<SocketAddr> {
    if !shared.config().proxy_protocol {
        return Some(peer);
    }
    match proxy_protocol::read(stream).await {
        Ok(named) => Some(named.unwrap_or(peer)),
        // A health check that only connects.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => None,
        Err(error) => {
            tracing::info!(peer = %peer.ip(), %error, "a connection without PROXY header was closed");
            shared.metrics.rejected("proxy_protocol");
            None
        }
    }
}

async fn serve_unix(listener: UnixListener, router: Router, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(serve_http(stream, router.clone(), stop.clone()));
            }
            Err(error) => not_accepted(&error).await,
        }
    }
}

/// Out of file descriptors, or a client that was gone already: accepting goes on, but not in a busy loop.
async fn not_accepted(error: &std::io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Bounds what the kernel buffers for one client, and sends small frames at once. Set for each: a bound that is inherited from
/// the listener does not keep the kernel from letting the buffer grow.
fn tune(stream: &TcpStream) {
    const SEND_BUFFER: usize = 128 * 1024;
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(stream).set_send_buffer_size(SEND_BUFFER);
}

async fn serve_http<S, T>(stream: S, service: T, stop: CancellationToken)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: Service<
            http::Request<hyper::body::Incoming>,
            Response = axum::response::Response,
            Error = std::convert::Infallible,
        > + Clone
        + Send
        + 'static,
    T::Future: Send,
{
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
