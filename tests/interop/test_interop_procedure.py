"""docs/how-to/check-without-waybill.md, word for word, and we, on the same good and bad bundles."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.signing.cosign import generate
from installer.core.errors import WaybillError
from installer.core.format.manifest import SUMS
from installer.core.format.member_names import encoded_name
from tests.interop.table import NO, PROCEDURE, YES
from tests.rig import bundlebuild as build
from tests.rig import transcript
from tests.rig.bundlebuild import Part, Plan, raw_header
from tests.rig.needs import needs

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "check-without-waybill.md"
CHANGES, INDEX = "docs/CHANGELOG.md", "trees/web/index.html"
NAMES = (
    *("trees/web/" + "\u9762" * 85, "trees/web/Gro\u00dfe Schrift.ttf", "trees/web/it's $(rm).txt"),
    "trees/web/\u043f\u043e\u043c\u043e\u0449\u044c.html",
)
# In the order of their encoded names, as a bundle has them.
NAMED = {CHANGES: b"x", **{name: name.encode() for name in sorted(NAMES, key=encoded_name)}}


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build.signed(build.plan())


def check(directory: Path, data: bytes, *, with_space: bool = True, programs: str = "") -> tuple[int, str]:
    """Runs the document's script on a bundle; without space with the other form of its last step."""
    needs("openssl")
    files = {step.target: step.text for step in transcript.read(PAGE).steps if step.target}
    script = files["check.sh"]
    if not with_space:
        lines = script.splitlines()
        first = next(number for number, line in enumerate(lines) if line.startswith("mkdir all"))
        lines[first : first + 2] = files["step-4-without-space.sh"].splitlines()
        script = "\n".join(lines) + "\n"
        assert "sha256sum --quiet" not in script
    (directory / "check.sh").write_text(script)
    (directory / "release.pub").write_text(build.key()[1])
    (directory / "b.tar").write_bytes(data)
    space = directory / "space"
    space.mkdir(exist_ok=True)
    done = subprocess.run(
        ["bash", "check.sh", "b.tar", "release.pub"],
        cwd=directory,
        env={"PATH": f"{programs}{os.environ['PATH']}", "TMPDIR": str(space)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    # Whatever it says: the copy is as large as the bundle, and often in memory.
    assert list(space.iterdir()) == []
    return done.returncode, done.stdout


def behind(part: Part) -> Callable[[Plan], Plan]:
    """A member more, behind the payload."""
    return lambda plan: replace(plan, payload=(*plan.payload, part))


def odd(kind: bytes, name: str = "deploy/x", link: bytes = b"") -> Callable[[Plan], Plan]:
    """A member more, of another kind than a regular file."""
    return behind(Part(name, b"", header=raw_header(Part(name, b"").tar(), type=kind, link=link)))


def swapped(plan: Plan) -> Plan:
    data = {part.name: part.data for part in plan.payload}
    done = plan.changed(CHANGES, data=data[INDEX]).changed(INDEX, data=data[CHANGES])
    assert {part.data for part in done.payload} == {*data.values()}
    return done


def signature_of(sums: bytes, name: str) -> Callable[[Plan], Plan]:
    """The raw signature by somebody of something under the name that ours would have."""

    def act(plan: Plan) -> Plan:
        signer = build.key()[0] if name == "ours" else generate(b"")[1]
        data = signer.sign(sums or next(part.data for part in plan.head if part.name == SUMS))["sig"]
        return plan.changed(f"{SUMS}.{build.key()[0].keyid8}.sig", data=data)

    return act


def unsigned(plan: Plan) -> Plan:
    return replace(plan, head=tuple(p for p in plan.head if not p.name.endswith((".sig", ".sigstore.json"))))


APPROVALS = (
    "ops-0a1b2c3d.json",
    "ops-0a1b2c3d.json.asc",
    "security-00000000.2.json",
    "security-00000000.2.json.sig",
    "security-00000000.2.json.sigstore.json",
    "break-glass-00000000.json",
    "provenance-00000000.json",
)


def tail(*names: str) -> Callable[[Plan], Plan]:
    """Members after the payload."""
    return lambda plan: replace(plan, tail=tuple(Part(name, b"{}") for name in names))


def many(count: int) -> list[str]:
    """Names of approvals by as many keys."""
    return [f"approvals/ops-{number:08x}.json" for number in range(count)]


CASES: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "a good bundle": (lambda plan: plan, "OK: 6 files, identity "),
    "with names that tar cannot hold": (lambda _: build.signed(build.plan(NAMED)), "OK: 6 files, identity "),
    "with approvals behind the payload": (
        lambda plan: replace(plan, tail=tuple(Part(f"approvals/{name}", b"{}") for name in APPROVALS)),
        "OK: 6 files, identity ",
    ),
    "with as many approvals as there may be": (tail(*many(64)), "OK: 6 files, identity "),
    "with more approvals than there may be": (tail(*many(65)), "BAD: more than 64 approvals"),
    "a script among the approvals": (tail("approvals/INSTALL.sh"), "BAD: files and list differ"),
    "a script that is named like a signature": (tail("SHA256SUMS.run.sh"), "BAD: files and list differ"),
    "an approval of a role that nobody has": (
        tail("approvals/root-0a1b2c3d.json"),
        "BAD: files and list differ",
    ),
    "an approval in a directory": (tail("approvals/x/ops-0a1b2c3d.json"), "BAD: files and list differ"),
    "a signature without its approval": (
        tail("approvals/ops-0a1b2c3d.json.sig"),
        "BAD: a signature of what is missing: approvals/ops-0a1b2c3d.json",
    ),
    "a member twice, the second one other": (
        behind(Part(CHANGES, b"evil")),
        f"BAD: there twice: {CHANGES}",
    ),
    "a member twice, both alike": (
        behind(Part(CHANGES, build.FILES[CHANGES])),
        f"BAD: there twice: {CHANGES}",
    ),
    "an extra file": (behind(Part("deploy/evil.sh", b"#!/bin/sh\n", 0o755)), "BAD: files and list differ"),
    "a symbolic link": (odd(b"2", link=b"/etc"), "BAD: not a regular file"),
    "a device": (odd(b"3"), "BAD: not a regular file"),
    "a directory": (odd(b"5", "docs/"), "BAD: not a regular file"),
    "swapped payloads": (swapped, "BAD: changed: "),
    "a changed file": (lambda plan: plan.changed(CHANGES, data=b"evil"), f"BAD: changed: {CHANGES}"),
    "a missing file": (lambda plan: plan.without("trees/web/empty"), "BAD: files and list differ"),
    "another list": (
        lambda plan: plan.resealed(replace(plan.manifest, version="1.4.1")),
        "BAD: the signature does not fit",
    ),
    "the signature of another bundle": (
        signature_of(b"0" * 64 + b"  bundle.json\n", "ours"),
        "BAD: the signature does not fit",
    ),
    "the signature of another key under our key's name": (
        signature_of(b"", "a stranger's"),
        "BAD: the signature does not fit",
    ),
    "no signature": (unsigned, "BAD: no signature by this key"),
}


@pytest.mark.parametrize(("what", "verdict"), PROCEDURE, ids=[what for what, _ in PROCEDURE])
def test_the_procedure_and_we_agree(what: str, verdict: str, plan: Plan, tmp_path: Path) -> None:
    change, said = CASES[what]
    data = change(plan).tar()
    for with_space in (True, False):
        code, printed = check(tmp_path, data, with_space=with_space)
        assert said in printed
        assert (code, "OK:" in printed) == ((0, True) if verdict == YES else (1, False)), printed
    for medium in (build.BytesMedium(data), build.stream(data)):
        if verdict == YES:
            assert f"identity {build.verified(medium).identity}" in printed
        else:
            with pytest.raises(WaybillError) as caught:
                build.verified(medium)
            assert caught.value.exit_code in (10, 11)


def test_every_bundle_of_the_table_is_made() -> None:
    assert [what for what, _ in PROCEDURE] == list(CASES)
    assert {verdict for _, verdict in PROCEDURE} == {YES, NO}


def counting(directory: Path) -> Path:
    """Lay down programs of these names that note each start and become the real ones; return the notes."""
    notes, directory = directory / "starts", directory / "counting"
    directory.mkdir()
    for name in ("sha256sum", "cut", "tar"):
        program = directory / name
        program.write_text(f'#!/bin/sh\necho {name} >> {notes}\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
    return notes


def test_the_procedure_starts_no_program_for_each_file(tmp_path: Path) -> None:
    """The check of 2,000 files took 79 seconds when it did."""
    notes, started = counting(tmp_path), []
    for count in (3, 300):
        files = {f"trees/web/{number:03}": b"x%d" % number for number in range(count)}
        data = build.signed(build.plan(files)).tar()
        notes.unlink(missing_ok=True)
        code, said = check(tmp_path, data, programs=f"{tmp_path}/counting:")
        assert (code, f"OK: {count + 1} files" in said) == (0, True), said
        started.append(sorted(notes.read_text().split()))
    assert started[0] == started[1]
    assert started[0].count("sha256sum") < 5
