//! A lab host's page: what waits, what is held, what was refused, and what to do.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::json;
use crate::failure::Failure;
use crate::shipper::config::Config;
use crate::shipper::queue::Root;
use crate::shipper::{self, Heap, HeldHeap, RefusedEpisode, Survey};
use crate::terminal::{Paint, one_line};
use crate::{events, human, owner, wire};

/// At most this many refused episodes are listed; --json has them all.
const REFUSED_SHOWN_MAX: usize = 20;

pub fn look(path: &Path, root: Option<PathBuf>, as_json: bool) -> Result<String, Failure> {
    let config = Config::load(path, root)?;
    let root = Root::open(&config.root)?;
    let survey =
        shipper::survey(&root, config.host_id.as_str(), &config.receiver_url).map_err(|error| {
            Failure::new(
                format!("cannot look through {}: {error}", root.dir().display()),
                owner::hint(
                    &error,
                    "look at the disk (dmesg) and at who owns it (ls -l)",
                ),
            )
        })?;
    match as_json {
        true => json(&survey),
        false => Ok(page(&survey, Paint::for_stdout())),
    }
}

fn page(survey: &Survey, paint: Paint) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{}\n", headline(survey, paint));
    held(&mut page, &survey.held, paint);
    refused(&mut page, &survey.refused, paint);
    soon_out(&mut page, survey, paint);
    trouble(&mut page, survey);
    counts(&mut page, survey);
    page
}

/// The one line that answers "is all well?".
fn headline(survey: &Survey, paint: Paint) -> String {
    let held: usize = survey.held.iter().map(|held| held.heap.episodes).sum();
    let mut parts = Vec::new();
    for (count, words) in [
        (survey.waiting.episodes, "waiting"),
        (held, "held"),
        (survey.refused.len(), "refused"),
        (survey.overlooked, "not sent"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    }
    let queue = match parts.is_empty() {
        true => "nothing waits".to_owned(),
        false => parts.join(", "),
    };
    let shipper = match survey.running {
        Some(true) => paint.good("the shipper runs"),
        Some(false) => {
            paint.bad("the shipper does not run: systemctl start cis490-shipper, or cis490 ship")
        }
        None => "whether the shipper runs cannot be seen from this user".to_owned(),
    };
    format!("{}: {queue}; {shipper}", survey.host)
}

fn held(page: &mut String, held: &[HeldHeap], paint: Paint) {
    for HeldHeap { hold, heap } in held {
        let commit = &hold.commit;
        let _ = write!(
            page,
            "{} since {}: {} kept, not sent\n  commit {commit}\n  {}\n",
            paint.bad("HELD"),
            hold.since,
            amount(heap),
            one_line(&hold.detail),
        );
        if let Some(remediation) = &hold.remediation {
            let _ = writeln!(page, "  so that the next episodes get in, paste:\n");
            for line in events::remediation_lines(remediation) {
                let _ = writeln!(page, "      {line}");
            }
        }
        let _ = write!(
            page,
            "\n  It does not help those that are held: the code that made them stays what it was. They go\n  by themselves if the gate ever takes their commit. To give them up, and keep them in refused/:\n\n      cis490 set-aside --commit {commit}\n\n"
        );
    }
}

fn refused(page: &mut String, refused: &[RefusedEpisode], paint: Paint) {
    if refused.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "{}: {}, in refused/ until a person looks",
        paint.bad("REFUSED"),
        refused.len()
    );
    for episode in refused.iter().take(REFUSED_SHOWN_MAX) {
        let why = episode
            .why
            .as_ref()
            .map_or("nobody wrote down why", |why| &why.why);
        let _ = writeln!(
            page,
            "  {}  {}  {}",
            one_line(&episode.name),
            human::bytes(episode.bytes),
            one_line(why)
        );
    }
    if let Some(more) = refused
        .len()
        .checked_sub(REFUSED_SHOWN_MAX)
        .filter(|more| *more > 0)
    {
        let _ = writeln!(page, "  and {more} more: cis490 status --json");
    }
    let _ = writeln!(page, "  once mended: cis490 requeue NAME\n");
}

/// The early warning: while the next episodes still get in.
fn soon_out(page: &mut String, survey: &Survey, paint: Paint) {
    let Some(gate) = survey
        .gate
        .as_ref()
        .filter(|gate| gate.remaining() < wire::REMAINING_LOW)
    else {
        return;
    };
    let _ = writeln!(
        page,
        "{}: {} commits until {} falls out of the window and its episodes are held\n  update this lab host now\n",
        paint.warning("SOON OUT"),
        gate.remaining(),
        gate.commit,
    );
}

fn trouble(page: &mut String, survey: &Survey) {
    if let Some(error) = &survey.last_error {
        let of = error
            .episode
            .as_ref()
            .map_or(String::new(), |id| format!(" {id}:"));
        let over = if error.over { ", over since" } else { "" };
        let _ = writeln!(
            page,
            "last error    {}{over}:{of} {}",
            error.at,
            one_line(&error.why)
        );
    }
    let _ = match &survey.last_success {
        Some(success) => writeln!(
            page,
            "last success  {}: {} ({})",
            success.at,
            success.episode,
            human::bytes(success.bytes)
        ),
        None => writeln!(page, "last success  none yet"),
    };
    if let Some(gate) = &survey.gate {
        let (position, window, left) = (gate.position, gate.window, gate.remaining());
        let _ = writeln!(
            page,
            "gate          {}: commit {} at place {position} of {window}, {left} until it falls out",
            gate.at, gate.commit
        );
    }
}

fn counts(page: &mut String, survey: &Survey) {
    let _ = writeln!(page);
    for (name, heap) in [
        ("waiting", &survey.waiting),
        ("packed", &survey.packed),
        ("shipped", &survey.shipped),
    ] {
        let oldest = heap
            .oldest
            .as_ref()
            .map_or(String::new(), |at| format!(", oldest {at}"));
        let _ = writeln!(page, "{name:12}  {}{oldest}", amount(heap));
    }
    let _ = writeln!(page, "being made    {}", survey.unfinished);
    if survey.overlooked > 0 {
        let count = survey.overlooked;
        let _ = writeln!(
            page,
            "NOT SENT      {count} finished, under a name that is not allowed or not readable: the log of cis490 ship names them"
        );
    }
    let _ = writeln!(page, "from {} to {}", survey.root, survey.receiver);
}

fn amount(heap: &Heap) -> String {
    let noun = if heap.episodes == 1 {
        "episode"
    } else {
        "episodes"
    };
    format!("{} {noun}, {}", heap.episodes, human::bytes(heap.bytes))
}
