//! Whether a server that answers again still has everything that it had acknowledged: another process may have lost
//! what was not yet written down, another master what was not yet replicated.

use redis::aio::MultiplexedConnection;

use super::place::Place;

/// One run of one server (`run_id`, <https://redis.io/docs/latest/commands/info/>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    place: Place,
    run: String,
    /// Every write was on disk before it was acknowledged.
    durable: bool,
}

impl Life {
    /// Whether what another life had acknowledged is in this one for certain.
    pub(super) fn follows(&self, before: &Self) -> bool {
        self.run == before.run || (self.place == before.place && self.durable)
    }
}

/// Asks a server; `None` where it may not be asked.
pub(super) async fn of(connection: &mut MultiplexedConnection, place: &Place) -> Option<Life> {
    let info: String = redis::cmd("INFO").arg("server").query_async(connection).await.ok()?;
    let run = info.lines().find_map(|line| line.strip_prefix("run_id:"))?.trim().to_owned();
    Some(Life { place: place.clone(), run, durable: durable(connection).await })
}

async fn durable(connection: &mut MultiplexedConnection) -> bool {
    let mut is = async |setting: &str, value: &str| {
        let answer: Result<Vec<String>, _> = redis::cmd("CONFIG").arg("GET").arg(setting).query_async(connection).await;
        answer.is_ok_and(|answer| answer.get(1).is_some_and(|found| found == value))
    };
    is("appendonly", "yes").await && is("appendfsync", "always").await
}

/// Whether it is a master (`ROLE`). One that may not be asked is believed.
pub(super) async fn is_master(connection: &mut MultiplexedConnection) -> bool {
    let role: Result<Vec<redis::Value>, _> = redis::cmd("ROLE").query_async(connection).await;
    let word = role.ok().and_then(|items| redis::from_redis_value::<String>(items.into_iter().next()?).ok());
    word.is_none_or(|word| word == "master")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_keeps_everything_only_where_every_write_was_on_disk() {
        let life =
            |port, run: &str, durable| Life { place: Place { host: "a".into(), port }, run: run.into(), durable };
        for (before, after, follows) in [
            (life(1, "x", false), life(1, "x", false), true),
            (life(1, "x", false), life(1, "y", false), false),
            (life(1, "x", true), life(1, "y", true), true),
            (life(1, "x", true), life(2, "y", true), false),
        ] {
            assert_eq!(after.follows(&before), follows, "{before:?} {after:?}");
        }
    }
}
