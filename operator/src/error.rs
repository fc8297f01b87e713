//! Why a reconcile failed: whose fault, whether to try again, and the label that it is counted under.

use wscluster_crds::names::InvalidName;

use crate::kinds::Kind;

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server could not be asked, or answered with an error.
    #[error("{action}: {source}")]
    Api {
        /// What was being done.
        action: String,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// The API server refused an object: the manifest asks for something impossible. The status says what.
    #[error("refused by the API server: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// The name cannot be used. The schema lets none such through.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

impl ReconcileError {
    /// An error of the API server's, with what was being done.
    pub fn api(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |source| Self::Api { action, source: Box::new(source) }
    }

    /// Label in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Api { source, .. } if is_conflict(source) => "conflict",
            Self::Api { .. } => "api",
            Self::Refused(_) => "refused",
            Self::Name(_) => "name",
        }
    }

    /// Whether trying again can help before something changes.
    pub fn retry(&self) -> bool {
        !matches!(self, Self::Name(_))
    }
}

/// Whether someone else wrote meanwhile.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Whether the API server knows a kind no more that was there a moment ago.
pub fn gone(kind: Kind, error: &kube::Error) -> bool {
    kind.may_be_missing() && matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// The API server's words, when it refuses what was asked rather than being unable to do it.
pub fn refusal(error: &kube::Error) -> Option<&str> {
    match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => Some(&status.message),
        _ => None,
    }
}
