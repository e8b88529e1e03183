"""Keep releases of Waybill on a minion: installed, verified, rolled back, absent, and its root trusted.

With `test=True` the executable plans, and `changes` are the plan. A state that changes nothing says so. The
comment of a state that fails has the exit code, the problems with their hints, and what was rolled back.
"""

from __future__ import annotations

from typing import Any

from salt.exceptions import CommandExecutionError, CommandNotFoundError, SaltInvocationError

MOST_FILES = 1000  # files of a plan that the changes name
UNTRUSTED = 10  # the exit code of a bundle or a host without trust
NOT_READY = 15  # the exit code of a host that is not ready
_NOT_PLANNED = ("wait", "timeout")
_TROUBLE = ("drift", "damaged", "distrust", "in_progress", "leftover", "secrets_changed", "unfinished")
"""What `status` says of a product that is not quite as it was released."""


def installed(name: str, source: str, version: str | None = None, **options: Any) -> dict[str, Any]:
    """Have a release installed, as it was released and with the values of the minion.

    A release that is not healthy is rolled back, and the state fails.

    Args:
        name: The product.
        source: The bundle: a path on the minion, salt://…, oci://… or https://…. Approvals next to it, in
            SOURCE.approvals, come with it.
        version: The version that the bundle must have; another one is refused before anything is changed.
        options: The options of the function waybill.apply.

    .. code-block:: yaml

        lan-chat:
          waybill.installed:
            - source: salt://lan-chat-1.5.0.tar
            - version: 1.5.0
            - values: {ports: {client: 5222}}
    """
    planned = {key: value for key, value in options.items() if key not in _NOT_PLANNED}
    plan = _call("plan", source, saltenv=__env__, **planned)
    # An interrupted transaction looks like drift to a plan. `apply` first completes or undoes it.
    ready = plan["exit"] == NOT_READY and not __opts__["test"] and _interrupted(_status(options), name)
    if plan["exit"] and not ready:
        return _failed(name, plan)
    if other := _other(plan, source, name, version):
        return _result(name, False, other)
    found = f"{name} {plan['to']['version']}"
    if plan.get("nothing_to_do") and (__opts__["test"] or not _troubled(_status(options), name)):
        return _result(name, True, f"{found} is installed, as it was released", plan)
    if __opts__["test"]:
        return _result(name, None, f"{found} would be installed", plan, _changes(plan, plan))
    done = _call("apply", source, saltenv=__env__, **options)
    if done["exit"]:
        return _failed(name, done)
    return _result(name, True, f"{found} is installed", done, _changes(done, done.get("plan")))


def verified(name: str, source: str, version: str | None = None, **options: Any) -> dict[str, Any]:
    """Have a bundle verified on the minion, before it is installed on any.

    Args:
        name: The product.
        source: As with waybill.installed.
        version: As with waybill.installed.
        options: environment, approvals.

    .. code-block:: yaml

        lan-chat:
          waybill.verified:
            - source: salt://lan-chat-1.5.0.tar
    """
    done = _call("verify", source, saltenv=__env__, **options)
    if done["exit"]:
        return _failed(name, done)
    if other := _other(done, source, name, version):
        return _result(name, False, other)
    return _result(name, True, f"{source} has {name} {done['to']['version']}, which is verified", done)


def rolled_back(name: str, version: str, **options: Any) -> dict[str, Any]:
    """Have a retained release in place of a later one.

    Args:
        name: The product.
        version: The version of the retained release.
        options: The options of the function waybill.rollback.

    .. code-block:: yaml

        lan-chat:
          waybill.rolled_back:
            - version: 1.4.0
    """
    asked = _status(options)
    if asked["exit"]:
        return _failed(name, asked)
    found = asked["by_name"].get(name) or {"installed": None, "retained": []}
    now = found["installed"]
    if now and now["version"] == version and not _troubled(asked, name):
        return _result(name, True, f"{name} {version} is installed", asked)
    if __opts__["test"]:
        retained = [each["version"] for each in found["retained"]]
        if version not in retained:
            said = f"{name} {version} is none of the retained releases: {', '.join(retained) or 'none'}"
            return _result(name, False, said)
        told = {"from": now, "to": {"version": version}, "changed": True}
        return _result(name, None, f"{name} would be rolled back to {version}", changes=_changes(told, None))
    done = _call("rollback", name, version, **options)
    if done["exit"]:
        return _failed(name, done)
    return _result(name, True, f"{name} {version} is installed", done, _changes(done, done.get("plan")))


def absent(name: str, **options: Any) -> dict[str, Any]:
    """Have a product removed, without its data unless purge is given.

    Args:
        name: The product.
        options: The options of the function waybill.remove.

    .. code-block:: yaml

        lan-chat:
          waybill.absent: []
    """
    if __opts__["test"]:
        asked = _status(options)
        if asked["exit"]:
            return _failed(name, asked)
        now = (asked["by_name"].get(name) or {"installed": None})["installed"]
        if not now:
            return _result(name, True, f"{name} is not installed", asked)
        told = {"from": now, "to": None, "changed": True}
        return _result(name, None, f"{name} would be removed", asked, _changes(told, None))
    done = _call("remove", name, **options)
    if done["exit"]:
        return _failed(name, done)
    said = f"{name} was removed" if done["changed"] else f"{name} is not installed"
    return _result(name, True, said, done, _changes(done, done.get("plan")))


