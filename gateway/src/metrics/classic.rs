//! OpenMetrics text as Prometheus' older text format: for readers that ask for nothing better
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write;

/// Rewrites what the registry encodes. A counter's type and help name the family with its `_total`; there are no units
/// and no end mark.
pub(super) fn from_openmetrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 1024);
    let counters: std::collections::HashSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let about = line.strip_prefix("# HELP ").map(|rest| ("HELP", rest));
        let about = about.or_else(|| line.strip_prefix("# TYPE ").map(|rest| ("TYPE", rest)));
        let counter = about.and_then(|(what, rest)| Some((what, rest.split_once(' ')?)));
        match counter.filter(|(_, (name, _))| counters.contains(name)) {
            Some((what, (name, rest))) => {
                let _ = writeln!(out, "# {what} {name}_total {rest}");
            }
            None => {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_in_full_and_the_rest_stays() {
        let text =
            "# HELP a Things.\n# TYPE a counter\n# UNIT a bytes\na_total 1\n# HELP b B.\n# TYPE b gauge\nb 2\n# EOF\n";
        let expect = "# HELP a_total Things.\n# TYPE a_total counter\na_total 1\n# HELP b B.\n# TYPE b gauge\nb 2\n";
        assert_eq!(from_openmetrics(text), expect);
    }
}
