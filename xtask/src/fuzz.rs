//! `cargo xtask fuzz`: the fuzz targets of `gateway/fuzz`, for a while each. Installs cargo-fuzz and a nightly compiler where they
//! are missing, and says so.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use wscluster_tests::progress::Step;

use crate::workspace::{root, target};

/// Feeds strange input to everything that reads what strangers send.
///
/// Input that was found interesting is kept under gateway/fuzz/corpus (not in git); what broke something, under
/// gateway/fuzz/artifacts. Committed seeds are in gateway/fuzz/seeds.
#[derive(Args)]
#[command(after_help = "To run one input again:
  cargo +nightly fuzz run --fuzz-dir gateway/fuzz TARGET gateway/fuzz/artifacts/TARGET/FILE")]
pub(crate) struct FuzzArgs {
    /// One target; all of them when none is named.
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Runs the targets; an error when one of them broke.
pub(crate) fn run(args: &FuzzArgs) -> Result<()> {
    let chosen = choose(args.target.as_deref())?;
    install()?;
    let logs = target().join("fuzz-logs");
    fs::create_dir_all(&logs)?;
    let mut broken = Vec::new();
    for name in &chosen {
        build(name)?;
        let log = logs.join(format!("{name}.log"));
        let step = Step::start(format!("fuzz {name}"), Some(Duration::from_secs(args.seconds.into())));
        let ok = fuzz(name, args.seconds, &log)?;
        step.done();
        println!("{name}: {}", summary(&fs::read_to_string(&log).unwrap_or_default()));
        if !ok {
            broken.push(name.as_str());
        }
    }
    ensure!(broken.is_empty(), "{} broke: see {}", broken.join(", "), logs.display());
    Ok(())
}

fn folder() -> PathBuf {
    root().join("gateway/fuzz")
}

/// The targets are the files in `fuzz_targets`.
fn choose(wanted: Option<&str>) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder().join("fuzz_targets")).context("cannot read gateway/fuzz/fuzz_targets")?;
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    match wanted {
        None => Ok(names),
        Some(wanted) if names.iter().any(|name| name == wanted) => Ok(vec![wanted.to_owned()]),
        Some(wanted) => bail!("no such target: {wanted}; there are {}", names.join(", ")),
    }
}

fn install() -> Result<()> {
    if !works(nightly().args(["rustc", "--version"])) {
        eprintln!("  installing a nightly compiler (rustup toolchain install nightly --profile minimal)");
        let mut rustup = Command::new("rustup");
        let status = rustup.args(["toolchain", "install", "nightly", "--profile", "minimal"]).status();
        ensure!(status.is_ok_and(|status| status.success()), "rustup could not install it; fuzzing needs one");
    }
    if !works(nightly().args(["cargo", "fuzz", "--version"])) {
        eprintln!("  installing cargo-fuzz (cargo install --locked cargo-fuzz; about two minutes)");
        let status = nightly().args(["cargo", "install", "--locked", "cargo-fuzz"]).status();
        ensure!(status.is_ok_and(|status| status.success()), "cargo-fuzz cannot be installed");
    }
    Ok(())
}

/// Another compiler than the one that runs this: what cargo has set for its own is not for it.
fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly"]).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTFLAGS");
    command.current_dir(root()).stdin(Stdio::null());
    command
}

fn works(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn build(name: &str) -> Result<()> {
    let mut command = nightly();
    command.args(["cargo", "fuzz", "build", "--fuzz-dir"]).arg(folder()).arg(name);
    ensure!(command.status().context("cannot run cargo fuzz")?.success(), "the target {name} does not build");
    Ok(())
}

fn fuzz(name: &str, seconds: u32, log: &Path) -> Result<bool> {
    let (folder, file) = (folder(), File::create(log).with_context(|| format!("cannot write {}", log.display()))?);
    let corpus = folder.join("corpus").join(name);
    fs::create_dir_all(&corpus)?;
    let mut command = nightly();
    // What is found goes into the first folder; the second is only read.
    command
        .args(["cargo", "fuzz", "run", "--fuzz-dir"])
        .arg(&folder)
        .arg(name)
        .arg(corpus)
        .arg(folder.join("seeds").join(name));
    command.arg("--").args([&format!("-max_total_time={seconds}"), "-print_final_stats=1", "-timeout=10"]);
    let dictionary = folder.join("dictionaries").join(name);
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    command.stdout(file.try_clone()?).stderr(file);
    Ok(command.status().context("cannot run cargo fuzz")?.success())
}

/// How much was tried, and what was reached, from libFuzzer's last lines.
fn summary(log: &str) -> String {
    let stat = |name: &str| {
        let line = log.lines().rev().find(|line| line.trim_start().starts_with(name))?;
        line.rsplit(' ').next().map(str::to_owned)
    };
    let word = |mark: &str| {
        let line = log.lines().rev().find(|line| line.starts_with('#') && line.contains(mark))?;
        line.split(mark).nth(1)?.split_whitespace().next().map(str::to_owned)
    };
    let known = |value: Option<String>| value.unwrap_or_else(|| "?".into());
    let fault = log.lines().find(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"));
    format!(
        "{} runs, {} places reached, {} inputs kept{}",
        known(stat("stat::number_of_executed_units:")),
        known(word("cov: ")),
        known(word("corp: ")),
        fault.map(|fault| format!("; {fault}")).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuzzers_last_lines_are_summed_up() {
        let log = "#9\tINITED cov: 5 ft: 5 corp: 1/2b exec/s: 0\n#70\tDONE   cov: 1208 ft: 9 corp: 231/9Kb lim: 9\n\
            stat::number_of_executed_units: 70\nstat::average_exec_per_sec:     5\n";
        assert_eq!(summary(log), "70 runs, 1208 places reached, 231/9Kb inputs kept");
        assert!(summary("thread '<unnamed>' panicked at a.rs:5:1:\n").ends_with("panicked at a.rs:5:1:"));
    }

    #[test]
    fn every_target_has_seeds_and_is_named_in_the_manifest() {
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        for name in choose(None).unwrap() {
            assert!(folder().join("seeds").join(&name).is_dir(), "{name}");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
        assert!(choose(Some("nothing")).is_err());
    }
}
