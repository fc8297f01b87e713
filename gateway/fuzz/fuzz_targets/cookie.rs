//! No header makes the cookie's reader panic, and what it believes is what the key's owner can write. The seeds are signed with
//! the key below.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use wscluster_gateway::affinity::cookie::{Key, Keys};

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    current: Key::new("a", &[b'a'; 40]).expect("a sound key"),
    others: vec![Key::new("b", &[b'b'; 40]).expect("a sound key")],
});

fuzz_target!(|header: &str| {
    let Some(affinity) = KEYS.read_header(header, "wscluster", 0) else { return };
    let written = KEYS.write(&affinity).expect("what was read can be written");
    assert_eq!(KEYS.read(&written, 0), Some(affinity));
});
