//! Secrets of the user's that gateways mount, and the one with the key of cookies: which of them a spec names, and what of
//! them is missing. A pod that mounts what is not there never starts, and tells only its own Events. Names of keys are looked
//! at, never contents.

use std::collections::BTreeSet;
use std::fmt;

use wscluster_crds::WsClusterSpec;
use wscluster_crds::spec::{SecretKeyRef, SecretRef};

/// The field of the key of cookies. The operator passes that key on: no gateway waits for it.
const SIGNING_KEY: &str = "spec.service.stickiness.cookie.signingKeySecretRef";

/// A Secret that a spec names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The field that names it.
    pub field: &'static str,
    /// Name of the Secret.
    pub name: String,
    /// The keys that gateways read.
    pub keys: Vec<String>,
}

/// A Secret, or a key of one, that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What asks for it; its keys are those that are missing.
    pub reference: Reference,
    /// The keys that the Secret has; `None` where there is no such Secret.
    pub present: Option<BTreeSet<String>>,
}

/// The Secrets that a spec names, but for the one with the address of Redis.
pub fn of(spec: &WsClusterSpec) -> Vec<Reference> {
    let (jwt, tls) = (spec.auth.jwt.as_ref(), spec.redis.tls.as_ref());
    let service = &spec.service;
    let one_key = [
        ("spec.auth.jwt.secretRef", jwt.and_then(|jwt| jwt.secret_ref.as_ref())),
        ("spec.auth.jwt.publicKeySecretRef", jwt.and_then(|jwt| jwt.public_key_secret_ref.as_ref())),
        ("spec.auth.apiKeySecretRef", spec.auth.api_key_secret_ref.as_ref()),
        (SIGNING_KEY, service.stickiness.cookie.signing_key_secret_ref.as_ref()),
    ];
    let certificate = service.tls.as_ref().and_then(|tls| tls.secret_name.clone()).map(|name| SecretRef { name });
    let whole: [(_, Option<&SecretRef>, &[&str]); 3] = [
        ("spec.redis.tls.caSecretRef", tls.and_then(|tls| tls.ca_secret_ref.as_ref()), &["ca.crt"]),
        (
            "spec.redis.tls.clientCertSecretRef",
            tls.and_then(|tls| tls.client_cert_secret_ref.as_ref()),
            &["tls.crt", "tls.key"],
        ),
        ("spec.service.tls.secretName", certificate.as_ref(), &["tls.crt", "tls.key"]),
    ];
    let one_key = one_key.into_iter().filter_map(|(field, named)| {
        let SecretKeyRef { name, key } = named?.clone();
        Some(Reference { field, name, keys: vec![key] })
    });
    let whole = whole.into_iter().filter_map(|(field, named, keys)| {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Some(Reference { field, name: named?.name.clone(), keys })
    });
    one_key.chain(whole).collect()
}

impl Lack {
    /// What of a reference is missing, given the keys of the Secret (if it exists).
    pub fn of(reference: Reference, present: Option<BTreeSet<String>>) -> Option<Self> {
        let has = |key: &String| present.as_ref().is_some_and(|present| present.contains(key));
        let keys: Vec<_> = reference.keys.iter().filter(|key| !has(key)).cloned().collect();
        (!keys.is_empty()).then_some(Self { reference: Reference { keys, ..reference }, present })
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reference { field, name, keys } = &self.reference;
        let waits = match *field {
            SIGNING_KEY => "cookies are signed with the key before it until it is there",
            _ => "new gateways wait for it",
        };
        let quoted: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
        let quoted = quoted.join(" and ");
        let Some(present) = &self.present else {
            let files: Vec<_> = keys.iter().map(|key| format!("--from-file={key}=FILE")).collect();
            return write!(
                f,
                "Secret {name:?} that {field} names does not exist, and {waits}: create it with {quoted}, for example: kubectl create secret generic {name} {}",
                files.join(" ")
            );
        };
        let present: Vec<_> = present.iter().map(String::as_str).collect();
        let present = if present.is_empty() { "none".to_owned() } else { present.join(", ") };
        write!(
            f,
            "Secret {name:?} that {field} names lacks the key {quoted}, and {waits} (keys that it has: {present}): add it"
        )?;
        if field.ends_with("KeySecretRef") || field.ends_with(".secretRef") {
            write!(f, ", or name another in {field}.key")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(yaml: &str, present: Option<&[&str]>) -> Vec<String> {
        let redis = if yaml.contains("redis:") { "" } else { "redis: {url: 'redis://r:6379'}\n" };
        let spec: WsClusterSpec = serde_yaml::from_str(&format!("{redis}{yaml}")).unwrap();
        let present = present.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>());
        of(&spec)
            .into_iter()
            .filter_map(|named| Lack::of(named, present.clone()))
            .map(|lack| lack.to_string())
            .collect()
    }

    #[test]
    fn every_field_that_names_a_secret_to_mount_is_told_with_secret_and_key() {
        for (yaml, field, keys) in [
            ("auth: {jwt: {algorithms: [HS256], secretRef: {name: s, key: k}}}", "spec.auth.jwt.secretRef", &["k"][..]),
            (
                "auth: {jwt: {algorithms: [RS256], publicKeySecretRef: {name: s, key: k}}}",
                "spec.auth.jwt.publicKeySecretRef",
                &["k"],
            ),
            ("auth: {apiKeySecretRef: {name: s, key: k}}", "spec.auth.apiKeySecretRef", &["k"]),
            ("redis: {url: 'rediss://r:1', tls: {caSecretRef: {name: s}}}", "spec.redis.tls.caSecretRef", &["ca.crt"]),
            (
                "redis: {url: 'rediss://r:1', tls: {clientCertSecretRef: {name: s}}}",
                "spec.redis.tls.clientCertSecretRef",
                &["tls.crt", "tls.key"],
            ),
            ("service: {tls: {secretName: s}}", "spec.service.tls.secretName", &["tls.crt", "tls.key"]),
            (
                "service: {stickiness: {cookie: {signingKeySecretRef: {name: s, key: k}}}}",
                "spec.service.stickiness.cookie.signingKeySecretRef",
                &["k"],
            ),
        ] {
            let [missing] = &lacks(yaml, None)[..] else { panic!("one is told: {yaml}") };
            assert!(missing.contains(field) && missing.contains("Secret \"s\"") && missing.contains("does not exist"));
            let [without_key] = &lacks(yaml, Some(&["other"]))[..] else { panic!("one is told: {yaml}") };
            assert!(without_key.contains(field) && without_key.contains("keys that it has: other"), "{without_key}");
            for key in keys {
                assert!(missing.contains(&format!("--from-file={key}=FILE")), "{missing}");
                assert!(without_key.contains(&format!("{key:?}")), "{without_key}");
            }
            assert!(lacks(yaml, Some(keys)).is_empty(), "{yaml}");
        }
    }

    #[test]
    fn of_two_keys_only_the_missing_one_is_told() {
        let yaml = "redis: {url: 'rediss://r:1', tls: {clientCertSecretRef: {name: s}}}";
        let [told] = &lacks(yaml, Some(&["tls.crt"]))[..] else { panic!("one is told") };
        assert!(told.contains("lacks the key \"tls.key\", and"), "{told}");
    }

    #[test]
    fn a_spec_that_names_no_secret_lacks_none() {
        assert!(lacks("", None).is_empty());
        assert!(lacks("redis: {urlSecretRef: {name: s, key: k}}", None).is_empty(), "its address tells of that one");
    }
}
