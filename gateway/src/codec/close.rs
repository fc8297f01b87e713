//! Close frames (RFC 6455 sections 5.5.1 and 7.4).

use super::Violation;

/// What a close frame says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CloseFrame {
    /// The close code.
    pub code: u16,
    /// For people.
    pub reason: String,
}

/// Whether a close frame may carry this code: those that RFC 6455 section 7.4 and IANA's registry know, and those of
/// libraries and applications. 1004, 1005, 1006 and 1015 are never sent.
pub const fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Understands a close frame's payload; an empty one says nothing.
pub(super) fn parse(payload: &[u8]) -> Result<Option<CloseFrame>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::Protocol("a close frame of one byte")) };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(Violation::Protocol("a close code that must not be sent"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::Utf8)?.to_owned();
    Ok(Some(CloseFrame { code, reason }))
}
