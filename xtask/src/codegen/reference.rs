//! The reference of the WsCluster resource in Markdown, from the CRD's schema: every field with type, default and rules.
//! Knows the schema's words, not ours: what a field means is said in the types.

use std::fmt::Write;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

/// Fields whose schema is Kubernetes' own, and where it is explained.
const FOREIGN: &[(&str, &str)] = &[
    ("spec.gateway.imagePullSecrets", "as in a Pod"),
    ("spec.gateway.resources", "as in a Container"),
    ("spec.gateway.env", "as in a Container"),
    ("spec.gateway.podTemplate.affinity", "as in a Pod"),
    ("spec.gateway.podTemplate.tolerations", "as in a Pod"),
    ("spec.gateway.podTemplate.topologySpreadConstraints", "as in a Pod"),
    ("spec.autoscaling.behavior", "as in a HorizontalPodAutoscaler"),
    ("spec.networkPolicy.adminFrom", "peers, as in a NetworkPolicy"),
    ("status.conditions", "conditions, as everywhere in Kubernetes"),
];

const HEADER: &str = "\
<!-- Generated from the Rust types by `cargo xtask codegen`. -->
# The `WsCluster` resource

`apiVersion: wscluster.dev/v1alpha1`, `kind: WsCluster`, short name `wsc`. `kubectl explain wscluster.spec` shows the same.

The smallest complete cluster:

```yaml
apiVersion: wscluster.dev/v1alpha1
kind: WsCluster
metadata: {name: chat}
spec:
  redis: {url: \"redis://redis:6379\"}
```

Every rule below is checked by the API server itself, when you apply: a bad manifest is refused with a message that names
the field and the reason.
";

/// Renders the reference of the CRD's only version.
pub(super) fn render(crd: &CustomResourceDefinition) -> Result<String> {
    let schema = serde_json::to_value(crd)?
        .pointer("/spec/versions/0/schema/openAPIV3Schema")
        .context("the CRD has a schema")?
        .clone();
    let mut page = HEADER.to_owned();
    for message in rules(&schema) {
        let _ = write!(page, "\nThe name: {message}.\n");
    }
    for part in ["spec", "status"] {
        let _ = write!(page, "\n## {part}\n");
        section(&mut page, part, &schema["properties"][part]);
    }
    Ok(page)
}

/// One object: its description, a table of its fields, its own rules, and the objects below it.
fn section(page: &mut String, path: &str, schema: &Value) {
    let _ = write!(
        page,
        "\n{}\n\n| field | type | default | meaning and rules |\n| --- | --- | --- | --- |\n",
        prose(schema)
    );
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties: Vec<(&String, &Value)> = schema["properties"].as_object().into_iter().flatten().collect();
    for (name, property) in &properties {
        row(page, path, name, property, required.contains(&name.as_str()));
    }
    let own = rules(schema);
    if !own.is_empty() {
        let _ = write!(page, "\nRules:\n\n");
        for rule in own {
            let _ = writeln!(page, "- {rule}");
        }
    }
    for (name, property) in properties {
        let below = format!("{path}.{name}");
        if let Some((path, object)) = descend(&below, property) {
            let _ = write!(page, "\n### {path}\n");
            section(page, &path, object);
        }
    }
}

/// The object below a field that has a section of its own.
fn descend<'a>(path: &str, schema: &'a Value) -> Option<(String, &'a Value)> {
    if FOREIGN.iter().any(|(foreign, _)| *foreign == path) || reference_to(schema).is_some() {
        return None;
    }
    if schema["properties"].is_object() {
        return Some((path.to_owned(), schema));
    }
    let items = &schema["items"];
    items["properties"].is_object().then(|| (format!("{path}[]"), items))
}

/// A reference that needs no section of its own: to a Secret, or to a key of one.
fn reference_to(schema: &Value) -> Option<&'static str> {
    let fields: Vec<&str> = schema["properties"].as_object()?.keys().map(String::as_str).collect();
    match fields.as_slice() {
        ["key", "name"] => Some("`{name, key}`: a Secret and a key in it"),
        ["name"] => Some("`{name}`: a Secret"),
        _ => None,
    }
}

