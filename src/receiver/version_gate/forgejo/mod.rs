//! Source 1: Forgejo's API.
//!
//! 1. Forgejo gives at most 50 commits a page, whatever `limit` says. So a short page is not the end of
//!    the list: an empty page is.
//! 2. From the first page on, `sha` is the head that was polled, and not the branch. So a push in
//!    between cannot shift the pages, and a tag with the branch's name cannot be taken for it.
//! 3. A poll is one request. The first poll that fails also asks the other route and the repository,
//!    since a 404 alone does not show the cause. While that trouble lasts, a poll is one request again.
//!    A fault of the other route that passes by itself is not kept: the next poll asks again.

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

/// The longest time for all pages of one listing: on a busy Pi the largest window has 200 of them.
const LIST_TIMEOUT: Duration = Duration::from_secs(120);
/// The longest question about one commit. It must end before the request that waits for it gives up.
const KNOWN_TIMEOUT: Duration = Duration::from_millis(1500);

/// The most commits that Forgejo puts on a page, unless its administrator has changed that.
pub(super) const PAGE_COMMITS: u32 = 50;
/// The `limit`s that are tried. If a page is too large to read, the listing begins again with the next.
const PAGE_LIMITS: [u32; 3] = [PAGE_COMMITS, 5, 1];
/// The largest page of commits that is read. Files are not listed; messages may be long.
const PAGE_BYTES_MAX: u64 = 8 << 20;
/// The largest answer to the question for the head. It has all branches whose names begin like this one.
const HEAD_BYTES_MAX: u64 = 1 << 20;
/// After an answer longer than this, the next poll takes the route that answers with one branch alone.
const HEAD_BYTES_LONG: usize = 32 << 10;
const REPOSITORY_BYTES_MAX: u64 = 256 << 10;
/// While a trouble lasts, the other route and the repository are asked again after this time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);

const WHAT_COUNTS: &str = "stat=false&verification=false&files=false";

/// One branch of one repository on one Forgejo.
pub(super) struct Forgejo {
    client: Client,
    branch: String,
    /// The route that has last answered with the head.
    route: Route,
    diagnosis: Option<Diagnosis>,
    /// Whether the server obeys `not=`; `None` until that was tested.
    obeys_not: Option<bool>,
}

/// The two ways to ask for the head. Forgejo's versions differ in both.
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

/// The cause of a poll's fault, as far as it is known.
struct Diagnosis {
    /// The fault of the poll.
    met: Fault,
    /// The fault that the other route and the repository have shown to be the cause.
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
            diagnosis: None,
            obeys_not: None,
        }))
    }

    /// The branch's head. This is one small request while Forgejo is well, and while a trouble lasts.
    pub(super) fn head(&mut self) -> Result<CommitHash, Trouble> {
        match self.poll() {
            Ok(head) => {
                self.diagnosis = None;
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
    /// Errors: Forgejo did not answer within a second and a half, or its answer does not say.
    pub(super) fn known(&mut self, commit: CommitHash, head: CommitHash) -> Result<Known, Trouble> {
        self.ask_known(commit, head)
            .map_err(|fault| self.trouble(&fault))
    }

    /// What Forgejo says of the repository as a whole, for `doctor`.
    pub(super) fn repository(&mut self) -> Result<Repository, Trouble> {
        self.ask_repository().map_err(|fault| self.trouble(&fault))
    }

    fn trouble(&self, fault: &Fault) -> Trouble {
        fault.trouble(&self.client.context(&self.branch))
    }

    fn poll(&mut self) -> Result<CommitHash, Fault> {
        let is_due = (self.diagnosis.as_ref())
            .is_some_and(|diagnosis| diagnosis.looked.elapsed() >= LOOK_AGAIN_AFTER);
        let repository = if is_due {
            self.ask_repository_again()?
        } else {
            None
        };
        let met = match self.head_by(self.route) {
            Err(fault) if fault.is_of_this_route() => fault,
            head_or_fault => return head_or_fault,
        };
        if let Some(diagnosis) = &self.diagnosis
            && diagnosis.met == met
            && !is_due
        {
            return Err(diagnosis.meant.clone());
        }
        let other = self.route.other();
        match self.head_by(other) {
            Ok(head) => {
                self.route = other;
                Ok(head)
            }
            Err(of_other) => Err(self.diagnose(met, of_other, repository)),
        }
    }

    /// Asks for the repository first, if the last diagnosis depended on it. `None` if it did not.
    ///
    /// Errors: the fault of the last diagnosis, which the repository's answer has confirmed.
    fn ask_repository_again(&mut self) -> Result<Option<Result<Repository, Fault>>, Fault> {
        let meant = match &self.diagnosis {
            Some(diagnosis) if diagnosis.met.needs_the_repository() => diagnosis.meant.clone(),
            _ => return Ok(None),
        };
        let repository = self.ask_repository();
        if let (Err(fault), Some(diagnosis)) = (&repository, &mut self.diagnosis)
            && *fault == meant
        {
            diagnosis.looked = Instant::now();
            return Err(meant);
        }
        Ok(Some(repository))
    }

    /// The fault that explains both routes' faults, by the repository where that helps.
    fn diagnose(
        &mut self,
        met: Fault,
        of_other: Fault,
        repository: Option<Result<Repository, Fault>>,
    ) -> Fault {
        // A fault of the other route that passes by itself is not kept: the next poll asks it again.
        let lasts = of_other.is_of_this_route();
        // "Not found" says less than the fault of the first route, unless that one said no more.
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
        self.diagnosis = lasts.then(|| Diagnosis {
            met,
            meant: meant.clone(),
            looked: Instant::now(),
        });
        meant
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
                "the server ignores not= in a list of commits".to_owned(),
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

    /// Whether the server obeys `not=`. A server of before 2023 ignores it, and would put every commit
    /// on another branch. Such a server finds commits that the head can reach and the head cannot.
    fn obeys_not(&mut self, head: CommitHash) -> Result<bool, Fault> {
        if let Some(obeys) = self.obeys_not {
            return Ok(obeys);
        }
        let obeys = self.first_beyond(head, head)?.is_none();
        self.obeys_not = Some(obeys);
        Ok(obeys)
    }
}

/// The cause of "not found", by the repository's answer.
fn explained(fault: Fault, repository: Result<Repository, Fault>) -> Fault {
    match repository {
        Ok(repository) if repository.empty => Fault::Empty,
        Ok(repository) if !repository.has_code => Fault::CodeOff,
        Ok(repository) => Fault::NoBranch(repository.default_branch),
        Err(of_repository) if of_repository.is_not_found() => of_repository,
        // The repository could not be asked: the fault stays as it is.
        Err(_) => fault,
    }
}
