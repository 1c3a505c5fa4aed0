//! The gate under change: pushes, force-pushes, renames, outages, slow answers and restarts at
//! random, while 20 hosts upload with old, current and future commits. What the gate says is
//! judged afterwards against a model of what was so (`truth`).
//!
//! The seed is printed, and `CIS490_SEED` repeats its throws. A short run of each kind here, long
//! ones in the campaign.

mod hosts;
mod project;
mod truth;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::dice::{self, Dice};
use crate::forgejo::{Forgejo, Mood};
use crate::world::{TempDir, World};
use hosts::{Commits, Scene};
use project::Project;
use truth::{Stats, Trouble, Truth};

/// Commits that get in; three pages of them for the stand-in.
pub const WINDOW: usize = 12;
const PAGE: usize = 5;
const HOSTS: usize = 20;
/// How long after the interval of a second the gate may still go by what was so before: a request
/// under way, two looks at Forgejo, and a machine that does other things too.
const GRACE: Duration = Duration::from_secs(5);
const BOUND: Duration = Duration::from_secs(1).saturating_add(GRACE);

/// Where the gate reads what was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    Forgejo,
    ForgejoAndGit,
    Git,
}

#[test]
fn the_gate_goes_by_forgejo() {
    short(Sources::Forgejo);
}

#[test]
fn the_gate_goes_by_forgejo_and_falls_back_to_git() {
    short(Sources::ForgejoAndGit);
}

#[test]
fn the_gate_goes_by_git() {
    short(Sources::Git);
}

fn short(sources: Sources) {
    let told = run(sources, dice::seed(), 2);
    println!("{told}");
    assert!(
        told.figures.admitted > 100 && told.figures.refused > 50,
        "{told}"
    );
    assert!(told.figures.admitted_fresh > 0, "{told}");
}

/// What a run came to.
pub struct Told {
    pub sources: Sources,
    pub seed: u64,
    pub figures: Stats,
    pub pushes: usize,
    pub outages: usize,
    pub restarts: usize,
    pub unanswered: usize,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Told {
            sources,
            seed,
            figures: x,
            pushes,
            outages,
            restarts,
            unanswered,
        } = self;
        write!(
            f,
            "gate under change ({sources:?}, seed {seed}): {pushes} pushes, {outages} outages, {restarts} restarts; \
             {} admitted ({} within 2 s of their push), {} refused, {} told to wait ({} while all was well), {unanswered} cut off; \
             a commit that had left got in for {:.2} s at most while all was well; \
             {} refused of which the source could not tell",
            x.admitted,
            x.admitted_fresh,
            x.refused,
            x.later,
            x.later_while_calm,
            x.stale_max.as_secs_f64(),
            x.refused_unknown
        )
    }
}

