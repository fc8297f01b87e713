//! Every limit of the gateway at, below and above it, over real sockets.

mod admission;
mod requests;
#[path = "../support/mod.rs"]
mod support;
mod waiting;
