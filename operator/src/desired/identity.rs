//! The gateways' ServiceAccount: a name without any permission, and no token in the pods.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Wanted;
use crate::kinds::Kind;

/// The ServiceAccount.
pub fn service_account(wanted: &Wanted<'_>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": wanted.metadata(Kind::ServiceAccount, &BTreeMap::new()),
        "automountServiceAccountToken": false,
    })
}
