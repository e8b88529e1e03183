"""Run the executable `install` on a host through Ansible's connection, and read the document that it prints.

Nothing here runs Python on the host: a shell starts the executable, and its JSON comes back.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from dataclasses import dataclass, field
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

EXECUTABLE = "/opt/waybill/bin/install"
LONGEST_ANSWER = 64 * 1024 * 1024  # bytes; a plan has some 200 for each file
LONGEST_WORDS = 4000  # bytes of standard error that a failure shows

COMMON = {
    "executable": {"type": "str", "default": EXECUTABLE},
    "root": {"type": "str", "default": "/"},
}
"""Arguments that every module has; the fragment `common` documents them."""

# The connection may give the command a terminal, which mixes both outputs: one goes to a file, and the
# document stands between two marks. With a terminal as standard input, `install` would wait for an answer.
_RUN = """\
errors=$(mktemp) || errors=/dev/null
printf '%s\\n' {mark}
{words} </dev/null 2>"$errors"
code=$?
printf '\\n%s %s\\n' {mark} "$code"
tail -c {longest} "$errors"
[ "$errors" = /dev/null ] || rm -f "$errors"
"""
_NO_DOCUMENT = {
    126: "it cannot be executed: is it for another platform, or the file system mounted noexec?",
    127: "there is no such program on the host: copy it there with waybill.release.executable",
}


@dataclass
class Answer:
    """What a run of `install` said.

    Attributes:
        exit: The exit code.
        document: The JSON document; empty where none came.
        errors: The end of standard error.
    """

    exit: int
    document: dict[str, Any] = field(default_factory=dict)
    errors: str = ""

    @property
    def good(self) -> bool:
        """Whether `install` ended well, and said so."""
        return self.exit == 0 and bool(self.document)

    @property
    def code(self) -> str | None:
        """The name of the error; None for a success."""
        return self.document.get("code")

    def naming(self, path: str, words: str) -> Answer:
        """Return the answer with words in place of a path, and of a line of that file."""

        def renamed(value: Any) -> Any:
            if isinstance(value, str):
                return re.sub(rf"{re.escape(path)}(?::[0-9]+)?", lambda _: words, value)
            if isinstance(value, dict):
                return {name: renamed(each) for name, each in value.items()}
            return [renamed(each) for each in value] if isinstance(value, list) else value

        return Answer(self.exit, renamed(self.document), renamed(self.errors))

    def result(self) -> dict[str, Any]:
        """Return the facts that every module returns."""
        told = ("code", "cause", "problems", "product", "from", "to", "transaction", "evidence", "steps")
        found: dict[str, Any] = {name: self.document.get(name) for name in told}
        warnings = [_sentence(each) for each in self.document.get("warnings") or []]
        return {**found, "exit": self.exit, "rc": self.exit, **({"warnings": warnings} if warnings else {})}

    def failure(self) -> dict[str, Any]:
        """Return the result of a task that failed: the message, its remedy, and every problem."""
        problems = self.document.get("problems") or []
        if self.document:
            words = "\n".join(_sentence(each) for each in problems)
            hint = next((each["hint"] for each in problems if each.get("hint")), None)
        else:
            hint = _NO_DOCUMENT.get(self.exit, "is this the executable of Waybill, and did anything end it?")
            words = f"no document of install came: {self.errors.strip() or 'nothing'}\n  hint: {hint}"
        said = f"exit {self.exit}{f' ({self.code})' if self.code else ''}: {words}"
        return {**self.result(), "failed": True, "msg": said, "hint": hint, "stderr": self.errors}


def _sentence(problem: dict[str, Any]) -> str:
    where, hint = problem.get("where"), problem.get("hint")
    said = f"{where}: {problem.get('what')}" if where else str(problem.get("what"))
    return f"{said}\n  hint: {hint}" if hint else said


def shell(action: ActionBase, script: str) -> str:
    """Run a script of POSIX sh on the host, with the rights of `become`.

    Returns:
        What it printed, without the carriage returns of a terminal. The host may have said more, such as the
        message of the day: look for lines of your own.

    Raises:
        AnsibleActionFail: It ended with another code than 0.
    """
    # _low_level_execute_command is what the action plugin of `raw` uses, too. It may append ` && sleep 0`.
    done = action._low_level_execute_command(script.strip())
    if done["rc"] != 0:
        # With a terminal, errors come on standard output, and ssh takes leave on the other one.
        said = f"{done.get('stdout', '')}\n{done.get('stderr', '')}".strip()
        raise AnsibleActionFail(f"the host answered with {done['rc']}: {said[-LONGEST_WORDS:]}")
    return str(done["stdout"]).replace("\r", "")


def install(action: ActionBase, arguments: dict[str, Any], *words: str) -> Answer:
    """Run `install WORDS --json` on the host.

    Args:
        action: The action plugin, for its connection.
        arguments: The arguments of the task, with those of COMMON.
        words: The command and its options.

    Returns:
        The answer, failures included.

    Raises:
        AnsibleActionFail: The answer is longer than LONGEST_ANSWER, or it is no answer of `install`.
    """
    mark = f"waybill-{secrets.token_hex(8)}"
    line = [arguments["executable"], *words, "--json", "--quiet"]
    if arguments["root"] != "/":
        line += ["--root", arguments["root"]]
    # What `environment` of the task or the play says.
    command = f"{action._compute_environment_string()} {shlex.join(line)}".strip()
    said = shell(action, _RUN.format(mark=mark, words=command, longest=LONGEST_WORDS))
    if len(said) > LONGEST_ANSWER:
        raise AnsibleActionFail(f"the answer of {line[0]} {words[0]} has more than {LONGEST_ANSWER} bytes")
    _, _, after = said.partition(f"{mark}\n")
    document, _, rest = after.partition(f"\n{mark} ")
    code, _, errors = rest.partition("\n")
    if not code.isdigit():
        raise AnsibleActionFail(f"the host did not run the command to its end: {said[-LONGEST_WORDS:]}")
    return Answer(int(code), _document(document), errors)


def _document(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    # Another program of this name may print JSON, too.
    known = isinstance(found, dict) and str(found.get("schema", "")).startswith("waybill/cli/")
    return found if known else {}
