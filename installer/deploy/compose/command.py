"""Runs Compose on the files of a release: `docker compose`, or `docker-compose` of version 2 or later."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from installer.core import jsonio
from installer.core.errors import BusyError, Problem
from installer.core.format.manifest import Kind
from installer.deploy import release_files
from installer.deploy.compose import project
from installer.deploy.compose.containers import CONTENT, settle
from installer.deploy.compose.environment import env_words
from installer.deploy.compose.logs import WIDTH
from installer.deploy.docker_cli import QUICK
from installer.deploy.method import full_path
from installer.deploy.operation import Json, StepError
from installer.host.context import Context
from installer.host.private_copy import new_name, remove_copies
from installer.host.system import Completed, Seen, System
from installer.shared.child.engine_address import engine_environment, interpolation_environment
from installer.shared.child.process import Told
from installer.shared.terminal import interrupts

KIND: Kind = "compose"
"""Of the files that it gives to Compose."""
PLAIN = ("--ansi", "never", "--progress", "plain")
TIMEOUT = 600.0
"""Seconds that one command of Compose may take."""
_PROGRESS = re.compile(r" ?(Container|Network|Volume|Image) \S+ +[A-Z][a-z]+ *")
"""A line of Compose about what it does; in a failure only the others say what is wrong."""
_CREATES = re.compile(rb" ?Container (\S+) +Creat(ing|ed) *")
_NO_PLUGIN = b"docker --help"
"""Part of what a Docker command line without the plugin prints; the rest varies with its version."""


_asked: WeakKeyDictionary[System, dict[tuple[str, ...], tuple[object, Completed]]] = WeakKeyDictionary()
"""What each Compose of a host has answered, and the program as it was then."""


def find_tool(context: Context) -> list[str] | Problem:
    """Return the words that run Compose, or why it cannot be used."""
    seen = []
    for words in (["docker", "compose"], ["docker-compose"]):
        # The plugin first: it is what Docker maintains; the separate program may be version 1.
        if context.system.which(words[0]) is None:
            continue
        ended = _ask_version(context, words)
        version = _version(ended)
        if not ended.ok and _NO_PLUGIN in ended.stderr:
            continue  # not an error: `docker-compose` may be there
        if not ended.ok:
            seen.append(f"{' '.join(words)} version: {ended.reason(context.secrets)}")
        elif re.match(r"\d+\.", version) and int(version.partition(".")[0]) >= 2:
            return words
        else:
            seen.append(f"{' '.join(words)} is version {version[:40]}; 2 or later is needed")
    remedy = "install the docker-compose-plugin, or use --skip compose"
    if seen:
        return Problem("docker compose", "; ".join(seen), f"run it by hand to see its error; or {remedy}")
    return Problem("docker compose", "is not installed", remedy)


def _ask_version(context: Context, words: Sequence[str]) -> Completed:
    """Ask a Compose for its version, once in a command, as long as the program is the same."""
    known, program = _asked.setdefault(context.system, {}), _program(context, words[0])
    found, ended = known.get(tuple(words), (None, None))
    if ended is not None and found == program:
        return ended
    ended = context.system.run([*words, "version", "--short"], timeout=QUICK, env=engine_environment())
    # Another failure is asked again: it may be over.
    if ended.ok or _NO_PLUGIN in ended.stderr:
        known[tuple(words)] = (program, ended)
    return ended


def _version(ended: Completed) -> str:
    return ended.stdout.decode("utf-8", "replace").strip().removeprefix("v") if ended.ok else ""


def _program(context: Context, name: str) -> tuple[str, Seen | None]:
    """Return what tells the program of a name from another one that replaces it."""
    path = context.system.which(name) or ""
    try:
        real = context.system.real(path)
        return real, context.system.observe(real, digest=False)
    except OSError:
        return path, None  # below --root there is no such file: programs are those of this machine


def require_tool(context: Context) -> list[str]:
    """Return the words that run Compose.

    Raises:
        StepError: It cannot be used.
    """
    tool = find_tool(context)
    if isinstance(tool, Problem):
        raise StepError(tool.what, where=tool.where, hint=tool.hint)
    return tool


def tool_version(context: Context, tool: Sequence[str]) -> str:
    """Return the version of Compose, as it labels containers; empty where it does not answer."""
    return _version(_ask_version(context, tool))


@dataclass(frozen=True, slots=True)
class Source:
    """A Compose file and what is added to its services.

    Attributes:
        file: The file, in the directory of its release, whose place decides what relative paths mean. A list
            is a project of several files: those that are merged; what they refer to is among the listed ones.
        held: The directory that has the files of the release now, while planning; empty for the release's.
        contents: Digest of the mounted files of each service that mounts some; see `mounted`.
        rendered: While planning, the files that are rendered for the release; see `Release.rendered`.
    """

    file: str | list[str]
    held: str = ""
    contents: Mapping[str, str] = field(default_factory=dict)
    rendered: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def first(self) -> str:
        """The file, or the first of several."""
        return self.file if isinstance(self.file, str) else self.file[0]


def _run(context: Context, args: Json, source: Source, *words: str, told: Told | None = None) -> Completed:
    directory, path = release_of(context, source.first)
    place, held = real_path(context, source.first.rpartition("/")[0]), source.held or directory
    with env_words(context, args, source.rendered) as (override, variables):
        if isinstance(source.file, str):
            # From its standard input, Compose reads the very bytes that were checked.
            data = release_files.checked_bytes(context, held, path, args.get("files"), KIND)
            added = override
        else:
            ended = _resolve(context, args, source.file, held, [*override, *variables])
            if not ended.ok:
                return _named(ended, args, override)
            # The result has the override in it. It has the services of every profile, too: which of these
            # are used, the variables say.
            data, added = ended.stdout, ()
        with _labels(context, source.contents) as labels:
            options = ["-f", "-", *added, *variables, *labels]
            return _named(_compose(context, args, place, options, *words, stdin=data, told=told), args, added)


def _named(ended: Completed, args: Json, override: Sequence[str]) -> Completed:
    """Return what Compose said with the override of the site under its own name, not that of the copy."""
    if ended.ok or not override:
        return ended
    own = args["override"].get("origin") or args["override"]["paths"][-1]
    return replace(ended, stderr=ended.stderr.replace(override[-1].encode(), own.encode()))


def _resolve(context: Context, args: Json, files: list[str], held: str, values: Sequence[str]) -> Completed:
    """Return what Compose makes of a project of several files, or how it failed.

    Args:
        context: The host.
        args: Of an operation.
        files: The files that are merged, in the directory of the release.
        held: The directory that has the files now.
        values: Words with the values and the override of the site.
    """
    directory, listed = release_of(context, files[0])[0], args.get("files")
    with release_files.checked_directory(context, held, listed, KIND, alone=True) as copy:
        copied, release = context.system.real(copy), real_path(context, directory)
        paths = [f"{copied}/{release_of(context, each)[1]}" for each in files]
        options = [*(word for path in paths for word in ("-f", path)), *values]
        ended = _compose(context, args, paths[0].rpartition("/")[0], options, *project.RESOLVE)
    if not ended.ok:
        return replace(ended, stderr=ended.stderr.replace(copied.encode(), release.encode()))
    return replace(ended, stdout=project.placed(ended.stdout, copied, release, args.get("images", ())))


def _compose(
    context: Context,
    args: Json,
    place: str,
    options: Sequence[str],
    *words: str,
    stdin: bytes = b"",
    told: Told | None = None,
) -> Completed:
    argv = [*args["tool"], "-p", args["project"], "--project-directory", place, *options, *PLAIN, *words]
    env = {**interpolation_environment(args.get("engine", "")), **args["env"]}
    return context.system.run(argv, timeout=TIMEOUT, env=env, stdin=stdin, told=told)


def real_path(context: Context, path: str) -> str:
    """Return a path as Compose needs it, which runs outside of --root; what is not there yet has no links."""
    head, rest = path, ""
    while head:
        try:
            return context.system.real(head) + rest
        except (FileNotFoundError, NotADirectoryError):
            head, _, name = head.rpartition("/")
            rest = f"/{name}{rest}"
    return full_path(context, rest)


@contextmanager
def _labels(context: Context, contents: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the words with the file that labels services with the digest of the files that they mount."""
    if not contents:
        yield []
        return
    system = context.system
    services = {name: {"labels": {CONTENT: digest}} for name, digest in contents.items()}
    place = _written(context, "labels.json", jsonio.dumps({"services": services}))
    try:
        yield ["-f", system.real(f"{place}/labels.json")]
    finally:
        with suppress(OSError):
            system.remove_tree(place)


