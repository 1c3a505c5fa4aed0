//! Reading a TOML configuration so that every mistake is told in words: file, key, value and what
//! is allowed. What the keys are is each side's own `config.rs`.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::owner;

/// Reads and parses a file whose unknown keys are errors.
///
/// `example` is the embedded file of `etc/`, named in the hint when there is no file at all.
pub fn load<T: DeserializeOwned>(path: &Path, flag_hint: &str) -> Result<T, Failure> {
    parse(&read(path, flag_hint)?, path)
}

/// The text of a configuration.
///
/// Errors: it cannot be read; `flag_hint` is what to do where its own error has no remedy.
pub fn read(path: &Path, flag_hint: &str) -> Result<String, Failure> {
    let text = owner::read_kept(path).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))
    });
    text.map_err(|error| {
        Failure::new(
            format!("cannot read the configuration {}: {error}", path.display()),
            owner::hint_to_read(&error, flag_hint),
        )
    })
}

/// As [`load`], from a text that was read already.
pub fn parse<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, Failure> {
    toml::from_str(text).map_err(|error| {
        Failure::new(
            format!("{}: {}", path.display(), words(text, &error)),
            "mend the line that is shown; etc/*.toml.example has every key with its default",
        )
    })
}

/// The error with the lines it is about, unless one of them may hold a token: those are never shown.
fn words(text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else {
        return error.to_string().trim_end().to_owned();
    };
    // At the very end, `toml` shows the last line there is.
    let start = span.start.min(text.len().saturating_sub(1));
    let before = text.get(..start).unwrap_or("");
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let shown = text.get(line_start..).unwrap_or("");
    let span_bytes = span.end.min(text.len()).saturating_sub(line_start);
    let line_end = shown.get(span_bytes..).and_then(|rest| rest.find('\n'));
    let shown = shown.get(..line_end.map_or(shown.len(), |end| span_bytes + end));
    // A text in triple quotes has its key on an earlier line; those in comments do not count, but
    // are counted.
    let in_long_text = |quotes| {
        let holds_token = |line: &str| line.contains(quotes) && line.contains("token");
        before.matches(quotes).count() % 2 == 1 || before.lines().any(holds_token)
    };
    // A user and password stand before an `@`.
    let is_secret = |lines: &str| lines.contains("token") || lines.contains('@');
    let may_hold_a_token = shown.is_none_or(is_secret);
    if !may_hold_a_token && !in_long_text("\"\"\"") && !in_long_text("'''") {
        return error.to_string().trim_end().to_owned();
    }
    let number = before.matches('\n').count() + 1;
    format!(
        "line {number} is not right, and not shown since it may hold a token or a password: a URL has no user before an @, auth_token takes a quoted text, auth_token_file and token_file a quoted path, token_sha256 the 64 hex digits that `cis490 token` prints"
    )
}

/// A value that parsed and is not allowed.
pub fn bad_value(
    path: &Path,
    key: &str,
    value: impl fmt::Display,
    allowed: impl fmt::Display,
) -> Failure {
    Failure::new(
        format!("{}: {key} = {value} is not allowed", path.display()),
        format!("{key} takes {allowed}"),
    )
}

/// A URL as it may be shown: without what stands before an `@`, a password for one.
pub fn without_user(url: &str) -> String {
    let host_at = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(host_at);
    // Not the path's, as RFC 3986 has it; but a password with a slash in it is no reason to show it.
    let shown = rest.rsplit_once('@').map_or(rest, |(_, shown)| shown);
    format!("{scheme}{shown}")
}

/// A URL with its scheme as programs write it: `HTTP://` is as good, and compared with `http://`.
pub fn with_plain_scheme(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        None => url.to_owned(),
    }
}

/// An error unless `value` lies between the two, both included.
pub fn in_range(path: &Path, key: &str, value: u64, least: u64, most: u64) -> Result<(), Failure> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(bad_value(
        path,
        key,
        value,
        format!("a whole number from {least} to {most}"),
    ))
}

/// An error unless `folder` is an absolute path that stands unchanged in a unit of systemd, in a
/// shell and on a terminal. `install` writes it into a unit that root runs.
pub fn check_folder(path: &Path, key: &str, folder: &Path) -> Result<(), Failure> {
    let is_odd = |c: char| c.is_control() || "\"'\\%".contains(c);
    let is_plain = folder.to_str().is_some_and(|text| !text.contains(is_odd));
    if folder.is_absolute() && is_plain {
        return Ok(());
    }
    Err(bad_value(
        path,
        key,
        format!("{folder:?}"),
        "an absolute path without quotes, backslash, % and control characters",
    ))
}

/// Who besides root may write a configuration that root acts on, in words; `None` if nobody may.
/// Somebody who is not root acts for himself: then only what everybody may write is named.
pub fn other_writers(found: &Metadata, for_root: bool) -> Option<String> {
    if found.mode() & 0o002 != 0 {
        return Some("everybody on this machine".to_owned());
    }
    if for_root && found.uid() != 0 {
        return Some(format!("the user {}", found.uid()));
    }
    let by_group = found.mode() & 0o020 != 0 && found.gid() != 0;
    (for_root && by_group).then(|| format!("the group {}", found.gid()))
}

