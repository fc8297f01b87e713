//! `cargo xtask test`: every proof of the project, in layers from quick to real, and one line at the end that sums it up.

mod clients;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::site::Site;

/// Runs the tests.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// One suite, or the tests of one whose name contains a text: `e2e`, `e2e::rollout`, `unit::session`.
    /// Suites: checks, unit, clients, http, testbed, api, operator, chart, e2e.
    filter: Option<String>,
    /// Leave out everything that needs a cluster.
    #[arg(long)]
    fast: bool,
    /// Use this cluster (kind, k3d, a cloud) in place of the testbed; the images must be loaded there. The tests install
    /// an operator and make namespaces, so the variable KUBECONFIG alone is not taken for a wish.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Leave the testbed running when a test failed.
    #[arg(long)]
    keep: bool,
}

/// A layer of tests, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Suite {
    /// Formatting, lints and generated files.
    Checks,
    /// Unit, property, snapshot and socket tests of every crate.
    Unit,
    /// The TypeScript client, in Node and in Chromium.
    Clients,
    /// The HTTP side, judged by tools that were not made for it.
    Http,
    /// A test binary of the `tests` crate: its name, and whether it is given the shared cluster.
    Cluster { name: &'static str, shared: bool },
}

const SUITES: [Suite; 9] = [
    Suite::Checks,
    Suite::Unit,
    Suite::Clients,
    Suite::Http,
    Suite::Cluster { name: "testbed", shared: false },
    Suite::Cluster { name: "api", shared: true },
    Suite::Cluster { name: "operator", shared: true },
    Suite::Cluster { name: "chart", shared: true },
    Suite::Cluster { name: "e2e", shared: true },
];

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Checks => "checks",
            Self::Unit => "unit",
            Self::Clients => "clients",
            Self::Http => "http",
            Self::Cluster { name, .. } => name,
        }
    }
}

/// What a suite came to.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Reads a closing line of a test runner.
    fn parse(line: &str) -> Option<Self> {
        Self::of_cargo(line).or_else(|| Self::of_node(line))
    }

    /// `test result: ok. 5 passed; 0 failed; 1 ignored; …`
    fn of_cargo(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            let (number, _) = counts.split("; ").find(|part| part.ends_with(what))?.split_once(' ')?;
            number.parse().ok()
        };
        Some(Self { passed: count(" passed")?, failed: count(" failed")?, skipped: count(" ignored")? })
    }

    /// Node's, a line for each number: `ℹ pass 5`. A test that was cancelled has proven nothing.
    fn of_node(line: &str) -> Option<Self> {
        let (what, number) = line.strip_prefix("ℹ ")?.split_once(' ')?;
        let number = number.parse().ok()?;
        match what {
            "pass" => Some(Self { passed: number, ..Self::default() }),
            "fail" | "cancelled" => Some(Self { failed: number, ..Self::default() }),
            "skipped" => Some(Self { skipped: number, ..Self::default() }),
            _ => None,
        }
    }
}

/// Runs the suites that `args` chooses; an error when anything failed.
pub(crate) fn run(args: &TestArgs) -> Result<()> {
    let (suite, filter) = match args.filter.as_deref().map(|text| text.split_once("::").unwrap_or((text, ""))) {
        Some((suite, filter)) => (Some(suite), filter),
        None => (None, ""),
    };
    let chosen = choose(suite, args.fast, args.kubeconfig.is_some())?;
    let mut run = Run::new(filter)?;
    let outcome = run.suites(&chosen, args);
    run.summary();
    outcome?;
    ensure!(run.total.failed == 0, "tests failed; the logs are in {}", run.logs.display());
    Ok(())
}

/// The cluster that the suites share: a testbed of this run's own, or the user's.
fn site(args: &TestArgs) -> Result<Site> {
    match &args.kubeconfig {
        Some(kubeconfig) => Site::existing(kubeconfig),
        None => Site::testbed(&format!("test-{}", std::process::id()), true),
    }
}

