"""Shell completion: scripts for bash, zsh and fish that call `asr _complete WORD...` back on every Tab."""

from collections.abc import Sequence

from asr.cli.options import all_groups, all_options
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
    # bash takes '=' as the start of a new word, so only what follows it may be offered
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
    """The script to be put into the shell's start file: `eval "$(asr completion bash)"`."""
    if shell not in SCRIPTS:
        raise InputError(f"no completion for '{shell}'; there is `asr completion {'|'.join(SCRIPTS)}`")
    return SCRIPTS[shell].lstrip()


def complete(words: Sequence[str]) -> list[str]:
    """What the last word may become. `words` are those behind `asr`; nothing back leaves file names to the shell."""
    *before, current = words or [""]
    names = [name.split() for name in VERBS]
    path = before[: max(len(name) for name in names)]
    following = {name[len(before)] for name in names if len(name) > len(before) and name[: len(before)] == before}
    if following:
        candidates = [*sorted(following), *([] if before else ["completion", "--help", "--version"])]
    elif current.startswith("-"):
        candidates = list(FLAGS)
    else:
        verb = next((VERBS[" ".join(name)] for name in names if path[: len(name)] == name), None)
        config_dir = before[before.index("--config-dir") + 1] if "--config-dir" in before[:-1] else None
        candidates = _settings(current, verb.home if verb else (), config_dir)
    return [candidate for candidate in candidates if candidate.startswith(current)]


def _settings(current: str, home: Sequence[str], config_dir: str | None) -> list[str]:
    """Keys with a trailing `=`, or behind one the key's values."""
    groups, options = all_groups(config_dir), all_options()
    key, equals, _ = current.partition("=")
    if not equals:
        bare = [name.partition(".")[2] for name in options if name.partition(".")[0] in home]
        return [f"{name}=" for name in dict.fromkeys([*groups, *bare, *options])]
    if key in groups:
        return [f"{key}={choice}" for choice in groups[key]]
    option = next((options[n] for n in (key, *(f"{g}.{key}" for g in home)) if n in options), None)
    if option is None:
        return []
    values = ("true", "false") if option.type is bool else option.choices
    return [f"{key}={value}" for value in values]
