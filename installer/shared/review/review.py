"""Examines a release: its files by their modes and places, its steps by the rules of their methods.

The manifest and the files are given; nothing of the host is asked. Every read and every list is bounded, and
what was not examined is a finding of its own: silence must not look like harmlessness.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from installer.core.format.manifest import FileEntry, Manifest
from installer.core.format.methods import SPECS, Option, installed_by_method
from installer.core.limits import LIMITS
from installer.core.risk.commands import suspicious
from installer.core.risk.risk import KINDS, Found, Program, Risk
from installer.shared.review.yaml_values import NotReadableError, yaml_values

Read = Callable[[FileEntry], bytes]
MOST_BYTES = LIMITS.document_bytes
"""Bytes of all examined files together."""
MOST = 2000
"""Findings of a release."""
_OTHERS_WRITE = 0o002
_STICKY = 0o1000


@dataclass(frozen=True, slots=True)
class Review:
    """What a release does with the rights of root, and what it opens.

    Attributes:
        risks: The findings, by their kinds.
        programs: What it runs on the host, with its text.
    """

    risks: tuple[Risk, ...] = ()
    programs: tuple[Program, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "risks": [each.as_json() for each in self.risks],
            "programs": [each.as_json() for each in self.programs],
        }


NO_REVIEW = Review()


def review(manifest: Manifest, read: Read, methods: Collection[str] | None = None) -> Review:
    """Examine a release.

    Args:
        manifest: Its manifest.
        read: Returns the content of one of its files; may raise OSError.
        methods: Only the steps of these methods; None for all.
    """
    risks, programs = list[Risk](), list[Program]()
    steps = [step for step in manifest.deploy if methods is None or step.method in methods]
    for found in _all(replace(manifest, deploy=tuple(steps)), read):
        if isinstance(found, Program):
            programs.append(found)
        elif len(risks) < MOST:
            risks.append(found)
        else:
            risks.append(Risk("unread", "the release", f"more than {MOST} findings: the rest is left out"))
            break
    order = list(KINDS)
    return Review(tuple(sorted(risks, key=lambda each: order.index(each.kind))), tuple(programs))


def _all(manifest: Manifest, read: Read) -> Found:
    yield from _steps(manifest, read)
    for number, check in enumerate(manifest.health):
        if check.command:
            where, text = f"bundle.json: health[{number}]", " ".join(check.command)
            yield Program(where, "root", text)
            yield Risk("root", where, f"runs as root, again and again: {text[:200]}")
            yield from (Risk("command", where, f"{what}: {line}") for _, line, what in suspicious(text))
    yield from _modes(manifest)


def _steps(manifest: Manifest, read: Read) -> Found:
    entries = {entry.path: entry for entry in manifest.files}
    examined, left = set[str](), MOST_BYTES
    for step in manifest.deploy:
        if step.method not in SPECS:
            yield Risk("unread", f"deploy: {step.method}", "a method that this version does not know")
            continue
        for option, path in SPECS[step.method].files(step.options):
            entry = entries.get(path)
            # Two steps may name one file; a file that is not there is refused elsewhere.
            if entry is None or path in examined or not (option.examine or option.is_program):
                continue
            examined.add(path)
            left -= entry.size
            yield from (
                _file(entry, option, read)
                if left >= 0
                else [Risk("unread", path, "the files to examine are larger than 16 MiB together")]
            )


def _file(entry: FileEntry, option: Option, read: Read) -> Found:
    try:
        data = read(entry)
    except OSError as error:
        yield Risk("unread", entry.path, f"cannot be read: {error.strerror or error}")
        return
    try:
        content: Any = yaml_values(data) if option.is_yaml else data.decode("utf-8")
    except (NotReadableError, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, NotReadableError) else "is a binary file"
        if option.is_program:
            yield Program(entry.path, "root", f"({why})")
            yield Risk("root", entry.path, f"runs as root ({option.key})")
        yield Risk("unread", entry.path, why)
        return
    if option.examine is not None:
        yield from option.examine(entry.path, content)
    if option.is_program:
        yield Program(entry.path, "root", content)
        yield Risk("root", entry.path, f"runs as root ({option.key}), {_lines(content)}")
        for number, line, what in suspicious(content):
            yield Risk("command", f"{entry.path}:{number}", f"{what}: {line}")


def _lines(text: str) -> str:
    count = len(text.splitlines())
    return f"{count} line{'' if count == 1 else 's'}"


def _modes(manifest: Manifest) -> Iterator[Risk]:
    for entry in manifest.files:
        to = entry.install or installed_by_method(entry)
        if to and entry.mode & _OTHERS_WRITE:
            yield Risk("writable", entry.path, f"every user may write to {to} (mode {entry.mode:04o})")
        if to and entry.mode & 0o6000:
            yield Risk("root", entry.path, f"{to} runs with the rights of its owner (mode {entry.mode:04o})")
    for directory in manifest.directories:
        if directory.install and directory.mode & _OTHERS_WRITE:
            sticky = ", each may remove only its own files" if directory.mode & _STICKY else ""
            what = f"every user may write into {directory.install} (mode {directory.mode:04o}{sticky})"
            yield Risk("writable", directory.path, what)


def risk_lines(risks: Iterable[Risk], most: int) -> Iterator[str]:
    """Yield the findings for people, grouped by kind.

    Args:
        risks: Sorted by kind.
        most: Lines of each kind.
    """
    by_kind: dict[str, list[Risk]] = {}
    for risk in risks:
        by_kind.setdefault(risk.kind, []).append(risk)
    for kind, found in by_kind.items():
        yield f"{KINDS[found[0].kind]}:"
        yield from (f"  {each.where}: {each.what}" for each in found[:most])
        if len(found) > most:
            yield f"  … {len(found) - most} more of this kind"
        del kind


def program_lines(
    programs: Iterable[Program], most: int = 0, known: Collection[str] = (), before: str = ""
) -> Iterator[str]:
    """Yield each program with its text.

    Args:
        programs: What runs.
        most: Lines of each that are shown; 0 for all.
        known: Scripts that the running release has, byte for byte: their text is left out.
        before: The version of that release.
    """
    for each in programs:
        lines = each.text.splitlines()
        shown = lines[:most] if most else lines
        # A unit or a health check has one line, which tells what runs.
        if len(lines) == 1:
            yield f"{each.where} (as {each.user}): {lines[0]}"
            continue
        if each.where in known:
            yield f"{each.where} (as {each.user}), {_lines(each.text)}, the same as in {before}"
            continue
        yield f"{each.where} (as {each.user}), {_lines(each.text)}:"
        yield from (f"  | {line}" for line in shown)
        if len(shown) < len(lines):
            yield f"  … {len(lines) - len(shown)} more lines"
