//! Errors of the gateway: whose fault, and whether to try again.

use std::borrow::Cow;

/// Why the log could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The log cannot be reached or does not answer. Try again later. An append may or may not have been written.
    #[error("the log cannot be reached: {0}")]
    Unavailable(Cow<'static, str>),
    /// The log answered, and refused. Trying again will not help until someone mends it.
    #[error("the log refused: {0}")]
    Refused(Cow<'static, str>),
}

impl LogError {
    /// Value of the label `error` in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
        }
    }
}
