//! A lab host's page: what waits, what is held, what was refused, and what to do.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::json;
use crate::failure::Failure;
use crate::shipper::config::Config;
use crate::shipper::queue::Root;
use crate::shipper::{self, Heap, HeldHeap, RefusedEpisode, Survey};
use crate::terminal::{Paint, one_line};
use crate::{events, human, wire};

/// At most this many refused episodes are listed; --json has them all.
const REFUSED_SHOWN_MAX: usize = 20;

pub fn look(path: &Path, root: Option<PathBuf>, as_json: bool) -> Result<String, Failure> {
    let config = Config::load(path, root)?;
    let root = Root::open(&config.root)?;
    let survey =
        shipper::survey(&root, config.host_id.as_str(), &config.receiver_url).map_err(|error| {
            Failure::new(
                format!("cannot look through {}: {error}", root.dir().display()),
                "run it as the user that runs cis490 ship",
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

/// The one line that answers "is everything all right?".
fn headline(survey: &Survey, paint: Paint) -> String {
    let held: usize = survey.held.iter().map(|held| held.heap.episodes).sum();
    let mut parts = Vec::new();
    for (count, words) in [
        (survey.waiting.episodes, "waiting"),
        (held, "held"),
        (survey.refused.len(), "refused"),
        (survey.overlooked, "with a bad name"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    }
    let queue = match parts.is_empty() {
        true => "nothing is waiting".to_owned(),
        false => parts.join(", "),
    };
    let shipper = match survey.running {
        Some(true) => paint.good("the shipper is running"),
        Some(false) => {
            paint.bad("the shipper is not running: systemctl start cis490-shipper, or cis490 ship")
        }
        None => "this user cannot see whether the shipper runs".to_owned(),
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
            let _ = writeln!(page, "  to get the next episodes accepted, paste:\n");
            for line in events::remediation_lines(remediation) {
                let _ = writeln!(page, "      {line}");
            }
        }
        let _ = write!(
            page,
            "\n  Episodes already held stay held: they were recorded with the old code. They are sent\n  automatically if the gate ever accepts their commit. To give them up and keep them in refused/:\n\n      cis490 set-aside --commit {commit}\n\n"
        );
    }
}

fn refused(page: &mut String, refused: &[RefusedEpisode], paint: Paint) {
    if refused.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "{}: {}, kept in refused/",
        paint.bad("REFUSED"),
        human::counted(refused.len(), "episode")
    );
    for episode in refused.iter().take(REFUSED_SHOWN_MAX) {
        let why = episode
            .why
            .as_ref()
            .map_or("no reason is recorded", |why| &why.why);
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
    let _ = writeln!(page, "  when the cause is fixed: cis490 requeue NAME\n");
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
        "{}: {} until the episodes of {} are held\n  update this lab host now\n",
        paint.warning("EXPIRING"),
        human::counted(gate.remaining(), "more commit"),
        gate.commit,
    );
}

fn trouble(page: &mut String, survey: &Survey) {
    if let Some(error) = &survey.last_error {
        let of = error
            .episode
            .as_ref()
            .map_or(String::new(), |id| format!(" {id}:"));
        let over = if error.over { " (resolved)" } else { "" };
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
        let (position, window) = (gate.position, gate.window);
        let left = human::counted(gate.remaining(), "more commit");
        let _ = writeln!(
            page,
            "gate          {}: commit {} is {position} of {window}, {left} until it is refused",
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
    let _ = writeln!(page, "recording     {}", survey.unfinished);
    if survey.overlooked > 0 {
        let count = human::counted(survey.overlooked, "finished episode");
        let _ = writeln!(
            page,
            "NOT SENT      {count} with a name that is not allowed, or not readable: the log of cis490 ship names them"
        );
    }
    let _ = writeln!(page, "from {} to {}", survey.root, survey.receiver);
}

fn amount(heap: &Heap) -> String {
    let episodes = human::counted(heap.episodes, "episode");
    format!("{episodes}, {}", human::bytes(heap.bytes))
}
