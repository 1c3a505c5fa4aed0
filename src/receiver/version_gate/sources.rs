//! The sources of the window. The rules between them are in the header of `timer_thread.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::forgejo::{Forgejo, PAGE_COMMITS, Unlisted};
use super::git::LocalGit;
use super::knowledge::Knowledge;
use super::trouble::{LastReports, Trouble};
use super::window::Window;
use super::withdrawn::Withdrawn;
use crate::events;
use crate::names::CommitHash;
use crate::wire::{Known, Source};

/// After the first push Forgejo names the head and cannot list it yet, for a second or two. If that
/// lasts longer than this, it is a trouble.
const NOT_YET_MAX: Duration = Duration::from_secs(30);

/// How a refresh ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// A source has answered with a window, or that the head has not moved.
    Done,
    /// No source has answered: the window stays.
    Failed,
    /// The source is well, and can answer in a moment.
    NotYet,
}

/// The sources, and which of their troubles were logged.
pub(super) struct Sources {
    forgejo: Option<Forgejo>,
    git: LocalGit,
    /// The head that Forgejo has listed, if the whole window is that list. `None` after a start and
    /// after a fallback: then the next refresh lists even if the head has not moved.
    listed: Option<CommitHash>,
    /// The window before the newest commits were added to it, until the whole list is here.
    whole: Option<Arc<Window>>,
    /// Since when Forgejo names a head that it cannot list.
    not_yet_since: Option<Instant>,
    withdrawn: Withdrawn,
    reported_forgejo: LastReports,
    reported_git: LastReports,
    reported_known: LastReports,
    reported_no_window: LastReports,
}

impl Sources {
    pub(super) fn new(forgejo: Option<Forgejo>, git: LocalGit, withdrawn: Withdrawn) -> Sources {
        Sources {
            forgejo,
            git,
            listed: None,
            whole: None,
            not_yet_since: None,
            withdrawn,
            reported_forgejo: LastReports::default(),
            reported_git: LastReports::default(),
            reported_known: LastReports::default(),
            reported_no_window: LastReports::default(),
        }
    }

    /// From here on Forgejo is asked in this way, and the next refresh lists the whole window.
    pub(super) fn replace_forgejo(&mut self, forgejo: Option<Forgejo>) {
        self.forgejo = forgejo;
        self.listed = None;
    }

    pub(super) fn withdrawn(&self) -> &Withdrawn {
        &self.withdrawn
    }

    /// Asks the sources once, in their order, and puts the answer into `knowledge`. `early` is called
    /// when the newest commits are in the window and the whole list is not here yet.
    pub(super) fn refresh(&mut self, knowledge: &Knowledge, early: &mut dyn FnMut()) -> Ended {
        let ended = match self.ask_forgejo(knowledge, early) {
            None => self.ask_git(knowledge),
            Some(Ok(answer)) => self.forgejo_answered(answer, knowledge),
            Some(Err(trouble)) => self.forgejo_failed(&trouble, knowledge),
        };
        if ended == Ended::Done {
            self.reported_no_window.is_over();
        } else if ended == Ended::Failed && knowledge.window().is_none() && knowledge.enabled() {
            self.report_no_window();
        }
        ended
    }

    /// Whether a source may be asked about a commit that the window lacks.
    pub(super) fn can_say_more(&self, knowledge: &Knowledge) -> bool {
        let forgejo_is_well = self.forgejo.is_some() && !knowledge.is_failing();
        knowledge.enabled() && (forgejo_is_well || self.git.path().is_some())
    }

    /// Asks a source about a commit that the window lacks: Forgejo, or git where no Forgejo is
    /// configured. While Forgejo fails git is asked too, but then only the answer "older" is certain.
    pub(super) fn known(
        &mut self,
        commit: CommitHash,
        window: &Window,
        knowledge: &Knowledge,
    ) -> Known {
        if window.position(&commit).is_some() {
            return Known::Unknown; // it was pushed meanwhile: the requests that wait look again
        }
        let has_git = self.git.path().is_some();
        match &mut self.forgejo {
            None if has_git && !knowledge.is_failing() => self.git.known(commit, window.head()),
            Some(forgejo) if !knowledge.is_failing() => {
                match forgejo.known(commit, window.head()) {
                    Ok(known) => {
                        self.reported_known.is_over();
                        known
                    }
                    Err(trouble) => {
                        if self.reported_known.is_due(trouble.kind, Instant::now()) {
                            events::gate_cannot_tell(&commit, &trouble.as_event());
                        }
                        Known::Unknown
                    }
                }
            }
            _ if has_git && self.git.knows_as_older(commit, window) => Known::Older,
            _ => Known::Unknown,
        }
    }

