//! Results as Markdown tables: what is printed is what `docs/bench.md` has. Our row comes first; a peer's row shows by how much
//! ours differs.

use std::fmt::Write;

use super::results::{Figure, Results, Row};
use super::subject::Subject;

/// A column: the figure's name, the heading, digits behind the point.
type Column = (&'static str, &'static str, usize);

const CONNECT: &[Column] = &[
    ("cpuMicrosPerHandshake", "CPU µs per handshake and join", 0),
    ("bytesPerConnection", "bytes per connection", 0),
    ("slabBytesPerConnection", "kernel slab, both ends", 0),
    ("connectP99Ms", "p99 connect ms", 1),
];
const STORM: &[Column] = &[
    ("cpuMicrosPerHandshake", "CPU µs per handshake and join", 0),
    ("handshakesPerSecond", "handshakes per second", 0),
    ("connectP50Ms", "p50 connect ms", 1),
    ("connectP99Ms", "p99 ms", 1),
    ("connectMaxMs", "longest ms", 0),
    ("failures", "failures", 0),
    ("serverCpuPercent", "server CPU %", 0),
    ("generatorCpuPercent", "generator CPU %", 0),
];
const IDLE: &[Column] = &[
    ("bytesPerConnection", "bytes per connection", 0),
    ("slabBytesPerConnection", "kernel slab, both ends", 0),
    ("serverCpuPercent", "CPU % of a core", 2),
    ("redisCpuPercent", "Redis CPU %", 2),
];
const RATE: &[Column] = &[
    ("cpuMicrosPerDelivery", "CPU µs per delivery", 2),
    ("p50Ms", "p50 ms", 1),
    ("p99Ms", "p99 ms", 1),
    ("lastP50Ms", "last member p50 ms", 1),
    ("lastP99Ms", "last member p99 ms", 1),
    ("redisCpuMicrosPerEntry", "Redis CPU µs per entry", 0),
    ("serverCpuPercent", "server CPU %", 0),
    ("backlogMs", "backlog ms", 0),
    ("missing", "missing", 0),
];
const SLOW: &[Column] = &[
    ("cpuMicrosPerDelivery", "CPU µs per delivery", 2),
    ("p50Ms", "readers' p50 ms", 1),
    ("p99Ms", "readers' p99 ms", 1),
    ("missing", "missing for readers", 0),
    ("closedOrRefused", "readers that were closed", 0),
    ("peakMegabytes", "peak memory MB", 0),
    ("stalledClosedPercent", "stalled that were closed %", 0),
];
const STEADY: &[Column] = &[
    ("messagesPerSecond", "messages per second", 0),
    ("deliveriesPerSecond", "deliveries per second", 0),
    ("redisCpuMicrosPerEntry", "Redis CPU µs per message", 0),
    ("redisCpuPercent", "Redis CPU %", 1),
    ("cpuMicrosPerMessage", "all gateways' CPU µs per message", 0),
    ("cpuMicrosPerDelivery", "per delivery", 1),
    ("gatewaysCpuPercent", "gateways' CPU %", 0),
];
const SESSIONS: &[Column] = &[
    ("deliveries", "deliveries", 0),
    ("lost", "lost", 0),
    ("duplicated", "duplicated", 0),
    ("reordered", "reordered", 0),
    ("unannounced", "unannounced", 0),
    ("forced", "forced", 0),
    ("movesMean", "moves, mean", 2),
    ("movesMax", "max", 0),
    ("gapP50Ms", "gap p50 ms", 0),
    ("gapP99Ms", "p99", 0),
    ("gapMaxMs", "max", 0),
    ("latencyP99Ms", "all messages' p99 ms", 1),
    ("stayedWorstP99Ms", "worst message of those that stayed, p99 ms", 0),
    ("peakReconnectsPerSecond", "peak reconnects/s", 0),
    ("changeSeconds", "change, s", 0),
    ("writes", "the operator's writes meanwhile", 0),
    ("turnP99Ms", "its turns' p99 ms", 0),
];
const COMPONENTS: &[Column] = &[
    ("gatewaysRestMegabytes", "gateways, all connected", 0),
    ("gatewaysPeakMegabytes", "most", 0),
    ("largestGatewayMegabytes", "largest of them", 1),
    ("gatewayBytesPerSession", "bytes per session", 0),
    ("redisRestMegabytes", "Redis", 0),
    ("redisPeakMegabytes", "most", 0),
    ("operatorRestMegabytes", "operator", 0),
    ("operatorPeakMegabytes", "most", 0),
    ("probesPeakMegabytes", "probes, most", 0),
    ("trackedPeak", "connections tracked on a node, most", 0),
];
const OPERATOR: &[Column] = &[
    ("turns", "turns", 0),
    ("turnP50Ms", "p50 ms", 1),
    ("turnP99Ms", "p99 ms", 1),
    ("writes", "writes to the API server", 0),
    ("writesPerCluster", "of each WsCluster", 1),
    ("seconds", "seconds", 0),
    ("operatorMegabytes", "operator MB", 1),
];
const SATURATED: &[Column] = &[
    ("deliveriesPerSecond", "deliveries per second", 0),
    ("cpuMicrosPerDelivery", "CPU µs per delivery", 2),
    ("serverCpuPercent", "server CPU %", 0),
    ("generatorCpuPercent", "generator CPU %", 0),
];

