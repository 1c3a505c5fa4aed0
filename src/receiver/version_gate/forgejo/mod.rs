//! Source 1: Forgejo's API.
//!
//! 1. A page is capped at 50 whatever `limit` says, so a short page is not the end: an empty one is.
//! 2. From the first page on, `sha` is the head that was polled, not the branch: a push in between
//!    cannot shift the pages, and a tag of the branch's name cannot take its place.
//! 3. A poll is one request. Only the first one that fails asks the other route too, and the
//!    repository itself, since 404 alone tells nothing; then one request goes on until it is over.
//!    What the other route met in passing is never kept: it is asked until it tells more.

mod answers;
mod client;
mod fault;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::Value;

pub(super) use answers::Repository;
#[cfg(any(test, fuzzing))]
pub use answers::fuzzed_answers;

use self::answers::{Page, commits_of, from_json, head_of_branch, head_of_refs};
use self::client::Client;
use self::fault::Fault;
use super::trouble::Trouble;
use crate::failure::Failure;
use crate::names::CommitHash;
use crate::receiver::config::GateConfig;
use crate::wire::Known;

/// All pages of one listing: 200 of them, for the largest window, on a Pi that is busy.
const LIST_TIMEOUT: Duration = Duration::from_secs(120);
/// A request waits for what is known of its commit, so the question must end before it gives up.
const KNOWN_TIMEOUT: Duration = Duration::from_millis(1500);

/// What Forgejo gives at most unless its administrator says otherwise.
pub(super) const PAGE_COMMITS: u32 = 50;
/// So many are asked for at once; fewer, from the beginning, where their messages are too long.
const PAGE_LIMITS: [u32; 3] = [PAGE_COMMITS, 5, 1];
/// A page of commits without their files, long messages included.
const PAGE_BYTES_MAX: u64 = 8 << 20;
/// The branch's head, or all branches whose names begin like it.
const HEAD_BYTES_MAX: u64 = 1 << 20;
/// From this on, the branch alone is asked for: less work for Forgejo than all that begin like it.
const HEAD_BYTES_LONG: usize = 32 << 10;
const REPOSITORY_BYTES_MAX: u64 = 256 << 10;
/// While a trouble lasts, the other route and the repository are asked again this often.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);

const WHAT_COUNTS: &str = "stat=false&verification=false&files=false";

/// One branch of one repository on one Forgejo.
pub(super) struct Forgejo {
    client: Client,
    branch: String,
    /// By which the head was told last.
    route: Route,
    finding: Option<Finding>,
    /// Whether the server obeys `not=`; `None` until that was tried.
    obeys_not: Option<bool>,
}

/// Two ways to ask for the head. Versions differ in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Ref,
    Branch,
}

impl Route {
    fn other(self) -> Route {
        match self {
            Route::Ref => Route::Branch,
            Route::Branch => Route::Ref,
        }
    }
}

/// What a fault of the poll turned out to mean.
struct Finding {
    /// As the poll met it.
    met: Fault,
    /// As the other route and the repository explain it.
    meant: Fault,
    looked: Instant,
}

/// How a listing failed.
pub(super) enum Unlisted {
    /// Forgejo has the head and cannot list it yet: ask again after a second.
    NotYet(Trouble),
    Failed(Trouble),
}

impl Forgejo {
    /// `None` if no Forgejo is configured.
    ///
    /// Errors: an `https://` URL where this build speaks no TLS; a token or a CA that cannot be read.
    pub(super) fn new(config: &GateConfig) -> Result<Option<Forgejo>, Failure> {
        let Some(url) = &config.forgejo_url else {
            return Ok(None);
        };
        Ok(Some(Forgejo {
            client: Client::new(config, url)?,
            branch: config.branch.clone(),
            route: Route::Ref,
            finding: None,
            obeys_not: None,
        }))
    }

    /// The branch's head: one small request while all is well, and while a trouble lasts.
    pub(super) fn head(&mut self) -> Result<CommitHash, Trouble> {
        match self.poll() {
            Ok(head) => {
                self.finding = None;
                Ok(head)
            }
            Err(fault) => Err(self.trouble(&fault)),
        }
    }