fn row(page: &mut String, path: &str, name: &str, schema: &Value, required: bool) {
    let below = format!("{path}.{name}");
    let mut meaning = vec![prose(schema)];
    meaning.extend(bounds(schema));
    if descend(&below, schema).is_none_or(|(path, _)| path.ends_with("[]")) {
        meaning.extend(rules(schema).into_iter().map(|rule| format!("Rule: {rule}.")));
    }
    let default = match &schema["default"] {
        Value::Null if required => "required".to_owned(),
        Value::Null => String::new(),
        Value::Object(_) => "see below".to_owned(),
        other => format!("`{}`", other.as_str().map_or_else(|| other.to_string(), str::to_owned)),
    };
    let _ = writeln!(page, "| `{name}` | {} | {default} | {} |", type_name(&below, schema), meaning.join(" ").trim());
}

fn type_name(path: &str, schema: &Value) -> String {
    if let Some((_, words)) = FOREIGN.iter().find(|(foreign, _)| *foreign == path) {
        return (*words).to_owned();
    }
    if let Some(words) = reference_to(schema) {
        return words.to_owned();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "integer or string".to_owned();
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        return values.join(", ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", plural(&type_name(&format!("{path}[]"), &schema["items"]))),
        Some("object") if schema["additionalProperties"].is_object() => "map of strings".to_owned(),
        Some("string") if schema["format"] == "date-time" => "time".to_owned(),
        Some(name) => name.to_owned(),
        None => "any".to_owned(),
    }
}

fn plural(name: &str) -> String {
    if name.starts_with('`') { name.to_owned() } else { format!("{name}s") }
}

/// The description in one line, without the default, which has a column of its own.
fn prose(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    match &schema["default"] {
        Value::Null | Value::Object(_) | Value::Array(_) => text,
        default => {
            let said = format!(" Default: {}.", default.as_str().map_or_else(|| default.to_string(), str::to_owned));
            text.strip_suffix(&said).map_or_else(|| text.clone(), str::to_owned)
        }
    }
}

fn bounds(schema: &Value) -> Option<String> {
    let between = |low: &Value, high: &Value, what: &str| match (low.as_f64(), high.as_f64()) {
        (Some(low), Some(high)) => Some(format!("{low} to {high}{what}.")),
        (Some(low), None) if low > 0.0 => Some(format!("At least {low}{what}.")),
        (None, Some(high)) => Some(format!("At most {high}{what}.")),
        _ => None,
    };
    match schema["type"].as_str()? {
        "integer" => between(&schema["minimum"], &schema["maximum"], ""),
        "string" if schema["enum"].is_null() => between(&schema["minLength"], &schema["maxLength"], " characters"),
        "array" => between(&schema["minItems"], &schema["maxItems"], " items"),
        "object" => between(&schema["minProperties"], &schema["maxProperties"], " keys"),
        _ => None,
    }
}

/// The rules of one schema in words. A computed message is shown with `N` for its numbers.
fn rules(schema: &Value) -> Vec<String> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    rules
        .map(|rule| match rule["messageExpression"].as_str() {
            Some(expression) => {
                expression.split('\'').nth(1).unwrap_or_default().replace(" (%d)", "").replace("%d", "N")
            }
            None => rule["message"].as_str().unwrap_or_default().to_owned(),
        })
        .map(|text| text.replace('|', "\\|"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_says_type_default_and_bounds() {
        let mut page = String::new();
        let schema = json!({"type": "integer", "description": "How many. Default: 5.", "default": 5, "minimum": 1, "maximum": 9});
        row(&mut page, "spec", "n", &schema, false);
        assert_eq!(page, "| `n` | integer | `5` | How many. 1 to 9. |\n");
    }

    #[test]
    fn a_computed_message_is_shown_without_its_numbers() {
        let schema = json!({"x-kubernetes-validations": [{"rule": "x", "messageExpression": "'a (%d) must be b (%d) = %d'.format([1, 2, 3])"}]});
        assert_eq!(rules(&schema), ["a must be b = N"]);
    }

    #[test]
    fn every_field_of_kubernetes_own_exists() {
        let page = render(&wscluster_crds::crd()).expect("a page");
        for (path, words) in FOREIGN {
            let name = path.rsplit('.').next().expect("a name");
            assert!(page.contains(&format!("| `{name}` | {words} |")), "{path} is no field any more");
        }
    }
}
