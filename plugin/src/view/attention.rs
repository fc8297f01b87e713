//! What is not as it should be, in the operator's words, and what goes on from there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use wscluster_crds::WsCluster;
use wscluster_crds::status::{WsClusterStatus, condition};

use crate::ui::{Look, Paint};

pub(super) fn section(cluster: &WsCluster, status: &WsClusterStatus, width: usize, paint: Paint) -> String {
    let rollout = status.rollout.as_ref().map_or("", |rollout| rollout.phase.as_str());
    // The rollout's own lines say more.
    let told = |found: &&Condition| found.type_ == condition::PROGRESSING && matches!(rollout, "Surging" | "Draining");
    let mut lines: Vec<_> = status
        .conditions
        .iter()
        .filter(|found| !told(found))
        .filter_map(|found| Some(block(found, look(found)?, width, paint)))
        .collect();
    lines.extend(remedies(&cluster.name_any(), cluster.spec.paused, rollout));
    lines.concat()
}

fn block(found: &Condition, look: Look, width: usize, paint: Paint) -> String {
    let title = format!("{} is {}: {}", found.type_, found.status, found.reason);
    format!("{}\n{}", paint.apply(look, &title), wrapped(&found.message, width, "  "))
}

fn remedies(name: &str, paused: bool, rollout: &str) -> Vec<String> {
    let on = format!("To go on: kubectl wscluster resume {name}\n");
    let back = format!("To go back: kubectl wscluster undo {name}\n");
    match rollout {
        _ if paused => vec![on],
        "Paused" => vec![on, back],
        "Failed" => vec![back],
        _ => Vec::new(),
    }
}

/// How a condition looks that is worth a word.
fn look(found: &Condition) -> Option<Look> {
    let deadline = found.reason == "ProgressDeadlineExceeded";
    match (found.type_.as_str(), found.status.as_str()) {
        (condition::PROGRESSING, "True") => Some(Look::Busy),
        (condition::PROGRESSING, _) => deadline.then_some(Look::Bad),
        (condition::DEGRADED, status) => (status == "True").then_some(Look::Bad),
        (condition::SESSIONS_PRESERVED, "Unknown") => None,
        (_, "Unknown") => Some(Look::Busy),
        (_, status) => (status == "False").then_some(Look::Bad),
    }
}

/// Text in lines of at most `width`, indented.
pub fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let room = width.saturating_sub(indent.len()).max(20);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("never empty");
        match () {
            () if line.is_empty() => line.push_str(word),
            () if line.chars().count() + 1 + word.chars().count() <= room => line.extend([" ", word]),
            () => lines.push(word.to_owned()),
        }
    }
    lines.into_iter().flat_map(|line| [indent.to_owned(), line, "\n".to_owned()]).collect()
}
