//! Cookie affinity: a client that comes back finds the gateway that it was on. So far the cookie; who forwards to whom is
//! not here yet.

pub mod cookie;
