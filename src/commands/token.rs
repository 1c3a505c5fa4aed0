//! `cis490 token`: makes the token of one lab host or one reader. Nothing is stored: both halves are
//! printed.

use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use crate::failure::Failure;
use crate::names::{HostId, ReaderId};
use crate::receiver::access::token_digest;
use crate::sys;
use crate::terminal::{say, say_json};

/// make a token for a lab host or for a reader, and print where each half belongs
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "token",
    example = "cis490 token lab-7",
    example = "cis490 token --reader training",
    example = "cis490 token lab-7 --json"
)]
pub(super) struct Token {
    /// the host's id: host_id in its shipper.toml
    #[argh(positional)]
    host: Option<HostId>,
    /// make the token of this reader, who may list and fetch what is stored
    #[argh(option)]
    reader: Option<ReaderId>,
    /// print the token and its digest as one JSON object: members are added, never renamed or removed
    #[argh(switch)]
    json: bool,
}

/// What `--json` prints. One of the names is null.
#[derive(Serialize)]
struct Made<'a> {
    host: Option<&'a HostId>,
    reader: Option<&'a ReaderId>,
    /// What the lab host or the reader keeps to itself.
    token: &'a str,
    /// What `receiver.toml` has.
    token_sha256: String,
}

/// 256 random bits cannot be guessed, so a plain SHA-256 of the token is safe to keep on the receiver.
const TOKEN_BYTES: usize = 32;

impl Token {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        match (&self.host, &self.reader) {
            (Some(_), None) | (None, Some(_)) if self.json => {
                let token = new_token()?;
                say_json(&Made {
                    host: self.host.as_ref(),
                    reader: self.reader.as_ref(),
                    token: &token,
                    token_sha256: token_digest(token.as_bytes()).to_string(),
                });
            }
            (Some(host), None) => say_of_host(host, &new_token()?),
            (None, Some(reader)) => say_of_reader(reader, &new_token()?),
            (None, None) => {
                return Err(Failure::usage(
                    "required positional arguments not provided: host, or --reader ID",
                    "cis490 token --help",
                ));
            }
            (Some(_), Some(_)) => {
                return Err(Failure::usage(
                    "a token is for one lab host or for one reader",
                    "cis490 token HOST, or cis490 token --reader ID",
                ));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn say_of_host(host: &HostId, token: &str) {
    let digest = token_digest(token.as_bytes());
    say!(
        "# On {host}: put this line, and nothing else, in the file named by token_file in shipper.toml"
    );
    say!("{token}");
    say!("");
    say!(
        "# On the receiver: add these lines to receiver.toml, then systemctl reload cis490-receiver"
    );
    say!("[[host]]\nid = \"{host}\"\ntoken_sha256 = \"{digest}\"");
}

fn say_of_reader(reader: &ReaderId, token: &str) {
    let digest = token_digest(token.as_bytes());
    say!(
        "# On {reader}: put this line, and nothing else, in a file, and name it with --token-file (cis490 list, cis490 pull)"
    );
    say!("{token}");
    say!("");
    say!(
        "# On the receiver: add these lines to receiver.toml, then systemctl reload cis490-receiver"
    );
    say!("[[reader]]\nid = \"{reader}\"\ntoken_sha256 = \"{digest}\"");
}

/// 64 hex digits that nobody can guess.
pub(super) fn new_token() -> Result<String, Failure> {
    let mut bytes = [0; TOKEN_BYTES];
    sys::fill_random(&mut bytes).map_err(|error| {
        Failure::new(
            format!("the system gives no random numbers: {error}"),
            "this is a fault of the system; please report it",
        )
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
