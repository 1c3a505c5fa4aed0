//! `cis490 demo`: shows to somebody who has not decided yet how episodes travel.
//!
//! It runs the real program on real files: a git repository made by git, `receive` and `ship` as
//! processes of their own, a lab host's folder and a store. Only the place is small: one temporary
//! folder, and one port on the loopback address. No process that it starts outlives it.

mod project;
mod server;
mod stage;
mod talk;

use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use crate::failure::Failure;
use crate::wire;
use project::Project;
use server::Server;
use stage::{Episode, PULLED, Stage};
use talk::{say, say_indented, short, title};

/// The demo's window: small, so that a commit falls out of it before your eyes.
const WINDOW: usize = 3;

/// show episodes travel, on this machine and without any set-up
#[derive(FromArgs, ArgsInfo)]
#[argh(subcommand, name = "demo", example = "{command_name} --clean")]
pub(super) struct Demo {
    /// remove the temporary folder at the end
    #[argh(switch)]
    clean: bool,
}

impl Demo {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let stage = Stage::build(self.clean)?;
        say(
            "cis490 demo: two episodes travel from a lab host to the receiver and on, and one is stopped",
        );
        say(format!(
            "Everything happens in {}, on this machine only.",
            stage.folder().display()
        ));
        let mut project = make_project(&stage)?;
        let server = start_receiver(&stage)?;
        let episodes = record_episodes(&stage, &server, &project)?;
        ship(&stage)?;
        show_the_lab_host(&stage, &server, &episodes)?;
        show_the_store(&stage)?;
        push(&server, &mut project)?;
        send_again(&stage, &server, &episodes[1])?;
        pull(&stage, &server)?;
        server.stop()?;
        say_the_end(&stage, self.clean);
        Ok(ExitCode::SUCCESS)
    }
}

fn make_project(stage: &Stage) -> Result<Project, Failure> {
    title("A project with four commits. The newest three may upload (by default: 100)");
    let mut project = Project::init(stage.folder())?;
    for subject in [
        "first light",
        "correct the sign of the second channel",
        "calibrate before each run",
        "record the temperature too",
    ] {
        project.commit_and_push(subject)?;
    }
    for (age, commit) in project.commits().iter().rev().enumerate() {
        let place = match age {
            0 => "the latest",
            _ if age < WINDOW => "in the window",
            _ => "too old",
        };
        say(format!(
            "{}  {place:13}  {}",
            short(&commit.hash),
            commit.subject
        ));
    }
    Ok(project)
}

fn start_receiver(stage: &Stage) -> Result<Server, Failure> {
    title("A receiver, with a version gate that reads the project's repository");
    stage.write_receiver_config(WINDOW)?;
    stage.command_succeeds(&["init", "--config"], "receiver.toml")?;
    let server = Server::start(stage, "receiver.toml")?;
    let gate = server.get(wire::GATE_PATH)?.json()?;
    say(format!(
        "it accepts uploads on {} {} ms after its start, and knows {} commits",
        server.address(),
        server.ready_after().as_millis(),
        gate["commits"].as_array().map_or(0, Vec::len),
    ));
    Ok(server)
}

/// Records three episodes: of the newest commit, of the oldest one in the window, and of the one before
/// that, which is out of it.
fn record_episodes(
    stage: &Stage,
    server: &Server,
    project: &Project,
) -> Result<[Episode; 3], Failure> {
    title("A lab host that has recorded three episodes");
    stage.write_shipper_config(server.address())?;
    stage.command_succeeds(&["init", "--config"], "shipper.toml")?;
    let by_age = |age: usize| &project.commits()[project.commits().len() - 1 - age];
    let episodes = [
        stage.record("ep-1-swing", by_age(0))?,
        stage.record("ep-2-swing", by_age(WINDOW - 1))?,
        stage.record("ep-3-swing", by_age(WINDOW))?,
    ];
    for episode in &episodes {
        say(format!(
            "{}  made by {}, {}",
            episode.id,
            short(&episode.commit.hash),
            episode.commit.subject
        ));
    }
    Ok(episodes)
}

fn ship(stage: &Stage) -> Result<(), Failure> {
    title("It ships them");
    /// The exit status of `ship --once` when every remaining episode is held.
    const HELD: i32 = 3;
    let output = stage.command(&["ship", "--once", "--config"], "shipper.toml")?;
    if output.status.code() != Some(HELD) {
        return Err(stage.unexpected("ship --once", &output));
    }
    say("exit status 3: what could be sent was sent, and the rest is held");
    Ok(())
}

