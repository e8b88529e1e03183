"""Runs what the documents show: reads the fenced blocks of a Markdown file and types them into one shell.

A document is one session: one empty directory, one bash, from its first block to its last.

- A `console` block is a transcript. Lines that start with `$ ` are typed; the lines below are what must come,
  where `...` stands for anything in a line and a line of `...` for any lines. A command must succeed, unless
  the next one is `echo $?`.
- `<!-- file: NAME -->` above a block of any language writes the block to that file.
- `<!-- append: NAME -->` appends it.
- `<!-- setup: NAME -->` prepares the directory; `<!-- needs: TOOL -->` skips the document where TOOL lacks.
  `PROGRAMS` that its commands start need no such line.
- `<!-- not run: REASON -->` above a block leaves it out; the reason is for the reader of the source.
- `<!-- hidden: COMMAND -->` is typed too, for what a reader does by hand.
"""

from __future__ import annotations

import os
import re
import selectors
import shlex
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

Wrap = Callable[[list[str]], list[str]]
MARK = re.compile(r"<!-- (file|append|setup|needs|not run|hidden): (.+?) -->")
PROGRAMS = re.compile(r"(?:^|[|;&(]\s*|\b(?:do|then)\s+)(curl|git|gpg|gpgv|openssl)\s", re.MULTILINE)
DONE = re.compile(rb"\x1e(\d+)\x1f")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        kind: `type` a command, or write or append to a file.
        line: Where it stands in the document.
        text: The command, or the file's content.
        target: The file's name.
        expected: Lines that the command must print; None where nothing is said about it.
        may_fail: Whether the next command looks at the exit code.
    """

    kind: Literal["type", "file", "append"]
    line: int
    text: str
    target: str = ""
    expected: tuple[str, ...] | None = None
    may_fail: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A document taken apart.

    Attributes:
        path: Where it is.
        steps: What to do, in order.
        setups: Names of what prepares the directory.
        needs: Tools without which it cannot run.
        left_out: Reasons given for blocks that are not run.
    """

    path: Path
    steps: tuple[Step, ...]
    setups: frozenset[str]
    needs: frozenset[str]
    left_out: tuple[str, ...]


def read(path: Path) -> Document:
    """Takes a Markdown file apart."""
    steps: list[Step] = []
    found: dict[str, list[str]] = {"setup": [], "needs": [], "not run": []}
    mark: tuple[str, str] | None = None
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if marked := MARK.fullmatch(line.strip()):
            kind, value = marked.groups()
            if kind == "hidden":
                steps.append(Step("type", number, value))
            elif kind in ("setup", "needs"):
                found[kind].append(value)
            else:
                mark = (kind, value)
            continue
        if not line.lstrip().startswith("```"):
            continue
        indent, language = len(line) - len(line.lstrip()), line.strip().removeprefix("```")
        end = next(at for at in range(number, len(lines)) if lines[at].strip() == "```")
        block = [row[indent:] for row in lines[number:end]]
        if mark and mark[0] == "not run":
            found["not run"].append(mark[1])
        elif mark:
            steps.append(
                Step("file" if mark[0] == "file" else "append", number, "\n".join([*block, ""]), mark[1])
            )
        elif language == "console":
            steps += transcript(block, number + 1)
        mark, number = None, end + 1
    for step in steps:
        found["needs"] += PROGRAMS.findall(step.text) if step.kind == "type" else []
        # What our own command says of its absence is another text.
        found["needs"] += ["git"] if "not a git repository" in "\n".join(step.expected or ()) else []
    return Document(
        path, tuple(steps), frozenset(found["setup"]), frozenset(found["needs"]), tuple(found["not run"])
    )


def transcript(block: list[str], first_line: int) -> list[Step]:
    """Takes the lines of a `console` block apart."""
    commands: list[tuple[int, str, list[str]]] = []
    for number, line in enumerate(block, first_line):
        if line.startswith("$ "):
            commands.append((number, line[2:], []))
        elif commands and commands[-1][1].endswith("\\") and not commands[-1][2]:
            at, command, output = commands[-1]
            commands[-1] = (at, command + "\n" + line, output)
        elif commands:
            commands[-1][2].append(line)
        else:
            raise ValueError(f"line {number}: output before the first command")
    steps = []
    for position, (number, command, output) in enumerate(commands):
        following = commands[position + 1][1] if position + 1 < len(commands) else ""
        steps.append(
            Step("type", number, command, expected=tuple(output), may_fail=following.strip() == "echo $?")
        )
    return steps