    /// The newest `size` commits that `head` can reach, newest first; fewer if there are no more.
    pub(super) fn list(
        &mut self,
        head: CommitHash,
        size: u32,
    ) -> Result<Vec<CommitHash>, Unlisted> {
        self.pages(head, size).map_err(|fault| match fault {
            Fault::Status(409) => Unlisted::NotYet(self.trouble(&Fault::NotListedYet)),
            fault => Unlisted::Failed(self.trouble(&fault)),
        })
    }

    /// The newest of the commits that `head` can reach and `known_head` cannot: one page of them.
    pub(super) fn newer(
        &mut self,
        head: CommitHash,
        known_head: CommitHash,
    ) -> Result<Vec<CommitHash>, Trouble> {
        let question = format!("sha={head}&not={known_head}&limit={PAGE_COMMITS}&page=1");
        self.commits(&question)
            .map_err(|fault| self.trouble(&fault))
    }

    /// What the repository knows of a commit that the window below `head` lacks.
    ///
    /// Errors: it could not be asked within a second and a half, or does not tell.
    pub(super) fn known(&mut self, commit: CommitHash, head: CommitHash) -> Result<Known, Trouble> {
        self.ask_known(commit, head)
            .map_err(|fault| self.trouble(&fault))
    }

    /// What it says of the repository as a whole, for `doctor`.
    pub(super) fn repository(&mut self) -> Result<Repository, Trouble> {
        self.ask_repository().map_err(|fault| self.trouble(&fault))
    }

    fn trouble(&self, fault: &Fault) -> Trouble {
        fault.trouble(&self.client.context(&self.branch))
    }

    fn poll(&mut self) -> Result<CommitHash, Fault> {
        let mut repository = None;
        let is_due = (self.finding.as_ref())
            .is_some_and(|finding| finding.looked.elapsed() >= LOOK_AGAIN_AFTER);
        if let Some(finding) = &self.finding
            && is_due
            && finding.met.needs_the_repository()
        {
            repository = Some(self.ask_repository());
            if let (Some(Err(fault)), Some(finding)) = (&repository, &mut self.finding)
                && *fault == finding.meant
            {
                finding.looked = Instant::now();
                return Err(fault.clone());
            }
        }
        let met = match self.head_by(self.route) {
            Err(fault) if fault.is_of_this_route() => fault,
            head_or_fault => return head_or_fault,
        };
        if let Some(finding) = &self.finding
            && finding.met == met
            && !is_due
        {
            return Err(finding.meant.clone());
        }
        let other = self.route.other();
        let of_other = match self.head_by(other) {
            Ok(head) => {
                self.route = other;
                return Ok(head);
            }
            Err(fault) => fault,
        };
        // What passes by itself on the other route is no finding: the next poll asks it again.
        let lasts = of_other.is_of_this_route();
        // "Not here" says less than what was met first, unless that said no more.
        let worse = if of_other.needs_the_repository() && !met.is_not_found() {
            met.clone()
        } else {
            of_other
        };
        let meant = if worse.needs_the_repository() {
            explained(worse, repository.unwrap_or_else(|| self.ask_repository()))
        } else {
            worse
        };
        self.finding = lasts.then(|| Finding {
            met,
            meant: meant.clone(),
            looked: Instant::now(),
        });
        Err(meant)
    }

    fn head_by(&mut self, route: Route) -> Result<CommitHash, Fault> {
        match route {
            Route::Ref => self.head_by_ref(),
            Route::Branch => self.head_by_branch(),
        }
    }

    fn head_by_ref(&mut self) -> Result<CommitHash, Fault> {
        let wanted = format!("refs/heads/{}", self.branch);
        let bytes = self.client.get(&format!("/git/{wanted}"), HEAD_BYTES_MAX)?;
        let answer: Value = from_json(&bytes)?;
        let head = head_of_refs(&answer, &wanted).ok_or(Fault::NoBranch(None))?;
        if bytes.len() > HEAD_BYTES_LONG {
            self.route = Route::Branch;
        }
        Ok(head)
    }

    fn head_by_branch(&mut self) -> Result<CommitHash, Fault> {
        let path = format!("/branches/{}", self.branch);
        let answer: Value = from_json(&self.client.get(&path, HEAD_BYTES_MAX)?)?;
        head_of_branch(&answer).ok_or(Fault::NoBranch(None))
    }

