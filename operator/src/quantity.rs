//! Kubernetes quantities: only what comparing and computing with them needs.

/// The value of a quantity such as `512Mi`, `1.5`, `250m` or `1e3`, in thousandths. `None` when it is none.
/// Source: `k8s.io/apimachinery/pkg/api/resource`, the quantity grammar.
pub fn milli(text: &str) -> Option<i128> {
    let split = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (numerator, denominator) = scale(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 12 || whole.len() > 20 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let value = digits.checked_mul(numerator)?.checked_mul(1000)?;
    Some(value / denominator / 10_i128.pow(u32::try_from(fraction.len()).ok()?))
}

/// A quantity in whole units (bytes for memory), rounded down.
pub fn units(text: &str) -> Option<i64> {
    i64::try_from(milli(text)? / 1000).ok()
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    const KIBI: i128 = 1024;
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (KIBI, 1),
        "Mi" => (KIBI.pow(2), 1),
        "Gi" => (KIBI.pow(3), 1),
        "Ti" => (KIBI.pow(4), 1),
        "Pi" => (KIBI.pow(5), 1),
        "Ei" => (KIBI.pow(6), 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_i128.checked_pow(power.unsigned_abs())?;
            if power < 0 { (1, factor) } else { (factor, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_in_any_notation_have_one_value() {
        for (text, expected) in [
            ("1", 1000),
            ("1000m", 1000),
            ("1.5", 1500),
            ("0.25", 250),
            ("1Ki", 1_024_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("2k", 2_000_000),
            ("5e-1", 500),
        ] {
            assert_eq!(milli(text), Some(expected), "{text}");
        }
        assert_eq!(units("512Mi"), Some(536_870_912));
    }

    #[test]
    fn what_is_no_quantity_has_no_value() {
        for text in ["", "abc", "1Mb", "--", "1.2.3", "e3"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }
}