def _written(context: Context, name: str, data: bytes) -> str:
    """Write a file into a new private directory, which is returned: Compose reads one standard input only."""
    try:
        return _written_below(context, context.layout.base, name, data)
    except OSError:
        # On a full disk an undo still has to run: /run is in memory.
        return _written_below(context, "/run", name, data)


def _written_below(context: Context, base: str, name: str, data: bytes) -> str:
    system, place = context.system, f"{base}/{new_name()}"
    try:
        system.mkdir(place, 0o700)
        system.write_new(f"{place}/{name}", data, 0o600, sync=False)
    except OSError:
        with suppress(OSError):
            system.remove_tree(place)
        raise
    return place


@contextmanager
def alone(context: Context) -> Iterator[None]:
    """Wait for the Compose of a command that was killed, and keep later ones waiting for what runs now.

    Compose goes on when the installer is killed. An undo at the same time would race with it.

    Raises:
        StepError: It still runs after the time that a step may take.
    """
    system, path = context.system, f"{context.layout.base}/compose.lock"
    with ExitStack() as stack:
        try:
            try:
                lock = system.lock(path)
            except BusyError:
                context.progress.note("waiting until the docker compose of an interrupted command has ended")
                lock = system.lock(path, TIMEOUT)
            stack.enter_context(lock)
            stack.enter_context(lock.shared(system))
            remove_copies(system, context.layout.base)
        except BusyError as error:
            what = "the docker compose of an interrupted command still runs"
            hint = "find it with `pgrep -a docker`, end it, then run `install recover`"
            raise StepError(what, where=path, hint=hint) from error
        except OSError:
            pass  # on a full disk an undo still has to run
        yield


