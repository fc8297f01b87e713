//! The rollout in progress, or how the last one went.

use wscluster_crds::status::{RolloutStatus, WsClusterStatus};

use super::gateways::bar;
use crate::progress::{counts, losses, route, span};
use crate::ui::{Look, Paint};

pub(super) fn section(status: &WsClusterStatus, width: usize, paint: Paint) -> String {
    // The first revision of a fleet moves nobody: nothing to tell once it is out.
    let Some(rollout) = status.rollout.as_ref().filter(|rollout| rollout.from.is_some() || rollout.phase != "Complete")
    else {
        return String::new();
    };
    let title = format!("{} {}", paint.apply(Look::Strong, "Rollout"), route(rollout));
    let phase = paint.apply(look(rollout), &rollout.phase);
    let mut text = format!("{title}   {phase}{}\n", took(rollout));
    if rollout.moved + rollout.remaining > 0 {
        text.extend([format!("  {}\n  {}\n", meter(rollout, width, paint), counts(rollout))]);
    }
    let lost = paint.apply(if rollout.dropped > 0 { Look::Bad } else { Look::Good }, &losses(rollout));
    if rollout.moved + rollout.remaining + rollout.dropped > 0 {
        text.extend([format!("  {} resumed without a gap, {lost}\n", rollout.resumed)]);
    }
    if let Some(message) = &rollout.message {
        text.push_str(&super::attention::wrapped(message, width, "  "));
    }
    text
}

fn took(rollout: &RolloutStatus) -> String {
    match (&rollout.started_at, &rollout.finished_at) {
        (Some(from), Some(to)) => format!(" in {}", span(to.0.as_second() - from.0.as_second())),
        (Some(from), None) => format!(" since {}", from.0),
        _ => String::new(),
    }
}

fn meter(rollout: &RolloutStatus, width: usize, paint: Paint) -> String {
    let longest = (width / 2).clamp(10, 40);
    let all = rollout.moved + rollout.remaining;
    let done = bar(rollout.moved, all, longest);
    let rest = "░".repeat(longest.saturating_sub(done.chars().count()));
    let percent = rollout.moved * 100 / all.max(1);
    format!("{}{} {percent} %", paint.apply(look(rollout), &done), paint.apply(Look::Faint, &rest))
}

fn look(rollout: &RolloutStatus) -> Look {
    match rollout.phase.as_str() {
        "Complete" => Look::Good,
        "Failed" | "Paused" => Look::Bad,
        _ => Look::Busy,
    }
}
