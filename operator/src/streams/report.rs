//! What is known of a cluster's Redis. Plain data.

/// What is known of a cluster's Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Host and port, without credentials.
    pub host: String,
    /// Whether it answers.
    pub reachability: Reachability,
    /// Streams under the key prefix, after a whole pass of the sweep.
    pub rooms: Option<i64>,
    /// Entries that the sweep has trimmed.
    pub trimmed_entries: i64,
    /// Shortest time that a trimmed room holds, less the resume window.
    pub headroom_seconds: Option<i64>,
    /// Why the sweep fails while Redis answers.
    pub sweep_failure: Option<String>,
}

/// Whether Redis answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reachability {
    /// It was not asked yet.
    #[default]
    Unchecked,
    /// It answers.
    Reachable {
        /// `standalone`, `sentinel` or `cluster`.
        mode: String,
        /// The server's version.
        version: String,
    },
    /// It does not.
    Failed {
        /// What kind of failure.
        fault: Fault,
        /// Why, without credentials.
        message: String,
    },
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or it broke.
    Connection,
    /// Credentials are missing or wrong.
    Authentication,
    /// The URL makes no sense.
    Address,
    /// The operator cannot talk to this kind of Redis yet.
    Unsupported,
}