fn show_the_lab_host(
    stage: &Stage,
    server: &Server,
    episodes: &[Episode; 3],
) -> Result<(), Failure> {
    title("What the lab host has now");
    let [newest, oldest, outdated] = episodes;
    show_accepted(stage, newest)?;
    show_accepted(stage, oldest)?;
    show_held(stage, server, outdated)
}

fn show_accepted(stage: &Stage, episode: &Episode) -> Result<(), Failure> {
    let receipt = stage.receipt(&episode.id)?;
    let sha256 = receipt["sha256"].as_str().unwrap_or("?");
    say(format!(
        "{}  accepted: receipt number {}, {} bytes, sha256 {}..., commit {} of {WINDOW}",
        episode.id,
        receipt["seq"],
        receipt["bytes"],
        sha256.get(..12).unwrap_or("?"),
        receipt["gate"]["position"],
    ));
    Ok(())
}

fn show_held(stage: &Stage, server: &Server, held: &Episode) -> Result<(), Failure> {
    if !stage.is_kept(&held.id) {
        return Err(Failure::new(
            format!("{} is not on the lab host any more", held.id),
            "an episode that is refused for its commit must be kept; please report this",
        ));
    }
    let refusal = server.get(&format!("{}/{}", wire::GATE_PATH, held.commit.hash))?;
    let problem = refusal.expect(412)?.json()?;
    say(format!(
        "{}  kept here and not sent: 412, {}",
        held.id,
        problem["detail"].as_str().unwrap_or("?")
    ));
    say("            its log and `cis490 status` show the operator what to paste:");
    say_indented(problem["remediation"].as_str().unwrap_or("?"));
    Ok(())
}

fn show_the_store(stage: &Stage) -> Result<(), Failure> {
    title("What the receiver has on its disk");
    for (name, bytes) in stage.stored_files()? {
        say(format!("{name}  {bytes} bytes"));
    }
    say("index.jsonl, one receipt per line:");
    say_indented(&stage.index()?);
    Ok(())
}

fn push(server: &Server, project: &mut Project) -> Result<(), Failure> {
    title("A developer pushes");
    let pushed = project
        .commit_and_push("warm up before the first run")?
        .clone();
    let waited = server.wait_for_head(&pushed.hash)?;
    let oldest = &project.commits()[project.commits().len() - 1 - WINDOW];
    say(format!(
        "{}  the new latest commit; the gate knew it {:.1} s after the push",
        short(&pushed.hash),
        waited.as_secs_f64()
    ));
    say(format!(
        "{}  has fallen out of the window: its next episode will be refused",
        short(&oldest.hash)
    ));
    server
        .get(&format!("{}/{}", wire::GATE_PATH, oldest.hash))?
        .expect(412)?;
    Ok(())
}

/// The lab host has lost the answer, as after a power cut, and sends an episode that is stored already.
fn send_again(stage: &Stage, server: &Server, episode: &Episode) -> Result<(), Failure> {
    title("An answer was lost on the way, and the lab host sends an episode again");
    let first = stage.receipt(&episode.id)?;
    let again = server.put(stage, episode, &first)?;
    let second = again.expect(200)?.json()?;
    if second["seq"] != first["seq"] || second["sha256"] != first["sha256"] {
        return Err(again.unexpected("the receipt that was given before"));
    }
    let rows = stage.index()?.lines().count();
    say(format!(
        "{}  200 with receipt number {}, as before: nothing new is stored, the index has {rows} rows",
        episode.id, second["seq"]
    ));
    say("            so the gate is not asked, although this commit has just fallen out");
    Ok(())
}

/// A machine that trains brings what is stored to itself.
fn pull(stage: &Stage, server: &Server) -> Result<(), Failure> {
    title("A machine that trains pulls what is stored");
    let url = format!("http://{}", server.address());
    let said = stage.command_succeeds(&["pull", "--url", &url, "--to"], PULLED)?;
    say(said.trim_end());
    let pulled = stage.pulled_files()?;
    if pulled.len() != stage.stored_files()?.len() {
        return Err(Failure::new(
            format!("{} files came, and the store has others", pulled.len()),
            "this should not happen; please report it with the lines above",
        ));
    }
    for (name, bytes) in pulled {
        say(format!(
            "{name}  {bytes} bytes, with the SHA-256 of its receipt"
        ));
    }
    say("index.jsonl there has their receipts; a second pull would bring only what is new");
    Ok(())
}

fn say_the_end(stage: &Stage, clean: bool) {
    let folder = stage.folder().display();
    if clean {
        title("That is all. The folder is removed");
    } else {
        title(format!(
            "That is all. Look around in {folder}, and remove it when you are done"
        ));
    }
}
