//! What connections came to: who came back to its gateway, who did not, and to which ones clients without a cookie came.
//! Pure; it does not know how a connection is made.

use super::report::{Affinity, Spread};
use crate::report::Verdict;

/// What is told in words at most.
const EXAMPLES: usize = 10;
/// In a node's name between the gateway that serves and the one that passes the connection on. Source: docs/protocol.md,
/// `welcome`.
const VIA: &str = " via ";

#[derive(Debug, Default)]
pub(super) struct Tally {
    reached: u64,
    through_another: u64,
    missed: u64,
    failed: u64,
    with: Spread,
    without: Spread,
    examples: Vec<String>,
    last_error: Option<String>,
}

impl Tally {
    /// A connection that showed no cookie.
    pub(super) fn without_cookie(&mut self, came: Result<String, String>) {
        match came {
            Ok(node) => self.without.add(gateway(&node).0),
            Err(error) => self.failed(&error),
        }
    }

    /// A connection of a client that keeps cookies. `home` is where it was, and where it is then.
    pub(super) fn with_cookie(&mut self, client: usize, home: &mut Option<String>, came: Result<String, String>) {
        let node = match came {
            Ok(node) => node,
            Err(error) => return self.failed(&error),
        };
        let (gateway, through_another) = gateway(&node);
        self.with.add(gateway);
        match home.replace(gateway.to_owned()) {
            None => {}
            Some(home) if home == gateway => {
                self.reached += 1;
                self.through_another += u64::from(through_another);
            }
            Some(home) => {
                self.missed += 1;
                self.note(&format!("client {client} was on {home} and came to {gateway}"));
            }
        }
    }

    /// No client has a cookie at the end: that is told before all others.
    pub(super) fn no_cookies(&mut self) {
        let text = "no gateway has set a cookie: clients come back by chance, or by their address";
        self.examples.insert(0, text.to_owned());
    }

    fn note(&mut self, text: &str) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text.to_owned());
        }
    }

    /// What went wrong last, if nobody could connect.
    pub(super) fn nobody_came(&self) -> Option<&str> {
        self.last_error.as_deref().filter(|_| self.without.gateways.is_empty())
    }

    /// All of it, of so many clients that were to come back so many times each.
    pub(super) fn report(&self, clients: u64, reconnects: u64, duration_seconds: f64) -> Affinity {
        let proved = self.reached == clients * reconnects && self.failed == 0;
        Affinity {
            clients,
            reconnects,
            reached_owner: self.reached,
            through_another: self.through_another,
            missed: self.missed,
            failed_handshakes: self.failed,
            with_cookie: self.with.clone(),
            without_cookie: self.without.clone(),
            duration_seconds,
            verdict: if proved { Verdict::Ok } else { Verdict::Failed },
            examples: self.examples.clone(),
        }
    }

    fn failed(&mut self, error: &str) {
        self.failed += 1;
        self.note(&format!("a handshake failed: {error}"));
        self.last_error = Some(error.to_owned());
    }
}

/// The gateway that serves, and whether another one passes the connection on.
fn gateway(node: &str) -> (&str, bool) {
    node.split_once(VIA).map_or((node, false), |(owner, _)| (owner, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(nodes: &[&str]) -> Tally {
        let (mut tally, mut home) = (Tally::default(), None);
        for node in nodes {
            let came = if *node == "-" { Err("refused".to_owned()) } else { Ok((*node).to_owned()) };
            tally.with_cookie(7, &mut home, came);
        }
        tally
    }

    #[test]
    fn a_client_reaches_its_gateway_whatever_the_way() {
        let report = came(&["a", "a via b", "a", "a via c"]).report(1, 3, 1.0);
        assert_eq!((report.reached_owner, report.through_another, report.missed), (3, 2, 0));
        assert_eq!(report.with_cookie.gateways, [("a".to_owned(), 4)].into());
        assert_eq!(report.verdict, Verdict::Ok);
    }

    #[test]
    fn who_comes_elsewhere_has_missed_once_and_is_at_home_there() {
        let report = came(&["a via b", "b", "b via a"]).report(1, 2, 1.0);
        assert_eq!((report.reached_owner, report.missed, report.verdict), (1, 1, Verdict::Failed));
        assert_eq!(report.examples, ["client 7 was on a and came to b"]);
    }

    #[test]
    fn a_handshake_that_fails_and_one_that_was_not_made_prove_nothing() {
        let report = came(&["a", "-", "a"]).report(1, 1, 1.0);
        assert_eq!((report.reached_owner, report.failed_handshakes, report.verdict), (1, 1, Verdict::Failed));
        assert_eq!(report.examples, ["a handshake failed: refused"]);
        assert_eq!(came(&["a", "a"]).report(1, 2, 1.0).verdict, Verdict::Failed, "ended before the second time");
    }

    #[test]
    fn connections_without_a_cookie_are_counted_by_gateway_and_judged_by_nobody() {
        let mut tally = Tally::default();
        tally.without_cookie(Err("refused".to_owned()));
        assert_eq!(tally.nobody_came(), Some("refused"));
        for node in ["a", "b", "a"] {
            tally.without_cookie(Ok(node.to_owned()));
        }
        assert_eq!(tally.nobody_came(), None);
        let report = tally.report(0, 0, 1.0);
        assert_eq!(report.without_cookie.gateways, [("a".to_owned(), 2), ("b".to_owned(), 1)].into());
        assert_eq!((report.missed, report.failed_handshakes), (0, 1));
    }
}
