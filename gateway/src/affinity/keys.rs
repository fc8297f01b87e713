//! The file with the keys of the affinity cookie: a key a line, `ID SECRET`. The first one signs, all are read. So a new
//! key is appended first, and moved to the front when every gateway reads it. Knows no file system.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::cookie::{Key, Keys};

/// Keys that a file may hold. A rotation needs two.
const MOST: usize = 16;

/// Understands the content of a key file. The error names the line and never a secret.
pub fn understand(bytes: &[u8]) -> Result<Keys, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is no text".to_owned())?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut keys: Vec<(&str, Key)> = Vec::new();
    for (index, line) in lines {
        let at = |why: &str| format!("line {}: {why}", index + 1);
        let (id, key) = understand_line(line).map_err(|why| at(&why))?;
        if keys.iter().any(|(other, _)| *other == id) {
            return Err(at("a key of this id came before"));
        }
        if keys.len() == MOST {
            return Err(at(&format!("at most {MOST} keys")));
        }
        keys.push((id, key));
    }
    let mut keys = keys.into_iter().map(|(_, key)| key);
    let current = keys.next().ok_or("is empty: write a key into it, ID and SECRET")?;
    Ok(Keys { current, others: keys.collect() })
}

fn understand_line(line: &str) -> Result<(&str, Key), String> {
    let mut words = line.split_whitespace();
    let (Some(id), Some(secret), None) = (words.next(), words.next(), words.next()) else {
        return Err("write ID and SECRET, with a space between them".into());
    };
    let secret = URL_SAFE_NO_PAD.decode(secret).map_err(|_| "the secret is no base64url without padding".to_owned())?;
    Ok((id, Key::new(id, &secret).map_err(|error| error.to_string())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affinity::cookie::Affinity;

    fn line(id: &str, byte: u8, length: usize) -> String {
        format!("{id} {}", URL_SAFE_NO_PAD.encode(vec![byte; length]))
    }

    fn sign(keys: &Keys) -> String {
        keys.write(&Affinity { pod: "p".into(), revision: "r".into(), expires_at: 9 }).unwrap()
    }

    #[test]
    fn the_first_key_signs_and_all_are_read() {
        let (old, new) = (line("old", 1, 32), line("new", 2, 32));
        let read = |text: &str| understand(text.as_bytes()).unwrap();
        let before = read(&old);
        let between = read(&format!("{old}\n\n  {new}  \r\n"));
        let after = read(&format!("{new}\n{old}"));
        assert!(sign(&between).starts_with("v1.old."));
        assert!(sign(&after).starts_with("v1.new."));
        for keys in [&between, &after] {
            assert!(keys.read(&sign(&before), 0).is_some());
            assert!(keys.read(&sign(&after), 0).is_some());
        }
        assert!(before.read(&sign(&after), 0).is_none());
    }

    #[test]
    fn a_bad_file_is_refused_by_its_line_and_no_secret_is_told() {
        let good = line("a", 7, 32);
        for (text, why) in [
            (String::new(), "is empty"),
            (" \n\n".into(), "is empty"),
            ("a".into(), "line 1: write ID and SECRET"),
            (format!("{good} more"), "line 1: write ID and SECRET"),
            (format!("{good}\n{}", line("b", 7, 31)), "line 2: a key's secret must have at least 32 bytes"),
            (format!("{good}\n\n{good}"), "line 3: a key of this id came before"),
            (line("a.b", 7, 32), "line 1: a key's id must be"),
            ("a BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".into(), "line 1: the secret is no base64url"),
            ((0..17).map(|n| line(&format!("k{n}"), n, 32) + "\n").collect(), "line 17: at most 16 keys"),
        ] {
            let error = understand(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(why) && !error.contains("BwcH"), "{text:?}: {error}");
        }
        assert!(understand(&[0xff, 0xfe]).unwrap_err().contains("no text"));
        assert!(
            understand((0..16).map(|n| line(&format!("k{n}"), n, 33) + "\n").collect::<String>().as_bytes()).is_ok()
        );
    }
}
