//! What needs a person, worst first, each with what to do about it. Pure.

use wscluster_crds::WsCluster;

use super::fleet::{Fleet, Trouble};
use crate::desired::ring::{SHORTEST_SECRET, Signing};
use crate::observe::Observed;
use crate::references::Lack;
use crate::rollout::Hold;
use crate::secrets::Address;
use crate::streams::report::{Fault, Reachability};

/// Something that needs a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable reason of the `Degraded` condition.
    pub reason: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

/// All problems of a cluster, worst first.
pub fn of(cluster: &WsCluster, observed: &Observed, fleet: &Fleet) -> Vec<Problem> {
    let mut found = Vec::new();
    found.extend(observed.name_taken(cluster).into_iter().map(|message| Problem { reason: "NameTaken", message }));
    found.extend(observed.failures.iter().map(|failure| Problem { reason: "ApplyFailed", message: failure.clone() }));
    found.extend(missing_secret(&observed.address));
    found.extend(observed.lacking.iter().map(lacking));
    found.extend(signing_key(cluster, observed));
    found.extend(redis(cluster, observed));
    found.extend(pods(fleet));
    found.extend(deadline(fleet));
    found.extend(lost(fleet));
    found.extend(silent(fleet));
    found
}

/// Where the Redis URL's Secret lacks, in words.
pub fn missing_secret(address: &Address) -> Option<Problem> {
    let message = match address {
        Address::Known(_) => return None,
        Address::SecretMissing { name, key } => format!(
            "Secret {name:?} that spec.redis.urlSecretRef names does not exist: create it with the Redis URL under key {key:?}, for example: kubectl create secret generic {name} --from-literal={key}=redis://HOST:6379"
        ),
        Address::KeyMissing { name, key, present } => format!(
            "Secret {name:?} has no key {key:?} (it has: {}): add the key, or name another in spec.redis.urlSecretRef.key",
            if present.is_empty() { "none".to_owned() } else { present.join(", ") }
        ),
        Address::NotText { name, key } => {
            format!(
                "Key {key:?} of Secret {name:?} is empty or not text: put a Redis URL there, like redis://HOST:6379"
            )
        }
    };
    Some(Problem { reason: "SecretNotFound", message })
}

fn lacking(lack: &Lack) -> Problem {
    Problem { reason: "SecretNotFound", message: lack.to_string() }
}

/// A key that is missing is told of as lacking.
fn signing_key(cluster: &WsCluster, observed: &Observed) -> Option<Problem> {
    let named = cluster.spec.service.stickiness.cookie.signing_key_secret_ref.as_ref()?;
    let lacks = observed.lacking.iter().any(|lack| lack.reference.name == named.name);
    (observed.signing == Signing::Unknown && !lacks).then(|| Problem {
        reason: "SigningKeyTooShort",
        message: format!(
            "Key {:?} of Secret {:?} that spec.service.stickiness.cookie.signingKeySecretRef names has fewer than {SHORTEST_SECRET} bytes, and cookies are signed with the key before it: put 32 random bytes or more there, for example from: openssl rand -base64 48",
            named.key, named.name
        ),
    })
}

fn redis(cluster: &WsCluster, observed: &Observed) -> Option<Problem> {
    let Reachability::Failed { fault, message } = &observed.redis.reachability else { return None };
    if !matches!(observed.address, Address::Known(_)) {
        return None;
    }
    let host = &observed.redis.host;
    let field = if cluster.spec.redis.url_secret_ref.is_some() { "spec.redis.urlSecretRef" } else { "spec.redis.url" };
    let (reason, message) = match fault {
        Fault::Connection => (
            "RedisUnreachable",
            format!(
                "Redis at {host} cannot be reached: {message}. Check that it runs, that {field} names it, and that network policies let the operator and the gateways through"
            ),
        ),
        Fault::Authentication => (
            "RedisAuthFailed",
            format!("Redis at {host} refuses the credentials: {message}. Check user and password in {field}"),
        ),
        Fault::Address => ("RedisUrlInvalid", format!("{field} is not a usable Redis URL: {message}")),
        Fault::Unsupported => return None,
    };
    Some(Problem { reason, message })
}

fn pods(fleet: &Fleet) -> Vec<Problem> {
    let mut found = Vec::new();
    let troubled = |wanted: fn(&Trouble) -> Option<&String>| {
        let mut all = fleet.staying().filter_map(|pod| Some((pod, pod.trouble.as_ref().and_then(wanted)?)));
        let first = all.next()?;
        Some((first.0, first.1.clone(), 1 + all.count()))
    };
    if let Some((pod, words, number)) = troubled(|trouble| match trouble {
        Trouble::Image(words) => Some(words),
        _ => None,
    }) {
        found.push(Problem {
            reason: "ImagePullFailed",
            message: format!(
                "Image {:?} cannot be pulled ({}, for example {}): {words}. Check spec.gateway.image, and spec.gateway.imagePullSecrets for a private registry",
                pod.image, pods_in_words(number), pod.name
            ),
        });
    }
    if let Some((pod, words, number)) = troubled(|trouble| match trouble {
        Trouble::Configuration(words) | Trouble::Crashing(words) => Some(words),
        _ => None,
    }) {
        found.push(Problem {
            reason: "PodsFailing",
            message: format!(
                "Gateways do not start ({}, for example {}): {words}. See: kubectl logs {} --previous",
                pods_in_words(number),
                pod.name,
                pod.name
            ),
        });
    }
    if let Some((pod, words, number)) = troubled(|trouble| match trouble {
        Trouble::Unschedulable(words) => Some(words),
        _ => None,
    }) {
        found.push(Problem {
            reason: "PodsUnschedulable",
            message: format!(
                "No node takes the gateways ({}, for example {}): {words}. Add nodes, or lower spec.gateway.resources or the demands of spec.gateway.podTemplate",
                pods_in_words(number), pod.name
            ),
        });
    }
    if let Some(words) = &fleet.creation_failure {
        found.push(Problem { reason: "PodsFailing", message: format!("Gateway pods cannot be created: {words}") });
    }
    found
}

fn pods_in_words(number: usize) -> String {
    if number == 1 { "1 pod".to_owned() } else { format!("{number} pods") }
}

fn deadline(fleet: &Fleet) -> Option<Problem> {
    fleet.deadline_exceeded.then(|| Problem {
        reason: "ProgressDeadlineExceeded",
        message: format!(
            "Revision {} did not come up within spec.rollout.progressDeadlineSeconds; the gateways that are ready go on. Mend the cause, or set spec back to what it was",
            fleet.revision
        ),
    })
}

fn lost(fleet: &Fleet) -> Option<Problem> {
    let stopped = (fleet.hold == Some(Hold::LossBudget)).then(|| fleet.stopped())?;
    Some(Problem { reason: "SessionsLost", message: stopped.unwrap_or_default() })
}

fn silent(fleet: &Fleet) -> Option<Problem> {
    let first = fleet.silent.first()?;
    Some(Problem {
        reason: "GatewaySilent",
        message: format!(
            "Gateways that should drain do not answer on their admin port ({}, for example {first}); they are removed when their drain deadline has passed. See: kubectl logs {first}, and whether a network policy keeps the operator out",
            pods_in_words(fleet.silent.len())
        ),
    })
}
