//! Flame graphs of our gateway under a load: its stacks by Linux' perf, drawn by inferno.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use inferno::collapse::Collapse;
use inferno::collapse::perf::Folder;
use inferno::flamegraph;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

/// Samples of each second. Not a round number, so that nothing that happens every so many milliseconds is always met.
const FREQUENCY: &str = "997";

/// What takes less than this of the time is not drawn, in percent: it would be a line without a name, and most of the file.
const LEAST_PERCENT: f64 = 0.3;

/// A recording that is under way.
pub(crate) struct Recording {
    perf: Child,
    data: PathBuf,
    picture: PathBuf,
    title: String,
}

impl Recording {
    /// Begins to record a process, for a picture in a folder.
    pub(crate) fn start(server: u32, scratch: &Path, folder: &Path, title: &str) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("--flame-graphs: cannot make {}", folder.display()))?;
        let data = scratch.join("perf.data");
        let mut command = tokio::process::Command::new("perf");
        command.args(["record", "--quiet", "--freq", FREQUENCY, "--call-graph", "fp", "--pid", &server.to_string()]);
        command.arg("--output").arg(&data).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let perf = command.spawn().context("cannot start perf (package linux-perf)")?;
        Ok(Self { perf, data, picture: folder.join(format!("{}.svg", file_name(title))), title: title.to_owned() })
    }

    /// Ends it, and draws.
    pub(crate) async fn finish(mut self) -> Result<()> {
        let pid = self.perf.id().context("perf has ended by itself")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGINT)?;
        self.perf.wait().await?;
        let mut script = Command::new("perf");
        script.arg("script").arg("--input").arg(&self.data).stderr(Stdio::null());
        let output = script.output().context("cannot run perf script")?;
        ensure!(output.status.success() && !output.stdout.is_empty(), "perf has recorded nothing");
        let mut stacks = Vec::new();
        Folder::default().collapse(&*output.stdout, &mut stacks)?;
        std::fs::write(&self.picture, draw(&stacks, &self.title)?)
            .with_context(|| format!("cannot write {}", self.picture.display()))
    }
}

/// Draws stacks, each a line with how often it was seen.
fn draw(stacks: &[u8], title: &str) -> Result<String> {
    let mut options = flamegraph::Options::default();
    title.clone_into(&mut options.title);
    options.min_width = LEAST_PERCENT;
    // Names are fitted into their boxes here, for no program in the picture does it.
    options.no_javascript = true;
    let mut drawn = Vec::new();
    flamegraph::from_reader(&mut options, stacks, &mut drawn)?;
    Ok(picture(&String::from_utf8(drawn)?))
}

/// The picture alone: it is shown in pages, where a program has no business.
fn picture(svg: &str) -> String {
    let mut rest = svg.replace(" onload=\"init(evt)\"", "");
    for (from, to) in [("<script", "</script>"), ("<!--", "-->")] {
        while let Some(start) = rest.find(from)
            && let Some(length) = rest[start..].find(to)
        {
            rest.replace_range(start..start + length + to.len(), "");
        }
    }
    rest
}

/// A title as a file's name.
fn file_name(title: &str) -> String {
    let words: Vec<_> = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_no_program_and_no_notes() {
        let svg = r#"<svg onload="init(evt)"><!--NOTES: --><script type="a"><![CDATA[ x<y ]]></script><rect/><!-- two --></svg>"#;
        assert_eq!(picture(svg), "<svg><rect/></svg>");
        let drawn = draw(b"main;read 3\nmain;write 5\n", "a title").unwrap();
        assert!(drawn.contains("<title>write (5 samples, 62.50%)</title>") && !drawn.contains("script"), "{drawn}");
    }

    #[test]
    fn a_title_makes_a_file_name() {
        assert_eq!(file_name("hot-room, 1 room of 5000"), "hot-room-1-room-of-5000");
    }
}
