//! Reading a TOML configuration so that every mistake is reported in words: file, key, value and what
//! is allowed. What the keys are is each side's own `config.rs`.

pub mod mistake;
pub mod values;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::DeTable;

use crate::failure::Failure;
use crate::human;

/// A type that a configuration is read into.
pub trait Settings: DeserializeOwned {
    /// Whose configuration it is; `None` if it may be of either side.
    const OWNER: Option<Owner>;
}

impl Settings for toml::Table {
    const OWNER: Option<Owner> = None;
}

/// The side whose configuration a file is. The keys that one side has and the other has not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Receiver,
    LabHost,
}

impl Owner {
    /// The side that has more of these keys, or the receiver, if both have as many; `None` without
    /// any.
    pub fn of<'a>(keys: impl Iterator<Item = &'a str>) -> Option<Owner> {
        let (mut of_receiver, mut of_lab_host) = (0, 0);
        for key in keys {
            match key {
                "data_dir" | "listen" | "version_gate" | "host" => of_receiver += 1,
                "root" | "receiver_url" | "host_id" => of_lab_host += 1,
                _ => {}
            }
        }
        if of_receiver == 0 && of_lab_host == 0 {
            return None;
        }
        Some(if of_receiver >= of_lab_host {
            Owner::Receiver
        } else {
            Owner::LabHost
        })
    }

    fn file(self) -> &'static str {
        match self {
            Owner::Receiver => "a receiver's configuration (receiver.toml)",
            Owner::LabHost => "a lab host's configuration (shipper.toml)",
        }
    }
}

/// Reads and parses a file whose unknown keys are errors. `flag_hint` is the hint when there is no
/// file at all.
///
/// Errors: it cannot be read, or is not right; the words show no secret.
pub fn load<T: Settings>(path: &Path, flag_hint: &str) -> Result<T, Failure> {
    parse(&read(path, flag_hint)?, path)
}

/// The text of a configuration.
///
/// Errors: it cannot be read, or is no UTF-8; without a file the hint is `flag_hint`.
pub fn read(path: &Path, flag_hint: &str) -> Result<String, Failure> {
    let cannot_read = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "this user may not read it: run the command with sudo"
            }
            _ => flag_hint,
        };
        Failure::new(
            format!("cannot read the configuration {}: {error}", path.display()),
            hint,
        )
    };
    let bytes = fs::read(path).map_err(cannot_read)?;
    decoded(bytes).map_err(|encoding| {
        Failure::new(
            format!("{} is {encoding}", path.display()),
            "save it as UTF-8",
        )
    })
}

/// As [`load`], from a text that was read already.
pub fn parse<T: Settings>(text: &str, path: &Path) -> Result<T, Failure> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let table = DeTable::parse(text).map_err(|error| mistake::of_syntax(text, path, &error))?;
    toml::from_str(text).map_err(|error| {
        let found = Owner::of(table.get_ref().keys().map(|key| key.get_ref().as_ref()));
        match (found, T::OWNER) {
            (Some(found), Some(wanted)) if found != wanted => {
                of_the_other_side(path, found, wanted)
            }
            _ => mistake::of_content(text, path, table.get_ref(), &error),
        }
    })
}

fn of_the_other_side(path: &Path, found: Owner, wanted: Owner) -> Failure {
    let default = match wanted {
        Owner::Receiver => "/etc/cis490/receiver.toml",
        Owner::LabHost => "/etc/cis490/shipper.toml",
    };
    Failure::new(
        format!(
            "{} is {}, not {}",
            path.display(),
            found.file(),
            wanted.file()
        ),
        format!("name the other file with --config FILE; without --config it is {default}"),
    )
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text without a byte order mark, which some editors write.
///
/// Errors: what it is instead of UTF-8.
fn decoded(bytes: Vec<u8>) -> Result<String, &'static str> {
    let is_utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    // UTF-16 without a mark has a NUL in each ASCII character.
    if is_utf16 || bytes.iter().take(4).any(|byte| *byte == 0) {
        return Err("UTF-16 and not UTF-8");
    }
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(unmarked) => Ok(unmarked.to_owned()),
        None => Ok(text),
    }
}

