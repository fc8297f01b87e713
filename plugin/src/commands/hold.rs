//! `pause` and `resume`.

use anyhow::Result;
use serde_json::{Value, json};
use wscluster_crds::{WsCluster, labels};

use crate::Outcome;
use crate::access::Access;
use crate::ui::Ui;

pub(super) async fn pause(name: &str, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    if access.cluster(name).await?.spec.paused {
        ui.line(format!("{name} is paused already"))?;
        return Ok(Outcome::Done);
    }
    access.patch(name, &json!({"spec": {"paused": true}})).await?;
    ui.line(format!(
        "{name} is paused: its gateways serve on, nothing is changed; go on with: kubectl wscluster resume {name}"
    ))?;
    Ok(Outcome::Done)
}

pub(super) async fn resume(name: &str, access: &Access, ui: &mut Ui) -> Result<Outcome> {
    let cluster = access.cluster(name).await?;
    let rollout = cluster.status.as_ref().and_then(|status| status.rollout.as_ref());
    if !cluster.spec.paused && rollout.is_none_or(|rollout| rollout.phase != "Paused") {
        ui.line(format!("{name} is not paused"))?;
        return Ok(Outcome::Done);
    }
    access.patch(name, &resumption(&cluster)).await?;
    let accepted = match rollout.map_or(0, |rollout| rollout.dropped) {
        0 => String::new(),
        lost => format!(", {lost} lost sessions are accepted"),
    };
    ui.line(format!("{name} goes on{accepted}; follow it with: kubectl wscluster rollout status {name}"))?;
    Ok(Outcome::Done)
}

/// Losses of this rollout are accepted; those that an earlier one was allowed no longer count.
fn resumption(cluster: &WsCluster) -> Value {
    let lost = cluster.status.as_ref().and_then(|status| status.rollout.as_ref()).map_or(0, |rollout| rollout.dropped);
    let accepted = if lost > 0 { json!(lost.to_string()) } else { Value::Null };
    json!({"metadata": {"annotations": {labels::ACCEPTED_LOSSES: accepted}}, "spec": {"paused": false}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resuming_accepts_what_this_rollout_lost_and_forgets_what_an_earlier_one_was_allowed() {
        let spec = serde_json::from_value(json!({"redis": {"url": "redis://r:6379"}})).unwrap();
        let mut cluster = WsCluster::new("chat", spec);
        let accepted =
            |cluster: &WsCluster| resumption(cluster)["metadata"]["annotations"][labels::ACCEPTED_LOSSES].clone();
        assert_eq!(accepted(&cluster), Value::Null);
        cluster.status = Some(serde_json::from_value(json!({"rollout": {"phase": "Paused", "dropped": 3}})).unwrap());
        assert_eq!(accepted(&cluster), json!("3"));
        assert_eq!(resumption(&cluster)["spec"]["paused"], json!(false));
    }
}
