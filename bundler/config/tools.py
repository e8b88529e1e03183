"""Programs that travel with a step: one for each platform, static, each with its licence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bundler.config.checks.inputs import machine_problem
from bundler.config.elf import MAGIC, loader_and_libraries
from installer.core.errors import Problem
from installer.core.format.entries.method_spec import MethodSpec
from installer.core.format.manifest import Kind
from installer.shared import strict_yaml

Check = Callable[[Path, str, str, str], Problem | None]
"""Returns what is wrong with a file: its path here, its path in bundle.yaml, its platform, its line."""
SECTIONS: Mapping[Kind, str] = {"binary": "bin", "tool": "deploy/tools"}
"""Where programs of each platform are in a bundle."""


def program_problem(source: Path, given: str, platform: str, where: str) -> Problem | None:
    """Return why a file is no program that runs on every host of a platform.

    Args:
        source: The file.
        given: Its path in bundle.yaml, for messages.
        platform: `os/arch`.
        where: `bundle.yaml:LINE`.
    """
    with source.open("rb") as file:
        head = file.read(len(MAGIC))
    if head != MAGIC:
        what = f"{given} is no program: it does not begin as an ELF file does"
        return Problem(where, what, "name the program itself, not a script or an archive")
    loader, libraries = loader_and_libraries(source)
    # Libraries of a host are not part of the release.
    if loader or libraries:
        what = f"{given} is not static: it needs {', '.join([*([loader] if loader else []), *libraries][:3])}"
        return Problem(where, what, "take the program that its makers publish, or build it statically")
    return machine_problem(source, given, platform, where)


def unpaired(
    spec: MethodSpec, step: Mapping[str, object], path: strict_yaml.Path, where: Callable[..., str]
) -> Iterator[Problem]:
    """Yield the options of a step without those that they need: programs without a licence, for one.

    Args:
        spec: Of the method.
        step: As bundle.yaml has it.
        path: Of the step.
        where: Returns the place of a path.
    """
    for option in spec.options:
        lacks = [key for key in option.needs if option.key in step and key not in step]
        for key in lacks:
            place = where((*path, option.key))
            if option.is_tool:
                what = f"the step carries {option.key} without its licence"
                yield Problem(place, what, f"add `{key}: FILE`: the licence that came with the program")
            else:
                what = f"the step has `{option.key}`, but not `{key}`"
                form = f"{key}: FILE" if option.kind else key
                yield Problem(place, what, f"add `{form}`, or remove `{option.key}`")
