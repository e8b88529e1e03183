"""Completion for shells as a static script: a shell that starts the program for each Tab would wait for it.

The scripts know commands and options. Everything else is completed as a file name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from installer.shared.command_tree.tree import Command

SHELLS = ("bash", "zsh", "fish")
_WORDS = 'COMPREPLY=($(compgen -W "$follow" -- "$current"))'
_WORD = re.compile(r"[A-Za-z0-9_.-]+")


def script(shell: str, names: Sequence[str], tree: Sequence[Command]) -> str:
    """Return the completion of a program.

    Args:
        shell: One of `SHELLS`.
        names: The names that the program is started by; the first one names the functions.
        tree: Its commands.
    """
    made = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    # Words are not quoted in the script: they must not be able to become anything else.
    for command in tree:
        for word in (*command.words, *command.below, *(n for o in command.options for n in o.names)):
            if not _WORD.fullmatch(word):
                raise ValueError(f"{word!r} cannot be completed")
    return made(names, tree)


def _cases(tree: Sequence[Command]) -> list[str]:
    """Return the branches of a `case` over the words of a command: what may follow them."""
    lines = []
    # `install BUNDLE` takes what `install apply BUNDLE` takes.
    default = [each for each in tree if each.words == ("apply",)]
    for command in tree:
        both = [command, *default] if not command.words else [command]
        options = [name for each in both for option in each.options for name in option.names]
        options += [name for name in _everywhere(tree) if name not in options]
        options += ["--help"]
        follow = " ".join([*command.below, *options])
        lines.append(f"    '{' '.join(command.words)}') follow='{follow}' ;;")
    return lines


def _everywhere(tree: Sequence[Command]) -> list[str]:
    """Return the options that every command takes: those of the program, but the one that ends it."""
    return [name for option in tree[0].options for name in option.names if name != "--version"]


def _groups(tree: Sequence[Command]) -> str:
    return "|".join(f"'{' '.join(each.words)}'" for each in tree if each.below and each.words) or "''"


def _bash(names: Sequence[str], tree: Sequence[Command]) -> str:
    function = f"_waybill_{names[0].replace('-', '_')}"
    top = "|".join(tree[0].below)
    nested = {each.words[0]: "|".join(each.below) for each in tree if each.below and len(each.words) == 1}
    inner = [
        f'      {group}) case $word in {below}) path="$path $word" ;; esac ;;'
        for group, below in nested.items()
    ]
    return "\n".join(
        [
            f"# Completion of {names[0]} for bash. Made from its commands.",
            f"{function}() {{",
            "  local current=${COMP_WORDS[COMP_CWORD]} path= follow= word at",
            "  COMPREPLY=()",
            "  for ((at = 1; at < COMP_CWORD; at++)); do",
            "    word=${COMP_WORDS[at]}",
            "    case $path in",
            f"      '') case $word in {top}) path=$word ;; esac ;;",
            *inner,
            "    esac",
            "  done",
            "  case $path in",
            *_cases(tree),
            "  esac",
            "  case $current in",
            f"    -*) {_WORDS} ;;",
            f"    *) case $path in ''|{_groups(tree)}) {_WORDS} ;; esac ;;",
            "  esac",
            "}",
            *(f"complete -o bashdefault -o default -F {function} {name}" for name in names),
            "",
        ]
    )


def _zsh(names: Sequence[str], tree: Sequence[Command]) -> str:
    # zsh runs the completion of bash, so that there is one list of words.
    return "\n".join(
        [
            f"# Completion of {names[0]} for zsh, which can use that of bash.",
            "autoload -Uz compinit bashcompinit && compinit && bashcompinit",
            _bash(names, tree),
        ]
    )


def _fish(names: Sequence[str], tree: Sequence[Command]) -> str:
    lines = [f"# Completion of {names[0]} for fish. Made from its commands."]
    # fish goes by the name of the file, wherever it lies.
    for name in (each for each in names if "/" not in each):
        for command in tree:
            lines += _fish_command(name, command, tree)
    return "\n".join([*lines, ""])


def _fish_command(name: str, command: Command, tree: Sequence[Command]) -> list[str]:
    seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in command.words)
    condition = seen or "__fish_use_subcommand"
    summaries = {each.words: each.summary for each in tree}
    lines = []
    for below in command.below:
        first = condition
        if command.words:
            first += f"; and not __fish_seen_subcommand_from {' '.join(command.below)}"
        summary = _quoted(summaries[(*command.words, below)])
        lines.append(f"complete -c {name} -n '{first}' -a {below} -d {summary}")
    for option in command.options:
        flags = " ".join(
            f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.names
        )
        takes = " -r" if option.value else ""
        always = not command.words and set(option.names) <= set(_everywhere(tree))
        when = "" if always else f" -n '{condition}'"
        lines.append(f"complete -c {name}{when} {flags}{takes} -d {_quoted(option.help)}")
    return lines


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
