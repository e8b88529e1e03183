"""Targets of what a host keeps beside its state (evidence, history, staging), and of the operator's words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from installer.audit import evidence
from installer.commands import history
from installer.core.errors import HostNotReadyError, TamperedError, UsageError
from installer.core.format.manifest import MANIFEST, SUMS
from installer.core.jsonio import dumps
from installer.core.vsa import VerificationTrace, make_evidence
from installer.host.context import Context
from installer.planning import drift
from installer.shared.progress import Progress
from installer.staging import area
from installer.transaction import finalize
from tests.fuzz.host import LAYOUT, host, put
from tests.fuzz.target import Target, refusal, same

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)
AREA = "/srv/data/waybill-p-aaaaaaaaaaaa-00000001"


def check_evidence(data: bytes) -> None:
    """Evidence of a refusal can be told, or is passed over; what a disk made of it stops nobody."""
    path = f"{evidence.DIRECTORY}/000001-refused-unknown.json"
    _directory(evidence.DIRECTORY)
    put(path, data)
    found = evidence.refusals(host())
    _told([], found)
    same([each.evidence for each in found], [path] * len(found))
    if data in evidences()[:2] and not found:
        raise AssertionError("good evidence is passed over")


def _told(events: list[history.Event], refused: list[evidence.Refusal]) -> None:
    """Tells what was read, beside what is there on every host."""
    good = history.Event("000001", "apply", "done", 1, 2, "1.0.0", "a" * 64)
    history.HistoryResult((good, *events), (*refused, *refused)).text()
    json.dumps([asdict(each) for each in (*events, *refused)])


def evidences() -> list[bytes]:
    """Gives evidence of refusals, more or less known of the bundle."""
    trails = [VerificationTrace("b.tar"), VerificationTrace("b.tar", "a" * 64, 3, "production", "b" * 64)]
    refused = TamperedError("is not what was signed", where="b.tar")
    return [make_evidence(each, "1.0.0", NOW, refused) for each in trails] + [b'{"predicate":{}}', b"[]"]


def check_history(data: bytes) -> None:
    """A history is told, or called damaged; and whatever it holds, one more line is added, once."""
    _directory(LAYOUT.base)
    put(LAYOUT.history, data)
    context = Context(host(), LAYOUT, Progress(), "000009")
    with refusal(HostNotReadyError):
        _told(history.events(context), [])
    line = {**_line(), "transaction": "000009"}
    for _ in range(2):
        finalize.add_history(context, line)
    rest = host().read(LAYOUT.history, finalize.HISTORY_LIMIT)
    whole = data[: data.rfind(b"\n") + 1]
    but_last = whole[: whole[:-1].rfind(b"\n") + 1]  # which counts as torn where it is damaged
    if rest not in (data, whole + dumps(line), but_last + dumps(line)):
        raise AssertionError("the history is not what it was and one more line")


def _line() -> dict[str, Any]:
    return {
        "transaction": "000001",
        "verb": "apply",
        "outcome": "done",
        "began": 1_790_000_000,
        "ended": 1_790_000_009,
        "from": "",
        "to": "1-aaaaaaaaaaaa",
        "version": "1.0.0",
        "identity": "a" * 64,
        "evidence": {"record": {"path": "/x", "sha256": "b" * 64}, "policy": {"break_glass": ["ops"]}},
    }


def histories() -> list[bytes]:
    """Gives histories, whole, torn and with lines of another kind."""
    good = dumps(_line())
    return [good * 2, good + good[:-9], b"[]\n" + good, b"{}\n", b""]


def check_staging(data: bytes) -> None:
    """Clearing removes what is ours, moves the rest to where it is kept, and touches nothing elsewhere."""
    top = Path(host().root)
    for each in ("srv", LAYOUT.base[1:]):
        shutil.rmtree(top / each, ignore_errors=True)
    for each in (LAYOUT.staging, "/srv/other", f"{AREA}/images"):
        _directory(each)
    for each in ("/srv/other/keep", f"{AREA}/images/notes"):
        put(each, b"not ours")
    theirs = set(_planted(data))
    area.clear(host(), LAYOUT, Progress())
    same(host().names(LAYOUT.staging), [])
    for each in ("/srv/other/keep", f"{AREA}/images/notes"):
        same(host().read(each, 99), b"not ours")
    kept = {path.read_bytes() for path in (top / LAYOUT.preserved[1:]).rglob("*") if path.is_file()}
    if theirs - kept:
        raise AssertionError(f"lost: {theirs - kept}")


def _planted(data: bytes) -> Iterator[bytes]:
    """Lays names into the staging area: `NAME=lTARGET`, `NAME=dINNER` or a file; gives what is not ours."""
    numbers = count()
    place = Path(host().root, LAYOUT.staging[1:])
    for piece in data.split(b"\n")[:6]:
        name, _, rest = (part.replace(b"/", b"").replace(b"\0", b"")[:80] for part in piece.partition(b"="))
        path = place / name.decode("utf-8", "surrogateescape")
        inner = rest[1:].decode("utf-8", "surrogateescape")
        if name in (b"", b".", b"..") or path.is_symlink() or path.exists():
            continue
        content = b"%d" % next(numbers)
        if rest[:1] == b"l":
            target = piece.partition(b"=")[2][1:].replace(b"\0", b"")[:200] or b"x"
            path.symlink_to(target.decode("utf-8", "surrogateescape"))
        elif rest[:1] == b"d":
            path.mkdir()
            if inner not in ("", ".", ".."):
                (path / inner).write_bytes(content)
                if not name.endswith(b".replaced") and not inner.startswith((SUMS, MANIFEST)):
                    yield content
        else:
            path.write_bytes(content)
            yield content


def _directory(path: str) -> None:
    Path(host().root, path[1:]).mkdir(parents=True, exist_ok=True)


AREAS = [
    f"aaaaaaaaaaaa.work=l{AREA}\naaaaaaaaaaaa=dbundle.json\nnotes=x".encode(),
    b"aaaaaaaaaaaa.work=l/srv/other\nbbbbbbbbbbbb.work=l../../../../srv/other\nbbbbbbbbbbbb=dnotes",
    b"aaaaaaaaaaaa.replaced=dold\nb=l/srv/other\naaaaaaaaaaaa=dSHA256SUMS",
]


def check_policy(data: bytes) -> None:
    """What was said about edited files is one of three treatments for each path, or not understood."""
    with refusal(UsageError):
        found = drift.Policy.parse(data.decode("utf-8", "replace").split("\n"))
        for path in (*found.named, "/etc/other"):
            same((found.of(path) in (None, *drift.TREATMENTS), path[:1]), (True, "/"))


TARGETS = (
    Target(
        "evidence",
        check_evidence,
        evidences,
        runs=800,
        words=(
            b'"predicate":',
            b'"waybill_refusal":',
            b'"waybill_bundle":',
            b'"step":',
            b"null",
            b"[]",
            b"-1",
        ),
    ),
    Target(
        "history",
        check_history,
        histories,
        runs=300,
        words=(b'"began":', b'"evidence":', b'"record":', b'"policy":', b"null", b"[]", b"{}", b"\n"),
    ),
    Target(
        "staging",
        check_staging,
        lambda: AREAS,
        runs=100,
        most=512,
        words=(b".work=l/", b".replaced=d", AREA.encode(), b"aaaaaaaaaaaa", b"\n"),
    ),
    Target(
        "drift-policy",
        check_policy,
        lambda: [b"keep\nreplace:/etc/p/a.conf", b"refuse:/x\nkeep:/x"],
        most=256,
        words=(b"refuse", b"keep:", b"replace:/", b"\n"),
    ),
)
