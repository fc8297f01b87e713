//! The WebSocket gateway: rooms on Redis Streams, delivered to local sockets.

fn main() {}
