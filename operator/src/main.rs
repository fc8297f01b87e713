//! Reconciles WsCluster resources into gateway fleets.

fn main() {}
