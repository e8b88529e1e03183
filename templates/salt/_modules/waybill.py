"""Verify, plan, apply, roll back and remove releases of Waybill on a minion.

Each function runs one command of the executable `install` and returns its JSON document. Where `exit` is not
0, it is the return code of the job, too. Every decision stays in the executable: it verifies signatures and
approvals every time, and no option turns this off.

Where the executable is, and the directory to use in place of /, come from the configuration of the minion,
its grains or its pillar. Every function and state takes both, too:

    waybill:
      executable: /opt/waybill/bin/install
      root: /
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import salt.utils.url
from salt.exceptions import CommandExecutionError, CommandNotFoundError, SaltInvocationError

EXECUTABLE = "/opt/waybill/bin/install"
LONGEST_ANSWER = 64 * 1024 * 1024  # characters; a plan has some 200 for each file
LONGEST_WORDS = 4000  # characters of standard error that an error shows
LARGEST_ROOT = 1024 * 1024  # bytes of one file of a root
UNTRUSTED = 10  # the exit code of a host that trusts nothing

_VALUES = ("values", "values_files")
_CONFIGURING = ("approvals", "environment", "keep", "on_drift", "only", "skip", "work_dir")
_PLANNING = (*_CONFIGURING, *_VALUES, "allow_quorum_loss", "retry_failed")
OPTIONS = {
    "verify": ("approvals", "environment"),
    "plan": _PLANNING,
    "apply": (*_PLANNING, "wait", "timeout"),
    "rollback": ("allow_quorum_loss", "approvals", "data_restored", "on_drift", "only", "skip", "wait"),
    "remove": ("allow_quorum_loss", "on_drift", "purge", "wait"),
    "status": ("product", "health", "check"),
    "trust ensure": ("environment",),
    "trust show": (),
}
"""Which keyword arguments become options of which command."""
_NAMES = {"environment": "--env", "values_files": "--values"}
"""Options of another name: in a state, Salt takes `env` for an environment of its file server."""


def verify(source: str, saltenv: str | None = None, **options: Any) -> dict[str, Any]:
    """Verify a bundle, and nothing else.

    Args:
        source: A path on the minion, salt://…, or the address of a published bundle (oci://…, https://…).
            Approvals next to it, in SOURCE.approvals, come with it.
        saltenv: The environment of the file server.
        options: environment, approvals (a directory on the minion with more of them).

    Returns:
        The document of `install verify --json`.

    CLI Example:

    .. code-block:: bash

        salt '*' waybill.verify salt://lan-chat-1.5.0.tar
    """
    return _install("verify", _bundle(source, saltenv), **options)


def plan(source: str, saltenv: str | None = None, **options: Any) -> dict[str, Any]:
    """Verify a bundle, and return what its installation would change.

    Args:
        source: As with waybill.verify.
        saltenv: The environment of the file server.
        options: allow_quorum_loss, approvals, environment, keep, on_drift, only, retry_failed, skip,
            work_dir, as the options of `install plan`; values (a dictionary that overrides the values of the
            host; secrets do not belong there, refer to them with secret://), values_files (paths on the
            minion; the last one wins).

    Returns:
        The document of `install plan --json`; `nothing_to_do` tells whether the host is as released.

    CLI Example:

    .. code-block:: bash

        salt '*' waybill.plan salt://lan-chat-1.5.0.tar
    """
    return _install("plan", _bundle(source, saltenv), **options)


def apply(source: str, saltenv: str | None = None, **options: Any) -> dict[str, Any]:
    """Verify a bundle, install it and watch its health; roll back a release that is not healthy.

    Args:
        source: As with waybill.verify.
        saltenv: The environment of the file server.
        options: Those of waybill.plan, and wait (seconds, if another install runs) and timeout (seconds).

    Returns:
        The document of `install apply --json`.

    CLI Example:

    .. code-block:: bash

        salt '*' waybill.apply salt://lan-chat-1.5.0.tar wait=60
    """
    return _install("apply", _bundle(source, saltenv), "--yes", **options)


def rollback(product: str, version: str, **options: Any) -> dict[str, Any]:
    """Roll back to a retained release, after verifying it again.

    Args:
        product: The product.
        version: The version of a retained release.
        options: allow_quorum_loss, approvals, data_restored, on_drift, only, skip, wait, as the options of
            `install rollback`.

    Returns:
        The document of `install rollback --json`.

    CLI Example:

    .. code-block:: bash

        salt '*' waybill.rollback lan-chat 1.4.0
    """
    return _install("rollback", str(version), "--product", product, "--yes", **options)


def remove(product: str, **options: Any) -> dict[str, Any]:
    """Remove a product, and check that nothing of it is left.

    Args:
        product: The product. One that is not there is no error.
        options: allow_quorum_loss, on_drift, purge, wait, as the options of `install remove`.

    Returns:
        The document of `install remove --json`.

    CLI Example:

    .. code-block:: bash

        salt '*' waybill.remove lan-chat
    """
    return _install("remove", product, "--yes", **options)


def status(**options: Any) -> dict[str, Any]:
    """Return what is installed, and whether it drifted: the facts of a minion, for templates and the mine.

    Args:
        options: product (only this one), health (ask the health checks once), check (return code 3 if a
            product has drifted, is incomplete or interrupted).

    Returns:
        The document of `install status --json`. `by_name` has the products by their names.

    CLI Example:

    .. code-block:: bash

        salt '*' waybill.status
        salt '*' waybill.status check=True health=True
    """
    found = _install("status", **options)
    return {**found, "by_name": {each["product"]: each for each in found.get("products") or ()}}


def trust_show(**options: Any) -> dict[str, Any]:
    """Return the root that the minion trusts.

    Args:
        options: executable, root.

    Returns:
        The document of `install trust show --json`; its `trust` is None where nothing is trusted.

    CLI Example:

    .. code-block:: bash

        salt '*' waybill.trust_show
    """
    return _install("trust show", **options)


def trust_ensure(
    source: str,
    fingerprint: str,
    updates: str | None = None,
    saltenv: str | None = None,
    test: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Make the minion trust a root, unless it trusts it, or a later version, already.

    Args:
        source: The file root.json, on the minion or as salt://….
        fingerprint: Its fingerprint, from the trust sheet. It must come another way than the file.
        updates: A directory with later versions of the root, on the minion or as salt://….
        saltenv: The environment of the file server.
        test: Only tell, as `changed`, whether another root would be trusted. Signatures are not checked.
        options: environment.

    Returns:
        The document of `install trust ensure --json`.

    CLI Example:

    .. code-block:: bash

        salt '*' waybill.trust_ensure salt://root.json 1a2b…
    """
    path = _fetched(source, saltenv)
    later = _fetched_directory(updates, saltenv) if updates else ""
    if updates and not later:
        raise CommandExecutionError(f"{updates}: the file server has no files there")
    if test:
        where = {key: value for key, value in options.items() if key in ("executable", "root")}
        return _would_trust(trust_show(**where), path, fingerprint, later)
    words = ["--update", later] if later else []
    return _install("trust ensure", path, "--fingerprint", fingerprint, *words, **options)


