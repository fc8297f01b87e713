//! The table's plain text: cases with a name, one manifest or two (before and after a change), and what the API server
//! answers. Knows no server.
//!
//! ```text
//! ### the smallest cluster is complete
//! redis: {url: "redis://redis:6379"}
//! === accepted
//! replicas: 2
//! ```
//! A manifest is a spec, or a whole object where it says `apiVersion`. `--- then` separates the two of a change. What
//! follows `=== accepted` are the fields that the server filled in beside those that the manifest names, and after
//! `=== accepted whole` all of them.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// One file of cases.
pub(crate) struct Table {
    path: PathBuf,
    /// Text before the first case.
    preface: String,
    /// The cases, in the file's order.
    pub(crate) cases: Vec<Case>,
}

/// A manifest, or a change from one to another, and what the server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// The fact that the case shows.
    pub(crate) name: String,
    /// The manifests as they are written: one, or before and after.
    manifests: Vec<String>,
    /// What the server is to answer.
    pub(crate) expected: Answer,
}

/// What the API server makes of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// Fields filled in, or the reasons of the refusal; a line each.
    pub(crate) lines: Vec<String>,
}

/// Whether a manifest is accepted, and how much of the answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Accepted; what the server filled in beside the manifest's own fields is shown.
    Accepted,
    /// Accepted; everything is shown.
    AcceptedWhole,
    /// Refused.
    Refused,
}

impl Verdict {
    const ALL: [Self; 3] = [Self::Accepted, Self::AcceptedWhole, Self::Refused];

    fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::AcceptedWhole => "accepted whole",
            Self::Refused => "refused",
        }
    }
}

impl Table {
    /// Every table under `tests/api`.
    pub(crate) fn load_all() -> Result<Vec<Self>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("api");
        let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "cases"));
        paths.sort();
        paths.into_iter().map(Self::load).collect()
    }

    fn load(path: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (preface, cases) = parse(&text).with_context(|| format!("in {}", path.display()))?;
        Ok(Self { path, preface, cases })
    }

    /// Names of the tests, from the file's name and the cases'.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        let theme = self.path.file_stem().unwrap_or_default().to_string_lossy();
        self.cases.iter().map(move |case| format!("{theme}::{}", case.name.replace(' ', "_")))
    }

    /// Writes what the server answers into the file.
    pub(crate) fn bless(mut self, answer: impl Fn(&Case) -> Result<Answer>) -> Result<()> {
        for case in &mut self.cases {
            case.expected = answer(case).with_context(|| format!("in {:?}", case.name))?;
        }
        fs::write(&self.path, print(&self.preface, &self.cases))?;
        println!("wrote {}", self.path.display());
        Ok(())
    }
}

impl Case {
    /// The objects to apply, one after the other.
    pub(crate) fn objects(&self, name: &str) -> Result<Vec<Value>> {
        self.manifests.iter().map(|manifest| object(manifest, name)).collect()
    }
}

/// A spec is wrapped into a WsCluster of the given name; a whole object keeps its own.
fn object(manifest: &str, name: &str) -> Result<Value> {
    let value: Value = serde_yaml::from_str(manifest)?;
    if value["apiVersion"].is_string() {
        return Ok(value);
    }
    Ok(json!({"apiVersion": "wscluster.dev/v1alpha1", "kind": "WsCluster", "metadata": {"name": name}, "spec": value}))
}

fn parse(text: &str) -> Result<(String, Vec<Case>)> {
    let mut blocks = text.split("### ");
    let preface = blocks.next().unwrap_or_default().to_owned();
    Ok((preface, blocks.map(parse_case).collect::<Result<_>>()?))
}

fn parse_case(block: &str) -> Result<Case> {
    let (name, rest) = block.split_once('\n').context("a case has a name and a manifest")?;
    let (manifests, answer) = rest.split_once("=== ").unwrap_or((rest, "refused\n"));
    let (word, lines) = answer.split_once('\n').unwrap_or((answer, ""));
    let Some(verdict) = Verdict::ALL.into_iter().find(|verdict| verdict.word() == word.trim()) else {
        bail!("{name:?}: after === comes accepted, accepted whole or refused, not {word:?}");
    };
    Ok(Case {
        name: name.trim().to_owned(),
        manifests: manifests.split("--- then\n").map(|manifest| format!("{}\n", manifest.trim_end())).collect(),
        expected: Answer { verdict, lines: lines.trim_end().lines().map(str::to_owned).collect() },
    })
}

fn print(preface: &str, cases: &[Case]) -> String {
    let mut text = format!("{}\n\n", preface.trim_end());
    for case in cases {
        let manifests = case.manifests.join("--- then\n");
        let _ = write!(text, "### {}\n{manifests}=== {}\n", case.name, case.expected.verdict.word());
        for line in &case.expected.lines {
            let _ = writeln!(text, "{line}");
        }
        text.push('\n');
    }
    format!("{}\n", text.trim_end())
}

/// The leaves of `filled` that `given` does not have, as `path: value`. Objects of which `given` says nothing are left out,
/// unless `whole`.
pub(crate) fn filled_in(given: &Value, filled: &Value, whole: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, value) in filled.as_object().into_iter().flatten() {
        if whole || !given[key].is_null() {
            leaves(key, &given[key], value, whole, &mut lines);
        }
    }
    lines
}

fn leaves(path: &str, given: &Value, filled: &Value, whole: bool, lines: &mut Vec<String>) {
    match filled {
        _ if given == filled => {}
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields.iter().filter(|_| whole || !given.is_null()) {
                leaves(&format!("{path}.{key}"), &given[key], value, whole, lines);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                leaves(&format!("{path}[{index}]"), &given[index], value, whole, lines);
            }
        }
        leaf => lines.push(format!("{path}: {leaf}")),
    }
}
