//! The manual pages and the completions, where `man` and the shells look for those of /usr/local.

use std::path::{Path, PathBuf};

use super::place::{Place, ROOT, Wanted};
use crate::commands::{completions, man};
use crate::failure::Failure;

const MANUALS: &str = "/usr/local/share/man";
/// Of each shell: its name, and the file in which it looks for the completions of a program.
const COMPLETIONS: [(&str, &str); 3] = [
    (
        "bash",
        "/usr/local/share/bash-completion/completions/cis490",
    ),
    ("zsh", "/usr/local/share/zsh/site-functions/_cis490"),
    ("fish", "/etc/fish/completions/cis490.fish"),
];

/// Some files that are reported together.
struct Group {
    shown: String,
    files: Vec<(PathBuf, String)>,
}

pub(super) fn put(place: &mut Place) -> Result<(), Failure> {
    for Group { shown, files } in groups()? {
        let wanted: Vec<Wanted<'_>> = files
            .iter()
            .map(|(path, text)| Wanted {
                path,
                bytes: text.as_bytes(),
                mode: 0o644,
                owner: Some(ROOT),
            })
            .collect();
        place.files(&shown, &wanted)?;
    }
    Ok(())
}

pub(super) fn remove(place: &mut Place) -> Result<(), Failure> {
    for Group { shown, files } in groups()? {
        let paths: Vec<&Path> = files.iter().map(|(path, _)| path.as_path()).collect();
        place.remove_files(&shown, &paths)?;
    }
    Ok(())
}

fn groups() -> Result<Vec<Group>, Failure> {
    let mut pages = Vec::new();
    for (section, name, text) in man::pages() {
        pages.push((
            Path::new(MANUALS).join(format!("man{section}")).join(name),
            text,
        ));
    }
    let mut groups = vec![Group {
        shown: format!("{MANUALS}/man*/cis490*, {} manual pages", pages.len()),
        files: pages,
    }];
    for (shell, path) in COMPLETIONS {
        groups.push(Group {
            shown: format!("{path}, the completions for {shell}"),
            files: vec![(PathBuf::from(path), completions::of_shell(shell)?)],
        });
    }
    Ok(groups)
}
