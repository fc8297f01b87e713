//! What a testbed was started with. Written last, so that its presence says that the state folder is complete.

use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::components::Programs;
use super::layout::Layout;
use crate::cache::write_atomically;

/// What a testbed was started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Settings {
    /// Number of nodes.
    pub nodes: u32,
    /// Whether it ends with the process that started it.
    pub lifeline: bool,
    /// Where its programs are.
    pub programs: Programs,
}

impl Settings {
    /// Reads the settings of a testbed that has been started.
    pub(super) fn read(layout: &Layout) -> Result<Self> {
        let path = layout.settings();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// Writes them.
    pub(super) fn write(&self, layout: &Layout) -> Result<()> {
        write_atomically(&layout.settings(), &serde_json::to_vec_pretty(self)?)
    }
}
