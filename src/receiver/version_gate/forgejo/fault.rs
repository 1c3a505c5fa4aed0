//! How a question to Forgejo fails. The words that an operator reads of each fault are in
//! `fault/words.rs`.

mod words;

use crate::receiver::version_gate::trouble::Trouble;
use crate::tls;

/// At most so much of a server's own words is repeated in the log.
const QUOTED_CHARS_MAX: usize = 200;

/// As much of a server's words as fits a log line, without control characters.
pub(super) fn quotable(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(QUOTED_CHARS_MAX).map(printable).collect()
}

/// How one request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Tls(tls::Fault),
    /// Refused, reset, cut short, or no such host.
    Unreachable(String),
    TimedOut(String),
    ListTooSlow {
        limit_s: u64,
    },
    /// 301 within the same Forgejo: the repository has this owner and name now.
    Renamed {
        owner: String,
        name: String,
    },
    /// 307 within the same Forgejo: the owner has this name now.
    OwnerRenamed {
        owner: String,
    },
    /// Any other redirect, with its target as the server states it.
    Redirect(String),
    /// 401: the token is unknown or revoked, or its user is gone.
    Unauthorized,
    /// 403, with Forgejo's own words if it has any.
    Forbidden(Option<String>),
    /// 404 in Forgejo's words: for the repository or for anything in it.
    NotFound {
        no_owner: bool,
    },
    /// 404 with `null`: no commit has this hash.
    NoCommit,
    /// The repository exists, and has no commit.
    Empty,
    /// The repository exists, and the branch does not. With the default branch, if that is known.
    NoBranch(Option<String>),
    /// The repository exists, and its code may not be read.
    CodeOff,
    /// 409 for a head that Forgejo has named a moment before: it has not yet processed the first push.
    NotListedYet,
    /// Any other status.
    Status(u16),
    /// An answer that is not what the API gives.
    Odd(String),
    /// JSON that ends in its middle, after so many bytes.
    CutOff(usize),
    /// A list without a single commit.
    NoList,
    TooLarge,
    /// A page of one commit is too large.
    HugeCommit,
}

/// Where the receiver has its token from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenFrom {
    Nowhere,
    Key,
    File,
    SystemdCredential,
}

/// What the words of a fault depend on, besides the fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub repository_url: &'a str,
    pub branch: &'a str,
    pub token: TokenFrom,
}

impl Fault {
    /// The fault for a redirect. A target without a host stays within this Forgejo: something was renamed.
    pub(super) fn moved(status: u16, location: &str) -> Fault {
        let within = location.starts_with('/') && !location.starts_with("//");
        let named = location.split_once("/api/v1/repos/").map(|(_, rest)| rest);
        let mut parts = named.unwrap_or("").split(['/', '?']);
        let is_name = |name: &&str| {
            let ok = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
            !name.is_empty() && name.len() <= 200 && name.bytes().all(ok)
        };
        let owner = parts.next().filter(is_name);
        let name = parts.next().filter(is_name);
        match (status, owner, name) {
            (301, Some(owner), Some(name)) if within => Fault::Renamed {
                owner: owner.to_owned(),
                name: name.to_owned(),
            },
            (307, Some(owner), Some(_)) if within => Fault::OwnerRenamed {
                owner: owner.to_owned(),
            },
            _ => Fault::Redirect(quotable(location)),
        }
    }

    /// Whether the same question may succeed with another token.
    pub(super) fn is_about_the_token(&self) -> bool {
        matches!(self, Fault::Unauthorized | Fault::Forbidden(_))
    }

    /// Whether the other route to the head may succeed: Forgejo's versions differ in these answers.
    pub(super) fn is_of_this_route(&self) -> bool {
        matches!(
            self,
            Fault::NotFound { .. }
                | Fault::NoCommit
                | Fault::NoBranch(_)
                | Fault::Status(405 | 500)
                | Fault::Odd(_)
                | Fault::CutOff(_)
                | Fault::TooLarge
        )
    }

    /// Whether the answer says no more than "not found".
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Fault::NotFound { .. } | Fault::NoCommit)
    }

    /// Whether the cause is found by asking for the repository itself.
    pub(super) fn needs_the_repository(&self) -> bool {
        self.is_not_found() || matches!(self, Fault::NoBranch(_))
    }

    /// The fault in words for the operator.
    pub(super) fn trouble(&self, context: &Context) -> Trouble {
        let (kind, what, remedy) = words::of(self, context);
        let from = format!("{} branch {}", context.repository_url, context.branch);
        Trouble::new(kind, format!("{what} (asked {from})"), remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_what_was_renamed_only_within_the_same_forgejo() {
        let renamed = |owner: &str, name: &str| Fault::Renamed {
            owner: owner.to_owned(),
            name: name.to_owned(),
        };
        for (status, location, fault) in [
            (
                301,
                "/api/v1/repos/lab/robots/git/refs/heads/main",
                renamed("lab", "robots"),
            ),
            (
                301,
                "/git/api/v1/repos/lab/robots?x",
                renamed("lab", "robots"),
            ),
            (
                307,
                "/api/v1/repos/new/r/git/refs/heads/main",
                Fault::OwnerRenamed {
                    owner: "new".to_owned(),
                },
            ),
        ] {
            assert_eq!(Fault::moved(status, location), fault, "{location}");
        }
        for location in [
            "",
            "/login",
            "//evil.invalid/api/v1/repos/a/b",
            "https://x.invalid/api/v1/repos/a/b/c",
            "/api/v1/repos/a b/c",
            "/api/v1/repos/",
            "/api/v1/repos/lab",
        ] {
            assert!(
                matches!(Fault::moved(301, location), Fault::Redirect(_)),
                "{location}"
            );
        }
    }
}
