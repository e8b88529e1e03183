"""Targets of a host's own files: journal, audit log, state, the trusted time.

A disk that loses data is no friend.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from tempfile import mkdtemp

from installer.audit import log as audit_log
from installer.audit import record as audit_record
from installer.audit.attempts import Attempts, Counted
from installer.audit.examination import Examined
from installer.audit.segments import Mark
from installer.commands import metrics
from installer.commands.audit import Audit
from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError, NotUndoneError
from installer.core.jsonio import dumps_lines
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.terminal.text import table
from installer.state import state, trust_store
from installer.state.evidence import Evidence
from installer.transaction import journal
from tests.fuzz.target import Target, refusal, same

ENTRY = state.Entry(
    "1-" + "a" * 12,
    "1.0.0",
    1,
    "a" * 64,
    "b" * 64,
    "000001",
    "c" * 64,
    5,
    ("files",),
    Evidence({"signers": ["x"]}),
)
LAYOUT = Layout("p")


@functools.cache
def host() -> System:
    """Gives a host of this process."""
    top = Path(mkdtemp(prefix="waybill-fuzz-"))
    (top / "var/lib/waybill/p").mkdir(parents=True)
    return System(top)


def put(path: str, data: bytes) -> None:
    """Writes a file of the host."""
    Path(host().root, path[1:]).write_bytes(data)


def check_journal(data: bytes) -> None:
    """A journal is read up to its torn end, or stops everything with a guide; hashes are made right."""
    for content in (data, _sealed(data)):
        with refusal(NotUndoneError):
            tail = journal.read(content, "/txn/000001.log")
            same([record.number for record in tail.records], list(range(1, len(tail.records) + 1)))
            again = journal.read(content[: tail.offset], "/txn/000001.log")
            same(again, tail)


def _sealed(data: bytes) -> bytes:
    """Gives each line, as far as it is JSON, its number, the hash of the one before, and its own."""
    out, previous = bytearray(), "0" * 64
    for number, line in enumerate(data.split(b"\n"), 1):
        body = line[65:] if line[64:65] == b" " else line
        try:
            value = json.loads(body)
            if isinstance(value, dict) and "prev" in value:
                body = json.dumps({**value, "n": number, "prev": previous}).encode()
        except (ValueError, RecursionError):
            pass
        previous = sha256_hex(body)
        out += previous.encode() + b" " + body + b"\n"
    return bytes(out)


def journals() -> list[bytes]:
    """Gives journals, whole, torn and damaged."""
    rows = [
        b'{"n":1,"type":"BEGIN","prev":"","verb":"apply"}',
        b'{"n":2,"type":"INTENT","prev":"","op":{}}',
        b"[]",
        b"1",
        b"{}",
    ]
    good = _sealed(b"\n".join(rows[:2]))
    return [good, good + bytes(512), good[:-9], b"\n".join(rows), rows[0] + b"\n" + rows[2]]


def check_audit(data: bytes) -> None:
    """A log is sound up to a named record; whatever it holds can be told; what is added is found again."""
    for content in (data, _chained(data)):
        chain = audit_log.check(content, None)
        same([record.number for record in chain.records], list(range(1, len(chain.records) + 1)))
        examined = Examined(chain, (chain.problem,) if chain.problem else ())
        found = Audit(examined, tuple(record.line for record in chain.records))
        json.dumps(found.as_json())
        table(found.rows())
        attempts = Attempts()
        for record in chain.records:
            attempts.add(record)
        counted = Counted(attempts, Mark(0, chain.head), intact=chain.problem is None)
        metrics.text(metrics.of_host(host(), counted=counted))
        head = chain.head if chain.records and not chain.problem else None
        put(audit_log.LOG, content)
        Path(host().root, audit_log.HEAD[1:]).unlink(missing_ok=True)
        if head:
            put(audit_log.HEAD, f"{head.number} {head.hash}\n".encode())
        with refusal(HostNotReadyError), audit_log.opened(host()) as log:
            added = log.append({"event": "unchanged", "time": "2026-11-24T03:00:00Z"})
            after = audit_log.check(*audit_log.read(host()))
            if head and after.records[-1] != added:
                raise AssertionError("what was added is not the last record")


def _chained(data: bytes) -> bytes:
    """Gives each line, as far as it is a JSON object, as a record that follows from the one before."""
    out, number, previous = bytearray(), 0, audit_log.START
    for line in data.split(b"\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            out += line + b"\n"
            continue
        if isinstance(value, dict):
            number += 1
            record = audit_record.encode(number, previous, {"event": "begun", **value})
            out, previous = out + record.line + b"\n", record.hash
    return bytes(out)


def audits() -> list[bytes]:
    """Gives logs, whole, torn and with fields of the wrong kind."""
    rows = [
        b'{"event":"begun","verb":"apply","product":"p","transaction":"1","released_by":[{"owner":"x"}]}',
        b'{"event":"ended","result":"done","exit":0,"seconds":1,"product":"p","time":"2026-11-24T03:00:00Z"}',
        b'{"event":"refused","step":3,"check":"x","problems":["a"],"exit":"x","by":[],"product":null}',
        b'{"event":"repaired","bytes":3,"sha256":"x"}',
    ]
    good = _chained(b"\n".join(rows[:2]))
    return [good, good[:-9], good + bytes(64), b"\n".join(rows), b"[]"]


def check_state(data: bytes) -> None:
    """A state is read, of the right types, and saved to the same; or it is called damaged."""
    put(LAYOUT.state_file, data)
    with refusal(NotUndoneError):
        found = state.load(host(), LAYOUT)
        for each in found.retained:
            texts = (
                each.name,
                each.version,
                each.identity,
                each.manifest,
                each.record,
                each.record_sha256,
                *each.methods,
            )
            if not all(isinstance(text, str) for text in texts):
                raise AssertionError(f"not of text: {each}")
        found.after(found.transaction + 1, ENTRY)
        state.next_transaction(host(), LAYOUT, found)
        state.save(host(), LAYOUT, found)
        same(state.load(host(), LAYOUT), found)


def states() -> list[bytes]:
    """Gives states."""
    full = state.State().after(1, ENTRY)
    return [dumps_lines(each.as_json()) for each in (full, state.State())] + [
        b"{}",
        b"[]",
        b'{"releases":{}}',
    ]


def check_time(data: bytes) -> None:
    """The last trusted time is a time, or is said to be none."""
    put(trust_store.TIME_FILE, data)
    with refusal(HostNotReadyError):
        moment = trust_store.known_time(host())
        if moment is None or moment.tzinfo is None:
            raise AssertionError("a damaged time is taken for none")


KEYS = (
    b'"current":',
    b'"releases":',
    b'"highest":',
    b'"transaction":',
    b'"reset":',
    b'"methods":',
    b"null",
    b"-1",
    b"[]",
    b"{}",
)
TARGETS = (
    Target(
        "journal", check_journal, journals, runs=2500, words=(b'"n":', b'"type":', b'"prev":', b"\n", b"null")
    ),
    Target(
        "audit-log",
        check_audit,
        audits,
        runs=300,
        words=(
            b'"event":',
            b'"product":',
            b'"exit":',
            b'"seconds":',
            b'"result":',
            b"null",
            b"[]",
            b"{}",
            b"\n",
        ),
    ),
    Target("state", check_state, states, runs=500, words=KEYS),
    Target(
        "trusted-time", check_time, lambda: [b"2026-01-31T00:00:00Z\n", b"", b"2026"], runs=1000, most=128
    ),
)
