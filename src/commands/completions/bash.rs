//! Completions for bash.
//!
//! What the program lists is compared and quoted here, and never expanded: `compgen -W` would run a name
//! such as `$(reboot)`, and a folder may have one.

use argh::CommandInfoWithArgs;

use super::{Words, arguments, commands, options, values};

pub(super) fn text(info: &CommandInfoWithArgs) -> String {
    let mut values_of = String::new();
    let mut words_of = String::new();
    for (name, command) in commands(info) {
        for flag in command.flags {
            if let Some(words) = values(name, flag) {
                let does = does(&words);
                values_of += &format!("        \"{name} {}\") {does} ;;\n", flag.long);
            }
        }
        let arguments = arguments(info, name);
        for (before, words) in arguments.behind {
            values_of += &format!("        \"{name} {before}\") {} ;;\n", does(&words));
        }
        let options = options(command).join(" ");
        let first = match arguments.first {
            Words::Fixed(words) => format!(" first=\"{}\"", words.join(" ")),
            Words::Listed(kind) => format!(" kind={}", kind.name()),
            Words::Files | Words::Unknown => String::new(),
        };
        words_of += &format!("            {name}) options=\"{options}\"{first} ;;\n");
    }
    let names: Vec<&str> = commands(info).into_iter().map(|(name, _)| name).collect();
    TEXT.replace("NAMES", &names.join(" "))
        .replace("        VALUES\n", &values_of)
        .replace("            WORDS\n", &words_of)
}

/// The commands of bash that offer these words.
fn does(words: &Words) -> String {
    match words {
        Words::Files => "_cis490_files; return".to_owned(),
        Words::Fixed(words) => format!("found=({})", words.join(" ")),
        Words::Listed(kind) => format!("_cis490_list {}", kind.name()),
        // Also where a value is wanted that nobody can guess, no option is offered.
        Words::Unknown => "return".to_owned(),
    }
}

const TEXT: &str = r#"# Completions of cis490 for bash, printed by `cis490 completions bash`.

# Has the program list the words of a kind, in the folders that the command line names.
_cis490_list() {
    local place=() i next
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --config|--root|--data-dir|--to)
                next=${COMP_WORDS[i + 1]}
                [[ $next == = ]] && next=${COMP_WORDS[i + 2]}
                [[ -n $next ]] && place+=("${COMP_WORDS[i]}" "$next") ;;
        esac
    done
    mapfile -t found < <("${COMP_WORDS[0]}" completions --list "$1" "${place[@]}" 2>/dev/null)
}

_cis490_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
}

_cis490() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}
    local found=() options first kind candidate quoted
    COMPREPLY=()
    # bash splits words at = and at colons; of a word with a colon it completes the last part alone.
    [[ $word == : || $before == : ]] && return
    [[ $word == = ]] && word=
    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD-2]}
    ((COMP_CWORD == 1)) && command= before=
    case "$command $before" in
        " ") options="--help --version" first="NAMES" ;;
        VALUES
        *)
            case $command in
            WORDS
            esac ;;
    esac
    # The first argument is given once.
    for candidate in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
        [[ " $first " == *" $candidate "* ]] && first=
    done
    [[ -n $kind && $word != -* ]] && _cis490_list "$kind"
    for candidate in "${found[@]}" $first $options; do
        printf -v quoted %q "$candidate"
        [[ $candidate == "$word"* || $quoted == "$word"* ]] && COMPREPLY+=("$quoted")
    done
}
complete -F _cis490 cis490
"#;
