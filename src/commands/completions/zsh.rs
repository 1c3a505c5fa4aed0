//! Completions for zsh.

use argh::{CommandInfoWithArgs, FlagInfo};

use super::{Words, arguments, commands, short, values};

pub(super) fn text(info: &CommandInfoWithArgs) -> String {
    let mut described = String::new();
    let mut cases = String::new();
    let mut behind = String::new();
    for (name, command) in commands(info) {
        described += &format!("        '{name}:{}'\n", short(command.description));
        let options: String = command
            .flags
            .iter()
            .map(|flag| option(name, flag))
            .collect();
        let arguments = arguments(info, name);
        let mut specs = match arguments.first {
            Words::Listed(kind) => format!(" '*:name: _cis490_list {}'", kind.name()),
            Words::Fixed(words) => format!(" '1:word:({})'", words.join(" ")),
            Words::Files | Words::Unknown => String::new(),
        };
        if !arguments.behind.is_empty() {
            specs += " '2:name: _cis490_behind'";
        }
        for (before, words) in &arguments.behind {
            behind += &format!("        '{name} {before}') {} ;;\n", adds(words));
        }
        cases += &format!(
            "        {name}) _arguments '--help[display usage information]'{options}{specs} ;;\n"
        );
    }
    TEXT.replace("        DESCRIBED\n", &described)
        .replace("        CASES\n", &cases)
        .replace("        BEHIND\n", &behind)
}

fn option(command: &str, flag: &FlagInfo) -> String {
    if flag.long == "--help" {
        return String::new();
    }
    let description = short(flag.description);
    let value = match values(command, flag) {
        None => return format!(" '{}[{description}]'", flag.long),
        Some(Words::Files) => "file:_files".to_owned(),
        Some(Words::Fixed(words)) => format!("word:({})", words.join(" ")),
        Some(Words::Listed(kind)) => format!("name: _cis490_list {}", kind.name()),
        Some(Words::Unknown) => "value: ".to_owned(),
    };
    format!(" '{}=[{description}]:{value}'", flag.long)
}

fn adds(words: &Words) -> String {
    match words {
        Words::Files => "_files".to_owned(),
        Words::Fixed(words) => format!("compadd {}", words.join(" ")),
        Words::Listed(kind) => format!("_cis490_list {}", kind.name()),
        Words::Unknown => ":".to_owned(),
    }
}

const TEXT: &str = r#"#compdef cis490
# Completions of cis490 for zsh, printed by `cis490 completions zsh`.

# Has the program list the words of a kind, in the folders that the command line names.
_cis490_list() {
    local -a place found
    local -i i
    for ((i = 1; i < CURRENT; i++)); do
        case $words[i] in
            --config|--root|--data-dir|--to) place+=("$words[i]" "${(Q)words[i + 1]}") ;;
            --config=*|--root=*|--data-dir=*|--to=*) place+=("${words[i]%%=*}" "${(Q)words[i]#*=}") ;;
        esac
    done
    found=(${(f)"$($program completions --list $1 $place 2>/dev/null)"})
    compadd -a found
}

_cis490_behind() {
    case "$command $words[CURRENT - 1]" in
        BEHIND
    esac
}

_cis490() {
    local -a commands
    commands=(
        DESCRIBED
    )
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    local program=${(Q)words[1]} command=$words[2]
    shift words
    ((CURRENT--))
    case $command in
        CASES
    esac
}
_cis490 "$@"
"#;
