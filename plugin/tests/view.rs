//! What a person sees of a fleet in each phase, snapshotted.

mod support;

use kubectl_wscluster::commands;
use kubectl_wscluster::progress::{self, Progress};
use kubectl_wscluster::ui::Paint;
use kubectl_wscluster::view;
use support::{DRAINING, FAILED, PAUSED, RUNNING, SURGING, cluster};

const PLAIN: Paint = Paint { coloured: false };

#[test]
fn a_fleet_in_each_phase() {
    for (phase, status) in
        [("running", RUNNING), ("surging", SURGING), ("draining", DRAINING), ("failed", FAILED), ("paused", PAUSED)]
    {
        insta::assert_snapshot!(phase, view::cluster(&cluster(status), 110, PLAIN));
    }
}

#[test]
fn a_narrow_screen() {
    let text = view::cluster(&cluster(FAILED), 60, PLAIN);
    assert!(text.lines().all(|line| line.chars().count() <= 70), "{text}");
    insta::assert_snapshot!("draining_narrow", view::cluster(&cluster(DRAINING), 60, PLAIN));
}

#[test]
fn where_each_number_comes_from() {
    let mut chat = cluster(RUNNING);
    chat.spec.drain.timeout_seconds = 120;
    chat.status.as_mut().unwrap().effective = serde_json::from_value(serde_json::json!({
        "terminationGracePeriodSeconds": 330, "deregistrationDelaySeconds": 300, "drainMinSeconds": 180,
        "drainConnectionsPerSecond": 0, "drainDeadlineSeconds": 300, "readinessPeriodSeconds": 2, "maxSurge": 3,
    }))
    .unwrap();
    insta::assert_snapshot!("explain", commands::explanation(&chat, 100, PLAIN));
    chat.status.as_mut().unwrap().effective.as_mut().unwrap().termination_grace_period_seconds = 999;
    assert!(commands::explanation(&chat, 200, PLAIN).contains("999 s (this program computes 330 s"));
}

#[test]
fn colours_change_no_letter() {
    let plain = view::cluster(&cluster(PAUSED), 110, PLAIN);
    let coloured = view::cluster(&cluster(PAUSED), 110, Paint { coloured: true });
    assert_ne!(plain, coloured);
    assert_eq!(plain, without_escapes(&coloured));
}

#[test]
fn a_fleet_that_nobody_reported_on_yet() {
    assert_eq!(
        view::cluster(&cluster("null"), 80, PLAIN),
        "chat   the operator has not reported yet; is it running?\n"
    );
}

#[test]
fn many_fleets_and_one_in_a_line() {
    let fleets = [cluster(RUNNING), cluster(DRAINING), cluster("null")];
    insta::assert_snapshot!("list", view::list(&fleets, 110, PLAIN));
    insta::assert_snapshot!(
        "lines",
        [RUNNING, SURGING, DRAINING, PAUSED].map(|status| view::line(&cluster(status))).join("\n")
    );
}

#[test]
fn how_far_a_rollout_is() {
    let told: Vec<_> = [RUNNING, SURGING, DRAINING, FAILED, PAUSED, "null"]
        .map(|status| format!("{:?}", progress::of(&cluster(status))))
        .into();
    insta::assert_snapshot!("progress", told.join("\n"));
}

#[test]
fn a_status_about_an_older_spec_says_nothing_of_the_newest() {
    let mut behind = cluster(RUNNING);
    behind.metadata.generation = Some(5);
    assert!(matches!(progress::of(&behind), Progress::Waiting(_)));
    assert!(view::cluster(&behind, 110, PLAIN).contains("newest spec not seen yet"));
}

#[test]
fn a_rollout_is_not_over_while_gateways_are_missing_or_too_many() {
    let unready = RUNNING.replace("type: Ready, status: 'True'", "type: Ready, status: 'False'");
    assert!(matches!(progress::of(&cluster(&unready)), Progress::Waiting(_)));
    let busy = RUNNING.replace(
        "type: Progressing, status: 'False', reason: Complete",
        "type: Progressing, status: 'True', reason: ScalingIn",
    );
    assert!(matches!(progress::of(&cluster(&busy)), Progress::Waiting(_)));
}

#[test]
fn a_load_balancer_without_an_address_holds_no_rollout_up() {
    let pending = RUNNING.replace(
        "type: Progressing, status: 'False', reason: Complete",
        "type: Progressing, status: 'True', reason: LoadBalancerPending",
    );
    assert!(matches!(progress::of(&cluster(&pending)), Progress::Complete(_)));
}

#[test]
fn a_rollout_that_is_held_says_why() {
    let mut held = cluster(DRAINING);
    let rollout = held.status.as_mut().and_then(|status| status.rollout.as_mut()).unwrap();
    rollout.message = Some("No gateway is ready to take sessions over".to_owned());
    assert!(
        matches!(progress::of(&held), Progress::Waiting(line) if line.ends_with("No gateway is ready to take sessions over"))
    );
}

#[test]
fn a_paused_spec_will_not_come_out_by_waiting() {
    let mut paused = cluster(RUNNING);
    paused.spec.paused = true;
    assert!(matches!(progress::of(&paused), Progress::Stopped(why) if why.contains("resume chat")));
}

fn without_escapes(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        plain.push_str(&rest[..at]);
        let end = rest[at..].find('m').expect("the end of an escape");
        rest = &rest[at + end + 1..];
    }
    plain + rest
}
