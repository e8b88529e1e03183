"""Runs the commands that check configuration files, on private copies, before anything is changed.

Each gets a copy of the very bytes that will be installed, with the name of the file, in a directory that only
root can enter. A program that the release itself brings is run from a copy of its verified bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError, Problem, os_errors_as
from installer.core.format.entries.config_file import CHECK_SECONDS, FILE, command_text
from installer.core.format.manifest import FileEntry
from installer.core.limits import LIMITS, MIB
from installer.host.context import Context
from installer.host.directories import make_directory
from installer.host.private_copy import DifferentError, private_copy
from installer.shared.child.process import Completed
from installer.state.release import Installed, Release

MEMORY = 4 * 1024 * MIB
"""Memory of each process of a check: it must not take what the services of the host need."""
LINES = 10
"""Lines of its output that are shown."""
_WIDTH = 300
_DIRECTORY = "0"
"""Below the record. Every version clears what has a number for its name there; rendered files begin at 1."""


@dataclass(frozen=True, slots=True)
class Check:
    """One file that is checked.

    Attributes:
        item: The file as it will be on the host.
        command: The words of the command; one of them has `{file}`.
        program: The file of the release that is the program; None for a program of the host.
        seconds: The time that it has.
    """

    item: Installed
    command: tuple[str, ...]
    program: FileEntry | None = None
    seconds: int = CHECK_SECONDS

    def text(self) -> str:
        """Return the command in words, as in bundle.yaml."""
        return command_text(self.command)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"path": self.item.path, "command": list(self.command), "timeout": self.seconds}


def checks(context: Context, release: Release, written: Iterable[str]) -> list[Check]:
    """Return which files are checked: those with a command whose content changes.

    Args:
        context: The host.
        release: The release, with what it installs.
        written: Files on the host that come or change.
    """
    entries = list(release.manifest.for_platform(context.system.platform()))
    wanted = {entry.install: entry for entry in entries if entry.validate}
    paths, found = set(written), []
    if not wanted:
        return []
    programs = {entry.install: entry for entry in entries if entry.kind in ("binary", "tree")}
    for item in release.installed:
        # A version that is written next to an edited file has another path, and is not in force.
        if item.path in paths and item.path in wanted and _differs(context, item):
            entry = wanted[item.path]
            words, seconds = entry.validate, entry.timeout or CHECK_SECONDS
            found.append(Check(item, words, programs.get(words[0]), seconds))
    return found


def _differs(context: Context, item: Installed) -> bool:
    try:
        return context.system.observe(item.path).sha256 != item.sha256
    except OSError:
        return True


def problems(context: Context, found: Iterable[Check]) -> list[Problem]:
    """Return the programs that are not there; each once, with all other problems of the plan."""
    result: dict[str, Problem] = {}
    for check in found if context.live else ():
        program, why = check.command[0], f"{check.item.path} is to be checked by it"
        if check.program is None:
            if context.system.which(program) is None:
                is_there = (
                    program[0] == "/" and context.system.observe(program, digest=False).kind != "absent"
                )
                what = "cannot be executed" if is_there else "is not on this host"
                result[program] = Problem(program, f"{what}, but {why}", "install it first")
        elif not check.program.mode & 0o100:
            hint = "ask the team that built the bundle to set its mode in bundle.yaml"
            result[program] = Problem(check.program.path, f"is not executable, but {why}", hint)
        elif context.system.space(context.layout.base).noexec:
            what = f"is mounted noexec, but {check.program.path} is run from there to check {check.item.path}"
            result[program] = Problem(context.layout.base, what, "mount it with the option exec")
    return list(result.values())


def notes(context: Context, found: Sequence[Check]) -> list[str]:
    """Return which files are not checked, and why."""
    return [] if context.live else [f"not checked with --root: {line}" for line in lines(found)]


def lines(found: Iterable[Check]) -> list[str]:
    """Return what will be checked, a line each for people."""
    return [f"{check.item.path} by {check.text()}" for check in found]


def run_checks(
    context: Context, release: Release, found: Sequence[Check], rendered: Mapping[str, bytes], record: str
) -> None:
    """Check files, all of them, and refuse the release if one is rejected.

    Args:
        context: The host.
        release: The release.
        found: What to check.
        rendered: Bytes that are not on the disk yet, by the host path where they will lie.
        record: The directory of the transaction's record: what an interruption leaves there is cleared by the
            next command.

    Raises:
        HostNotReadyError: A file was rejected, or could not be checked. Nothing was changed.
    """
    if not found or not context.live:
        return
    rejected: list[Problem] = []
    with _emptied(context, record) as directory:
        for number, check in enumerate(found):
            context.progress.note(f"checking {check.item.path}")
            data = rendered.get(check.item.source)
            rejected += _check(context, release, check, data, f"{directory}/{number}")
    if rejected:
        count = len({problem.where for problem in rejected})
        files = "a configuration file was" if count == 1 else f"{count} configuration files were"
        raise HostNotReadyError(
            f"{release.manifest.product} {release.manifest.version}: {files} rejected by the check that the "
            "release has for it",
            hint="nothing was changed; correct the values of this host, or ask the team that built the "
            "bundle for another one, and run the command again",
            problems=rejected,
        )


@contextmanager
def _emptied(context: Context, record: str) -> Iterator[str]:
    system, directory = context.system, f"{record}/{_DIRECTORY}"
    with os_errors_as(HostNotReadyError, "configuration files cannot be checked", record):
        system.remove_tree(record)
        make_directory(system, record)
        system.mkdir(directory, 0o700)
    try:
        yield directory
    # Not BaseException: a killed process cannot clean up, and tests imitate that.
    except (Exception, KeyboardInterrupt):
        with suppress(OSError):
            system.remove_tree(record)
        raise
    # A copy must not outlive its check: it may have secrets in it, and the record is kept with the release.
    with os_errors_as(HostNotReadyError, "copies of configuration files cannot be removed", record):
        system.remove_tree(record)


def _check(
    context: Context, release: Release, check: Check, data: bytes | None, directory: str
) -> list[Problem]:
    """Run one command; return why the file is rejected, first in one line, then what was printed."""
    system, path = context.system, check.item.path
    try:
        content = system.read(check.item.source, LIMITS.document_bytes) if data is None else data
        if sha256_hex(content) != check.item.sha256:
            return [Problem(path, "cannot be checked: its content is not what was planned", "try again")]
        copy = f"{directory}/{path.rpartition('/')[2]}"
        system.mkdir(directory, 0o700)
        # For root alone, whatever its mode will be: the directory above may become readable.
        system.write_new(copy, content, check.item.mode & 0o700 | 0o400, sync=False)
        real = system.real(copy)
        words = [word.replace(FILE, real) for word in check.command]
        with _program(context, release, check) as program:
            ended = system.run([program, *words[1:]], timeout=check.seconds, cwd="/", memory=MEMORY)
        changed = system.observe(copy).sha256 != check.item.sha256
    except DifferentError:
        hint = "run the command again; if it happens again, somebody changes files of Waybill"
        return [
            Problem(path, f"cannot be checked: {check.command[0]} differs from the verified content", hint)
        ]
    except OSError as error:
        return [Problem(path, f"cannot be checked: {error.strerror or error}")]

    def named(text: str) -> str:
        # The copy means nothing to whoever reads this, and is gone by then.
        return text.replace(real, path)

    return list(_verdict(context, check, ended, changed, named))


def _verdict(
    context: Context, check: Check, ended: Completed, changed: bool, named: Callable[[str], str]
) -> Iterator[Problem]:
    path, hint = check.item.path, f"it was checked by {check.text()}"
    if not ended.ok:
        text = b"\n".join(part for each in (ended.stdout, ended.stderr) if (part := each.strip()))
        said = context.secrets.last_lines(text.decode("utf-8", "replace"), LINES, _WIDTH) if text else []
        late = f"could not be checked within {check.seconds} s"
        yield Problem(
            path, late if ended.timed_out else f"is rejected: {named(ended.reason(context.secrets))}", hint
        )
        # The last line is the reason already.
        yield from (Problem(path, named(line)) for line in (said if ended.timed_out else said[:-1]))
    elif changed:
        # What was found to be right then is not what would be installed.
        yield Problem(path, "was changed by the program that was to check it", hint)


@contextmanager
def _program(context: Context, release: Release, check: Check) -> Iterator[str]:
    if check.program is None:
        yield check.command[0]
        return
    entry = check.program
    files = {entry.path: [entry.sha256, entry.mode]}
    with private_copy(context.system, release.staged, files, context.layout.base) as place:
        yield context.system.real(f"{place}/{entry.path}")
