//! The list of cases, in groups. Data only.

mod closing;
mod fragmentation;
mod framing;
mod headers;
mod limits;
mod pings;
mod utf8;

use crate::case::Case;

/// A group: its name, what it is about, and the group of the Autobahn test suite that asks about the same.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) autobahn: &'static str,
}

/// The groups, in the order of the table.
pub(crate) const GROUPS: [Group; 11] = [
    Group { name: "handshake", about: "the HTTP request that opens a connection", autobahn: "—" },
    Group { name: "framing", about: "messages of every length class, whole and in pieces", autobahn: "1" },
    Group { name: "pings", about: "pings and pongs", autobahn: "2" },
    Group { name: "reserved_bits", about: "RSV1–RSV3 without an extension", autobahn: "3" },
    Group { name: "opcodes", about: "opcodes that nobody has defined", autobahn: "4" },
    Group { name: "fragmentation", about: "messages in several frames, control frames between them", autobahn: "5" },
    Group { name: "utf8", about: "texts that are UTF-8 and texts that are not", autobahn: "6" },
    Group { name: "closing", about: "the closing handshake, its codes and reasons", autobahn: "7" },
    Group { name: "limits", about: "long messages, many frames, the message limit", autobahn: "9" },
    Group { name: "auto_fragmentation", about: "messages cut into many frames by the sender", autobahn: "10" },
    Group { name: "headers", about: "masks, odd lengths, headers that come in pieces", autobahn: "—" },
];

/// All cases that are played over an open connection.
pub(crate) fn all() -> Vec<Case> {
    let groups = [
        framing::cases(),
        framing::reserved_bits(),
        framing::opcodes(),
        pings::cases(),
        fragmentation::cases(),
        utf8::cases(),
        closing::cases(),
        limits::cases(),
        limits::auto_fragmentation(),
        headers::cases(),
    ];
    groups.into_iter().flatten().collect()
}
