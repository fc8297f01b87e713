//! What a token says (RFC 7519 section 4.1), and whether that is accepted at a given time. The signature was checked.

use serde::Deserialize;

use super::{Identity, Patterns, Refused};
use crate::clock::Millis;
use crate::config::Jwt;

/// Longest `sub`, in bytes: as long as OpenID Connect lets it be.
const MOST_SUBJECT_BYTES: usize = 255;
/// Most globs of each kind, and the longest of them, in bytes: as for `auth.anonymous`.
const MOST_GLOBS: usize = 100;
const MOST_GLOB_BYTES: usize = 200;

/// Claims that matter here; others are ignored.
#[derive(Deserialize)]
pub(super) struct Claims {
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
    rooms: Option<Rooms>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Default, Deserialize)]
struct Rooms {
    #[serde(default)]
    subscribe: Vec<String>,
    #[serde(default)]
    publish: Vec<String>,
}

impl Claims {
    /// What the bearer may do, if the token is accepted at `now`.
    pub(super) fn judge(self, jwt: &Jwt, now: Millis) -> Result<Identity, Refused> {
        let leeway = jwt.leeway_seconds as f64;
        let seconds = now as f64 / 1000.0;
        let ends = self.exp.ok_or(Refused::NoExpiry)? + leeway;
        if ends <= seconds {
            return Err(Refused::Expired);
        }
        if self.nbf.is_some_and(|begins| begins - leeway > seconds) {
            return Err(Refused::NotYetValid);
        }
        if jwt.issuer.is_some() && self.iss != jwt.issuer {
            return Err(Refused::Issuer);
        }
        if jwt.audience.as_ref().is_some_and(|wanted| !self.is_for(wanted)) {
            return Err(Refused::Audience);
        }
        let rooms = self.rooms.unwrap_or_default();
        Ok(Identity {
            user: self.sub.map(subject).transpose()?,
            // As a float it saturates.
            expires_at: Some((ends * 1000.0) as Millis),
            subscribe: patterns(&rooms.subscribe)?,
            publish: patterns(&rooms.publish)?,
        })
    }

    fn is_for(&self, wanted: &String) -> bool {
        match &self.aud {
            Some(Audience::One(one)) => one == wanted,
            Some(Audience::Many(many)) => many.contains(wanted),
            None => false,
        }
    }
}

fn subject(text: String) -> Result<String, Refused> {
    let fits = (1..=MOST_SUBJECT_BYTES).contains(&text.len()) && !text.contains(char::is_control);
    if fits { Ok(text) } else { Err(Refused::Claims) }
}

fn patterns(globs: &[String]) -> Result<Patterns, Refused> {
    let fits = |glob: &String| (1..=MOST_GLOB_BYTES).contains(&glob.len());
    if globs.len() > MOST_GLOBS || !globs.iter().all(fits) {
        return Err(Refused::Claims);
    }
    Patterns::parse(globs).map_err(|_| Refused::Claims)
}
