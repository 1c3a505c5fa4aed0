//! `cis490 token`: makes the token of one lab host. Nothing is stored: both halves are printed.

use std::fs::File;
use std::io::{self, Read};
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use crate::failure::Failure;
use crate::names::HostId;
use crate::receiver::access::token_digest;
use crate::terminal::say;

/// make a token for a lab host, and print where each half belongs
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "token", example = "cis490 token lab-7")]
pub(super) struct Token {
    /// the host's id: host_id in its shipper.toml
    #[argh(positional)]
    host: HostId,
}

/// 256 random bits cannot be guessed, so a plain SHA-256 of the token is safe to keep on the receiver.
const TOKEN_BYTES: usize = 32;

impl Token {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let token = random_hex().map_err(|error| {
            Failure::new(
                format!("cannot read /dev/urandom: {error}"),
                "run this where /dev is mounted",
            )
        })?;
        let host = self.host;
        let digest = token_digest(token.as_bytes());
        say!(
            "# On {host}: put this line, and nothing else, in the file named by token_file in shipper.toml"
        );
        say!("{token}");
        say!("");
        say!("# On the receiver: add these lines to receiver.toml, then restart it");
        say!("[[host]]\nid = \"{host}\"\ntoken_sha256 = \"{digest}\"");
        Ok(ExitCode::SUCCESS)
    }
}

fn random_hex() -> io::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
