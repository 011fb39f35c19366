"""`avocado completion bash`: Tab completes commands, keys, options of groups, and files, in bash, zsh and fish."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avocado.cli import VERBS
from avocado.cli.arguments import SHELLS
from avocado.config.schema import groups_of, kinds
from avocado.errors import InputError

if TYPE_CHECKING:
    from omegaconf import DictConfig

SCRIPTS = {  # each asks this program what may stand at the end of the line, and offers files where it knows nothing
    "bash": """\
_avocado() {
    local IFS=$'\\n' line="${COMP_LINE:0:COMP_POINT}" word
    word="${line##*[[:space:]]}"
    COMPREPLY=($(avocado completion candidates "$line" 2>/dev/null))
    # bash takes = and : for ends of words, and wants only what comes behind the last one
    if [[ "$word" == *[=:]* ]]; then COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[=:]}"}"}"); fi
}
complete -o nospace -o default -F _avocado avocado
""",
    "zsh": """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_avocado() {
    local -a found
    found=("${(@f)$(avocado completion candidates "${LBUFFER}" 2>/dev/null)}")
    if [[ -n "${found[1]}" ]]; then compadd -Q -S '' -- "${found[@]}"; else compset -P '*='; _files; fi
}
compdef _avocado avocado
""",
    "fish": """\
function __avocado_candidates
    set -l found (avocado completion candidates (commandline -cp) 2>/dev/null)
    if test (count $found) -gt 0
        string trim --right -- $found # fish ends a whole word itself, and would quote this blank
    else
        set -l word (commandline -ct)
        set -l key (string match -r '^[^=]*=' -- $word) # nothing where there is none
        set -l path (string replace -r '^[^=]*=' '' -- $word)
        __fish_complete_path "$path" | string replace -r '\\t.*' '' | string replace -r '^' -- "$key"
    end
end
complete -c avocado -f -a '(__avocado_candidates)'
""",
}


def completion(config: DictConfig) -> None:
    """Print what the shell evaluates."""
    if config.shell not in SHELLS:
        raise InputError(f"shell={config.shell}: there is {', '.join(SHELLS)}")
    print(SCRIPTS[config.shell], end="")


def print_candidates(line: str) -> None:
    """What the last word of a command line may be, a line each."""
    print("".join(f"{its}\n" for its in candidates(line)), end="")


def candidates(line: str) -> list[str]:
    """What the last word of a command line may be, each with what ends it: '=' of a key, a blank of a whole word.

    Nothing where anything may be typed, such as the name of a file.
    """
    words = line.split()
    current = "" if line[-1:].isspace() else words.pop()
    if len(words) < 2:
        return [f"{verb} " for verb in VERBS if verb.startswith(current)] if words else []
    verb = words[1]
    if verb not in VERBS or (verb == "inspect" and not current):  # a path, which needs no key
        return []
    found = _kinds(verb)
    key, equals, value = current.partition("=")
    if equals:
        return [f"{key}={its} " for its in _values(verb, key, found.get(key)) if its.startswith(value)]
    typed = {word.partition("=")[0] for word in words[2:]}
    keys = [name for name, kind in found.items() if name not in typed and (kind is not dict or name in _groups(verb))]
    # keys of a section after its name is there, as there are many
    within = current.count(".")
    shown = sorted({_upto(name, within) for name in keys if name.startswith(current)})
    bare = [f"{its} " for its in SHELLS if verb == "completion" and its.startswith(current)]
    return [*bare, *(name if name.endswith(".") else f"{name}=" for name in shown)]


def _upto(name: str, dots: int) -> str:
    parts = name.split(".")
    return name if len(parts) <= dots + 1 else ".".join(parts[: dots + 1]) + "."


def _kinds(verb: str) -> dict[str, object]:
    """Keys of a command; those that carry out trainings have train's, too."""
    return {**kinds(verb), **(kinds("train") if verb in ("genome", "sweep") else {})}


def _groups(verb: str) -> dict[str, list[str]]:
    return {**groups_of(verb), **(groups_of("train") if verb in ("genome", "sweep") else {})}


def _values(verb: str, key: str, kind: object) -> list[str]:
    """Options of a group, true and false; of others nothing is known."""
    if key in _groups(verb):
        return _groups(verb)[key]
    if verb == "completion" and key == "shell":
        return list(SHELLS)
    return ["true", "false"] if kind is bool else []
