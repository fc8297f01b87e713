//! The `CustomResourceDefinition` made from the types: as an object, and as the text that is committed.
//!
//! Knows no server and no file. Completes what the types cannot say: `kubectl explain` shows descriptions and no defaults,
//! so each default is said in its field's description too; and a quantity of Kubernetes' has a form.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::WsCluster;

/// Form of a quantity. Source: `k8s.io/apimachinery/pkg/api/resource`.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// The `CustomResourceDefinition` exactly as it is installed.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = serde_json::to_value(WsCluster::crd()).expect("a CRD is JSON");
    for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
        complete(&mut version["schema"]["openAPIV3Schema"]["properties"]["spec"]);
    }
    serde_json::from_value(crd).expect("descriptions alone were changed")
}

/// The same as YAML, as it lies in `crds/wsclusters.yaml`.
pub fn crd_yaml() -> String {
    let yaml = serde_yaml::to_string(&crd()).expect("a CRD is YAML");
    format!("# Generated from the Rust types by `cargo xtask codegen`.\n{yaml}")
}

/// Completes a schema and all below it.
fn complete(schema: &mut Value) {
    describe_default(schema);
    restrict_quantity(schema);
    for property in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        complete(property.1);
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = schema.get_mut(below).filter(|below| below.is_object()) {
            complete(below);
        }
    }
}

/// The generated type of a quantity takes any string, which the API server would refuse only in the pod.
fn restrict_quantity(schema: &mut Value) {
    let is_quantity = schema["description"].as_str().is_some_and(|text| text.starts_with("Quantity is a fixed-point"));
    if is_quantity && schema["x-kubernetes-int-or-string"] == true {
        schema["pattern"] = QUANTITY.into();
        schema["description"] = "A quantity, as in `500m`, `2` or `256Mi`.".into();
    }
}

fn describe_default(schema: &mut Value) {
    if let Some(default) = schema.get("default").filter(|default| !default.is_object() && !default.is_array()) {
        let said = format!(" Default: {}.", default.as_str().map_or_else(|| default.to_string(), str::to_owned));
        if let Some(Value::String(description)) = schema.get_mut("description") {
            description.push_str(&said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Client-side apply puts the whole manifest into an annotation, which holds 262,144 bytes.
    const LARGEST: usize = 200_000;

    fn walk(schema: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
        visit(path, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(property, &format!("{path}.{name}"), visit);
        }
        if schema["items"].is_object() {
            walk(&schema["items"], &format!("{path}[]"), visit);
        }
    }

    fn schema() -> Value {
        serde_json::to_value(crd()).expect("JSON")["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    #[test]
    fn the_committed_crd_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/wsclusters.yaml");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == crd_yaml(),
            "crds/wsclusters.yaml is stale: run `cargo xtask codegen` and commit what it wrote"
        );
    }

    #[test]
    fn the_crd_stays_small_enough_for_every_client() {
        let size = crd_yaml().len();
        assert!(size < LARGEST, "{size} bytes");
    }

    #[test]
    fn every_field_is_described() {
        let mut bare = Vec::new();
        walk(&schema(), "", &mut |path, schema| {
            let root_or_item = path.is_empty() || path.ends_with("[]");
            if !root_or_item && schema["description"].as_str().is_none_or(str::is_empty) {
                bare.push(path.to_owned());
            }
        });
        assert!(bare.is_empty(), "without a description: {bare:?}");
    }

    #[test]
    fn every_rule_has_a_message() {
        walk(&schema(), "", &mut |path, schema| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(rule["message"].is_string() || rule["messageExpression"].is_string(), "{path}: {rule}");
            }
        });
    }

    #[test]
    fn defaults_are_said_in_the_description() {
        let schema = schema();
        let timeout = &schema["properties"]["spec"]["properties"]["drain"]["properties"]["timeoutSeconds"];
        assert!(timeout["description"].as_str().is_some_and(|text| text.ends_with(" Default: 300.")), "{timeout}");
    }
}
