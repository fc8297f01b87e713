//! Reconciles WsCluster resources into gateway fleets.
