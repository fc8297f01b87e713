//! The APIService objects by which the API server passes requests on to us: what they should say, and whether somebody else
//! has them. Pure.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use serde_json::{Value, json};
use wscluster_crds::labels;

use super::{GROUP, Version};
use crate::compare;
use crate::desired::prune;
use crate::scalers::Standing;

/// Priority of the group among groups. Source: the value that adapters commonly use.
const GROUP_PRIORITY: i32 = 100;
/// Port of the Service.
const PORT: u16 = 443;

/// Where requests are to go.
#[derive(Clone, Debug)]
pub struct Ours {
    /// Name of the Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// The authorities to believe, as PEM.
    pub authorities: String,
    /// With what it is to go.
    pub owner: Option<OwnerReference>,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub struct Step {
    /// Objects to write.
    pub writes: Vec<(Version, Value)>,
    /// Objects of ours to delete: somebody else serves the group.
    pub withdrawals: Vec<Version>,
    /// How the API stands.
    pub standing: Standing,
}

/// Name of a version's object.
pub fn name(version: Version) -> String {
    format!("{}.{GROUP}", version.as_str())
}

/// What is to be done about what was found. A group is served as a whole: with one version of it somebody else's, an
/// autoscaler of theirs would be sent to us.
pub fn step(found: &BTreeMap<Version, APIService>, ours: &Ours) -> Step {
    let foreign = found.values().find(|service| !is_ours(service, ours));
    if let Some(foreign) = foreign {
        let own = found.iter().filter(|(_, service)| is_ours(service, ours));
        let withdrawals = own.map(|(version, _)| *version).collect();
        return Step { writes: Vec::new(), withdrawals, standing: Standing::Taken { by: whose(foreign) } };
    }
    let stale = |version: &Version| {
        let (desired, live) = (desired(*version, ours), found.get(version).map(|live| json!(live)));
        let differs = live.is_none_or(|live| compare::difference(&desired, &live).is_some());
        differs.then_some((*version, desired))
    };
    let writes = Version::ALL.iter().filter_map(stale).collect();
    Step { writes, withdrawals: Vec::new(), standing: standing(found) }
}

fn desired(version: Version, ours: &Ours) -> Value {
    prune(json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {
            "name": name(version),
            "labels": {labels::NAME: labels::APP_NAME, labels::MANAGED_BY_KEY: labels::MANAGED_BY},
            "ownerReferences": ours.owner.as_ref().map(|owner| [owner]),
        },
        "spec": {
            "group": GROUP,
            "version": version.as_str(),
            "groupPriorityMinimum": GROUP_PRIORITY,
            "versionPriority": match version { Version::V1Beta1 => 100, Version::V1Beta2 => 200 },
            "service": {"name": ours.service, "namespace": ours.namespace, "port": PORT},
            "caBundle": STANDARD.encode(&ours.authorities),
        },
    }))
}

fn is_ours(service: &APIService, ours: &Ours) -> bool {
    let reference = service.spec.as_ref().and_then(|spec| spec.service.as_ref());
    reference.is_some_and(|reference| {
        reference.name.as_deref() == Some(&ours.service) && reference.namespace.as_deref() == Some(&ours.namespace)
    })
}

fn whose(service: &APIService) -> String {
    let Some(reference) = service.spec.as_ref().and_then(|spec| spec.service.as_ref()) else {
        return "the API server itself".to_owned();
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("Service {} in namespace {}", text(&reference.name), text(&reference.namespace))
}

/// How it stands by the API server's own word, which comes a moment after the objects.
fn standing(found: &BTreeMap<Version, APIService>) -> Standing {
    let mut standing = if found.len() == Version::ALL.len() { Standing::Available } else { Standing::Unknown };
    for service in found.values() {
        let conditions = service.status.as_ref().and_then(|status| status.conditions.as_ref());
        let available = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "Available"));
        match available {
            Some(condition) if condition.status == "True" => {}
            Some(condition) => {
                return Standing::Unavailable { why: condition.message.clone().unwrap_or_default() };
            }
            None => standing = Standing::Unknown,
        }
    }
    standing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Ours {
        Ours {
            service: "metrics".to_owned(),
            namespace: "system".to_owned(),
            authorities: "PEM".to_owned(),
            owner: Some(OwnerReference {
                api_version: "rbac.authorization.k8s.io/v1".to_owned(),
                kind: "ClusterRole".to_owned(),
                name: "role".to_owned(),
                uid: "u".to_owned(),
                ..OwnerReference::default()
            }),
        }
    }

    fn live(ours: &Ours, available: Option<&str>) -> BTreeMap<Version, APIService> {
        let with_status = |version: Version| {
            let mut body = desired(version, ours);
            if let Some(status) = available {
                body["status"] = json!({"conditions": [{"type": "Available", "status": status, "message": "why"}]});
            }
            (version, serde_json::from_value(body).unwrap())
        };
        Version::ALL.into_iter().map(with_status).collect()
    }

    #[test]
    fn an_api_that_nobody_serves_is_registered() {
        let step = step(&BTreeMap::new(), &ours());
        assert_eq!(step.standing, Standing::Unknown);
        let objects: Vec<_> = step.writes.into_iter().map(|(_, object)| object).collect();
        insta::assert_json_snapshot!("apiservices", objects);
    }

    #[test]
    fn what_is_as_it_should_be_is_not_written() {
        for (status, standing) in [
            (Some("True"), Standing::Available),
            (Some("False"), Standing::Unavailable { why: "why".to_owned() }),
            (None, Standing::Unknown),
        ] {
            let step = step(&live(&ours(), status), &ours());
            assert_eq!((step.writes, step.withdrawals, step.standing), (Vec::new(), Vec::new(), standing));
        }
    }

    #[test]
    fn another_authority_is_told_to_the_api_server() {
        let step = step(&live(&ours(), Some("True")), &Ours { authorities: "NEW".to_owned(), ..ours() });
        assert_eq!(step.writes.len(), 2);
        assert_eq!(step.writes[0].1["spec"]["caBundle"], STANDARD.encode("NEW"));
    }

    #[test]
    fn an_adapter_of_somebody_elses_is_left_alone_and_not_stood_beside() {
        let other = Ours { service: "prometheus-adapter".to_owned(), namespace: "monitoring".to_owned(), ..ours() };
        let mut found = live(&other, Some("True"));
        found.remove(&Version::V1Beta2);
        let taken = Standing::Taken { by: "Service prometheus-adapter in namespace monitoring".to_owned() };
        let first = step(&found, &ours());
        assert_eq!((first.writes, first.withdrawals, first.standing), (Vec::new(), Vec::new(), taken.clone()));
        found.extend(live(&ours(), Some("True")).into_iter().filter(|(version, _)| *version == Version::V1Beta2));
        let later = step(&found, &ours());
        assert_eq!((later.writes, later.withdrawals, later.standing), (Vec::new(), vec![Version::V1Beta2], taken));
    }
}