def difference(expected: tuple[str, ...], printed: str) -> str | None:
    """Compares what a command printed with what the document shows.

    Returns:
        None where they agree; else a few words and both texts.
    """
    wanted = [
        None if line.strip() == "..." else re.compile(_line(line) + r"[ \t]*")
        for line in expected
        if line.strip()
    ]
    if _agree(wanted, [line.rstrip() for line in printed.splitlines() if line.strip()]):
        return None
    shown = "\n".join("  | " + line for line in expected)
    got = "\n".join("  | " + line for line in printed.splitlines())
    return f"the document shows\n{shown}\nbut this came\n{got}"


def _agree(wanted: list[re.Pattern[str] | None], printed: list[str]) -> bool:
    """Return whether lines match patterns, where None stands for any lines.

    Only the last of these has to give way: one expression for all lines would try every combination.
    """
    here = at = 0
    gap: tuple[int, int] | None = None
    while at < len(printed):
        pattern = wanted[here] if here < len(wanted) else None
        if here < len(wanted) and pattern is None:
            gap, here = (here, at), here + 1
        elif pattern is not None and pattern.fullmatch(printed[at]):
            here, at = here + 1, at + 1
        elif gap is not None:
            gap = (gap[0], gap[1] + 1)
            here, at = gap[0] + 1, gap[1]
        else:
            return False
    return all(each is None for each in wanted[here:])


def _line(line: str) -> str:
    words = [re.escape(word).replace(re.escape("..."), ".*?") for word in line.split()]
    return r"[ \t]*" + r"[ \t]+".join(words)


class Shell:
    """One bash that keeps its directory and variables from command to command."""

    def __init__(self, directory: Path, environment: Mapping[str, str], wrap: Wrap) -> None:
        self.process = subprocess.Popen(
            wrap(["bash", "--noprofile", "--norc"]),
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def type(self, command: str, within: float = 120) -> tuple[int, str]:
        """Types a command; gives its exit code and everything it printed.

        Raises:
            TimeoutError: It took longer than `within` seconds.
            EOFError: The shell is gone.
        """
        assert self.process.stdin
        # `(exit …)` leaves the command's exit code in `$?` for the next command.
        run_it = f"(exit ${{code:-0}}); eval {shlex.quote(command)} </dev/null; code=$?"
        self.process.stdin.write(f"{run_it}; printf '\\036%d\\037' $code\n".encode())
        self.process.stdin.flush()
        return self._answer(command, time.monotonic() + within)

    def _answer(self, command: str, until: float) -> tuple[int, str]:
        assert self.process.stdout
        heard = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not (end := DONE.search(heard)):
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError(
                        f"{command!r} did not end; it printed:\n{heard.decode(errors='replace')}"
                    )
                chunk = os.read(self.process.stdout.fileno(), 65536)
                if not chunk:
                    raise EOFError(f"the shell ended in {command!r}:\n{heard.decode(errors='replace')}")
                heard += chunk
        return int(end[1]), heard[: end.start()].decode(errors="replace")


def run(
    document: Document, directory: Path, environment: Mapping[str, str], wrap: Wrap = lambda words: words
) -> None:
    """Does everything that a document says, in `directory`.

    Args:
        document: What to do.
        directory: Where the shell starts.
        environment: What it knows.
        wrap: Makes the command that starts the shell from the shell's own.

    Raises:
        AssertionError: A command failed, or printed something else than the document shows.
    """
    with Shell(directory, environment, wrap) as shell:
        for step in document.steps:
            where = f"{document.path.name}:{step.line}: "
            if step.kind == "type":
                code, printed = shell.type(step.text)
                if code and not step.may_fail:
                    raise AssertionError(f"{where}`{step.text}` exits with {code}:\n{printed}")
                if step.expected is not None and (fault := difference(step.expected, printed)):
                    raise AssertionError(f"{where}`{step.text}`: {fault}")
                continue
            target, text = shlex.quote(step.target), shlex.quote(step.text)
            into = ">" if step.kind == "file" else ">>"
            code, printed = shell.type(f'mkdir -p "$(dirname {target})"; printf %s {text} {into} {target}')
            if code:
                raise AssertionError(f"{where}{step.target} cannot be written:\n{printed}")
