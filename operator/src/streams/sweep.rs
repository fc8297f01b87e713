//! The trim sweep: keeps streams that only others write to within their bounds. Works in bounded steps, so that neither
//! Redis nor the operator is ever busy with it for long.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult};
use wscluster_crds::spec::TrimPolicy;

use super::rules::{Rule, Rules};

/// Keys asked of one `SCAN`.
const PAGE: usize = 200;
/// Streams looked at in one step.
const STEP_STREAMS: usize = 20_000;
/// Time that one step may take.
const STEP_TIME: Duration = Duration::from_secs(5);

/// What the sweep found, over one whole pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Streams that exist.
    pub rooms: i64,
    /// Entries trimmed.
    pub trimmed: i64,
    /// Streams removed because nobody wrote to them.
    pub removed: i64,
    /// Shortest time in milliseconds that a stream holds which lost entries.
    pub shortest_hold: Option<i64>,
}

/// Where the sweep is.
#[derive(Default)]
pub struct Sweep {
    cursor: u64,
    current: Pass,
}

/// What one step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Entries trimmed in this step.
    pub trimmed: i64,
    /// Streams removed in this step.
    pub removed: i64,
    /// The pass that this step completed.
    pub finished: Option<Pass>,
}

impl Sweep {
    /// Goes on from where it was, until the pass is complete or the step's bounds are reached.
    pub async fn step(&mut self, redis: &mut MultiplexedConnection, rules: &Rules) -> RedisResult<Step> {
        let (started, mut seen, mut step) = (Instant::now(), 0, Step::default());
        while seen < STEP_STREAMS && started.elapsed() < STEP_TIME {
            let (cursor, keys) = page(redis, rules, self.cursor).await?;
            seen += keys.len();
            for answer in keep(redis, rules, &keys).await? {
                self.count(answer, &mut step);
            }
            self.cursor = cursor;
            if cursor == 0 {
                step.finished = Some(std::mem::take(&mut self.current));
                break;
            }
        }
        Ok(step)
    }

    fn count(&mut self, (trimmed, removed, exists, holds): Answer, step: &mut Step) {
        step.trimmed += trimmed;
        step.removed += removed;
        let pass = &mut self.current;
        pass.trimmed += trimmed;
        pass.removed += removed;
        pass.rooms += exists;
        if holds >= 0 {
            pass.shortest_hold = Some(pass.shortest_hold.map_or(holds, |shortest| shortest.min(holds)));
        }
    }
}

type Answer = (i64, i64, i64, i64);

async fn page(redis: &mut MultiplexedConnection, rules: &Rules, cursor: u64) -> RedisResult<(u64, Vec<Vec<u8>>)> {
    let mut scan = redis::cmd("SCAN");
    scan.arg(cursor).arg("MATCH").arg(rules.pattern()).arg("COUNT").arg(PAGE).arg("TYPE").arg("stream");
    scan.query_async(redis).await
}

async fn keep(redis: &mut MultiplexedConnection, rules: &Rules, keys: &[Vec<u8>]) -> RedisResult<Vec<Answer>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = Pipeline::with_capacity(keys.len());
    for key in keys {
        pipeline.add_command(command(key, rules.of(key)));
    }
    pipeline.query_async(redis).await
}

fn command(key: &[u8], rule: Rule) -> Cmd {
    let (by, amount) = match rule.policy {
        TrimPolicy::MaxLen { entries } => ("MAXLEN", entries),
        TrimPolicy::MaxAge { seconds } => ("MINID", seconds * 1000),
    };
    let mut eval = redis::cmd("EVAL");
    eval.arg(include_str!("sweep.lua")).arg(1).arg(key);
    eval.arg(by).arg(if rule.approximate { "~" } else { "=" }).arg(amount).arg(rule.idle_ttl_seconds * 1000);
    eval
}
