//! Errors of Redis: whose fault they are, and what they are about.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::LogError;

/// Whose fault: the server's being away (also a server that loads, or that is no master any more), or our asking.
pub(super) fn classify(error: &RedisError) -> LogError {
    let away = match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
        ),
        // Words that the library does not know, such as WRONGTYPE: the server answered, so the connection is fine. One
        // that has to say who it is must be made anew.
        ErrorKind::Extension => error.code() == Some("NOAUTH"),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => false,
        _ => true,
    };
    if error.redirect_node().is_some() {
        return LogError::Refused("this server is of a Redis Cluster: write redis+cluster:// in its address".into());
    }
    let reason = describe(error).into();
    if away { LogError::Unavailable(reason) } else { LogError::Refused(reason) }
}

/// The server's own words, or the system's. Addresses are not repeated.
pub(super) fn describe(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (None, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    }
}

/// Whether the connection is of no use.
pub(super) fn is_away(error: &LogError) -> bool {
    matches!(error, LogError::Unavailable(_))
}

/// Whether a key holds something else than a stream.
pub(super) fn is_no_stream(error: &LogError) -> bool {
    has_code(error, "WRONGTYPE")
}

/// Whether one key of many may be to blame.
pub(super) fn is_of_a_key(error: &LogError) -> bool {
    is_no_stream(error) || has_code(error, "NOPERM")
}

fn has_code(error: &LogError, code: &str) -> bool {
    matches!(error, LogError::Refused(reason) if reason.split(' ').next() == Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_answers_is_not_away_whatever_word_it_has() {
        for (code, away, of_a_key) in [
            ("WRONGTYPE", false, true),
            ("OOM", false, false),
            ("MISCONF", false, false),
            ("NOREPLICAS", false, false),
            ("BUSY", false, false),
            ("NOAUTH", true, false),
        ] {
            let error = classify(&redis::make_extension_error(code.into(), Some("in words".into())));
            assert_eq!((is_away(&error), is_of_a_key(&error)), (away, of_a_key), "{code}");
            assert_eq!(is_no_stream(&error), code == "WRONGTYPE", "{code}");
        }
        for (kind, away) in [
            (ErrorKind::Io, true),
            (ErrorKind::Server(ServerErrorKind::BusyLoading), true),
            (ErrorKind::Server(ServerErrorKind::ResponseError), false),
            (ErrorKind::UnexpectedReturnType, false),
        ] {
            assert_eq!(is_away(&classify(&RedisError::from((kind, "in words")))), away, "{kind:?}");
        }
    }
}
