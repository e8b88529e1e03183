"""Which form of a command is typed, and with which options; a file of defaults never conflicts with either.

A person who has `root: root.json` in the file of defaults has not typed `--root`: where it has no meaning it
is left out, and where an alternative is typed, that one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import typer

from installer.core.errors import UsageError

A = TypeVar("A")
B = TypeVar("B")


def list_templates(words: Sequence[str]) -> list[str]:
    """Return the words of a command line, in which `init --template` without a name is `init --list`."""
    found = list(words)
    # Before they are parsed: typer has no option whose value may be left out.
    if found[:1] == ["init"] and "--template" in found:
        at = found.index("--template")
        if all(word.startswith("-") for word in found[at + 1 : at + 2]):
            found[at] = "--list"
    return found


def is_typed(context: typer.Context, option: str) -> bool:
    """Return whether an option is on the command line or in its variable, rather than a default.

    Args:
        context: The command that runs.
        option: Its name, `--gpg-key`.
    """
    source = context.get_parameter_source(option.removeprefix("--").replace("-", "_"))
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def prefer_typed(
    context: typer.Context, first: tuple[str, A | None], second: tuple[str, B | None]
) -> tuple[A | None, B | None]:
    """Return the values of two alternatives: if only one is typed, the default of the other is left out.

    Args:
        context: The command that runs.
        first: Name and value of an option.
        second: Name and value of the other one.
    """
    typed = [is_typed(context, name) for name, _ in (first, second)]
    if not any(typed):
        return first[1], second[1]
    return first[1] if typed[0] else None, second[1] if typed[1] else None


def prefer_typed_key(
    context: typer.Context, key: str | None, gpg_key: str | None, password_from: str, prefix: str = ""
) -> tuple[str | None, str | None, str]:
    """Return the keys to sign with and where their password comes from, as `prefer_typed` does.

    Args:
        context: The command that runs.
        key: The value of `--key`.
        gpg_key: The value of `--gpg-key`.
        password_from: The value of `--password-from`.
        prefix: What the names of these options begin with: `provenance-`.
    """
    first, second = (f"--{prefix}key", key), (f"--{prefix}gpg-key", gpg_key)
    chosen = prefer_typed(context, first, second)
    # The password in the file is that of the key in the file.
    if chosen != (key, gpg_key) and not is_typed(context, f"--{prefix}password-from"):
        password_from = ""
    return *chosen, password_from


def chosen_form(
    context: typer.Context, forms: Mapping[str, object], others: Mapping[str, Mapping[str, object]]
) -> str:
    """Return the option that selects the form of a command; empty if none is given.

    Args:
        context: The command that runs.
        forms: Options that select a form, with their values.
        others: For each form (empty for none), the options that have no meaning with it, with their values.

    Raises:
        UsageError: Two forms are selected, or an option has no meaning with the selected one.
    """
    given = [name for name, value in forms.items() if value]
    # Doing one of the two silently would look as if both had been done.
    if len(given) > 1:
        raise UsageError(
            f"{given[0]} and {given[1]} cannot be used together", hint="run the command once for each of them"
        )
    form = given[0] if given else ""
    for name, value in others.get(form, {}).items():
        # An option that would be ignored is refused: the person meant something by it.
        if value and is_typed(context, name):
            what = f"{name} cannot be used {f'with {form}' if form else 'without ' + ' or '.join(forms)}"
            raise UsageError(what, hint=f"omit {name}")
    return form


def signing_form(
    context: typer.Context,
    key: object,
    gpg_key: object,
    prepare: object,
    attach: object,
    public: object,
    output: object,
) -> str:
    """Return how to sign, by the options that all commands that sign have: `--prepare`, `--attach` or empty.

    Raises:
        UsageError: The options do not fit together.
    """
    keys = {"--key": key, "--gpg-key": gpg_key}
    return chosen_form(
        context,
        {"--prepare": prepare, "--attach": attach},
        {
            "": {"--public": public, "--output": output},
            "--prepare": {**keys, "--public": public},
            "--attach": {**keys, "--output": output},
        },
    )