    /// `None` if no Forgejo is configured.
    fn ask_forgejo(
        &mut self,
        knowledge: &Knowledge,
        early: &mut dyn FnMut(),
    ) -> Option<Result<ForgejoAnswer, Trouble>> {
        let forgejo = self.forgejo.as_mut()?;
        let head = match forgejo.head() {
            Ok(head) if self.listed == Some(head) => return Some(Ok(ForgejoAnswer::Unmoved)),
            Ok(head) => head,
            Err(trouble) => return Some(Err(trouble)),
        };
        let size = knowledge.size();
        if let Some(ours) = knowledge.window()
            && PAGE_COMMITS < size
            && let Some(window) = with_the_newest(forgejo, head, &ours, size)
        {
            self.whole.get_or_insert(ours);
            self.listed = None; // the window is not a list of Forgejo's until the whole list is here
            knowledge.take(window);
            early();
        }
        Some(match forgejo.list(head, size) {
            Ok(commits) => Window::new(commits, size, Source::Forgejo)
                .map(ForgejoAnswer::Listed)
                .ok_or_else(|| {
                    Trouble::new("empty", "Forgejo listed no commit", "push the branch")
                }),
            Err(Unlisted::NotYet(trouble)) => Ok(ForgejoAnswer::NotYet(trouble)),
            Err(Unlisted::Failed(trouble)) => Err(trouble),
        })
    }

    fn forgejo_answered(&mut self, answer: ForgejoAnswer, knowledge: &Knowledge) -> Ended {
        let window = match answer {
            ForgejoAnswer::NotYet(trouble) => return self.not_yet(&trouble, knowledge),
            ForgejoAnswer::Unmoved => None,
            ForgejoAnswer::Listed(window) => Some(window),
        };
        self.not_yet_since = None;
        knowledge.set_well();
        if self.reported_forgejo.is_over() {
            events::gate_source_back(Source::Forgejo);
        }
        match window {
            None => knowledge.confirm(),
            Some(window) => {
                self.listed = Some(window.head());
                if let Some(ours) = self.whole.take().or_else(|| knowledge.window()) {
                    self.withdrawn.note(&ours, &window);
                }
                knowledge.take(window);
            }
        }
        Ended::Done
    }

    fn not_yet(&mut self, trouble: &Trouble, knowledge: &Knowledge) -> Ended {
        let since = *self.not_yet_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= NOT_YET_MAX {
            return self.failed(trouble, knowledge);
        }
        // Any earlier trouble is over, such as an empty repository.
        knowledge.set_well();
        Ended::NotYet
    }

    fn forgejo_failed(&mut self, trouble: &Trouble, knowledge: &Knowledge) -> Ended {
        self.not_yet_since = None; // this is another outage: a 409 after it begins anew
        self.failed(trouble, knowledge)
    }

    fn failed(&mut self, trouble: &Trouble, knowledge: &Knowledge) -> Ended {
        report(
            &mut self.reported_forgejo,
            Source::Forgejo,
            trouble,
            knowledge,
        );
        knowledge.set_failing(trouble);
        self.fall_back(knowledge)
    }

    /// Forgejo has failed: takes git's commits, if they are not older than the window.
    fn fall_back(&mut self, knowledge: &Knowledge) -> Ended {
        match self.fallback_window(knowledge) {
            None => Ended::Failed,
            Some(Ok(window)) => {
                self.reported_git.is_over();
                self.listed = None;
                knowledge.take(window);
                Ended::Done
            }
            Some(Err(trouble)) => {
                report(
                    &mut self.reported_git,
                    Source::GitFallback,
                    &trouble,
                    knowledge,
                );
                Ended::Failed
            }
        }
    }

    /// `None` if there is no local repository.
    fn fallback_window(&self, knowledge: &Knowledge) -> Option<Result<Window, Trouble>> {
        let path = self.git.path()?;
        let ours = knowledge.window();
        let listing = match self.git.list(knowledge.size()) {
            Ok(listing) => listing,
            Err(trouble) => return Some(Err(trouble)),
        };
        let is_current = |ours: &Window| {
            self.git.includes(&listing, ours.head())
                && !self.withdrawn.returns_in(&listing.commits, ours.head())
        };
        let window = match ours.as_deref() {
            Some(ours) if !is_current(ours) => None,
            ours => Window::fallback(&listing.commits, ours, knowledge.size()),
        };
        Some(window.ok_or_else(|| {
            Trouble::new(
                "git-behind",
                format!("the local repository {} lacks the newest commit that we know, or still has what a force-push took back; the window stays as it is", path.display()),
                "fix Forgejo, which counts again automatically; pulling there helps only while Forgejo answers. To have the checkout used meanwhile, fetch into it from a clone that has the branch (git fetch), and after a force-push set it to that (git reset --hard)",
            )
        }))
    }

