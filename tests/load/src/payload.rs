//! What is published: the message's number and when it was to be sent, as JSON of a given length. Found again in whatever
//! frame a subject wraps around it.

use memchr::memmem::Finder;

/// A message, as its payload tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Its number within the run.
    pub(crate) number: u64,
    /// When it was to be sent, in nanoseconds of the run.
    pub(crate) scheduled: u64,
}

/// Writes a payload of a length.
pub(crate) fn write(stamp: Stamp, length: usize) -> String {
    let mut text = format!(r#"{{"wsl":{},"n":{},"p":""#, stamp.scheduled, stamp.number);
    while text.len() + 2 < length {
        text.push('x');
    }
    text + "\"}"
}

/// Finds payloads in frames.
#[derive(Debug)]
pub(crate) struct Reader {
    mark: Finder<'static>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { mark: Finder::new(br#""wsl":"#) }
    }
}

impl Reader {
    /// All messages in a frame, told to `found`; how many there were.
    pub(crate) fn read(&self, mut text: &[u8], mut found: impl FnMut(Stamp)) -> usize {
        let mut count = 0;
        while let Some(at) = self.mark.find(text) {
            text = &text[at + self.mark.needle().len()..];
            let (scheduled, rest) = number(text);
            let Some(rest) = rest.strip_prefix(br#","n":"#) else { continue };
            found(Stamp { number: number(rest).0, scheduled });
            count += 1;
        }
        count
    }
}

fn number(text: &[u8]) -> (u64, &[u8]) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..digits].iter().fold(0_u64, |value, digit| value.wrapping_mul(10) + u64::from(digit - b'0'));
    (value, &text[digits..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_in_any_wrapping() {
        let stamp = |number| Stamp { number, scheduled: 123_456_789_012 };
        let payload = write(stamp(7), 64);
        assert_eq!(payload.len(), 64);
        serde_json::from_str::<serde_json::Value>(&payload).unwrap();
        let frame = format!("{{\"push\":{payload}}}\n{{\"push\":{}}}", write(stamp(8), 64));
        let mut found = Vec::new();
        assert_eq!(Reader::default().read(frame.as_bytes(), |stamp| found.push(stamp)), 2);
        assert_eq!(found, [stamp(7), stamp(8)]);
        assert_eq!(Reader::default().read(br#"{"type":"ok"}"#, |_| panic!()), 0);
    }
}
