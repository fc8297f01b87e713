//! What is known of a cluster's Redis. Plain data.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use wscluster_crds::WsClusterStatus;
use wscluster_crds::status::condition;

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

impl Report {
    /// What is known before Redis at `host` is asked: what another operator wrote into the status last, if that was that
    /// it answers. So a successor has nothing to write while nothing has changed.
    pub fn remembered(status: Option<&WsClusterStatus>, host: String) -> Self {
        let Some((status, redis)) = status.and_then(|status| Some((status, status.redis.as_ref()?))) else {
            return Self::default();
        };
        let begun = Self { trimmed_entries: redis.trimmed_entries.unwrap_or_default(), ..Self::default() };
        let reachability = Reachability::Reachable {
            mode: redis.mode.clone().unwrap_or_default(),
            version: redis.version.clone().unwrap_or_default(),
        };
        let whole = Self {
            reachability,
            host,
            rooms: redis.rooms,
            headroom_seconds: redis.retention_headroom_seconds,
            ..begun.clone()
        };
        // It may have been about another host, or told of a failing sweep.
        let (answer, told) = (whole.answer(), condition::REDIS_REACHABLE);
        let same =
            |each: &Condition| each.type_ == told && each.status == "True" && Some(&each.message) == answer.as_ref();
        if status.conditions.iter().any(same) { whole } else { begun }
    }

    /// That it answers, in words; nothing where it does not.
    pub fn answer(&self) -> Option<String> {
        let Reachability::Reachable { mode, version } = &self.reachability else { return None };
        let failing = self.sweep_failure.as_ref().map(|why| format!(", but the trim sweep fails: {why}"));
        Some(format!("Redis {version} ({mode}) at {} answers{}", self.host, failing.unwrap_or_default()))
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const HOST: &str = "redis.default.svc:6379";

    fn status(told: &str, message: &str) -> WsClusterStatus {
        serde_json::from_value(json!({
            "redis": {"reachable": true, "mode": "standalone", "version": "7.4", "rooms": 7, "trimmedEntries": 9,
                "retentionHeadroomSeconds": 11},
            "conditions": [{"type": "RedisReachable", "status": told, "reason": "R", "message": message,
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }))
        .unwrap()
    }

    #[test]
    fn what_was_written_down_of_this_redis_holds_until_it_is_asked() {
        let message = format!("Redis 7.4 (standalone) at {HOST} answers");
        let report = Report::remembered(Some(&status("True", &message)), HOST.into());
        assert_eq!(report.answer(), Some(message.clone()));
        assert_eq!((report.rooms, report.trimmed_entries, report.headroom_seconds), (Some(7), 9, Some(11)));
        for (told, message) in [
            ("False", message.as_str()),
            ("True", "Redis 7.4 (standalone) at elsewhere:6379 answers"),
            ("True", &format!("{message}, but the trim sweep fails: it is full")),
        ] {
            let report = Report::remembered(Some(&status(told, message)), HOST.into());
            assert_eq!((report.reachability, report.trimmed_entries), (Reachability::Unchecked, 9), "{message}");
        }
        assert_eq!(Report::remembered(None, HOST.into()), Report::default());
    }
}
