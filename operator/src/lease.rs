//! Leader election on a Lease, with the rules of client-go: a lease counts as expired when *we* have not seen it change for
//! its duration, so clocks of different machines are never compared; every write carries the version that it replaces, so
//! of two that want it one fails.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::error::is_conflict;

/// How long a lease holds without renewal.
const DURATION: Duration = Duration::from_secs(15);
/// How long a leader that cannot renew goes on: less than others wait.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Time between two renewals, and between two looks at another's lease.
const PERIOD: Duration = Duration::from_secs(2);
/// Longest time that giving it back may take.
const RELEASE: Duration = Duration::from_secs(1);

/// One that wants to lead.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// What was seen of the lease, and since when it looks like that.
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

impl Candidate {
    /// A candidate for a lease.
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), identity }
    }

    /// Waits until this process leads; false: it was told to end before.
    pub async fn acquire(&self, shutdown: &CancellationToken) -> bool {
        let mut seen = None;
        loop {
            match self.try_acquire(&mut seen).await {
                Ok(true) => {
                    tracing::info!(identity = self.identity, "leading");
                    return true;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, lease = self.name, "the lease cannot be read or written"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return false,
                () = sleep(PERIOD) => {}
            }
        }
    }

    /// Renews the lease for as long as that works. Returns when this process no longer leads.
    pub async fn keep(&self) {
        let mut renewed = Instant::now();
        loop {
            sleep(PERIOD).await;
            match timeout(RENEW_DEADLINE, self.renew()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "the lease cannot be renewed"),
                Err(_) => tracing::warn!("the lease cannot be renewed: no answer"),
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                return;
            }
        }
    }

    /// Gives the lease back, so that another need not wait for it to expire.
    pub async fn release(&self) {
        let giving = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            if holder(&lease) == Some(&self.identity) {
                let spec = lease.spec.get_or_insert_default();
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
                spec.renew_time = Some(MicroTime(Timestamp::now()));
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        match timeout(RELEASE, giving).await {
            Ok(Ok(())) => tracing::info!("lease released"),
            Ok(Err(error)) => tracing::warn!(%error, "the lease cannot be released"),
            Err(_) => tracing::warn!("the lease cannot be released: no answer"),
        }
    }

    async fn try_acquire(&self, seen: &mut Option<Seen>) -> kube::Result<bool> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.mine(None)) };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if seen.as_ref().is_none_or(|seen| seen.spec != spec) {
            *seen = Some(Seen { spec: spec.clone(), since: Instant::now() });
        }
        let since = seen.as_ref().map_or_else(Instant::now, |seen| seen.since);
        if !free(&spec, since.elapsed(), &self.identity) {
            return Ok(false);
        }
        let taken = Lease { spec: Some(self.mine(Some(&spec))), ..lease };
        won(self.api.replace(&self.name, &PostParams::default(), &taken).await)
    }

    async fn renew(&self) -> kube::Result<bool> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(false) };
        if holder(&lease) != Some(&self.identity) {
            return Ok(false);
        }
        lease.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        match self.api.replace(&self.name, &PostParams::default(), &lease).await {
            Ok(_) => Ok(true),
            // Somebody wrote between the two: look who it was.
            Err(error) if is_conflict(&error) => {
                Ok(self.api.get(&self.name).await.map(|l| holder(&l) == Some(&self.identity))?)
            }
            Err(error) => Err(error),
        }
    }

    fn mine(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let transitions = before.map_or(0, |before| before.lease_transitions.unwrap_or_default() + 1);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: now.clone(),
            renew_time: now,
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref()
}

/// Whether a lease that looks the same for `unchanged` may be taken.
fn free(spec: &LeaseSpec, unchanged: Duration, identity: &str) -> bool {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
    holder.is_empty() || holder == identity || unchanged >= Duration::from_secs(seconds)
}

fn won(result: kube::Result<Lease>) -> kube::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if is_conflict(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_free_ours_or_unchanged_for_its_duration() {
        let held = |by: &str| LeaseSpec {
            holder_identity: Some(by.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        let seconds = Duration::from_secs;
        assert!(free(&LeaseSpec::default(), seconds(0), "me"));
        assert!(free(&held(""), seconds(0), "me"));
        assert!(free(&held("me"), seconds(0), "me"));
        assert!(!free(&held("other"), seconds(14), "me"));
        assert!(free(&held("other"), seconds(15), "me"));
    }
}