/// A value that parsed and is not allowed. `allowed` goes on after "KEY accepts".
pub fn bad_value(
    path: &Path,
    key: &str,
    value: impl fmt::Display,
    allowed: impl fmt::Display,
) -> Failure {
    not_allowed(path, key, value, format!("{key} accepts {allowed}"))
}

/// A value that is right by itself, beside another key that excludes it; `hint` is what to do.
pub fn not_allowed(
    path: &Path,
    key: &str,
    value: impl fmt::Display,
    hint: impl fmt::Display,
) -> Failure {
    let value = human::without_user(&value.to_string());
    let words = if mistake::may_be_shown(&value) {
        format!("{key} = {value} is not allowed")
    } else {
        format!("{key} is not allowed; its value is not shown")
    };
    Failure::new(format!("{}: {words}", path.display()), hint)
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

/// Where systemd looks for a credential by its name.
pub const CREDENTIAL_STORE: &str = "/etc/credstore";

/// The secret in a file, without the line break at its end. A relative path is looked up in
/// systemd's `$CREDENTIALS_DIRECTORY` when there is one; else it is a file here, or a credential in
/// [`CREDENTIAL_STORE`], which root can read.
///
/// Errors name the file and never its content.
pub fn read_secret(key: &str, file: &Path) -> Result<String, Failure> {
    if looks_like_a_secret(file) {
        return Err(Failure::new(
            format!("{key} holds what looks like a token itself, and it must name a file"),
            "put the token alone into a file that only the service's user may read, and name that",
        ));
    }
    let path = secret_path(file);
    let bytes = fs::read(&path).map_err(|error| {
        Failure::new(
            format!("cannot read {key} {}: {error}", path.display()),
            "the file holds the token alone, readable by the user that runs cis490",
        )
    })?;
    let text = decoded(bytes).map_err(|encoding| {
        Failure::new(
            format!("{key} {} is {encoding}", path.display()),
            "save it as UTF-8 or plain ASCII: one token on one line",
        )
    })?;
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

/// Whether somebody wrote the token where its file's name belongs: `cis490 token` and Forgejo make
/// 40 and more hex digits.
fn looks_like_a_secret(file: &Path) -> bool {
    let name = file.as_os_str().as_encoded_bytes();
    name.len() >= 32 && name.iter().all(u8::is_ascii_hexdigit)
}

fn secret_path(file: &Path) -> PathBuf {
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
    use super::*;
    use crate::receiver::config::Config;

    fn error_of(text: &str) -> String {
        let parsed = parse::<Config>(text, Path::new("receiver.toml"));
        parsed.map_or_else(|failure| failure.to_string(), |_| "no error".to_owned())
    }

    /// Each mistake with what its words must have in them.
    #[test]
    fn a_mistake_names_file_place_key_value_and_what_is_allowed() {
        let cases: &[(&str, &[&str])] = &[
            (
                "max_uploads = \"many\"\n",
                &[
                    "receiver.toml: line 2, column 15: max_uploads = \"many\" is not allowed",
                    "max_uploads accepts a whole number",
                ],
            ),
            (
                "max_uploads = -1\n",
                &["max_uploads = -1", "accepts a whole number"],
            ),
            (
                "max_upload = 3\n",
                &[
                    "line 2, column 1: max_upload is not a known key",
                    "did you mean max_uploads?",
                    "known here: listen, data_dir",
                ],
            ),
            (
                "[version_gate]\nwindw = 3\n",
                &[
                    "line 3, column 1: version_gate.windw is not",
                    "did you mean version_gate.window?",
                    "known in version_gate: enabled",
                ],
            ),
            (
                "version_gate.windw = 3\n",
                &["version_gate.windw is not a known key"],
            ),
            (
                "[version_gate]\nenabled = 1\n",
                &["version_gate.enabled = 1", "accepts true or false"],
            ),
            ("[version_gate]\nbranch = 1\n", &["accepts text in quotes"]),
            (
                "[[version_gate]]\nwindow = 1\n",
                &["version_gate is a list", "write [version_gate]"],
            ),
            (
                "[host]\nid = \"lab-1\"\n",
                &["line 2, column 1: [host] is one table", "write [[host]]"],
            ),
            (
                "[[host]]\naddress = \"10.8.0.1\"\n",
                &["line 2, column 1: host has no id", "add id"],
            ),
            (
                "[[host]]\nid = \"Lab 1\"\n",
                &[
                    "host.id = \"Lab 1\" is not allowed",
                    "host.id accepts 1-63 of a-z",
                ],
            ),
            (
                "[[host]]\nid = \"a\"\naddress = \"10.0.0.0/24\"\n",
                &[
                    "host.address = \"10.0.0.0/24\"",
                    "accepts one IP address",
                    "no network",
                ],
            ),
            (
                "[[host]]\nid = \"a\"\naddress = \"pi\"\n",
                &[
                    "host.address = \"pi\"",
                    "accepts one IP address, such as \"10.8.0.11\")",
                ],
            ),
            (
                "listen = \"x\"\n",
                &[
                    "listen = \"x\" is not allowed",
                    "listen accepts ADDRESS:PORT, such as \"10.8.0.1:8490\"",
                ],
            ),
            (
                "listen = 8490\n",
                &["listen = 8490", "accepts text in quotes"],
            ),
            (
                "max_episode_bytes = \"8 giga\"\n",
                &["max_episode_bytes = \"8 giga\"", "such as \"8GiB\""],
            ),
            (
                "max_episode_bytes = -8\n",
                &["max_episode_bytes = -8", "such as \"8GiB\""],
            ),
            (
                "max_uploads = [3\n",
                &["line 2, column 17: not valid TOML: unclosed array"],
            ),
            (
                "max_uploads = 3\nmax_uploads = 3\n",
                &["line 3, column 1: not valid TOML: duplicate key"],
            ),
            ("max_uploads : 3\n", &["line 2, column 13: not valid TOML"]),
            (
                "\"odd key\\n\" = 3\n",
                &["\"odd key\\n\" is not a known key"],
            ),
        ];
        for (text, parts) in cases {
            let words = error_of(&format!("data_dir = \"/d\"\n{text}"));
            for part in *parts {
                assert!(words.contains(part), "{text}\n{part}\n{words}");
            }
            assert!(!words.contains('\n'), "{words}");
        }
        assert!(error_of("").contains("receiver.toml: has no data_dir, which has no default"));
    }

    #[test]
    fn what_is_plain_is_accepted() {
        let text = "\u{feff}data_dir = \"/d\"\nlisten = \":8490\"\nmax_episode_bytes = \"8GiB\"\nmin_free_bytes = \"500 MB\"\n";
        let config: Config = parse(text, Path::new("receiver.toml")).unwrap();
        assert_eq!(config.listen.to_string(), "0.0.0.0:8490");
        assert_eq!(config.max_episode_bytes, 8 << 30);
        assert_eq!(config.min_free_bytes, 500_000_000);
    }

    #[test]
    fn the_other_sides_file_is_named() {
        let path = Path::new("/etc/cis490/x.toml");
        let of_lab_host = "receiver_url = \"http://pi:8490\"\nhost_id = \"lab-1\"\nroot = \"/q\"\n";
        let words = parse::<Config>(of_lab_host, path).unwrap_err().to_string();
        assert!(
            words.contains("x.toml is a lab host's configuration (shipper.toml), not a receiver's"),
            "{words}"
        );
        assert!(words.contains("/etc/cis490/receiver.toml"), "{words}");
        let shipper_error = |text: &str| {
            let parsed = parse::<crate::shipper::config::Config>(text, path);
            parsed.unwrap_err().to_string()
        };
        let words = shipper_error("data_dir = \"/d\"\n[version_gate]\n");
        assert!(
            words.contains("x.toml is a receiver's configuration"),
            "{words}"
        );
        // One key of the other side is a slip, and named as such.
        let words = shipper_error(&of_lab_host.replace("root", "data_dir"));
        assert!(words.contains("data_dir is not a known key"), "{words}");
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_named_and_a_byte_order_mark_skipped() {
        let dir = std::env::temp_dir().join(format!("cis490-encoding-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("token");
        let utf16 = |mark: &[u8]| {
            let units = "sesame\n".encode_utf16().flat_map(u16::to_le_bytes);
            mark.iter().copied().chain(units).collect::<Vec<u8>>()
        };
        for (bytes, found) in [
            (b"sesame\n".to_vec(), Ok("sesame")),
            (b"\xef\xbb\xbfsesame\r\n".to_vec(), Ok("sesame")),
            (utf16(&[0xff, 0xfe]), Err("is UTF-16")),
            (utf16(&[]), Err("is UTF-16")),
            (b"s\xffesame".to_vec(), Err("is not UTF-8")),
            (b"\xef\xbb\xbf\n".to_vec(), Err("holds no token")),
        ] {
            fs::write(&file, bytes).unwrap();
            let read = read_secret("token_file", &file).map_err(|failure| failure.to_string());
            match (&read, found) {
                (Ok(read), Ok(found)) => assert_eq!(read, found),
                (Err(words), Err(part)) => {
                    assert!(words.contains(part) && !words.contains("esame"), "{words}");
                }
                _ => panic!("{read:?} {found:?}"),
            }
        }
        fs::write(&file, utf16(&[0xff, 0xfe])).unwrap();
        let words = Config::load(&file).unwrap_err().to_string();
        assert!(words.contains("is UTF-16 and not UTF-8"), "{words}");
        fs::remove_dir_all(&dir).unwrap();
        let pasted = Path::new("0123456789abcdef0123456789abcdef01234567");
        let words = read_secret("token_file", pasted).unwrap_err().to_string();
        assert!(
            words.contains("token_file") && !words.contains("0123456789"),
            "{words}"
        );
    }

    /// Every way to break a configuration at every byte, with secrets in it.
    #[test]
    fn no_mistake_anywhere_shows_a_secret() {
        const SECRET: &str = "sesame";
        const OF_RECEIVER: &str = "listen = \":1\"\ndata_dir = '/d'\n[version_gate]\nauth_token = \"sesame\"\nwindow = 3\nremediation = \"\"\"\na\"\"\"\n[[host]]\nid = \"a\"\ntoken_sha256 = 'sesame'\n";
        const OF_LAB_HOST: &str = "receiver_url = \"http://a:sesame@pi\"\nhost_id = \"a\"\nroot = 'r'\ntoken = \"sesame\"\ntoken_fil = '''sesame'''\n";
        const INSERTS: [&str; 18] = [
            "\"", "'", "\"\"\"", "'''", "=", "#", "[", "]", "[[", "{", "}", "\n", "x = ", "\\",
            ",", ".", "7", "\u{1}",
        ];
        let path = Path::new("a.toml");
        let mut mistakes = 0;
        let mut look = |text: &str| {
            let failures = [
                Config::parse(text, path).err(),
                crate::shipper::config::Config::parse(text, path).err(),
                parse::<toml::Table>(text, path).err(),
            ];
            for failure in failures.iter().flatten() {
                mistakes += 1;
                let words = failure.to_string();
                assert!(!words.contains(SECRET), "{text}\n{words}");
            }
        };
        for text in [OF_RECEIVER, OF_LAB_HOST] {
            for at in 0..text.len() {
                let (before, behind) = text.split_at(at);
                // What is put inside of the secret makes another one of it, or two keys.
                let is_inside = (1..SECRET.len())
                    .any(|n| before.ends_with(&SECRET[..n]) && behind.starts_with(&SECRET[n..]));
                if !is_inside {
                    INSERTS
                        .iter()
                        .for_each(|insert| look(&format!("{before}{insert}{behind}")));
                    look(&format!("{before}{}", &behind[1..]));
                }
                look(before);
                look(behind);
            }
            for key in [
                "auth_token",
                "token_sha256",
                "window",
                "id",
                "listen",
                "root",
                "host_id",
            ] {
                for other in [
                    "auth_tokn",
                    "no_such",
                    "listen",
                    "data_dir",
                    "branch",
                    "token_file",
                ] {
                    look(&text.replacen(key, other, 1));
                }
            }
        }
        assert!(mistakes > 10_000, "{mistakes}");
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
        ] {
            let words = error_of(&format!("data_dir = \"/d\"\n[version_gate]\n{line}\n"));
            assert!(
                !words.contains("sesame") && words.contains(": line "),
                "{words}"
            );
        }
    }
}