def trusted(
    name: str, fingerprint: str, source: str | None = None, updates: str | None = None, **options: Any
) -> dict[str, Any]:
    """Have the minion trust a root, or a later version of it.

    Args:
        name: The file root.json, unless source names it.
        fingerprint: Its fingerprint, from the trust sheet. It must come another way than the file.
        source: The file root.json: a path on the minion, or salt://….
        updates: A directory with later versions of the root: a path, or salt://….
        options: environment.

    .. code-block:: yaml

        salt://root.json:
          waybill.trusted:
            - fingerprint: 1a2b…
            - environment: production
    """
    words = {"updates": updates, "saltenv": __env__, "test": __opts__["test"], **options}
    done = _call("trust_ensure", source or name, fingerprint, **words)
    if done["exit"]:
        return _failed(name, done)
    now = done["to"]["version"]
    if not done["changed"]:
        return _result(name, True, "the root, or a later version of it, is trusted", done)
    changes = {"trust": {"old": (done["from"] or {}).get("version"), "new": now}}
    if __opts__["test"]:
        return _result(name, None, f"version {now} of the root would be trusted", done, changes)
    return _result(name, True, f"version {now} of the root is trusted", done, changes)


def _call(function: str, *words: Any, **options: Any) -> dict[str, Any]:
    """Run a function of the execution module; an error is a document of the same shape as others."""
    try:
        return dict(__salt__[f"waybill.{function}"](*words, **options))
    except (CommandExecutionError, CommandNotFoundError, SaltInvocationError) as error:
        missing = isinstance(error, CommandNotFoundError)
        return {"exit": 127 if missing else 1, "problems": [{"what": str(error)}], "missing": missing}


def _other(document: dict[str, Any], source: str, name: str, version: str | None) -> str:
    """Return how a bundle differs from what the state asks for; empty for not at all."""
    found = f"{document['product']} {document['to']['version']}"
    wanted = f"{name} {str(version).removeprefix('v') if version else document['to']['version']}"
    return f"{source} has {found}, and the state asks for {wanted}" if found != wanted else ""


def _troubled(status: dict[str, Any], name: str) -> bool:
    """Tell whether a product differs from its release, by the document of `status`."""
    found = status.get("by_name", {}).get(name) or {"installed": None}
    now = found["installed"]
    return not now or bool(now["incomplete"]) or any(map(found.get, _TROUBLE))


def _interrupted(status: dict[str, Any], name: str) -> bool:
    return bool((status.get("by_name", {}).get(name) or {}).get("unfinished"))


def _status(options: dict[str, Any]) -> dict[str, Any]:
    return _call("status", **{key: value for key, value in options.items() if key in ("executable", "root")})


def _changes(document: dict[str, Any], plan: dict[str, Any] | None) -> dict[str, Any]:
    """Return what changed, or would: the versions, the files, their differences, and the steps."""
    plan = plan or {}
    if not document.get("changed") and plan.get("nothing_to_do", True):
        return {}
    versions = {
        key: (document.get(way) or {}).get("version") for key, way in (("old", "from"), ("new", "to"))
    }
    files = plan.get("files") or []
    named = {each["path"]: each["verb"] for each in files[:MOST_FILES]}
    if len(files) > MOST_FILES:
        named["…"] = f"{len(files) - MOST_FILES} more"
    texts = "\n".join(each["text"] for each in plan.get("config") or () if each["text"])
    steps = {each["name"]: each["does"] for each in plan.get("methods") or ()}
    more = {"files": named, "diff": texts, "steps": steps}
    return {"version": versions, **{key: value for key, value in more.items() if value}}


def _result(
    name: str,
    result: bool | None,
    comment: str,
    document: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    told = document or {}
    lines = [comment, *(_sentence(each) for each in told.get("warnings") or ()), *(told.get("notes") or ())]
    return {"name": name, "result": result, "changes": changes or {}, "comment": "\n".join(lines)}


def _failed(name: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a state that failed: every problem with its hint, and what was undone."""
    if __opts__["test"] and _comes_before(document):
        return _result(name, None, f"nothing can be planned yet: {document['problems'][0]['what']}")
    code = document.get("code")
    lines = [f"exit {document['exit']}{f' ({code})' if code else ''}"]
    lines += [_sentence(each) for each in document.get("problems") or ()]
    steps = [each for each in document.get("steps") or () if each["action"] == "undo" and each["name"]]
    lines += [f"{each['name']}: {each['result']}" for each in steps]
    # Exit 20 has changed nothing; after exit 21 the host is not what it was.
    changes = {"steps": lines[1:]} if document.get("changed") else {}
    return _result(name, False, "\n".join(lines), document, changes)


def _comes_before(document: dict[str, Any]) -> bool:
    """Tell whether all that lacks is the executable, or trust: states before this one may bring both."""
    if document["exit"] == UNTRUSTED:
        return _call("trust_show").get("trust") is None
    return bool(document.get("missing"))


def _sentence(problem: dict[str, Any]) -> str:
    where, hint = problem.get("where"), problem.get("hint")
    said = f"{where}: {problem['what']}" if where else str(problem["what"])
    return f"{said}\n  hint: {hint}" if hint else said