def _install(command: str, *words: str, **options: Any) -> dict[str, Any]:
    """Run `install COMMAND WORDS --json`, and return its document, failures included.

    Raises:
        CommandNotFoundError: The executable is not there.
        CommandExecutionError: It printed no document.
        SaltInvocationError: The command has no such option.
    """
    program = str(options.pop("executable", None) or __salt__["config.get"]("waybill:executable", EXECUTABLE))
    root = str(options.pop("root", None) or __salt__["config.get"]("waybill:root", "/"))
    if not os.access(program, os.X_OK):
        hint = "copy it there with Salt, see the how-to 'Run Waybill from Salt'"
        raise CommandNotFoundError(f"{program}: is no executable of this minion\nhint: {hint}")
    values = options.pop("values", None) if "values" in OPTIONS[command] else None
    line = [program, *command.split(), *words, *_words(command, options), "--json", "--quiet"]
    line += [] if root == "/" else ["--root", root]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        if values:
            # JSON is YAML. A file of mode 0600, since every user can read a command line.
            json.dump(values, file)
            file.flush()
            line += ["--values", file.name]
        # No shell, and no terminal as standard input: `install` would ask there. Documents are not logged.
        done = __salt__["cmd.run_all"](
            line, python_shell=False, stdin="", output_loglevel="quiet", ignore_retcode=True
        )
    document = _document(done["stdout"])
    if not document:
        said = done["stderr"].strip()[-LONGEST_WORDS:] or "nothing"
        hint = "is this the executable of Waybill, and did anything end it?"
        raise CommandExecutionError(
            f"exit {done['retcode']}: no document of {program} came: {said}\nhint: {hint}"
        )
    if done["retcode"]:
        __context__["retcode"] = done["retcode"]
    return document


