//! RFC 6455 conformance: a list of cases, each played over raw sockets against a running gateway.
//!
//! One case: `cargo test -p wscluster-gateway --test conformance -- closing::a_reason`. `WSCLUSTER_BLESS=1` writes the
//! table in `docs/conformance.md`.

mod case;
mod cases;
mod frame;
mod handshake;
mod judge;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod wire;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures::future::BoxFuture;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use case::{LARGE, SMALL, Stage};
use support::Gateway;
use table::Row;

fn main() -> ExitCode {
    let (cases, arguments) = (cases::all(), Arguments::from_args());
    let rows: Vec<Row> = handshake::HANDSHAKES.iter().map(Row::from).chain(cases.iter().map(Row::from)).collect();
    let page = table::render(&rows);
    if std::env::var_os("WSCLUSTER_BLESS").is_some() {
        std::fs::write(table::file(), page).expect("the docs can be written");
        return ExitCode::SUCCESS;
    }
    let world = Arc::new(World::start());
    let mut trials = vec![
        Trial::test("the_table_in_the_documentation_is_not_stale", move || not_stale(&page)),
        Trial::test("every_case_has_a_name_and_a_group_of_its_own", move || well_named(&rows)),
    ];
    for case in handshake::HANDSHAKES {
        let name = format!("handshake::{}", case.name);
        let play = move |to, room: String| -> Play { Box::pin(async move { handshake::play(&case, to, &room).await }) };
        trials.push(world.trial(name, Stage::Plain, play));
    }
    for case in cases {
        let (name, stage) = (case.full_name(), case.stage);
        let play = move |to, room: String| -> Play { Box::pin(async move { judge::play(&case, to, &room).await }) };
        trials.push(world.trial(name, stage, play));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

type Play = BoxFuture<'static, Result<(), String>>;

/// The gateways, one for each stage.
struct World {
    runtime: Runtime,
    gateways: Vec<(Stage, Gateway)>,
    rooms: AtomicU64,
}

impl World {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let common = "backpressure: {maxBufferedBytes: 100000000, totalBufferBytes: 1000000000}\n";
        let limits = |bytes: usize| {
            format!("{common}limits: {{maxMessageBytes: {bytes}, messagesPerSecond: 1000000, burst: 1000000}}")
        };
        let stages = [(Stage::Plain, 65_536), (Stage::Large, LARGE), (Stage::Small, SMALL)];
        let start = |(stage, bytes)| (stage, runtime.block_on(Gateway::start(&limits(bytes), None)));
        Self { gateways: stages.map(start).into(), rooms: AtomicU64::new(0), runtime }
    }

    fn address(&self, stage: Stage) -> SocketAddr {
        self.gateways.iter().find(|(of, _)| *of == stage).expect("every stage has a gateway").1.public
    }

    /// A test that plays a case, in a room of its own.
    fn trial(
        self: &Arc<Self>,
        name: String,
        stage: Stage,
        play: impl FnOnce(SocketAddr, String) -> Play + Send + 'static,
    ) -> Trial {
        let world = Arc::clone(self);
        let run = move || {
            let room = format!("room-{}", world.rooms.fetch_add(1, Relaxed));
            world.runtime.block_on(play(world.address(stage), room)).map_err(Failed::from)
        };
        Trial::test(name, run)
    }
}

fn not_stale(page: &str) -> Result<(), Failed> {
    match std::fs::read_to_string(table::file()) {
        Ok(found) if found == page => Ok(()),
        _ => Err("docs/conformance.md is stale: run this test with WSCLUSTER_BLESS=1".into()),
    }
}

fn well_named(rows: &[Row]) -> Result<(), Failed> {
    let mut seen = HashSet::new();
    for row in rows {
        if !cases::GROUPS.iter().any(|group| group.name == row.group) {
            return Err(format!("no group {}", row.group).into());
        }
        if !seen.insert((row.group, &row.name)) {
            return Err(format!("two cases are called {}::{}", row.group, row.name).into());
        }
    }
    Ok(())
}
