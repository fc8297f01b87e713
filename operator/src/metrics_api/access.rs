//! Whether somebody may ask: the API server decides (a `SubjectAccessReview`), and its answer holds for a few seconds, as with
//! any extension server.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

use super::GROUP;
use super::identity::User;
use super::request::{Ask, Metric};

/// Time for which an answer holds.
const FRESH: Duration = Duration::from_secs(10);
/// Answers that are kept; past it they are asked for anew.
const KEPT: usize = 1024;
/// Members may do everything by definition, and are asked about by nobody: so the API server's own requests do not wait
/// for another request to it. Source: `k8s.io/apiserver`, `DelegatingAuthorizationOptions`.
const MASTERS: &str = "system:masters";

/// Decides who may ask what.
pub struct Access {
    client: Client,
    decided: Mutex<HashMap<(User, String), (Instant, bool)>>,
}

impl Access {
    /// Nothing is decided yet.
    pub fn new(client: Client) -> Self {
        Self { client, decided: Mutex::default() }
    }

    /// Whether a user may get what a path leads to.
    pub async fn may(&self, user: &User, path: &str, ask: &Ask) -> kube::Result<bool> {
        if user.groups.iter().any(|group| group == MASTERS) {
            return Ok(true);
        }
        let key = (user.clone(), path.to_owned());
        if let Some(decided) = self.decided(&key) {
            return Ok(decided);
        }
        let review = SubjectAccessReview { spec: spec(user, path, ask), ..SubjectAccessReview::default() };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        let mut decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        if decided.len() >= KEPT {
            decided.clear();
        }
        decided.insert(key, (Instant::now(), allowed));
        Ok(allowed)
    }

    fn decided(&self, key: &(User, String)) -> Option<bool> {
        let decided = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        decided.get(key).filter(|(since, _)| since.elapsed() < FRESH).map(|(_, allowed)| *allowed)
    }
}

/// What the API server is asked. A path that is no metric's is authorised as a path.
fn spec(user: &User, path: &str, ask: &Ask) -> SubjectAccessReviewSpec {
    let verb = Some("get".to_owned());
    let (resource_attributes, non_resource_attributes) = match ask {
        Ask::Metric(metric) => (Some(attributes(metric)), None),
        _ => (None, Some(NonResourceAttributes { path: Some(path.to_owned()), verb })),
    };
    SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        groups: Some(user.groups.clone()),
        extra: Some(user.extra.clone()),
        resource_attributes,
        non_resource_attributes,
        ..SubjectAccessReviewSpec::default()
    }
}

fn attributes(metric: &Metric) -> ResourceAttributes {
    ResourceAttributes {
        group: Some(GROUP.to_owned()),
        version: Some(metric.version.as_str().to_owned()),
        namespace: metric.namespace.clone(),
        resource: Some(metric.resource.clone()),
        name: Some(metric.name.clone()),
        subresource: Some(metric.metric.clone()),
        verb: Some("get".to_owned()),
        ..ResourceAttributes::default()
    }
}
