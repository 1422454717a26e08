"""Shell completion: scripts for bash, zsh and fish that call `asr _complete WORD...` back on every Tab."""

from collections.abc import Sequence

from asr.cli.options import all_groups
from asr.cli.reads import declared, groups_of, spelling
from asr.cli.verbs import FLAGS, VERBS
from asr.errors import InputError

BASH = r"""
_asr() {
    local line="${COMP_LINE:0:COMP_POINT}" words word
    read -ra words <<< "$line"
    [[ "$line" == *' ' ]] && words+=("")
    word="${words[${#words[@]}-1]}"
    local IFS=$'\n'
    COMPREPLY=($("$1" _complete "${words[@]:1}" 2>/dev/null))
    # bash splits words at '=', so it expects only the part after it
    [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]] && COMPREPLY=("${COMPREPLY[@]#*=}")
    [[ "${COMPREPLY[*]}" == *= ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -F _asr asr
"""

ZSH = r"""
#compdef asr
_asr() {
    local -a replies
    replies=("${(@f)$($words[1] _complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    [[ -z "$replies" ]] && { compset -P '*='; _files; return }
    compadd -Q -S '' -- $replies
}
compdef _asr asr
"""

FISH = r"""
function __asr_found
    set -g __asr_replies (asr _complete (commandline -opc)[2..] (commandline -ct) 2>/dev/null)
    test -n "$__asr_replies"
end
complete -c asr -f -n __asr_found -a '$__asr_replies'
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def script(shell: str) -> str:
    """The script for the shell's start file: `eval "$(asr completion bash)"`."""
    if shell not in SCRIPTS:
        raise InputError(f"no completion for '{shell}'; use `asr completion {'|'.join(SCRIPTS)}`")
    return SCRIPTS[shell].lstrip()


def complete(words: Sequence[str]) -> list[str]:
    """Completions of the last of `words`, the words after `asr`. If there are none, the shell completes file names."""
    *before, current = words or [""]
    names = [name.split() for name in VERBS]
    path = before[: max(len(name) for name in names)]
    following = {name[len(before)] for name in names if len(name) > len(before) and name[: len(before)] == before}
    if following:
        candidates = [*sorted(following), *([] if before else ["completion", "--help", "--version"])]
    elif current.startswith("-"):
        candidates = list(FLAGS)
    else:
        verb = next((" ".join(name) for name in names if path[: len(name)] == name), None)
        config_dir = before[before.index("--config-dir") + 1] if "--config-dir" in before[:-1] else None
        candidates = _settings(current, verb, config_dir) if verb else []
    return [candidate for candidate in candidates if candidate.startswith(current)]


def _settings(current: str, verb: str, config_dir: str | None) -> list[str]:
    """The verb's keys with a trailing `=`; after a `=`, the values of the key."""
    groups = groups_of(verb, all_groups(config_dir))
    options = {spelling(verb, option): option for option in declared(verb).values()}
    options |= declared(verb)
    key, equals, _ = current.partition("=")
    if not equals:
        return [f"{name}=" for name in [*groups, *options]]
    if key in groups:
        return [f"{key}={choice}" for choice in groups[key]]
    if key not in options:
        return []
    values = ("true", "false") if options[key].type is bool else options[key].choices
    return [f"{key}={value}" for value in values]
