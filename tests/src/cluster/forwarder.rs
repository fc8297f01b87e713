//! The way in from the machine, in node 1's keeper: listeners on 127.0.0.1 outside whose connections are dialled inside.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use super::balancer;
use super::layout::{API_PORT, Layout, node_address};
use super::pki;
use crate::cache::write_atomically;

/// Runs until the keeper ends.
pub(super) fn run(layout: &Layout, namespace: &File) -> Result<()> {
    let inside = Arc::new(runtime_in(namespace)?);
    let outside = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let layout = layout.clone();
    let dialler = Dialler { inside: inside.handle().clone() };
    outside.block_on(async move {
        let before = fs::read_to_string(layout.api_port()).ok().and_then(|text| text.trim().parse().ok());
        let target = SocketAddr::from((node_address(1), API_PORT));
        let api = Forward::listen(&dialler, target, before).await?;
        let server = format!("https://127.0.0.1:{}", api.port);
        pki::kubeconfig(&layout, "admin", &server, &layout.kubeconfig())?;
        write_atomically(&layout.api_port(), api.port.to_string().as_bytes())?;
        balancer::run(&layout, &dialler).await
    })
}

/// A runtime whose threads are in a network namespace. What its tasks connect to, they see from there.
pub(super) fn runtime_in(namespace: &File) -> Result<Runtime> {
    let namespace = namespace.try_clone()?;
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .on_thread_start(move || {
            if let Err(error) = setns(&namespace, CloneFlags::CLONE_NEWNET) {
                eprintln!("cannot enter the node's network: {error}");
                std::process::abort();
            }
        })
        .build()
        .context("cannot start a runtime in the node's network")
}

/// Connects from inside the node.
#[derive(Clone, Debug)]
pub(super) struct Dialler {
    inside: Handle,
}

impl Dialler {
    /// The runtime inside the node.
    pub(super) fn inside(&self) -> &Handle {
        &self.inside
    }

    async fn connect(&self, target: SocketAddr) -> Result<TcpStream> {
        Ok(self.inside.spawn(TcpStream::connect(target)).await??)
    }
}

/// A listener on 127.0.0.1 that leads to an address inside, until it is dropped.
#[derive(Debug)]
pub(super) struct Forward {
    /// The port of 127.0.0.1.
    pub port: u16,
    task: JoinHandle<()>,
}

impl Forward {
    /// Listens on the preferred port if it is free, else on any.
    pub(super) async fn listen(dialler: &Dialler, target: SocketAddr, preferred: Option<u16>) -> Result<Self> {
        let on = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = match on(preferred.unwrap_or(0)).await {
            Ok(listener) => listener,
            Err(_) => on(0).await.context("cannot listen on 127.0.0.1")?,
        };
        let port = listener.local_addr()?.port();
        let dialler = dialler.clone();
        let task = tokio::spawn(async move {
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(splice(dialler.clone(), stream, target));
                }
            }
        });
        Ok(Self { port, task })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A target that refuses shows as a connection that is closed at once.
async fn splice(dialler: Dialler, mut outer: TcpStream, target: SocketAddr) {
    let Ok(mut inner) = dialler.connect(target).await else { return };
    let _ = outer.set_nodelay(true);
    let _ = inner.set_nodelay(true);
    let _ = copy_bidirectional(&mut outer, &mut inner).await;
}