    fn ask_repository(&mut self) -> Result<Repository, Fault> {
        let answer: Value = from_json(&self.client.get("", REPOSITORY_BYTES_MAX)?)?;
        Ok(Repository::of(&answer))
    }

    fn pages(&mut self, head: CommitHash, size: u32) -> Result<Vec<CommitHash>, Fault> {
        let give_up_at = Instant::now() + LIST_TIMEOUT;
        for limit in PAGE_LIMITS {
            match self.pages_of(head, size, limit.min(size), give_up_at) {
                Err(Fault::TooLarge) => {}
                commits_or_fault => return commits_or_fault,
            }
        }
        Err(Fault::HugeCommit)
    }

    fn pages_of(
        &mut self,
        head: CommitHash,
        size: u32,
        limit: u32,
        give_up_at: Instant,
    ) -> Result<Vec<CommitHash>, Fault> {
        let mut commits = Vec::new();
        let mut seen = HashSet::new();
        // Each round adds a commit or is the last, which bounds the rounds.
        for page in 1_u64.. {
            let before = commits.len();
            let question = format!("sha={head}&limit={limit}&page={page}");
            let found = self.commits(&question)?;
            commits.extend(found.into_iter().filter(|commit| seen.insert(*commit)));
            if commits.len() == before || size as usize <= commits.len() {
                break;
            }
            if give_up_at <= Instant::now() {
                let limit_s = LIST_TIMEOUT.as_secs();
                return Err(Fault::ListTooSlow { limit_s });
            }
        }
        commits.truncate(size as usize);
        if commits.is_empty() {
            return Err(Fault::NoList);
        }
        Ok(commits)
    }

    fn commits(&mut self, question: &str) -> Result<Vec<CommitHash>, Fault> {
        let path = format!("/commits?{question}&{WHAT_COUNTS}");
        let page: Page = from_json(&self.client.get(&path, PAGE_BYTES_MAX)?)?;
        Ok(commits_of(page))
    }

    fn ask_known(&mut self, commit: CommitHash, head: CommitHash) -> Result<Known, Fault> {
        match self.first_beyond(commit, head) {
            Ok(None) => Ok(Known::Older),
            Err(Fault::NoCommit) => Ok(Known::NeverPushed),
            Ok(Some(_)) if self.obeys_not(head)? => Ok(Known::Elsewhere),
            Ok(Some(_)) => Err(Fault::Odd(
                "it does not obey not= in a list of commits".to_owned(),
            )),
            Err(fault) => Err(fault),
        }
    }

    /// The newest commit that `from` can reach and `head` cannot.
    fn first_beyond(
        &mut self,
        from: CommitHash,
        head: CommitHash,
    ) -> Result<Option<CommitHash>, Fault> {
        let path = format!("/commits?sha={from}&not={head}&limit=1&page=1&{WHAT_COUNTS}");
        let bytes = self
            .client
            .get_within(&path, PAGE_BYTES_MAX, KNOWN_TIMEOUT)?;
        let page: Page = from_json(&bytes)?;
        Ok(commits_of(page).first().copied())
    }

    /// A server of before 2023 passes over `not=`, and would put every commit elsewhere: one that
    /// finds something beyond the head itself is none to believe.
    fn obeys_not(&mut self, head: CommitHash) -> Result<bool, Fault> {
        if let Some(obeys) = self.obeys_not {
            return Ok(obeys);
        }
        let obeys = self.first_beyond(head, head)?.is_none();
        self.obeys_not = Some(obeys);
        Ok(obeys)
    }
}

/// What "not here" means, by what is known of the repository.
fn explained(fault: Fault, repository: Result<Repository, Fault>) -> Fault {
    match repository {
        Ok(repository) if repository.empty => Fault::Empty,
        Ok(repository) if !repository.has_code => Fault::CodeOff,
        Ok(repository) => Fault::NoBranch(repository.default_branch),
        Err(of_repository) if of_repository.is_not_found() => of_repository,
        // It could not be asked: what was met stands.
        Err(_) => fault,
    }
}
