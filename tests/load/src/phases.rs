//! What happens in which order, and what each part of it cost: CPU time of the server per delivery, latencies, memory.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::engine::Engine;
use crate::measure::{Cpu, anonymous_bytes, open_files, slab_bytes};
use crate::options::Phase;
use crate::recorder::Recorder;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;
/// A server that does nothing for so long will not do it.
const PATIENCE: u64 = 3 * SECOND;
/// What an overloaded server may still deliver after the last message was sent is waited for so long.
const LONGEST_BACKLOG: u64 = 15 * SECOND;
/// Each rate runs for a while before it counts: compilers that work at run time, caches, buffers.
const WARM_UP: Duration = Duration::from_secs(1);

/// Sessions that are there before the others come.
const SCOUTS: u32 = 1;

/// Figures by name; the name says the unit.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// What came out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    sessions: u32,
    connect: Figures,
    phases: Vec<Outcome>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    figures: Figures,
}

/// Connects everybody and does what was asked for.
pub(crate) fn run(engine: &mut Engine) -> Result<Report> {
    let memory = Memory::now(engine)?;
    let connect = connect(engine, &memory)?;
    let mut phases = Vec::new();
    for phase in engine.options().phases.clone() {
        eprintln!("{phase:?}");
        let figures = match phase {
            Phase::Idle { time } => idle(engine, time, &memory)?,
            Phase::Rate { per_second, time } => rate(engine, per_second, time)?,
            Phase::Saturate { in_flight, time } => saturate(engine, in_flight, time)?,
            Phase::Reconnect { per_second } => reconnect(engine, per_second)?,
        };
        phases.push(Outcome { figures });
    }
    Ok(Report { sessions: engine.options().sessions(), connect, phases })
}

fn connect(engine: &mut Engine, memory: &Memory) -> Result<Figures> {
    let total = engine.options().sessions() + engine.options().publishers();
    let concurrent = engine.options().connecting as u32;
    scout(engine)?;
    let before = Costs::now(engine)?;
    let (mut progress, mut told) = ((0, engine.now()), engine.now());
    while engine.live + engine.failed < total {
        while engine.opened() < total && engine.opened() - engine.live - engine.failed < concurrent {
            engine.open()?;
        }
        engine.turn(engine.now() + 100 * MILLISECOND)?;
        let now = engine.now();
        if engine.live > progress.0 {
            progress = (engine.live, now);
        } else if now - progress.1 > 10 * PATIENCE {
            if engine.options().count_failures {
                break; // what is missing is reported
            }
            bail!("{} of {total} sessions are there, and no more come", engine.live);
        }
        if now - told > 5 * SECOND {
            told = now;
            eprintln!("{} of {total} sessions are there", engine.live);
        }
    }
    let spent = Costs::now(engine)?.since(&before);
    rest(engine, SECOND)?; // timers and garbage of the handshakes
    let mut figures = memory.per_connection(engine)?;
    figures.extend(handshakes(engine, &spent, total - SCOUTS, engine.live.saturating_sub(SCOUTS)));
    Ok(figures)
}

/// The first session comes alone, until it is let in: a server that listens may not have all that it needs yet, and is not
/// measured for that.
fn scout(engine: &mut Engine) -> Result<()> {
    engine.scouting = true;
    engine.open()?;
    let until = engine.now() + 10 * PATIENCE;
    while engine.live < SCOUTS {
        if engine.now() > until {
            bail!("not even one session could join: {}", engine.first_failure);
        }
        if std::mem::take(&mut engine.failed) > 0 {
            rest(engine, 20 * MILLISECOND)?;
            engine.open_at(0, engine.now())?;
        }
        engine.turn(engine.now() + 100 * MILLISECOND)?;
    }
    engine.scouting = false;
    engine.first_failure.clear();
    engine.joined.reset();
    Ok(())
}

/// Of so many handshakes, of which so many succeeded.
fn handshakes(engine: &Engine, spent: &Spent, total: u32, succeeded: u32) -> Figures {
    let mut figures = spent.percentages();
    let after = |quantile| engine.joined.value_at_quantile(quantile) as f64 / 1e3;
    figures.insert("cpuMicrosPerHandshake", spent.server / 1e3 / f64::from(succeeded.max(1)));
    figures.insert("handshakesPerSecond", f64::from(succeeded) / spent.seconds);
    figures.insert("connectP50Ms", after(0.5));
    figures.insert("connectP99Ms", after(0.99));
    figures.insert("connectMaxMs", after(1.0));
    figures.insert("failures", f64::from(total.saturating_sub(succeeded)));
    figures
}