/// Keeps the testbed, which lives as long as this process, until the user has looked.
fn stay(site: &Site) -> Result<()> {
    println!("The testbed stays until Ctrl-C. To look around: export KUBECONFIG={}", site.kubeconfig().display());
    tokio::runtime::Runtime::new()?.block_on(tokio::signal::ctrl_c())?;
    Ok(())
}

fn choose(suite: Option<&str>, fast: bool, elsewhere: bool) -> Result<Vec<Suite>> {
    let chosen: Vec<_> = SUITES
        .into_iter()
        .filter(|candidate| suite.is_none_or(|wanted| wanted == candidate.name()))
        .filter(|candidate| !fast || !matches!(candidate, Suite::Cluster { .. }))
        .filter(|candidate| !elsewhere || !matches!(candidate, Suite::Cluster { shared: false, .. }))
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = SUITES.into_iter().map(Suite::name).collect();
        bail!("no such suite: {}; there are {}", suite.unwrap_or("none"), names.join(", "));
    }
    Ok(chosen)
}

/// One call of `cargo xtask test`.
struct Run<'a> {
    filter: &'a str,
    logs: PathBuf,
    started: Instant,
    rows: Vec<(String, Tally, Duration)>,
    total: Tally,
}

impl<'a> Run<'a> {
    fn new(filter: &'a str) -> Result<Self> {
        let logs = crate::workspace::target().join("test-logs");
        if logs.exists() {
            std::fs::remove_dir_all(&logs)?;
        }
        std::fs::create_dir_all(&logs)?;
        Ok(Self { filter, logs, started: Instant::now(), rows: Vec::new(), total: Tally::default() })
    }

    fn suites(&mut self, chosen: &[Suite], args: &TestArgs) -> Result<()> {
        wscluster_tests::packages::ensure_redis()?;
        let mut cluster = None;
        for suite in chosen {
            match *suite {
                Suite::Checks => self.checks()?,
                Suite::Unit => self.unit()?,
                Suite::Clients => self.clients()?,
                Suite::Http => self.http()?,
                Suite::Cluster { name, shared } => {
                    if shared && cluster.is_none() {
                        cluster = Some(site(args)?);
                    }
                    self.cluster_suite(name, if shared { cluster.as_ref() } else { None })?;
                }
            }
        }
        match cluster {
            Some(site) if args.keep && self.total.failed > 0 => stay(&site),
            Some(site) => site.leave(),
            None => Ok(()),
        }
    }

