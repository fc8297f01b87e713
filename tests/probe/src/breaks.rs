//! What ended connections while they served their session.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;

use serde::{Deserialize, Serialize};

/// Connections that ended while they served their session, by the close code; `none` where there was none. A move ends none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Breaks(BTreeMap<String, u64>);

impl Breaks {
    /// One more.
    pub fn count(&mut self, code: Option<u16>) {
        let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        *self.0.entry(code).or_default() += 1;
    }
}

impl FromIterator<Option<u16>> for Breaks {
    fn from_iter<I: IntoIterator<Item = Option<u16>>>(codes: I) -> Breaks {
        let mut breaks = Breaks::default();
        codes.into_iter().for_each(|code| breaks.count(code));
        breaks
    }
}

impl<'a> Sum<&'a Breaks> for Breaks {
    fn sum<I: Iterator<Item = &'a Breaks>>(each: I) -> Breaks {
        let mut all = Breaks::default();
        for (code, count) in each.flat_map(|breaks| &breaks.0) {
            *all.0.entry(code.clone()).or_default() += count;
        }
        all
    }
}

/// In one line.
impl fmt::Display for Breaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<_> = self.0.iter().map(|(code, count)| format!("{count} with {code}")).collect();
        f.write_str(if each.is_empty() { "0" } else { "" })?;
        f.write_str(&each.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(codes: &[Option<u16>]) -> Breaks {
        codes.iter().copied().collect()
    }

    #[test]
    fn each_code_is_counted_and_none_is_one_too() {
        let all: Breaks = [of(&[Some(4408), None]), of(&[]), of(&[Some(4408), Some(1012)])].iter().sum();
        assert_eq!(all.to_string(), "1 with 1012, 2 with 4408, 1 with none");
        assert_eq!(serde_json::to_value(&all).unwrap(), serde_json::json!({"1012": 1, "4408": 2, "none": 1}));
        assert_eq!(of(&[]).to_string(), "0");
    }
}
