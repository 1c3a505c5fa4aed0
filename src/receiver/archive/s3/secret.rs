//! The keys to the store: a file of their own, which is read again when the store refuses them.
//!
//! No error, log line or `Debug` text shows them.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config;
use crate::failure::Failure;
use crate::owner;

const KEY: &str = "archive.secret_file";
const CONTENT: &str = "the file holds the access key, the secret and, if there is one, a session token, a line each; lines that begin with # are skipped";

/// What requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub access_key: String,
    pub secret: String,
    pub session_token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Keys {
    /// Reads the file that `archive.secret_file` names.
    ///
    /// Errors: it cannot be read, others can read it too, or it does not hold two or three lines.
    pub(super) fn read(file: &Path) -> Result<Keys, Failure> {
        let path = config::secret_path(file);
        let shown = path.display();
        let bytes = owner::read_secret(&path).map_err(|error| {
            Failure::new(
                format!("cannot read {KEY} {shown}: {error}"),
                format!("{CONTENT}; readable by the user that runs cis490 and by no others"),
            )
        })?;
        let is_open = fs::metadata(&path).is_ok_and(|found| found.mode() & 0o004 != 0);
        if is_open {
            return Err(Failure::new(
                format!("{KEY} {shown} can be read by every user of this machine"),
                format!("chmod o= {shown}; if others may have read it, give the store new keys"),
            ));
        }
        let text = String::from_utf8(bytes).unwrap_or_default();
        Keys::parse(&text)
            .ok_or_else(|| Failure::new(format!("{KEY} {shown} does not hold the keys"), CONTENT))
    }

    fn parse(text: &str) -> Option<Keys> {
        let lines = text.lines().map(str::trim);
        let mut lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = Keys {
            access_key: lines.next()?.to_owned(),
            secret: lines.next()?.to_owned(),
            session_token: lines.next().map(str::to_owned),
        };
        let is_key = |text: &String| text.bytes().all(|b| b.is_ascii_graphic());
        let all_are = is_key(&keys.access_key)
            && is_key(&keys.secret)
            && keys.session_token.as_ref().is_none_or(is_key);
        (all_are && lines.next().is_none()).then_some(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_on_lines_of_their_own() {
        let keys = Keys::parse("# for the lab\n\n KEY \nSECRET/+=\r\n").unwrap();
        assert_eq!((&*keys.access_key, &*keys.secret), ("KEY", "SECRET/+="));
        assert_eq!(keys.session_token, None);
        let keys = Keys::parse("KEY\nSECRET\nTOKEN\n").unwrap();
        assert_eq!(keys.session_token.as_deref(), Some("TOKEN"));
        assert_eq!(format!("{keys:?}"), "(secret)");
        for odd in [
            "",
            "KEY",
            "KEY\n#SECRET\n",
            "a\nb\nc\nd",
            "two words\nSECRET",
        ] {
            assert_eq!(Keys::parse(odd), None, "{odd:?}");
        }
    }
}