/// All members leave at once. When the server has noticed they come back, each at its time.
fn reconnect(engine: &mut Engine, per_second: f64) -> Result<Figures> {
    let total = engine.options().sessions();
    leave(engine)?;
    (engine.failed, engine.refused) = (0, 0);
    engine.joined.reset();
    let others = engine.live;
    let before = Costs::now(engine)?;
    let begin = engine.now() + MILLISECOND;
    for index in 0..total {
        let due = begin + (f64::from(index) / per_second * 1e9) as u64;
        while engine.now() < due {
            engine.turn(due)?;
        }
        engine.open_at(index, due)?;
    }
    let mut progress = (0, engine.now());
    while engine.live.saturating_sub(others) + engine.failed < total && engine.now() - progress.1 < 10 * PATIENCE {
        engine.turn(engine.now() + 100 * MILLISECOND)?;
        if engine.live > progress.0 {
            progress = (engine.live, engine.now());
        }
    }
    let back = engine.live.saturating_sub(others);
    if back == 0 {
        bail!("nobody came back: {}", engine.first_failure);
    }
    let spent = Costs::now(engine)?.since(&before);
    Ok(handshakes(engine, &spent, total, back))
}

/// Ends all members' connections, and waits until the server has let go of them.
fn leave(engine: &mut Engine) -> Result<()> {
    let held = open_files(engine.options().server)?;
    let before = engine.live;
    engine.drop_members();
    let left = held.saturating_sub(u64::from(before - engine.live) * 99 / 100);
    let until = engine.now() + 10 * PATIENCE;
    while open_files(engine.options().server)? > left {
        if engine.now() > until {
            bail!("the server still holds the connections that its clients have ended");
        }
        rest(engine, 20 * MILLISECOND)?;
    }
    Ok(())
}

fn idle(engine: &mut Engine, time: Duration, memory: &Memory) -> Result<Figures> {
    let before = Costs::now(engine)?;
    rest(engine, time.as_nanos() as u64)?;
    let spent = Costs::now(engine)?.since(&before);
    let mut figures = memory.per_connection(engine)?;
    figures.extend(spent.percentages());
    figures.insert("closedOrRefused", engine.refused as f64);
    Ok(figures)
}

fn rate(engine: &mut Engine, per_second: f64, time: Duration) -> Result<Figures> {
    paced(engine, per_second, WARM_UP.min(time))?;
    let refused = engine.refused;
    let before = Costs::now(engine)?;
    let Paced { published, backlog, peak } = paced(engine, per_second, time)?;
    let spent = Costs::now(engine)?.since(&before);
    let mut figures = spent.percentages();
    let recorder = &engine.recorder;
    let expected = published * u64::from(engine.options().readers());
    figures.insert("cpuMicrosPerDelivery", spent.server / 1e3 / recorder.deliveries().max(1) as f64);
    figures.insert("redisCpuMicrosPerEntry", spent.redis / 1e3 / published as f64);
    figures.insert("deliveriesPerSecond", recorder.deliveries() as f64 / spent.seconds);
    figures.insert("p50Ms", recorder.latency_ms(0.5));
    figures.insert("p99Ms", recorder.latency_ms(0.99));
    figures.insert("lastP50Ms", recorder.last_ms(0.5));
    figures.insert("lastP99Ms", recorder.last_ms(0.99));
    figures.insert("backlogMs", backlog as f64 / 1e6);
    figures.insert("doubled", recorder.doubled() as f64);
    figures.insert("missing", expected.saturating_sub(recorder.deliveries() - recorder.doubled()) as f64);
    figures.insert("closedOrRefused", (engine.refused - refused) as f64);
    figures.insert("peakMegabytes", peak as f64 / 1e6);
    let (closed, stalled) = engine.wake_stalled();
    if stalled > 0 {
        figures.insert("stalledClosedPercent", f64::from(closed) * 100.0 / f64::from(stalled));
    }
    Ok(figures)
}

/// What came of publishing on schedule.
struct Paced {
    published: u64,
    /// Nanoseconds from the last message to its last delivery.
    backlog: u64,
    /// The most anonymous memory that the server was seen to hold.
    peak: u64,
}

/// Publishes on schedule, and waits until all is delivered.
fn paced(engine: &mut Engine, per_second: f64, time: Duration) -> Result<Paced> {
    let first = engine.published;
    let count = ((time.as_secs_f64() * per_second).round() as u64).max(1);
    engine.recorder = Recorder::new(first, engine.options().readers());
    let begin = engine.now() + MILLISECOND;
    let (mut due, mut looked, mut peak) = (begin, 0, 0);
    for message in 0..count {
        due = begin + (message as f64 / per_second * 1e9) as u64;
        loop {
            engine.turn(due)?;
            if engine.now() >= due {
                break;
            }
        }
        engine.publish(room(engine, first + message), due)?;
        if due - looked > 50 * MILLISECOND {
            (looked, peak) = (due, peak.max(anonymous_bytes(engine.options().server)?));
        }
    }
    wait(engine, count * u64::from(engine.options().readers()))?;
    Ok(Paced { published: count, backlog: engine.recorder.last_at().saturating_sub(due), peak })
}