/// Why the services that `install` makes cannot see a folder, and what to do; `None` if they can.
pub fn hidden_from_service(folder: &Path) -> Option<String> {
    // Their units have ProtectHome=true.
    const HIDDEN: [&str; 3] = ["/home", "/root", "/run/user"];
    if folder.starts_with("~") || folder.to_str().is_some_and(|text| text.starts_with('~')) {
        return Some("~ means nothing here: write the whole path".to_owned());
    }
    let real = folder.canonicalize().unwrap_or(folder.to_owned());
    let is_below = |home: &&&str| folder.starts_with(home) || real.starts_with(home);
    HIDDEN.iter().find(is_below).map(|home| {
        format!(
            "the service does not see what is below {home} (ProtectHome=true in its unit): move it, to /srv or /opt say"
        )
    })
}

/// Where systemd looks for a credential by its name.
pub const CREDENTIAL_STORE: &str = "/etc/credstore";

/// The secret in a file, without the line break at its end. A relative path is looked up in
/// systemd's `$CREDENTIALS_DIRECTORY` when there is one; else it is a file here, or a credential in
/// [`CREDENTIAL_STORE`], which root can read.
///
/// Errors name the file and never its content.
pub fn read_secret(key: &str, file: &Path) -> Result<String, Failure> {
    let path = secret_path(file);
    let bytes = owner::read_secret(&path).map_err(|error| {
        Failure::new(
            format!("cannot read {key} {}: {error}", path.display()),
            "the file holds the token alone, readable by the user that runs cis490",
        )
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let secret = text.trim();
    let visible = |b: u8| b.is_ascii_graphic();
    if secret.is_empty() || secret.len() > 4096 || !secret.bytes().all(visible) {
        return Err(Failure::new(
            format!("{key} {} holds no token", path.display()),
            "the file holds one token of visible ASCII on one line",
        ));
    }
    Ok(secret.to_owned())
}

/// Where the secret of a key is read from: see [`read_secret`].
pub fn secret_path(file: &Path) -> PathBuf {
    secret_path_in(
        file,
        std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
    )
}

/// A person's command has no credentials directory; the store that systemd fills it from is there
/// for root.
fn secret_path_in(file: &Path, credentials: Option<PathBuf>) -> PathBuf {
    match credentials {
        _ if file.is_absolute() => file.to_owned(),
        Some(dir) => dir.join(file),
        None if file.exists() => file.to_owned(),
        None => Path::new(CREDENTIAL_STORE).join(file),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::receiver::config::Config;

    fn error_of(text: &str) -> String {
        let parsed = parse::<Config>(text, Path::new("receiver.toml"));
        parsed.map_or_else(|failure| failure.to_string(), |_| "no error".to_owned())
    }

    #[test]
    fn a_mistake_is_shown_with_file_key_value_and_what_is_allowed() {
        let words = error_of("data_dir = \"/d\"\nmax_uploads = \"many\"\n");
        for part in ["receiver.toml", "max_uploads = \"many\"", "expected u32"] {
            assert!(words.contains(part), "{part}: {words}");
        }
        assert!(
            error_of("data_dir = \"/d\"\nmax_upload = 3\n").contains("unknown field `max_upload`")
        );
        assert!(error_of("").contains("missing field `data_dir`"));
    }

    #[test]
    fn a_key_that_would_do_nothing_is_refused() {
        let text = "data_dir = \"/d\"\n[version_gate]\nca_file = \"/etc/ca.pem\"\n";
        let path = std::env::temp_dir().join(format!("cis490-config-{}.toml", std::process::id()));
        fs::write(&path, text).unwrap();
        let words = Config::load(&path).unwrap_err().to_string();
        fs::remove_file(&path).unwrap();
        assert!(
            words.contains("version_gate.ca_file = \"/etc/ca.pem\" is not allowed"),
            "{words}"
        );
    }

    #[test]
    fn a_relative_secret_is_a_credential() {
        let path = |file, credentials: Option<&str>| {
            secret_path_in(Path::new(file), credentials.map(PathBuf::from))
        };
        for (file, credentials, found) in [
            ("cis490-token", Some("/run/c"), "/run/c/cis490-token"),
            ("cis490-token", None, "/etc/credstore/cis490-token"),
            ("Cargo.toml", None, "Cargo.toml"),
            ("/etc/token", Some("/run/c"), "/etc/token"),
        ] {
            assert_eq!(path(file, credentials), Path::new(found), "{file}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        for line in [
            "auth_token = sesame",
            "auth_token = \"sesame",
            "auth_token = [\"sesame\"]",
            "auth_token = \"\"\"\nsesame \\q\n\"\"\"",
            "[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"sesame\"",
            // Fuzzing found these: a mistake at the very end, and quotes that count for nothing.
            "# \"\"\"\n\"\"\"\nauth_token = \"sesame\"",
            "# \"\"\"\nauth_token = \"\"\"\nsesame",
            "forgejo_url = \"http://bob:sesame@pi:3000",
        ] {
            let words = error_of(&format!("data_dir = \"/d\"\n[version_gate]\n{line}\n"));
            assert!(
                !words.contains("sesame") && words.contains("line "),
                "{words}"
            );
        }
    }
}
