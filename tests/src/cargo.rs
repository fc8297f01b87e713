//! Cargo, as it is called by a program that cargo itself has started.

use std::env;
use std::process::Command;

/// What cargo tells a program of the package that it belongs to.
const TOLD: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// Cargo, without what this program was told of its package: a build script that watches those variables, as ring's does,
/// would run anew for every other caller, and all that stands on it be compiled again.
pub fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| TOLD.iter().any(|told| name.starts_with(told))) {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_passed_on_of_the_callers_package() {
        assert!(env::vars().any(|(name, _)| name == "CARGO_PKG_NAME"), "cargo runs this test");
        let command = command();
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert!(removed.iter().any(|name| *name == "CARGO_PKG_NAME"), "{removed:?}");
        assert!(removed.iter().any(|name| *name == "CARGO_MANIFEST_DIR"), "{removed:?}");
    }
}