def answer(context: Context, args: Json, source: Source, *words: str) -> Completed:
    """Run a command of Compose that changes nothing.

    Args:
        context: The host.
        args: Of an operation: the tool, the project, the engine, the environment and the listed files.
        source: The Compose file.
        words: The command and its options.

    Raises:
        StepError: It failed, or did not end in time.
        ChangedFileError: The file is not what was verified. Nothing was run.
    """
    ended = _run(context, args, source, *words)
    where, hint = release_of(context, source.first)[1], "correct the Compose file, and build the bundle again"
    if not ended.ok and (site := args.get("override")):
        # Compose does not always name the file. Without the override, all is that of the bundle.
        without = {key: value for key, value in args.items() if key != "override"}
        if _run(context, without, source, *words).ok:
            where, hint = site.get("origin", where), "correct the file: it is this site's"
    return _checked(context, ended, words[0], where, hint)


def require(context: Context, args: Json, source: Source, *words: str) -> None:
    """Run a command of Compose that changes the project; see `answer` for arguments and errors."""
    creating = set[str]()

    def told(lines: Sequence[bytes]) -> None:
        for name, state in (found.groups() for line in lines if (found := _CREATES.fullmatch(line))):
            (creating.add if state == b"ing" else creating.discard)(name.decode())

    try:
        ended = _run(context, args, source, *words, told=told)
    except KeyboardInterrupt:
        with interrupts.deferred() as rest:
            rest.shield()
            settle(context, args, creating)
        raise
    if not ended.ok:
        # Where one service fails, Compose ends, and the engine goes on with the others. The one that failed
        # may be among those that it was to create: it never comes.
        settle(context, args, creating, limit=10.0)
    _checked(context, ended, words[0], args["project"], f"see `docker compose -p {args['project']} logs`")


def _checked(context: Context, ended: Completed, word: str, where: str, hint: str) -> Completed:
    if ended.ok:
        return ended
    text = (ended.stderr or ended.stdout).decode("utf-8", "replace").strip()
    text = "\n".join(line for line in text.splitlines() if not _PROGRESS.fullmatch(line)) or text
    said = context.secrets.last_lines(text, 6, WIDTH)
    raise StepError(
        f"docker compose {word}: {ended.reason(context.secrets)}",
        where=where,
        hint=hint,
        problems=[Problem("compose", line) for line in said[:-1]],
    ).of(ended, context.secrets)


def release_of(context: Context, file: str) -> tuple[str, str]:
    """Return the directory of the release that a file of it is in, and the file's path there."""
    base = f"{context.layout.releases}/"
    name, _, path = file.removeprefix(base).partition("/")
    return base + name, path
