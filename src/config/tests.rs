//! Mistakes in a configuration, and what is accepted; never a secret.

use super::secret::secret_path_in;
use super::*;
use crate::receiver::config::Config;
use std::fs;
use std::path::PathBuf;

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
        "\"", "'", "\"\"\"", "'''", "=", "#", "[", "]", "[[", "{", "}", "\n", "x = ", "\\", ",",
        ".", "7", "\u{1}",
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
        "forgejo_url = \"http://bob:sesame@pi:3000",
        "window = \"http://bob:sesame@pi:3000\"",
    ] {
        let words = error_of(&format!("data_dir = \"/d\"\n[version_gate]\n{line}\n"));
        assert!(
            !words.contains("sesame") && words.contains(": line "),
            "{words}"
        );
    }
}

#[test]
fn an_http_url_has_a_host_that_can_be_asked() {
    for good in [
        "http://h",
        "http://10.8.0.1:8490",
        "https://pi.example:443/a?b=c",
        "http://[::1]:80/x",
        "http://[fe80::1]",
        "https://user:word@h/x",
        "http://a_b-c.d/",
    ] {
        assert!(is_http_url(good), "{good}");
    }
    for bad in [
        "",
        "h",
        "ftp://h",
        "http://",
        "http:///x",
        "http://:80",
        "http://h:",
        "http://h:0",
        "http://h:99999",
        "http://h:+80",
        "http://[::1",
        "http://[x]",
        "http://[::1]x",
        "http://h x",
        "http://h\"x",
        "http://\u{fc}",
    ] {
        assert!(!is_http_url(bad), "{bad}");
    }
}
