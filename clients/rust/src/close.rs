//! Whether to come back after a connection ended, by its close code (RFC 6455 section 7.4) or HTTP status.
//!
//! It does not know when: that is `backoff`'s.

/// Whether and how a client should come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The session is over: coming back would give the same answer.
    Never,
    /// The server is fine or will be replaced: come back, jittered, from the first step of the backoff.
    Soon,
    /// Something is wrong: come back, with an ever longer delay.
    Backoff,
}

/// What to do after a connection was closed with `code`; `None` is a connection that broke without a close frame
/// (what browsers call 1006).
pub fn after_close(code: Option<u16>) -> Retry {
    match code {
        // Bye; and what we did wrong and would do again: protocol errors, wrong data, a missing extension.
        // 3000 unauthorized, 3003 forbidden: only another token helps.
        Some(1000 | 1002 | 1003 | 1007 | 1010 | 3000 | 3003) => Retry::Never,
        // Going away, service restart: another gateway is ready.
        Some(1001 | 1012) => Retry::Soon,
        // 1013 too slow, 1011 server error, 1009 message too big (the publish failed, the session goes on),
        // 3008 authentication timed out, 4408 heartbeat missed, and all that we do not know.
        _ => Retry::Backoff,
    }
}

/// What to do after the handshake was answered with an HTTP `status`; `None` when there was no answer at all.
pub fn after_refusal(status: Option<u16>) -> Retry {
    match status {
        Some(401 | 403) => Retry::Never,
        _ => Retry::Backoff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_code_of_the_protocol_has_its_answer() {
        let table = [
            (Some(1000), Retry::Never),
            (Some(1001), Retry::Soon),
            (Some(1002), Retry::Never),
            (Some(1003), Retry::Never),
            (None, Retry::Backoff),
            (Some(1006), Retry::Backoff),
            (Some(1007), Retry::Never),
            (Some(1009), Retry::Backoff),
            (Some(1010), Retry::Never),
            (Some(1011), Retry::Backoff),
            (Some(1012), Retry::Soon),
            (Some(1013), Retry::Backoff),
            (Some(3000), Retry::Never),
            (Some(3003), Retry::Never),
            (Some(3008), Retry::Backoff),
            (Some(4408), Retry::Backoff),
            (Some(4999), Retry::Backoff),
        ];
        for (code, expected) in table {
            assert_eq!(after_close(code), expected, "close code {code:?}");
        }
    }

    #[test]
    fn only_a_refused_identity_ends_the_handshakes() {
        let table = [
            (None, Retry::Backoff),
            (Some(401), Retry::Never),
            (Some(403), Retry::Never),
            (Some(404), Retry::Backoff),
            (Some(429), Retry::Backoff),
            (Some(502), Retry::Backoff),
            (Some(503), Retry::Backoff),
        ];
        for (status, expected) in table {
            assert_eq!(after_refusal(status), expected, "status {status:?}");
        }
    }
}
