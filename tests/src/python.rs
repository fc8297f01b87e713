//! Python tools in an environment of their own under the cache: made once for a list of pinned packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::cache::{self, Lock};
use crate::progress::Step;

/// The programs of an environment that has exactly the packages of `requirements`: a folder for `PATH`.
pub fn environment(name: &str, requirements: &str) -> Result<PathBuf> {
    let digest = Sha256::digest(requirements);
    let digest = digest.iter().take(6).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let folder = cache::folder().join("tools").join(format!("{name}-{digest}"));
    let done = folder.join("complete");
    if !done.exists() {
        let _lock = Lock::take(&folder.with_extension("lock"), || eprintln!("  another run installs {name}; waiting"))?;
        if !done.exists() {
            make(name, &folder, requirements)?;
            std::fs::write(&done, "")?;
        }
    }
    Ok(folder.join("bin"))
}

fn make(name: &str, folder: &Path, requirements: &str) -> Result<()> {
    let step = Step::start(format!("Installing {name}"), None);
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    let list = folder.join("requirements.txt");
    std::fs::write(&list, requirements)?;
    // Debian's own: it has the module that makes environments, which the packages ensure.
    run(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    run(Command::new(folder.join("bin/python")).args(pip).arg(&list))?;
    step.done();
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
