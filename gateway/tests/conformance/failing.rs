//! Cases that the gateway fails today. A case that passes must leave the list: its test says so.

/// Full names.
pub(crate) const EXPECTED_TODAY_FAILING: &[&str] = &[];
