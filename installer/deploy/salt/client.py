"""Runs salt-call without a master: with its own configuration, and with nothing of the minion of this host.

The states are a private copy of what was verified. The pillar, and all that Salt makes of it, its cache among
it, is in a directory in memory that is gone when Salt has ended.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
from functools import partial
from pathlib import Path

from installer.core.errors import Problem
from installer.core.format.entries.salt_states import KIND
from installer.core.limits import MIB
from installer.deploy import release_files
from installer.deploy.method import Target
from installer.deploy.operation import Json, StepError
from installer.deploy.salt.results import StateResult, failed, read_results
from installer.deploy.site.rendered_values import values_with_secrets
from installer.deploy.site.step_memory import step_memory
from installer.host.context import Context
from installer.host.private_copy import TEMPORARY
from installer.shared.child.marked_processes import MARK, end_marked

PROGRAM = "salt-call"
FACTS = "waybill"
"""The key of the pillar with what a state may want to know of the release."""
_QUICK = 60.0
"""Seconds for a command that only asks."""
_LIMIT = 32 * MIB
"""Bytes of a result: it has the differences of all files."""
_CONFIG = "conf"
_SHOWN = 6
"""States that failed, of which an error tells."""
_SETTINGS: Json = {
    "file_client": "local",
    "master_type": "disable",
    "fileserver_backend": ["roots"],
    # What somebody may have put elsewhere for the minion of this host.
    "default_include": "none/*.conf",
    "log_level_logfile": "quiet",
    "minion_id_caching": False,
    # It asks the network for names.
    "enable_fqdns_grains": False,
}


def version(context: Context) -> str | Problem:
    """Return the version of Salt on this host, or why it cannot be used."""
    program = context.system.which(PROGRAM)
    if program is None:
        hint = "install the package salt-minion, which need not run as a service; or use --skip salt"
        return Problem(PROGRAM, "is not installed", hint)
    ended = context.system.run([program, "--version"], timeout=_QUICK)
    match = re.search(rb"salt-call ([0-9]+(?:\.[0-9]+)*)", ended.stdout)
    if not ended.ok or match is None:
        hint = f"run `{PROGRAM} --version` to see what is wrong with it"
        return Problem(program, f"does not run: {ended.reason(context.secrets)}", hint)
    return match[1].decode()


def apply_state(
    context: Context,
    step: Json,
    state: str,
    *,
    run: str = "",
    test: bool = False,
    target: Target | None = None,
) -> list[StateResult]:
    """Apply a state of a release, or look what it would do.

    Args:
        context: The host.
        step: What operations know of the step, see `arguments`.
        state: Its name; empty for those that `top.sls` says.
        run: The mark of all processes of the run; empty for none.
        test: Whether nothing is changed.
        target: While planning, the step: its files are not in the directory of the release yet.

    Returns:
        The states, all that were applied; with `test`, those that would fail, too.

    Raises:
        StepError: A state failed, could not be rendered, or took too long; or a secret cannot be had.
        ChangedFileError: A file is not what was verified. Nothing was run.
    """
    system, what = context.system, state or f"{step['root']}/top.sls"
    directory = target.release.staged if target else step["directory"]
    pillar = values_with_secrets(context, step["pillar"], target)
    pillar[FACTS] = {**step["facts"], "release": system.real(directory)}
    with (
        release_files.checked_directory(context, directory, step["files"], KIND, alone=True) as copy,
        step_memory(partial(_files, pillar, f"{system.real(copy)}/{step['root']}")) as memory,
    ):
        result = f"{memory}/result.json"
        words = [_program(context), "--local", "--config-dir", f"{memory}/{_CONFIG}", "--log-level", "error"]
        words += ["--retcode-passthrough", "--out", "json", "--out-indent=-1", "--out-file", result]
        words += ["state.apply", *([state] if state else []), *(["test=True"] if test else [])]
        env = {"TMPDIR": f"{memory}/{TEMPORARY}", "WAYBILL_ROOT": system.root, MARK: run or None}
        ended = system.run(words, timeout=step["timeout"], env=env, cwd=memory)
        data = _bounded(result)
    if ended.timed_out:
        # A session of its own is out of reach of the signal to the group.
        if run:
            end_run(context, run)
        hint = "find out what waits, or ask the publisher for a longer `timeout`"
        raise StepError(f"timed out after {step['timeout']} s and was killed", where=what, hint=hint).of(
            ended, context.secrets
        )
    if not data:
        raise StepError(f"{PROGRAM}: {ended.reason(context.secrets)}", where=what).of(ended, context.secrets)
    try:
        results = read_results(data, context.secrets)
    except StepError as error:
        error.where = error.where or what
        raise
    if bad := [] if test else failed(results):
        raise _failure(context, bad, what).of(ended, context.secrets)
    # The result is what counts, and the status says no less: a later version may fail in a way of its own.
    if not test and not ended.ok:
        raise StepError(f"{PROGRAM}: {ended.reason(context.secrets)}", where=what).of(ended, context.secrets)
    return results


def end_run(context: Context, run: str) -> None:
    """End what a run left that was killed.

    Args:
        context: The host.
        run: The mark of its processes.

    Raises:
        StepError: They do not end.
    """
    if not context.system.effect("processes.end", lambda: end_marked(run)):
        hint = "look for them with ps; reboot the host if they stay"
        raise StepError("processes of an interrupted run of Salt do not end", hint=hint)


def _files(pillar: Json, root: str, memory: str) -> Json:
    """Return what Salt reads besides the states: its configuration and the pillar."""
    settings = {
        **_SETTINGS,
        "id": socket.gethostname(),
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "root_dir": memory,
        "cachedir": f"{memory}/cache",
        "pki_dir": f"{memory}/pki",
        "sock_dir": f"{memory}/sock",
        "extension_modules": f"{memory}/modules",
        "log_file": f"{memory}/log",
        "file_roots": {"base": [root]},
        "pillar_roots": {"base": [f"{memory}/pillar"]},
    }
    return {
        f"{_CONFIG}/minion": json.dumps(settings).encode(),
        "pillar/top.sls": b"base: {'*': [site]}\n",
        # `#!json`: no text in it is taken for a template or for YAML.
        "pillar/site.sls": b"#!json\n" + json.dumps(pillar).encode(),
    }


def _program(context: Context) -> str:
    program = context.system.which(PROGRAM)
    if program is None:
        raise StepError(f"{PROGRAM} is not installed any more", hint="install the package salt-minion")
    return program


def _bounded(path: str) -> bytes:
    """Return what Salt wrote, and nothing where it wrote nothing or more than can be looked at."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError:
        return b""
    return data if len(data) <= _LIMIT else b""


def _failure(context: Context, bad: list[StateResult], what: str) -> StepError:
    secrets = context.secrets
    first = bad[0]
    hide = secrets.hide
    problems = [
        *(Problem(hide(first.label), line) for line in first.details(secrets)),
        *(Problem(hide(each.label), each.said(secrets)) for each in bad[1:_SHOWN]),
    ]
    more = len(bad) - _SHOWN
    problems += [Problem(what, f"and {more} more states failed")] if more > 0 else []
    return StepError(
        f"state {hide(first.label)} failed: {first.said(secrets)}", where=first.sls or what, problems=problems
    )
