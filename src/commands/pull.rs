//! `cis490 pull`: brings the stored episodes of a receiver into a folder.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};
use serde::Serialize;

use super::cli::folder;
use super::cli::progress::Progress;
use super::cli::report::report;
use crate::config::mistake::ACCEPTS;
use crate::failure::Failure;
use crate::human::{bytes, counted};
use crate::names::HostId;
use crate::pull::{self, End, Folder, JOBS_MAX, Outcome, Step, Wish};
use crate::reader_client::ReaderClient;
use crate::terminal::{say, say_json, warn_user};

const EXIT_WRONG: u8 = 2;

/// bring what a receiver has stored into a folder, each episode checked by its SHA-256. A later pull,
/// or one after an interrupted one, fetches only what is not there
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "pull",
    example = "cis490 pull --url http://10.8.0.1:8490 --to /data/cis490",
    example = "cis490 pull --url https://pi.example.org --to /data/cis490 --token-file reader.token --watch",
    error_code(
        1,
        "something waits or cannot be had now: the receiver is away or says no, the disk is full, another pull is at work"
    ),
    error_code(2, "something is gone or wrong: it is named, with what to do")
)]
pub(super) struct Pull {
    /// the receiver's http:// or https:// address
    #[argh(option)]
    url: String,
    /// the folder to fill: made if its parent is there
    #[argh(option)]
    to: PathBuf,
    /// the file with the token that cis490 token --reader printed
    #[argh(option)]
    token_file: Option<PathBuf>,
    /// the CA of an https:// address: a PEM file (default: those that the system trusts)
    #[argh(option)]
    ca_file: Option<PathBuf>,
    /// only the episodes of this host
    #[argh(option)]
    host: Option<HostId>,
    /// go on: look for new episodes every 30 seconds, and wait for a receiver that is away
    #[argh(switch)]
    watch: bool,
    /// how many episodes are fetched at once, 1 to 64 (default: 4)
    #[argh(option, default = "4", from_str_fn(jobs))]
    jobs: usize,
    /// read the files that are here again, and compare them with their receipts
    #[argh(switch)]
    verify: bool,
    /// print what came, and what is wrong or missing, as a JSON object: one, or with --watch one for each
    /// look that has news. Members are added, never renamed or removed
    #[argh(switch)]
    json: bool,
}

impl Pull {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let to = folder::absolute(self.to);
        // Before root becomes the folder's owner, who may not be able to read them.
        let client = ReaderClient::new(
            &self.url,
            self.token_file.as_deref(),
            self.ca_file.as_deref(),
            pull::limits(self.jobs),
        )?;
        let folder = Folder::enter(&to)?;
        let wish = Wish {
            host: self.host,
            jobs: self.jobs,
            watch: self.watch,
            verify: self.verify,
        };
        let mut view = View {
            as_json: self.json,
            ..View::default()
        };
        let ended = pull::run(&folder, &client, &wish, &mut |step| view.show(step));
        view.progress.wipe();
        match ended {
            Ok(outcome) => {
                view.say(&outcome);
                Ok(show_troubles(&outcome))
            }
            Err(End::Waits(failure)) => Err(failure),
            Err(End::Wrong(failure)) => {
                report(&failure);
                Ok(ExitCode::from(EXIT_WRONG))
            }
        }
    }
}

/// What a person sees while the pull runs.
#[derive(Default)]
struct View {
    progress: Progress,
    /// The last trouble of a watch, so that each is printed once.
    trouble: Vec<String>,
    as_json: bool,
}

/// What `--json` prints of a look.
#[derive(Serialize)]
struct Looked {
    /// The episodes that came, and their bytes.
    episodes: u64,
    bytes: u64,
    /// In words: the first of each kind, and how many more there are.
    wrong: Vec<String>,
    missing: Vec<String>,
}

impl View {
    fn show(&mut self, step: Step) {
        match step {
            Step::More(bytes) => self.progress.expect(bytes),
            Step::Bytes(bytes) => self.progress.add(bytes),
            Step::Note(note) => {
                self.progress.wipe();
                warn_user!("cis490: {note}");
            }
            Step::Looked(looked) => {
                self.progress.wipe();
                self.show_look(&looked);
            }
        }
    }

    fn show_look(&mut self, looked: &Result<Outcome, End>) {
        let trouble = match looked {
            Ok(outcome) => outcome
                .wrong
                .lines()
                .chain(outcome.missing.lines())
                .collect(),
            Err(end) => vec![end.failure().to_string()],
        };
        let is_new = trouble != self.trouble;
        self.trouble = trouble;
        match looked {
            Ok(outcome) => {
                if outcome.episodes > 0 || (self.as_json && is_new) {
                    self.say(outcome);
                }
                if is_new {
                    show_troubles(outcome);
                }
            }
            Err(end) if is_new => {
                report(end.failure());
            }
            Err(_) => {}
        }
    }

    fn say(&self, outcome: &Outcome) {
        if self.as_json {
            say_json(&Looked {
                episodes: outcome.episodes,
                bytes: outcome.bytes,
                wrong: outcome.wrong.lines().collect(),
                missing: outcome.missing.lines().collect(),
            });
        } else {
            say!("{}", summary(outcome));
        }
    }
}

fn summary(outcome: &Outcome) -> String {
    if outcome.episodes == 0 {
        return "nothing new".to_owned();
    }
    let episodes = counted(outcome.episodes, "episode");
    format!("{episodes} fetched, {}", bytes(outcome.bytes))
}

/// Names what is wrong or missing; the exit status that this means.
fn show_troubles(outcome: &Outcome) -> ExitCode {
    for words in outcome.wrong.lines() {
        warn_user!("cis490: wrong: {words}");
    }
    for words in outcome.missing.lines() {
        warn_user!("cis490: missing: {words}");
    }
    if !outcome.missing.is_empty() {
        warn_user!(
            "cis490: hint: pull-missing.jsonl has them, and each later pull asks for them again; cis490 scrub on the Pi says what happened to them"
        );
    }
    if outcome.wrong.is_empty() && outcome.missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_WRONG)
    }
}

fn jobs(text: &str) -> Result<usize, String> {
    let jobs = text.parse().ok();
    jobs.filter(|jobs| (1..=JOBS_MAX).contains(jobs))
        .ok_or_else(|| format!("{ACCEPTS}a whole number from 1 to {JOBS_MAX}"))
}
