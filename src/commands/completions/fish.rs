//! Completions for fish.

use argh::CommandInfoWithArgs;

use super::{Words, arguments, commands, short, values};

pub(super) fn text(info: &CommandInfoWithArgs) -> String {
    let mut text = TEXT.to_owned();
    for (name, command) in commands(info) {
        text += &format!(
            "complete -c cis490 -n __fish_use_subcommand -a {name} -d '{}'\n",
            short(command.description)
        );
        for flag in command.flags {
            let value = match values(name, flag) {
                None => String::new(),
                Some(Words::Files) => " -r -F".to_owned(),
                Some(words) => format!(" -x{}", offers(&words)),
            };
            text += &format!(
                "complete -c cis490 -n '__cis490_is {name}' -l {}{value} -d '{}'\n",
                flag.long.trim_start_matches('-'),
                short(flag.description)
            );
        }
        let arguments = arguments(info, name);
        let condition = match &arguments.first {
            Words::Fixed(words) => format!(
                "__cis490_is {name}; and not __cis490_has {}",
                words.join(" ")
            ),
            _ => format!("__cis490_is {name}"),
        };
        let first = offers(&arguments.first);
        if !first.is_empty() {
            text += &format!("complete -c cis490 -n '{condition}'{first}\n");
        }
        for (before, words) in &arguments.behind {
            text += &format!(
                "complete -c cis490 -n '__cis490_is {name}; and __cis490_behind {before}'{}\n",
                offers(words)
            );
        }
    }
    text
}

fn offers(words: &Words) -> String {
    match words {
        Words::Fixed(words) => format!(" -a '{}'", words.join(" ")),
        Words::Listed(kind) => format!(" -a '(__cis490_list {})'", kind.name()),
        Words::Files | Words::Unknown => String::new(),
    }
}

const TEXT: &str = r#"# Completions of cis490 for fish, printed by `cis490 completions fish`.

# Has the program list the words of a kind, in the folders that the command line names.
function __cis490_list
    set -l words (commandline -opc)
    set -l place
    for at in (seq (count $words))
        set -l next (math $at + 1)
        switch $words[$at]
            case --config --root --data-dir --to
                set -q words[$next]; and set -a place $words[$at] $words[$next]
            case '--config=*' '--root=*' '--data-dir=*' '--to=*'
                set -a place (string split -m 1 = -- $words[$at])
        end
    end
    $words[1] completions --list $argv[1] $place 2>/dev/null
end

function __cis490_is
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] $argv
end

function __cis490_has
    set -l words (commandline -opc)
    for word in $words[3..-1]
        contains -- $word $argv; and return 0
    end
    return 1
end

function __cis490_behind
    set -l words (commandline -opc)
    test "$words[-1]" = $argv[1]
end

complete -c cis490 -f
complete -c cis490 -n __fish_use_subcommand -l version -d 'print version, commit and target'
"#;
