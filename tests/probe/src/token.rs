//! The token that sessions show. It is never printed.

use std::{fmt, fs, path::PathBuf, str::FromStr};

use anyhow::{Context, Result, ensure};
use wscluster_client::Builder;

/// A token.
#[derive(Clone)]
pub struct Token(String);

impl FromStr for Token {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Where it comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The command line, or the environment.
    Given(Token),
    /// A file, read anew for each connection.
    File(PathBuf),
}

impl Source {
    /// The token as it is now.
    ///
    /// # Errors
    /// If the file cannot be read, or is empty.
    pub fn read(&self) -> Result<String> {
        let text = match self {
            Self::Given(Token(token)) => token.clone(),
            Self::File(file) => {
                fs::read_to_string(file).with_context(|| format!("cannot read the token from {}", file.display()))?
            }
        };
        ensure!(!text.trim().is_empty(), "the token is empty");
        Ok(text.trim().to_owned())
    }
}

/// The client shows the token of `source`, if there is one.
pub fn show(builder: Builder, source: Option<&Source>) -> Builder {
    let Some(source) = source.cloned() else { return builder };
    builder.token(move || std::future::ready(source.read().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_anew_each_time_and_must_hold_something() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = Source::File(file.path().to_owned());
        assert!(source.read().is_err());
        for token in ["first", "second"] {
            fs::write(file.path(), format!("{token}\n")).unwrap();
            assert_eq!(source.read().unwrap(), token);
        }
        let error = Source::File("/nowhere".into()).read().unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere"), "{error:#}");
    }
}
