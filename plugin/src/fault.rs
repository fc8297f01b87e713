//! What went wrong with a request, in words that say whose fault it is and what helps.

use kube::core::Status;

/// What was wanted of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As in a Role: `get`, `patch`, …
    pub verb: &'static str,
    /// As in a Role: `wsclusters.wscluster.dev`, `pods/eviction`, …
    pub resource: &'static str,
    /// Where.
    pub namespace: String,
}

/// Why it was not had.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// There is no WsCluster of this name.
    #[error("there is no WsCluster {name:?} in namespace {namespace:?}; {}", others(.there))]
    NoSuchCluster {
        /// The name asked for.
        name: String,
        /// The namespace looked in.
        namespace: String,
        /// Names that are there.
        there: Vec<String>,
    },
    /// The API server does not know the kind.
    #[error(
        "this cluster does not know WsClusters: install the operator with its CustomResourceDefinition (docs/install.md), or choose another cluster with --context"
    )]
    NotInstalled,
    /// The user may not.
    #[error(
        "you may not {} {} in namespace {:?}: ask for a Role with verb {:?} on {:?} ({message})",
        .wanted.verb, .wanted.resource, .wanted.namespace, .wanted.verb, .wanted.resource
    )]
    Forbidden {
        /// What was wanted.
        wanted: Wanted,
        /// The server's words.
        message: String,
    },
    /// The server does not know who asks.
    #[error("the API server does not accept your credentials ({0}): log in again, or choose another --context")]
    Unauthorized(String),
    /// The server refused what was sent.
    #[error("the API server refused to {} {}: {message}", .wanted.verb, .wanted.resource)]
    Refused {
        /// What was wanted.
        wanted: Wanted,
        /// The server's words.
        message: String,
    },
    /// The server was not reached, or its answer made no sense.
    #[error("cannot {} {}: {source}; is the cluster of your kubeconfig up?", .wanted.verb, .wanted.resource)]
    Unreachable {
        /// What was wanted.
        wanted: Wanted,
        /// How it failed.
        source: Box<kube::Error>,
    },
}

impl Fault {
    /// Of a request that failed. An object that was not found is for the caller to tell, who knows its name.
    pub fn of(error: kube::Error, wanted: Wanted) -> Self {
        match error {
            kube::Error::Api(status) => Self::refused(*status, wanted),
            source => Self::Unreachable { wanted, source: Box::new(source) },
        }
    }

    fn refused(status: Status, wanted: Wanted) -> Self {
        let message = status.message;
        match status.code {
            401 => Self::Unauthorized(message),
            403 => Self::Forbidden { wanted, message },
            404 if wanted.resource.starts_with("wsclusters") => Self::NotInstalled,
            _ => Self::Refused { wanted, message },
        }
    }
}

fn others(there: &[String]) -> String {
    match there {
        [] => "there is none at all: look in another with -n".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: u16, resource: &'static str) -> String {
        let status = Status::failure("no", "Reason").with_code(code);
        let wanted = Wanted { verb: "patch", resource, namespace: "web".to_owned() };
        Fault::of(kube::Error::Api(Box::new(status)), wanted).to_string()
    }

    #[test]
    fn a_refusal_names_the_verb_and_the_resource_that_a_role_needs() {
        let text = fault(403, "wsclusters.wscluster.dev");
        assert!(text.contains("you may not patch wsclusters.wscluster.dev in namespace \"web\""), "{text}");
        assert!(text.contains("verb \"patch\" on \"wsclusters.wscluster.dev\""), "{text}");
    }

    #[test]
    fn a_kind_that_is_not_known_is_told_from_an_object_that_is_not_there() {
        assert!(fault(404, "wsclusters.wscluster.dev").contains("install the operator"));
        assert!(!fault(404, "pods").contains("install the operator"));
        let gone = |there: &[&str]| Fault::NoSuchCluster {
            name: "chta".to_owned(),
            namespace: "web".to_owned(),
            there: there.iter().map(|&name| name.to_owned()).collect(),
        };
        assert!(gone(&["chat", "feed"]).to_string().ends_with("there are: chat, feed"));
        assert!(gone(&[]).to_string().contains("another with -n"));
    }
}