    /// Asks git, which decides alone where no Forgejo is configured.
    fn ask_git(&mut self, knowledge: &Knowledge) -> Ended {
        let listed = match self.git.path() {
            Some(_) => self.git.list(knowledge.size()),
            // A disabled gate needs no source: "disable and collect" is not a trouble.
            None if !knowledge.enabled() => return Ended::Failed,
            None => Err(no_source()),
        };
        let window =
            listed.map(|listing| Window::new(listing.commits, knowledge.size(), Source::Git));
        match window {
            Ok(window) => {
                knowledge.set_well();
                if self.reported_git.is_over() {
                    events::gate_source_back(Source::Git);
                }
                if let Some(window) = window {
                    knowledge.take(window);
                }
                Ended::Done
            }
            Err(trouble) => {
                knowledge.set_failing(&trouble);
                report(&mut self.reported_git, Source::Git, &trouble, knowledge);
                Ended::Failed
            }
        }
    }

    fn report_no_window(&mut self) {
        if self.reported_no_window.is_due("no-window", Instant::now()) {
            events::gate_has_no_window();
        }
    }
}

/// The answer of Forgejo in one refresh.
enum ForgejoAnswer {
    /// The head is the one that was listed last.
    Unmoved,
    Listed(Window),
    /// Forgejo names a head that it cannot list yet.
    NotYet(Trouble),
}

/// The window with the newest commits on top of it, of one page, before all pages are listed. `None`
/// if there is nothing new, or if the question fails: the listing that follows then reports why.
fn with_the_newest(
    forgejo: &mut Forgejo,
    head: CommitHash,
    ours: &Window,
    size: u32,
) -> Option<Window> {
    if ours.head() == head {
        return None;
    }
    let newest = forgejo.newer(head, ours.head()).ok()?;
    if newest.first() != Some(&head) {
        return None;
    }
    let all = newest.iter().chain(ours.commits()).copied();
    Window::new(all, size, Source::Forgejo)
}

fn no_source() -> Trouble {
    Trouble::new(
        "no-source",
        "neither forgejo_url nor a local repository is configured, so no commit is known",
        "set forgejo_url, repo_owner and repo_name in [version_gate], or local_repo_path; or enabled = false; then systemctl restart cis490-receiver",
    )
}

fn report(last: &mut LastReports, source: Source, trouble: &Trouble, knowledge: &Knowledge) {
    if last.is_due(trouble.kind, Instant::now()) {
        events::gate_refresh_failed(source, &trouble.as_event(), knowledge.age());
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::receiver::config::GateConfig;

    /// Forgejo processes a first push in a second or two; with a busy queue it may take minutes.
    #[test]
    fn a_head_that_cannot_be_listed_is_a_trouble_only_after_half_a_minute() {
        let config = GateConfig {
            local_repo_path: Some(PathBuf::from("/nonexistent/cis490")),
            ..GateConfig::default()
        };
        let git = LocalGit::new(&config);
        let mut sources = Sources::new(None, git, Withdrawn::default());
        let knowledge = Knowledge::new(&config);
        let empty = Trouble::new("empty-repository", "it is empty", "push");
        knowledge.set_failing(&empty);
        let trouble = Trouble::new("not-listed-yet", "it cannot be listed", "wait");
        assert_eq!(sources.not_yet(&trouble, &knowledge), Ended::NotYet);
        assert!(!knowledge.is_failing(), "it is empty no more");
        let before = Instant::now().checked_sub(NOT_YET_MAX);
        sources.not_yet_since = before.or(sources.not_yet_since);
        if before.is_some() {
            assert_eq!(sources.not_yet(&trouble, &knowledge), Ended::Failed);
            assert_eq!(knowledge.failing().unwrap().kind, "not-listed-yet");
        }
    }

    /// Two 409s with an outage between them are two beginnings, not one trouble of half a minute.
    #[test]
    fn another_outage_ends_the_wait_for_a_head_that_cannot_be_listed() {
        let config = GateConfig {
            local_repo_path: Some(PathBuf::from("/nonexistent/cis490")),
            ..GateConfig::default()
        };
        let mut sources = Sources::new(None, LocalGit::new(&config), Withdrawn::default());
        let knowledge = Knowledge::new(&config);
        let not_listed = Trouble::new("not-listed-yet", "it cannot be listed", "wait");
        let away = Trouble::new("unreachable", "it is away", "start it");
        assert_eq!(sources.not_yet(&not_listed, &knowledge), Ended::NotYet);
        let before = Instant::now().checked_sub(NOT_YET_MAX);
        sources.not_yet_since = before.or(sources.not_yet_since);
        assert_eq!(sources.forgejo_failed(&away, &knowledge), Ended::Failed);
        assert_eq!(sources.not_yet(&not_listed, &knowledge), Ended::NotYet);
    }
}
