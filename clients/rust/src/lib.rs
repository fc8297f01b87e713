//! A WsCluster client: resumes, deduplicates and moves between gateways without a gap.
