//! What was seen of a fleet that follows its connections: kept as JSON by an end-to-end test, for a picture of it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cache::write_atomically;

/// Name of the file with the last run, in the folder of the tests' logs.
pub const FILE: &str = "autoscaling.json";

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// About one a second.
    pub samples: Vec<Sample>,
    /// What happened, in its order.
    pub marks: Vec<Mark>,
    /// What the metrics API told of each gateway at one of those moments, as it was read.
    #[serde(default)]
    pub told: Option<Value>,
}

/// A fleet at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the beginning.
    pub seconds: f64,
    /// Gateways that are asked for.
    pub wanted: i32,
    /// Connections of each gateway that is ready or drains, by pod.
    pub gateways: BTreeMap<String, i64>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Seconds since the beginning.
    pub seconds: f64,
    /// What it was.
    pub what: String,
    /// What `kubectl get hpa` shows then: its columns and their values.
    pub autoscaler: Vec<(String, String)>,
}

impl Run {
    /// Reads a run.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no run", path.display()))
    }

    /// Writes it.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, &serde_json::to_vec_pretty(self)?)
    }
}