/// Spread over the rooms without a pattern that a server could like.
fn room(engine: &Engine, number: u64) -> u32 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % engine.options().rooms
}

fn wait(engine: &mut Engine, deliveries: u64) -> Result<()> {
    let begin = engine.now();
    let mut progress = (engine.recorder.deliveries(), begin);
    while engine.recorder.deliveries() < deliveries {
        engine.turn(engine.now() + 10 * MILLISECOND)?;
        let now = engine.now();
        if engine.recorder.deliveries() > progress.0 {
            progress = (engine.recorder.deliveries(), now);
        }
        if now - progress.1 > PATIENCE || now - begin > LONGEST_BACKLOG {
            return Ok(()); // what is missing is reported
        }
    }
    Ok(())
}

fn saturate(engine: &mut Engine, in_flight: u32, time: Duration) -> Result<Figures> {
    let first = engine.published;
    engine.recorder = Recorder::new(first, engine.options().readers());
    let warm = engine.now() + WARM_UP.as_nanos() as u64;
    flood(engine, first, in_flight, warm)?;
    let before = Costs::now(engine)?;
    let delivered = engine.recorder.deliveries();
    flood(engine, first, in_flight, engine.now() + time.as_nanos() as u64)?;
    let spent = Costs::now(engine)?.since(&before);
    let deliveries = (engine.recorder.deliveries() - delivered) as f64;
    wait(engine, (engine.published - first) * u64::from(engine.options().readers()))?;
    let mut figures = spent.percentages();
    figures.insert("deliveriesPerSecond", deliveries / spent.seconds);
    figures.insert("cpuMicrosPerDelivery", spent.server / 1e3 / deliveries.max(1.0));
    Ok(figures)
}

/// Keeps so many messages under way.
fn flood(engine: &mut Engine, first: u64, in_flight: u32, until: u64) -> Result<()> {
    while engine.now() < until {
        while engine.published - first < engine.recorder.complete() + u64::from(in_flight) {
            engine.publish(room(engine, engine.published), engine.now())?;
        }
        engine.turn(until)?;
    }
    Ok(())
}

fn rest(engine: &mut Engine, nanos: u64) -> Result<()> {
    let until = engine.now() + nanos;
    while engine.now() < until {
        engine.turn(until)?;
    }
    Ok(())
}

/// Memory before anybody connected.
struct Memory {
    anonymous: u64,
    slab: u64,
}

impl Memory {
    fn now(engine: &Engine) -> Result<Self> {
        Ok(Self { anonymous: anonymous_bytes(engine.options().server)?, slab: slab_bytes()? })
    }

    fn per_connection(&self, engine: &Engine) -> Result<Figures> {
        let now = Self::now(engine)?;
        let per = |now: u64, before: u64| (now as f64 - before as f64) / f64::from(engine.live.max(1));
        Ok(Figures::from([
            ("bytesPerConnection", per(now.anonymous, self.anonymous)),
            ("slabBytesPerConnection", per(now.slab, self.slab)),
        ]))
    }
}

/// CPU time of everybody, at a time of the run.
struct Costs {
    at: u64,
    server: Cpu,
    redis: Option<Cpu>,
    own: Cpu,
}

/// Nanoseconds of CPU time, and seconds of the clock.
struct Spent {
    seconds: f64,
    server: f64,
    redis: f64,
    own: f64,
}

impl Costs {
    fn now(engine: &Engine) -> Result<Self> {
        let options = engine.options();
        Ok(Self {
            at: engine.now(),
            server: Cpu::of(options.server)?,
            redis: options.redis.map(Cpu::of).transpose()?,
            own: Cpu::of(std::process::id())?,
        })
    }

    fn since(&self, earlier: &Self) -> Spent {
        let redis = self.redis.as_ref().zip(earlier.redis.as_ref());
        Spent {
            seconds: (self.at - earlier.at) as f64 / 1e9,
            server: self.server.since(&earlier.server) as f64,
            redis: redis.map_or(0.0, |(now, earlier)| now.since(earlier) as f64),
            own: self.own.since(&earlier.own) as f64,
        }
    }
}

impl Spent {
    /// Of one core.
    fn percentages(&self) -> Figures {
        let percent = |nanos: f64| nanos / 1e7 / self.seconds;
        Figures::from([
            ("serverCpuPercent", percent(self.server)),
            ("redisCpuPercent", percent(self.redis)),
            ("generatorCpuPercent", percent(self.own)),
        ])
    }
}
