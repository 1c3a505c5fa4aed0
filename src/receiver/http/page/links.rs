//! Where links lead. Each is relative, but those to Forgejo: a proxy may have the pages below a path of its
//! own.

use std::net::{IpAddr, SocketAddr};

use super::html::escape;
use crate::names::CommitHash;
use crate::receiver::config::GateConfig;
use crate::refusal_table::Kind;
use crate::wire::{HELP_PATH, HOST_PAGES_PATH, Receipt, TARBALL_ENDING};

/// The links of one page.
#[derive(Clone, Copy)]
pub(super) struct Links<'a> {
    /// From the page to that at `/`: empty, or `../`.
    root: &'static str,
    /// What stands before the hash in the URL of a commit; `None` where no Forgejo is known.
    commits: Option<&'a str>,
}

impl<'a> Links<'a> {
    /// Of the page at `/`.
    pub(super) fn of_front(commits: Option<&'a str>) -> Links<'a> {
        Links { root: "", commits }
    }

    /// Of a page one level below.
    pub(super) fn of_inner(commits: Option<&'a str>) -> Links<'a> {
        Links {
            root: "../",
            commits,
        }
    }

    /// Without links to commits, where there is no room for them.
    pub(super) fn without_commits(self) -> Links<'static> {
        Links {
            root: self.root,
            commits: None,
        }
    }

    pub(super) fn root(self) -> &'static str {
        self.root
    }

    /// A host's name, which is one by its grammar, with a link to its page.
    pub(super) fn host(self, name: &str) -> String {
        let path = below(HOST_PAGES_PATH);
        format!("<a href={}{path}{name}>{name}</a>", self.root)
    }

    /// The name of a refusal, with a link to its explanation if this version knows it.
    pub(super) fn reason(self, reason: &str) -> String {
        if Kind::of(reason).is_none() {
            return escape(reason, 30);
        }
        let path = below(HELP_PATH);
        format!("<a href={}{path}{reason}>{reason}</a>", self.root)
    }

    /// An episode, with a link to its receipt.
    pub(super) fn receipt(self, row: &Receipt) -> String {
        let path = row.slot().path();
        let path = below(&path);
        format!("<a href={}{path}>{}</a>", self.root, row.episode)
    }

    /// The size of an episode, with a link to its bytes: the route itself gives them to readers alone.
    pub(super) fn bytes(self, row: &Receipt, size: &str) -> String {
        let path = row.slot().path();
        let path = below(&path);
        format!("<a href={}{path}{TARBALL_ENDING}>{size}</a>", self.root)
    }

    /// A commit as its first eight digits, with a link to Forgejo's page of it.
    pub(super) fn commit(self, commit: Option<&CommitHash>) -> String {
        let Some(commit) = commit else {
            return "<i>unknown</i>".to_owned();
        };
        let mut short = commit.to_string();
        short.truncate(8);
        match self.commits {
            Some(commits) => format!(
                "<a href=\"{}{commit}\"><code>{short}</code></a>",
                escape(commits, usize::MAX)
            ),
            None => format!("<code>{short}</code>"),
        }
    }
}

/// A path as it is called from `/`.
fn below(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// What stands before the hash in the URL of a commit on Forgejo. `None` without one, and for one that only this
/// machine can reach while the page is for others too.
pub(super) fn commits_url(listen: SocketAddr, config: &GateConfig) -> Option<String> {
    let GateConfig {
        forgejo_url,
        repo_owner,
        repo_name,
        ..
    } = config;
    let url = forgejo_url.as_deref()?.trim_end_matches('/');
    if is_loopback(url) && !listen.ip().is_loopback() {
        return None;
    }
    let owner = repo_owner.as_deref()?;
    let name = repo_name.as_deref()?;
    Some(format!("{url}/{owner}/{name}/commit/"))
}

fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    let address = host.parse::<IpAddr>();
    let is_loopback_address = address.is_ok_and(|address| address.is_loopback());
    is_loopback_address || host.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgejo_that_only_this_machine_reaches_is_no_link_for_others() {
        for (url, listen, want) in [
            ("http://git.lab:3000", "10.8.0.1:8490", true),
            ("https://git.lab/git/", "10.8.0.1:8490", true),
            ("http://10.8.0.1:3000", "0.0.0.0:8490", true),
            ("http://127.0.0.1:3000", "10.8.0.1:8490", false),
            ("http://127.0.0.1:3000/", "0.0.0.0:8490", false),
            ("http://LOCALHOST/git", "10.8.0.1:8490", false),
            ("http://[::1]:3000", "10.8.0.1:8490", false),
            ("http://127.0.0.1:3000", "127.0.0.1:8490", true),
            ("http://localhost.lab", "10.8.0.1:8490", true),
        ] {
            let config = GateConfig {
                forgejo_url: Some(url.to_owned()),
                repo_owner: Some("lab".to_owned()),
                repo_name: Some("cis490".to_owned()),
                ..GateConfig::default()
            };
            let found = commits_url(listen.parse().unwrap(), &config);
            assert_eq!(found.is_some(), want, "{url} {listen}");
            let expected = format!("{}/lab/cis490/commit/", url.trim_end_matches('/'));
            assert!(found.is_none_or(|found| found == expected), "{url}");
        }
    }
}