/// All tables.
pub(crate) fn all(results: &Results) -> String {
    let mut text = String::new();
    let mut seen: Vec<(&str, &str, &str)> = Vec::new();
    for row in &results.rows {
        let key = (&*row.scenario, &*row.load, &*row.phase);
        // The memory of a run with few sessions says nothing: it is the idle scenario's.
        if seen.contains(&key) || (row.phase == "connect" && !matches!(&*row.scenario, "idle" | "storm")) {
            continue;
        }
        seen.push(key);
        let same = results.rows.iter().filter(|other| (&*other.scenario, &*other.load, &*other.phase) == key);
        table(&mut text, row, &same.collect::<Vec<_>>());
    }
    for failure in &results.failures {
        let _ = writeln!(text, "- {}: {}", failure.subject, failure.reason);
    }
    text
}

fn table(text: &mut String, first: &Row, rows: &[&Row]) {
    let columns = match &*first.phase {
        _ if first.scenario == "storm" => STORM,
        _ if first.scenario == "operator" => OPERATOR,
        "connect" => CONNECT,
        "idle" => IDLE,
        "saturated" => SATURATED,
        "memory, MB" => COMPONENTS,
        "steady" => STEADY,
        _ if matches!(&*first.scenario, "drain" | "fleet") => SESSIONS,
        _ if first.scenario == "slow" => SLOW,
        _ => RATE,
    };
    let headings: Vec<_> = columns.iter().map(|(_, heading, _)| *heading).collect();
    let _ = writeln!(
        text,
        "**{}**, {}, {}, median (range) of {} rounds\n",
        first.scenario, first.load, first.phase, first.rounds
    );
    let _ = writeln!(text, "| | {} |\n|---|{}", headings.join(" | "), "---:|".repeat(columns.len()));
    let ours = rows.iter().find(|row| row.subject == Subject::Ours.name());
    for row in rows {
        let cells: Vec<_> =
            columns.iter().map(|column| cell(row, ours.filter(|ours| ours.subject != row.subject), *column)).collect();
        let _ = writeln!(text, "| {} | {} |", row.subject, cells.join(" | "));
    }
    if &*first.phase == "saturated" {
        let idle: Vec<_> = rows.iter().filter(|row| !at_its_limit(row)).map(|row| &*row.subject).collect();
        if !idle.is_empty() {
            let _ = writeln!(text, "\nNot at its limit, so no ceiling is claimed: {}.", idle.join(", "));
        }
    }
    text.push('\n');
}

/// The server's core is full and the generator's is not: the server is what limits.
fn at_its_limit(row: &Row) -> bool {
    let median = |name: &str| row.figures.get(name).map_or(0.0, |figure| figure.median);
    median("serverCpuPercent") >= 95.0 && median("generatorCpuPercent") < 90.0
}

fn cell(row: &Row, ours: Option<&&Row>, (name, _, digits): Column) -> String {
    let Some(figure) = row.figures.get(name) else { return "–".into() };
    let Figure { median, min, max, values } = figure;
    let mut text = format!("{median:.digits$}");
    if values.len() > 1 {
        let _ = write!(text, " ({min:.digits$}–{max:.digits$})");
    }
    let ratio = ours.and_then(|ours| Some(ours.figures.get(name)?.median / median));
    match ratio.filter(|ratio| ratio.is_finite() && comparable(name)) {
        Some(ratio) => text + &format!(" · ours {ratio:.2}×"),
        None => text,
    }
}

/// Figures whose ratio says something; the rest is context.
fn comparable(name: &str) -> bool {
    ["cpuMicros", "bytesPerConnection", "deliveriesPerSecond", "p50", "p99", "last", "serverCpu", "connectP"]
        .iter()
        .any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row(subject: &str, phase: &str, figures: &[(&str, f64)]) -> Row {
        let figures = figures
            .iter()
            .map(|(name, value)| {
                let figure = Figure { median: *value, min: *value, max: *value, values: vec![*value] };
                ((*name).to_owned(), figure)
            })
            .collect::<BTreeMap<_, _>>();
        let [scenario, load, phase, subject] = ["hot-room", "1 room of 5", phase, subject].map(str::to_owned);
        Row { scenario, load, phase, subject, rounds: 1, figures }
    }

    #[test]
    fn a_peers_row_says_how_ours_compares() {
        let results = Results {
            rows: vec![
                row("wscluster", "10/s", &[("cpuMicrosPerDelivery", 5.0)]),
                row("node", "10/s", &[("cpuMicrosPerDelivery", 10.0)]),
            ],
            ..Results::default()
        };
        let text = all(&results);
        assert!(text.contains("| wscluster | 5.00 |"), "{text}");
        assert!(text.contains("| node | 10.00 · ours 0.50× |"), "{text}");
    }

    #[test]
    fn no_ceiling_is_claimed_unless_the_server_is_what_limits() {
        for (server, generator, claimed) in [(95.0, 89.0, true), (94.0, 50.0, false), (100.0, 90.0, false)] {
            let figures = [("serverCpuPercent", server), ("generatorCpuPercent", generator)];
            let results = Results { rows: vec![row("wscluster", "saturated", &figures)], ..Results::default() };
            assert_eq!(!all(&results).contains("no ceiling"), claimed, "{server} {generator}");
        }
    }
}
