"""Unit files: their lines, and what `systemd-analyze verify` says of their directives where it is there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path as FilePath
from typing import Any

from bundler.config.model import InputFile
from installer.core.errors import Problem
from installer.core.format.entries.method_spec import Option
from installer.core.format.entries.unit_names import template_of, without_template
from installer.core.format.manifest import Deployment, Kind
from installer.core.format.methods import place_name
from installer.core.limits import LIMITS
from installer.core.risk import setting_lines
from installer.core.risk.unit_lines import irregular_lines
from installer.core.schema_errors import did_you_mean
from installer.shared.child.process import run
from installer.shared.child.unit_check import ENVIRONMENT, WORDS, findings
from installer.shared.strict_yaml import Document, Path

KIND: Kind = "unit"
KINDS: tuple[Kind, ...] = ("unit", "user-unit")
MANUALS = {
    "sysusers": "sysusers.d",
    "tmpfiles": "tmpfiles.d",
    "modules": "modules-load.d",
    "sysctl": "sysctl.d",
    "udev": "udev",
}
"""The manual pages of the files that set up a host."""
_SECONDS = 30
_MOST = 25


def check(units: Sequence[tuple[InputFile, bytes]]) -> list[Problem]:
    """Return warnings about unit files.

    Args:
        units: The unit files with their content.
    """
    warnings = [
        Problem(
            f"{item.given}:1",
            "has CRLF line endings, which systemd may take for a part of the values",
            "save it with LF line endings",
            "unit",
        )
        for item, data in units
        if b"\r\n" in data
    ]
    for item, data in units:
        warnings += [
            Problem(
                f"{item.given}:{number}",
                f"this line {what}",
                "write every directive on lines of its own, without characters that are not seen",
                "unit",
            )
            for number, what in islice(irregular_lines(data.decode("utf-8", "replace")), _MOST)
        ]
    warnings += _misnamed([item for item, _ in units])
    # One start for all units: they may refer to each other.
    return [*warnings, *_verify(units)] if units else []


def _misnamed(units: Sequence[InputFile]) -> Iterator[Problem]:
    """Yield a warning for each drop-in whose unit is not in the release, while one with a similar name is."""
    names = {item.given: place_name(KIND, item.given) for item in units}
    whole = {name for name in names.values() if "/" not in name}
    for given, name in names.items():
        unit = name.rpartition("/")[0].removesuffix(".d")
        if unit and not {unit, template_of(unit)} & whole and (meant := did_you_mean(unit, whole)):
            what = f"is a drop-in of {unit}, which is not in this release"
            yield Problem(
                given, what, f"did you mean {meant}.d? For a unit of the host, nothing is wrong", "unit"
            )


def check_step(
    options: Mapping[str, Any], before: Iterable[Deployment], path: Path, document: Document
) -> list[Problem]:
    """Return the instances of a step whose template it does not have, and what a user cannot have.

    Args:
        options: Of the step.
        before: The earlier steps.
        path: The place of the step.
        document: bundle.yaml.
    """
    problems = [
        Problem(
            document.where((*path, "instances")),
            f"{unit} is an instance of {template_of(unit)}, which the step does not have",
            "add the template to `units`",
        )
        for unit in without_template(options)
    ]
    user = options.get("user")
    if user is not None and any(step.options.get("user") == user for step in before):
        what = f"another step has units of user {user}"
        hint = "list all units of the user in one step"
        problems.append(Problem(document.where((*path, "user")), what, hint))
    if user is not None:
        others = sorted(options.keys() - {"user", "units", "instances"})
        what, hint = f"a step of user {user} has units alone", "move this to a step without `user`"
        problems += [Problem(document.where((*path, key)), what, hint) for key in others]
    return problems


def folder(method: str, option: Option, name: str) -> str:
    """Return the directory in the bundle of a file of a step that does not lie in `deploy` already.

    Args:
        method: The method of the step.
        option: The option that names the file.
        name: What it is called where it is installed.
    """
    # A drop-in keeps the directory that says whose it is. Settings of several kinds share a name.
    within = [option.key] if option.kind in setting_lines.KINDS else name.split("/")[:-1]
    within = ["user", *within] if option.kind == "user-unit" else within
    return "/".join([method, *within])


def check_settings(files: Sequence[tuple[InputFile, bytes]]) -> list[Problem]:
    """Return the lines of files that set up a host which its programs would not understand.

    Args:
        files: Files of sysusers.d, tmpfiles.d, modules-load.d, sysctl.d and udev with their content.
    """
    problems = []
    for item, data in files:
        if len(data) > LIMITS.document_bytes:
            what = f"is larger than {LIMITS.document_bytes} bytes"
            problems.append(Problem(item.given, what, "split it into several files"))
            continue
        kind = next(kind for kind in setting_lines.KINDS if kind == item.kind)
        for number, what in islice(setting_lines.faults(kind, data.decode("utf-8", "replace")), _MOST):
            problems.append(
                Problem(f"{item.given}:{number}", f"this line {what}", f"see `man {MANUALS[kind]}`")
            )
    return problems


def _verify(units: Sequence[tuple[InputFile, bytes]]) -> list[Problem]:
    program = shutil.which("systemd-analyze")
    if program is None:
        return []
    with tempfile.TemporaryDirectory(prefix="waybill-units-") as directory:
        given = {}
        for item, data in units:
            path = FilePath(directory, place_name(KIND, item.given))
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            given[str(path)] = item.given
        # Of this machine's own units nothing may be said.
        env = {"SYSTEMD_UNIT_PATH": directory, **ENVIRONMENT}
        whole = [path for path in given if not path.endswith(".conf")]
        done = run([program, *WORDS, *whole], timeout=_SECONDS, env=env) if whole else None
    said = done.stderr.decode("utf-8", "replace") if done else ""
    hint = "correct the unit; a newer systemd may accept it, but that of the host may not"
    return [
        Problem(each.where, f"systemd-analyze: {each.what}", hint, "unit")
        for each in islice(findings(said, given), _MOST)
    ]
