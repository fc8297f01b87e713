//! How rooms are noticed to have news: what is known of the notifications of each server.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::log::Mode;

/// What is known of the notifications of all servers.
#[derive(Default)]
pub(super) struct Signs(Mutex<HashMap<String, Arc<Sign>>>);

/// What is known of the notifications of one server.
#[derive(Default)]
pub(super) struct Sign {
    /// Its rooms are all subscribed to.
    following: AtomicBool,
    /// Notifications come, or are expected to.
    notified: AtomicBool,
    /// It is known whether to expect them.
    known: AtomicBool,
    /// A notification has come since the rooms were subscribed to.
    hinted: AtomicBool,
    /// The server's setting is looked at from time to time.
    watched: AtomicBool,
    /// News came that no notification had told.
    pub(super) doubt: Notify,
}

impl Signs {
    /// The signs of a server, from now on.
    pub(super) fn of(&self, server: &str) -> Arc<Sign> {
        Arc::clone(self.0.lock().entry(server.to_owned()).or_default())
    }

    /// A server is gone.
    pub(super) fn forget(&self, server: &str) {
        self.0.lock().remove(server);
    }

    fn all(&self, is: impl Fn(&Sign) -> bool) -> bool {
        let signs = self.0.lock();
        !signs.is_empty() && signs.values().all(|sign| is(sign))
    }

    pub(super) fn mode(&self) -> Mode {
        if self.all(|sign| sign.notified.load(Relaxed)) { Mode::Notifications } else { Mode::Partitions }
    }

    /// Whether it is known that some server does not notify.
    pub(super) fn silent(&self) -> bool {
        self.0.lock().values().any(|sign| sign.known.load(Relaxed) && !sign.notified.load(Relaxed))
    }

    /// Whether all rooms are subscribed to.
    pub(super) fn follows(&self) -> bool {
        self.all(|sign| sign.following.load(Relaxed))
    }

    /// Whether a server that is told to notify no longer is noticed by looking at its setting.
    pub(super) fn watched(&self) -> bool {
        self.all(|sign| sign.watched.load(Relaxed))
    }

    /// Whether some notification has come.
    pub(super) fn hinted(&self) -> bool {
        self.0.lock().values().any(|sign| sign.hinted.load(Relaxed))
    }

    /// Someone may have changed a server's setting.
    pub(super) fn doubt(&self) {
        self.0.lock().values().for_each(|sign| sign.doubt.notify_one());
    }
}

impl Sign {
    /// A notification has come: it is believed even where none was expected.
    pub(super) fn hint(&self) {
        self.hinted.store(true, Relaxed);
        self.notified.store(true, Relaxed);
    }

    pub(super) fn expect(&self, notified: bool) {
        self.notified.store(notified, Relaxed);
        self.hinted.store(false, Relaxed);
        self.known.store(true, Relaxed);
    }

    pub(super) fn watch(&self, watched: bool) {
        self.watched.store(watched, Relaxed);
    }

    pub(super) fn follow(&self, following: bool) {
        self.following.store(following, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_that_does_not_notify_decides() {
        let signs = Signs::default();
        assert_eq!(
            (signs.mode(), signs.follows(), signs.silent()),
            (Mode::Partitions, false, false),
            "nothing is known"
        );
        let (one, two) = (signs.of("one"), signs.of("two"));
        one.expect(true);
        one.follow(true);
        assert_eq!((signs.mode(), signs.follows(), signs.silent()), (Mode::Partitions, false, false));
        two.expect(false);
        two.follow(true);
        assert_eq!((signs.mode(), signs.follows(), signs.silent()), (Mode::Partitions, true, true));
        two.hint();
        assert_eq!((signs.mode(), signs.silent(), signs.hinted()), (Mode::Notifications, false, true));
        two.expect(false);
        signs.forget("two");
        assert_eq!((signs.mode(), signs.silent()), (Mode::Notifications, false));
    }
}