    fn checks(&mut self) -> Result<()> {
        let checks: [(&str, &[&str]); 3] = [
            ("formatted", &["fmt", "--all", "--check"]),
            ("lints", &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
            ("generated files", &["xtask", "codegen", "--check"]),
        ];
        for (name, arguments) in checks {
            let started = Instant::now();
            let (ok, _) = self.cargo(&format!("checks-{}", name.replace(' ', "-")), arguments, None)?;
            let tally = Tally { passed: u64::from(ok), failed: u64::from(!ok), skipped: 0 };
            self.record(&format!("checks: {name}"), tally, started);
        }
        Ok(())
    }

    fn unit(&mut self) -> Result<()> {
        wscluster_tests::packages::ensure_sockets()?;
        self.tests("unit", &["--workspace", "--exclude", "wscluster-tests", "--no-fail-fast"], None)?;
        self.tests("unit: harness", &["--package", "wscluster-tests", "--lib"], None)
    }

    /// Builds the gateway as the unit tests do: with another choice of packages its dependencies would have other features
    /// and be compiled anew.
    fn gateway(&self) -> Result<()> {
        let arguments = ["build", "--workspace", "--exclude", "wscluster-tests", "--bin", "wscluster-gateway"];
        let (built, _) = self.cargo("gateway", &arguments, None)?;
        ensure!(built, "the gateway does not compile");
        Ok(())
    }

    fn http(&mut self) -> Result<()> {
        self.gateway()?;
        self.tests("http", &["--package", "wscluster-tests", "--test", "http"], None)
    }

    fn cluster_suite(&mut self, name: &str, cluster: Option<&Site>) -> Result<()> {
        self.tests(name, &["--package", "wscluster-tests", "--test", name], cluster)
    }

    fn tests(&mut self, name: &str, arguments: &[&str], cluster: Option<&Site>) -> Result<()> {
        let started = Instant::now();
        let mut all = vec!["test"];
        all.extend(arguments);
        if !self.filter.is_empty() {
            all.extend(["--", self.filter]);
        }
        let (ok, mut tally) = self.cargo(&name.replace([':', ' '], "-"), &all, cluster)?;
        if !ok && tally.failed == 0 {
            tally.failed = 1; // it did not compile, or a runner died: no count speaks of it
        }
        self.record(name, tally, started);
        Ok(())
    }

    fn cargo(&self, log: &str, arguments: &[&str], cluster: Option<&Site>) -> Result<(bool, Tally)> {
        println!("\n── cargo {}", arguments.join(" "));
        let mut command = wscluster_tests::cargo::command();
        command.args(arguments).current_dir(crate::workspace::root());
        command.env("WSCLUSTER_TEST_LOGS", &self.logs).env_remove("KUBECONFIG");
        command.env("WSCLUSTER_GATEWAY", crate::workspace::target().join("debug/wscluster-gateway"));
        if let Some(cluster) = cluster {
            cluster.configure(&mut command);
        }
        self.watch(log, command)
    }

    /// Runs a program, shows and keeps what it prints, and adds up the closing lines of the test runners.
    fn watch(&self, log: &str, mut command: Command) -> Result<(bool, Tally)> {
        let program = command.get_program().to_string_lossy().into_owned();
        let path = self.logs.join(format!("{log}.log"));
        command.stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let tally = tee(child.stdout.take().with_context(|| format!("no output of {program}"))?, &path)?;
        Ok((child.wait()?.success(), tally))
    }

    fn record(&mut self, name: &str, tally: Tally, started: Instant) {
        self.total.add(tally);
        self.rows.push((name.to_owned(), tally, started.elapsed()));
    }

    fn summary(&self) {
        println!();
        for (name, tally, took) in &self.rows {
            let Tally { passed, failed, skipped } = tally;
            println!(
                "{name:<28} {passed:>4} passed {failed:>3} failed {skipped:>3} skipped {:>7.1} s",
                took.as_secs_f64()
            );
        }
        println!("\n{:.0} s in all", self.started.elapsed().as_secs_f64());
        let Tally { passed, failed, skipped } = self.total;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
    }
}

fn tee(from: impl std::io::Read, path: &Path) -> Result<Tally> {
    let mut file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut total = Tally::default();
    for line in BufReader::new(from).lines() {
        let line = line?;
        println!("{line}");
        writeln!(file, "{line}")?;
        if let Some(tally) = Tally::parse(&line) {
            total.add(tally);
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s";
        assert_eq!(Tally::parse(line), Some(Tally { passed: 5, failed: 2, skipped: 1 }));
        assert_eq!(Tally::parse("running 5 tests"), None);
        assert_eq!(Tally::parse("ℹ pass 12"), Some(Tally { passed: 12, failed: 0, skipped: 0 }));
        assert_eq!(Tally::parse("ℹ cancelled 1"), Some(Tally { passed: 0, failed: 1, skipped: 0 }));
        assert_eq!(Tally::parse("ℹ duration_ms 15.5"), None);
    }

    #[test]
    fn an_unknown_suite_is_an_error_that_names_the_known_ones() {
        let error = choose(Some("e3e"), false, false).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("e2e") && error.contains("e3e"), "{error}");
    }

    #[test]
    fn fast_leaves_out_what_needs_a_cluster() {
        let names: Vec<_> = choose(None, true, false).expect("suites").into_iter().map(Suite::name).collect();
        assert_eq!(names, ["checks", "unit", "clients", "http"]);
    }

    #[test]
    fn on_a_cluster_of_the_users_the_testbed_is_not_tested() {
        let names: Vec<_> = choose(None, false, true).expect("suites").into_iter().map(Suite::name).collect();
        assert_eq!(names, ["checks", "unit", "clients", "http", "api", "operator", "chart", "e2e"]);
    }
}