def _document(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if len(text) <= LONGEST_ANSWER else None
    except ValueError:
        return {}
    # Another program of this name may print JSON, too.
    known = isinstance(found, dict) and str(found.get("schema", "")).startswith("waybill/cli/")
    return found if known else {}


def _words(command: str, options: dict[str, Any]) -> list[str]:
    """Return the options of a command that keyword arguments stand for."""
    # Salt adds arguments of its own, such as __pub_jid.
    given = {name: value for name, value in options.items() if not name.startswith("__")}
    if unknown := sorted(given.keys() - {*OPTIONS[command]}):
        known = ", ".join(sorted(OPTIONS[command])) or "none"
        raise SaltInvocationError(f"unknown option {', '.join(unknown)}\nhint: the options are {known}")
    words: list[str] = []
    for name, value in sorted(given.items()):
        option = _NAMES.get(name, f"--{name.replace('_', '-')}")
        if isinstance(value, bool):
            words += [option] if value else []
        elif value is not None:
            several = value if isinstance(value, (list, tuple)) else [value]
            words += [word for each in several for word in (option, str(each))]
    return words


def _bundle(source: str, saltenv: str | None) -> str:
    """Return the path of a bundle; approvals next to it on the file server are next to it here, too."""
    path = _fetched(source, saltenv)
    if source.startswith("salt://"):
        # The address may name its environment, behind a question mark.
        bare, named = salt.utils.url.split_env(source)
        _fetched_directory(f"{bare}.approvals", named or saltenv)
    return path


def _fetched(source: str, saltenv: str | None) -> str:
    """Return the path of a file; Salt's file client copies it to the minion, unless it is there already."""
    if not source.startswith("salt://"):
        return source
    path = __salt__["cp.cache_file"](source, saltenv)
    if not path:
        hint = "look with `salt-run fileserver.file_list` whether it is there, and in which environment"
        raise CommandExecutionError(f"{source}: cannot be had from the file server\nhint: {hint}")
    return str(path)


def _fetched_directory(source: str, saltenv: str | None) -> str:
    """Return the path of a directory with the files that the file server has in it; empty for none."""
    if not source.startswith("salt://"):
        return source
    bare, named = salt.utils.url.split_env(source)
    saltenv = named or saltenv or __opts__["saltenv"] or "base"
    directory = salt.utils.url.parse(bare)[0].rstrip("/")
    # Below, what is not on the file server is removed from the cache; and never from any other directory.
    if any(part in ("", ".", "..") for part in (*saltenv.split("/"), *directory.split("/"))):
        raise SaltInvocationError(f"{source}: is no directory of the file server\nhint: write salt://NAME")
    prefix = f"{directory}/"
    names = [name for name in __salt__["cp.list_master"](saltenv, prefix) if name.startswith(prefix)]
    found = {name: _fetched(salt.utils.url.create(name), saltenv) for name in names}
    # An approval that was withdrawn must not stay. Without a master, nothing is in the cache.
    for path in Path(__opts__["cachedir"], "files", saltenv, prefix).rglob("*"):
        if path.is_file() and str(path) not in found.values():
            path.unlink()
    return next((path.removesuffix(name.removeprefix(prefix)) for name, path in found.items()), "")


def _would_trust(shown: dict[str, Any], path: str, fingerprint: str, updates: str) -> dict[str, Any]:
    """Return the document of `trust show` with what `trust ensure` would change."""
    if shown["exit"] not in (0, UNTRUSTED):
        return shown
    __context__.pop("retcode", None)  # that nothing is trusted yet is no failure here
    if hashlib.sha256(_root(Path(path))).hexdigest() != fingerprint.replace(" ", "").lower():
        raise CommandExecutionError(f"{path}: has not the fingerprint {fingerprint}\nhint: ask the publisher")
    files = [Path(path), *(sorted(Path(updates).glob("*.json")) if updates else [])]
    newest = max(_version(each) for each in files)
    trusted = shown["trust"] or {"version": 0}
    told = {"exit": 0, "code": None, "problems": [], "changed": trusted["version"] < newest}
    return {**shown, **told, "from": shown["to"], "to": {"version": str(newest)}}


def _version(path: Path) -> int:
    try:
        found = json.loads(_root(path))
    except ValueError as error:
        raise CommandExecutionError(f"{path}: is no JSON: {error}") from error
    version = found.get("version") if isinstance(found, dict) else None
    return version if isinstance(version, int) else 0


def _root(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_ROOT + 1)
    except OSError as error:
        raise CommandExecutionError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_ROOT:
        raise CommandExecutionError(f"{path}: has more than {LARGEST_ROOT} bytes, as no root has")
    return data