/// Rounds of a storm, in which everything happens, and a calm, in which only pushes do.
pub fn run(sources: Sources, seed: u64, rounds: u32) -> Told {
    eprintln!("{sources:?}: CIS490_SEED={seed}");
    let mut lab = Lab::new(sources, seed);
    let scene = lab.scene.clone();
    let diaries: Vec<hosts::Diary> = thread::scope(|scope| {
        // Ends the hosts also after a panic.
        let _over = Over(&scene.over);
        let hosts: Vec<_> = (0..HOSTS)
            .map(|host| {
                let (scene, dice) = (&scene, Dice::of(seed, 100 + host as u64));
                scope.spawn(move || hosts::upload_until_over(scene, host, dice))
            })
            .collect();
        for _ in 0..rounds {
            lab.go_on(Duration::from_secs(5), true);
            lab.go_on(Duration::from_secs(9), false);
        }
        scene.over.store(true, Ordering::Relaxed);
        hosts.into_iter().map(|host| host.join().unwrap()).collect()
    });
    lab.check_the_end();
    lab.check_the_store(&diaries);
    let seen: Vec<_> = diaries
        .iter()
        .flat_map(|diary| diary.seen.clone())
        .collect();
    Told {
        sources,
        seed,
        figures: lab.truth.judge(&seen),
        pushes: lab.pushes,
        outages: lab.outages,
        restarts: lab.restarts,
        unanswered: diaries.iter().map(|diary| diary.unanswered).sum(),
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The receiver, its sources, and the thread that changes them.
struct Lab {
    sources: Sources,
    scene: Arc<Scene>,
    truth: Truth,
    dice: Dice,
    pushes: usize,
    outages: usize,
    restarts: usize,
    world: World,
    forgejo: Forgejo,
    project: Project,
    _checkout: TempDir,
}

impl Lab {
    fn new(sources: Sources, seed: u64) -> Lab {
        let mut project = Project::new();
        let forgejo = Forgejo::serve(project.repository.path());
        forgejo.state().page_cap = PAGE;
        let checkout = TempDir::new();
        if sources == Sources::ForgejoAndGit {
            crate::git::git(checkout.path(), &["init", "-q"]);
            project.checkout = Some(checkout.path().to_owned());
            project.pull();
        }
        let path = match sources {
            Sources::Forgejo => "/nonexistent/cis490".into(),
            Sources::ForgejoAndGit => checkout.path().to_owned(),
            Sources::Git => project.repository.path().to_owned(),
        };
        let mut config = format!(
            "[version_gate]\nwindow = {WINDOW}\nrefresh_seconds = 1\nlocal_repo_path = {path:?}\n"
        );
        if sources != Sources::Git {
            config += &format!(
                "forgejo_url = {:?}\nrepo_owner = \"lab\"\nrepo_name = \"cis490\"\n",
                forgejo.url
            );
        }
        let world = World::with(&config);
        world.wait_until("the gate has its window", |world| {
            world.get("/v1/gate").json()["loaded"] == true
        });
        let scene = Scene {
            start: Instant::now(),
            address: RwLock::new(world.address()),
            commits: RwLock::new(Commits {
                window: project.window(),
                former: project.branch[WINDOW..].to_vec(),
                ..Commits::default()
            }),
            over: AtomicBool::new(false),
        };
        Lab {
            sources,
            scene: Arc::new(scene),
            truth: Truth::new(project.window(), BOUND),
            dice: Dice::of(seed, 0),
            pushes: 0,
            outages: 0,
            restarts: 0,
            world,
            forgejo,
            project,
            _checkout: checkout,
        }
    }

    fn go_on(&mut self, time: Duration, stormy: bool) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            match self.dice.below(10) {
                0..2 if stormy => self.outage(),
                2 if stormy => self.slowness(),
                3 if stormy => self.restart(),
                4 => self.project.housekeeping(),
                5 => self.project.pull(),
                _ => self.push(),
            }
            thread::sleep(self.dice.wait(50, 700));
        }
    }

    /// The hosts know of what is planned before it is pushed, and of a push as soon as it is there.
    fn push(&mut self) {
        self.project.plan(&mut self.dice);
        self.scene.commits.write().unwrap().planned = self.project.planned();
        thread::sleep(self.dice.wait(0, 200));
        let began = self.scene.now();
        self.project.push();
        let window = self.project.window();
        self.truth.changed(began, self.scene.now(), window.clone());
        self.pushes += 1;
        let mut commits = self.scene.commits.write().unwrap();
        let before = std::mem::replace(&mut commits.window, window);
        commits.former.extend(before);
        let (Commits { window, former, .. }, most) = (&mut *commits, 4 * WINDOW);
        former.retain(|commit| !window.contains(commit));
        former.drain(..former.len().saturating_sub(most));
        commits.planned.clear();
    }

    /// The source fails for a while, during which life goes on.
    fn outage(&mut self) {
        let began = self.scene.now();
        let kind = self.dice.below(10);
        if self.sources == Sources::Git {
            match kind < 5 {
                true => self.project.hide(true),
                false => self.project.rename(true),
            }
            thread::sleep(self.dice.wait(100, 2500));
            if self.dice.one_in(3) {
                self.restart();
            }
            match kind < 5 {
                true => self.project.hide(false),
                false => self.project.rename(false),
            }
        } else {
            self.forgejo.state().mood_for = match self.dice.one_in(3) {
                true => "/commits?",
                false => "",
            };
            match kind {
                9 => self.project.rename(true),
                _ => self.forgejo.set_mood(self.bad_mood(kind)),
            }
            self.live_through_an_outage(kind == 9);
            match kind {
                9 => self.project.rename(false),
                _ => self.forgejo.set_mood(Mood::Well),
            }
        }
        self.truth
            .trouble(began, self.scene.now(), Trouble::Failing);
        self.outages += 1;
    }

    fn bad_mood(&self, kind: u64) -> Mood {
        match kind {
            0 => Mood::Status(500),
            1 => Mood::Status(404),
            2 => Mood::Status(401),
            // A repository that was renamed: Forgejo names the new place.
            3 => Mood::Redirect(
                307,
                format!("{}/api/v1/repos/lab/renamed", self.forgejo.url),
            ),
            4 => Mood::Html,
            5 => Mood::CutShort,
            6 => Mood::Close,
            7 => Mood::Text("[]".to_owned()),
            _ => Mood::Hang,
        }
    }

    fn live_through_an_outage(&mut self, renamed: bool) {
        for _ in 0..self.dice.below(4) {
            thread::sleep(self.dice.wait(50, 800));
            match self.dice.below(6) {
                0 if !renamed => self.push(),
                1 if !renamed => self.project.pull(),
                2 => self.restart(),
                _ => {}
            }
        }
    }

    fn slowness(&mut self) {
        let began = self.scene.now();
        self.forgejo.state().mood_for = "";
        let slow = self.dice.wait(100, 900);
        self.forgejo.set_mood(Mood::Slow(slow));
        for _ in 0..3 {
            thread::sleep(self.dice.wait(50, 700));
            self.push();
        }
        self.forgejo.set_mood(Mood::Well);
        // Answers that were begun while it was slow are on their way: a head and four pages.
        let ended = self.scene.now() + 5 * slow;
        self.truth.trouble(began, ended, Trouble::Slow);
    }

    fn restart(&mut self) {
        let began = self.scene.now();
        match self.dice.one_in(2) {
            true => self.world.kill(),
            false => assert_eq!(self.world.stop(), Some(0), "{}", self.world),
        }
        thread::sleep(self.dice.wait(0, 300));
        self.world.start();
        *self.scene.address.write().unwrap() = self.world.address();
        self.truth.trouble(began, self.scene.now(), Trouble::Down);
        self.restarts += 1;
    }

    /// When nothing happens any more, the gate's window is the model's, to the letter.
    fn check_the_end(&self) {
        let want = self.truth.window();
        self.world
            .wait_until("the gate has the last push", |world| {
                world.get("/v1/gate").json()["commits"] == serde_json::json!(want)
            });
        let commits = self.scene.commits.read().unwrap();
        let mut open: Vec<&String> = commits.former.iter().chain(want).collect();
        // A refresh that takes more than two seconds leaves 503 behind: then the commit is asked again.
        self.world
            .wait_until("the gate has a verdict on each commit", |world| {
                open = self.ask_all(world, &open, want);
                open.is_empty()
            });
    }

    /// Checks the verdict on each of the commits, and returns those that have to be asked again.
    fn ask_all<'a>(
        &self,
        world: &World,
        commits: &[&'a String],
        window: &[String],
    ) -> Vec<&'a String> {
        // All at once: those that are not there wait for one refresh together.
        let mut asked = Vec::new();
        for commit in commits {
            let mut client = Client::connect(world.address());
            let request = format!("GET /v1/gate/{commit} HTTP/1.1\r\nHost: pi\r\n\r\n");
            client.send(request.as_bytes()).unwrap();
            asked.push((*commit, client));
        }
        let mut again = Vec::new();
        for (commit, mut client) in asked {
            let answer = client.answer().unwrap();
            let is_in = window.contains(commit);
            match answer.status {
                503 if !is_in => {
                    assert!(answer.header("Retry-After").is_some(), "{answer:?}");
                    again.push(commit);
                }
                status => assert_eq!(status, if is_in { 200 } else { 412 }, "{commit}\n{world}"),
            }
        }
        again
    }

    /// Who was told 200 or 201 has a file and one row, and nobody else has unless no answer came.
    fn check_the_store(&self, diaries: &[hosts::Diary]) {
        let rows = self.world.rows();
        let mut stored: Vec<String> = rows
            .iter()
            .map(|row| {
                format!(
                    "{}/{}",
                    row["host"].as_str().unwrap(),
                    row["episode"].as_str().unwrap()
                )
            })
            .collect();
        stored.sort();
        let mut once = stored.clone();
        once.dedup();
        assert_eq!(stored, once, "one row each");
        let mut unheard = stored.len();
        for name in diaries.iter().flat_map(|diary| &diary.acknowledged) {
            assert!(stored.binary_search(name).is_ok(), "{name} has no row");
            let path = self
                .world
                .data_dir()
                .join(format!("episodes/{name}.tar.zst"));
            assert!(fs::metadata(&path).is_ok(), "{name} has no file");
            unheard -= 1;
        }
        let unanswered: usize = diaries.iter().map(|diary| diary.unanswered).sum();
        assert!(
            unheard <= unanswered,
            "{unheard} rows that nobody was told of"
        );
    }
}
