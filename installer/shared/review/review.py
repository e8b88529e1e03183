"""Examines a release: its files by their modes and places, its steps by the rules of their methods.

The manifest and the files are given; nothing of the host is asked. Every read and every list is bounded, and
what was not examined is a finding of its own: silence must not look like harmlessness.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from installer.core.format.entries.config_file import command_text
from installer.core.format.entries.method_spec import Option
from installer.core.format.manifest import Deployment, FileEntry, Manifest
from installer.core.format.methods import SPECS, installed_by_method
from installer.core.limits import LIMITS
from installer.core.risk.commands import suspicious
from installer.core.risk.risk import KINDS, Found, Further, Program, Risk
from installer.shared.rendering.env_file import read as read_env_file
from installer.shared.rendering.variables import Filler
from installer.shared.review.yaml_values import NotReadableError, yaml_documents, yaml_values
from installer.shared.secrecy.known import Secrets
from installer.shared.terminal.listing import more

Read = Callable[[FileEntry], bytes]
MOST_BYTES = LIMITS.document_bytes
"""Bytes of all examined files together."""
MOST = 2000
"""Findings of a release."""
WIDTH = 300
"""Characters of a finding; the text of a program is shown as a whole."""
_TAIL = 100
"""Of them, the last ones of a long finding."""
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


def review(
    manifest: Manifest,
    read: Read,
    methods: Collection[str] | None = None,
    secrets: Secrets | None = None,
    rendered: Mapping[str, bytes] | None = None,
    checks: Collection[int] | None = None,
) -> Review:
    """Examine a release.

    Args:
        manifest: Its manifest.
        read: Returns the content of one of its files; may raise OSError.
        methods: Only the steps of these methods; None for all.
        secrets: What is hidden in what is found, before it is cut.
        rendered: What a host makes of templates of steps, by their paths; None where no host is known.
        checks: The places of the health checks that are asked; None for all.
    """
    hide = (secrets or Secrets()).hide
    risks, programs, left_out = list[Risk](), list[Program](), False
    steps = [step for step in manifest.deploy if methods is None or step.method in methods]
    for found in _all(replace(manifest, deploy=tuple(steps)), read, rendered, checks):
        if isinstance(found, Program):
            programs.append(replace(found, text=hide(found.text)))
        elif len(risks) < MOST:
            risks.append(replace(found, what=_fitted(hide(found.what))))
        else:
            # Go on: the programs that follow are shown nowhere else.
            left_out = True
    if left_out:
        risks.append(Risk("unread", "the release", f"more than {MOST} findings: the rest is left out"))
    order = list(KINDS)
    return Review(tuple(sorted(risks, key=lambda each: order.index(each.kind))), tuple(programs))


def _fitted(what: str) -> str:
    """Return a finding without its middle if it is long: what it means may be at its end."""
    # A release must not push that away with a long name. Its secrets are hidden by now.
    return what if len(what) <= WIDTH else f"{what[: WIDTH - _TAIL - 1]}…{what[-_TAIL:]}"


def _all(
    manifest: Manifest, read: Read, rendered: Mapping[str, bytes] | None, checks: Collection[int] | None
) -> Found:
    yield from _steps(manifest, read, rendered)
    for number, check in enumerate(manifest.health):
        if check.command and (checks is None or number in checks):
            where, text = f"bundle.json: health[{number}]", " ".join(check.command)
            yield Program(where, "root", text)
            yield Risk("root", where, f"runs as root, again and again: {text}")
            yield from suspicious(where, text, numbered=False)
    for entry in manifest.files:
        if entry.validate or entry.on_change:
            yield from _configuration(entry)
    yield from _modes(manifest)


def _configuration(entry: FileEntry) -> Found:
    """Yield the commands of a configuration file, and the units that it reaches."""
    if entry.validate:
        yield from _command(
            f"{entry.path}: validate", entry.validate, f"before {entry.install} changes, to check it"
        )
    change = entry.on_change
    if change.command:
        yield from _command(f"{entry.path}: on_change", change.command, f"whenever {entry.install} changes")
    elif change:
        yield Risk("host", entry.path, f"{change.text()} whenever {entry.install} changes")


def _command(where: str, words: tuple[str, ...], when: str) -> Found:
    text = command_text(words)
    yield Program(where, "root", text)
    yield Risk("root", where, f"runs as root {when}: {text}")
    # Without quotes: they could come between the words of a pattern.
    yield from suspicious(where, " ".join(words), numbered=False)


def _steps(manifest: Manifest, read: Read, rendered: Mapping[str, bytes] | None) -> Found:
    entries = {entry.path: entry for entry in manifest.files}
    examined, left, known = set[str](), MOST_BYTES, rendered is not None
    rendered = rendered or {}
    for step in manifest.deploy:
        if step.method not in SPECS:
            yield Risk("unread", f"deploy: {step.method}", "a method that this version does not know")
            continue
        filler = _filler(step, rendered)
        bases = dict[str, str]()
        ahead = deque[tuple[Option, str, str]]()
        for option, path in SPECS[step.method].files(step.options):
            ahead.append((option, path, bases.setdefault(option.key, path.rpartition("/")[0])))
        while ahead:
            option, path, base = ahead.popleft()
            entry = entries.get(path)
            # A compiled program cannot be read, and its size must not keep others from being examined.
            if entry is not None and option.is_tool and path not in examined:
                examined.add(path)
                yield Risk(
                    "root", path, f"is a program that runs as root ({option.key}); it cannot be examined"
                )
            # Thousands of files of others: one finding, and no reading that keeps others from being examined.
            if entry is not None and option.summary and bases[option.key] not in examined:
                examined.add(bases[option.key])
                yield Risk("root", path, option.summary)
            # Two steps may name one file; a file that is not there is refused elsewhere.
            if entry is None or path in examined or not (option.examine or option.is_program):
                continue
            examined.add(path)
            left -= entry.size
            if left < 0:
                yield from _unread(entry, option, "the files to examine are larger than 16 MiB together")
                continue
            further = list[Further]()
            yield from _file(entry, option, read, filler, base, further)
            for each in further:
                found = entries.get(each.path)
                if found and found.kind == option.kind:
                    ahead.append((option, each.path, each.base))
                else:
                    yield Risk("unread", path, f"{each.what}: {each.path}, which was not examined")
        for name, place in SPECS[step.method].of_site(step.options):
            yield from _of_site(step, name, rendered.get(place), filler, known=known)


def _of_site(step: Deployment, name: str, data: bytes | None, filler: Filler | None, *, known: bool) -> Found:
    """Yield what a file of the site adds to a step, or that it may add something."""
    where = f"{name} of the site"
    examined = [option for option in SPECS[step.method].options if option.is_yaml and option.examine]
    if not examined:
        # An inventory adds nothing to what runs, but places where it does.
        yield Risk("root", where, f"says on which hosts the step {step.method} runs")
        return
    if data is None:
        if not known:
            yield Risk("unread", where, f"a site may add it to the step {step.method}")
        return
    try:
        content = yaml_values(data)
    except NotReadableError as error:
        yield Risk("unread", where, str(error))
        return
    content = filler.fill(content) if filler else content
    for option in examined:
        if option.examine:
            yield from option.examine(where, content)


def _filler(step: Deployment, rendered: Mapping[str, bytes]) -> Filler | None:
    """Return what fills in the variables of the files of a step; None where it sets none."""
    for template, _ in SPECS[step.method].rendered(step.options):
        values = (
            read_env_file(rendered[template], template, own=True).values if template in rendered else None
        )
        return Filler(values)
    return None


def _file(
    entry: FileEntry, option: Option, read: Read, filler: Filler | None, base: str, further: list[Further]
) -> Found:
    """Yield what is found in a file, and add the files that it refers to."""
    try:
        data = read(entry)
    except OSError as error:
        yield from _unread(entry, option, f"cannot be read: {error.strerror or error}")
        return
    try:
        if entry.path.endswith(option.manifests):
            content: Any = yaml_documents(data)
        else:
            content = yaml_values(data) if option.is_yaml else data.decode("utf-8")
    except (NotReadableError, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, NotReadableError) else "is a binary file"
        yield from _unread(entry, option, why)
        return
    if option.is_yaml and filler is not None:
        content = filler.fill(content)
    if option.examine is not None:
        yield from option.examine(entry.path, content)
    if option.follow is not None:
        further += option.follow(content, base)
    if option.is_program:
        yield Program(entry.path, "root", content)
        yield Risk("root", entry.path, f"runs as root ({option.key}), {_lines(content)}")
        yield from suspicious(entry.path, content)


def _unread(entry: FileEntry, option: Option, why: str) -> Found:
    """Yield a file that was not examined: that it runs is known all the same."""
    if option.is_program:
        yield Program(entry.path, "root", f"({why})")
        yield Risk("root", entry.path, f"runs as root ({option.key})")
    yield Risk("unread", entry.path, why)


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
        if to and entry.capabilities:
            what = f"{to} gets a capability: every user who runs it has {entry.capabilities}"
            yield Risk("root", entry.path, what)
    for directory in manifest.directories:
        if directory.install and directory.mode & _OTHERS_WRITE:
            sticky = ", each may remove only its own files" if directory.mode & _STICKY else ""
            what = f"every user may write into {directory.install} (mode {directory.mode:04o}{sticky})"
            yield Risk("writable", directory.path, what)


def risk_lines(
    risks: Iterable[Risk], most: int, below: Callable[[Risk], Sequence[str]] = lambda _: ("",)
) -> Iterator[str]:
    """Yield the findings for people, grouped by kind.

    Args:
        risks: Sorted by kind.
        most: Findings of each kind; 0 for all.
        below: Returns what is added to the line of a finding, then the lines that follow it.
    """
    by_kind: dict[str, list[Risk]] = {}
    for risk in risks:
        by_kind.setdefault(risk.kind, []).append(risk)
    for found in by_kind.values():
        yield f"{KINDS[found[0].kind]}:"
        for each in found[: most or None]:
            rest, *lines = below(each)
            yield f"  {each.where}: {each.what}{rest}"
            yield from (f"    {line}" for line in lines)
        if most and len(found) > most:
            yield f"  {more(len(found) - most, 'of this kind')}"


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
        # A unit or a health check has one line, which tells what runs.
        if len(lines) == 1:
            yield f"{each.where} (as {each.user}): {lines[0]}"
            continue
        rest, *shown = _text_lines(each, most, known, before)
        yield f"{each.where} (as {each.user}), {_lines(each.text)}{rest}"
        yield from (f"  {line}" for line in shown)


def review_lines(
    found: Review, most: int, lines: int, known: Collection[str] = (), before: str = ""
) -> Iterator[str]:
    """Yield the findings, each script below the one that says that it runs as root; then what else runs.

    Args:
        found: What a release does.
        most: Findings of each kind; 0 for all.
        lines: Lines of each program that are shown; 0 for all.
        known: Scripts that the running release has, byte for byte: their text is left out.
        before: The version of that release.
    """
    left = {each.where: each for each in found.programs if each.user == "root"}
    told = set[Program]()

    def below(risk: Risk) -> Sequence[str]:
        program = left.pop(risk.where, None) if risk.kind == "root" else None
        if program is None:
            return ("",)
        told.add(program)
        # A command is in its finding, unless that was cut.
        if risk.what.endswith(f": {program.text}"):
            return ("",)
        return _text_lines(program, lines, known, before)

    yield from risk_lines(found.risks, most, below)
    others = [each for each in found.programs if each not in told]
    if others:
        yield "what else runs on this host:" if told else "what runs on this host:"
        yield from (f"  {line}" for line in program_lines(others, lines, known, before))


def _text_lines(program: Program, most: int, known: Collection[str], before: str) -> list[str]:
    """Return the end of the line that names a program, and the lines of its text."""
    if program.where in known:
        return [f", the same as in {before}"]
    lines = program.text.splitlines()
    # The line that says that one is left out would take the place of that one.
    shown = lines[:most] if most and len(lines) > most + 1 else lines
    rest = [more(len(lines) - len(shown), "lines")] if len(shown) < len(lines) else []
    return [":", *(f"| {line}" for line in shown), *rest]
