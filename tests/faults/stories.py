"""What is done to a host while things go wrong: the stories, the hosts they begin on, and how they end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from installer.audit.evidence import EvidenceRecorder
from installer.audit.recorder import AuditedCommand, audited
from installer.commands.common.bundle_verifier import BundleVerifier
from installer.commands.common.plan_execution import TransactionResult, execute_plan
from installer.commands.common.recovery import exclusive
from installer.commands.metrics import SETTING, publish
from installer.commands.rollback import plan_rollback
from installer.core.errors import NotUndoneError, RolledBackError, WaybillError
from installer.core.format.archive import open_bundle, unsafe_trust_anyone
from installer.core.format.manifest import Deployment, DirectoryEntry, LinkEntry
from installer.core.trust.root import Role, Root
from installer.core.trust.signature_check import SignatureEvidence
from installer.core.trust.verifier import Trust
from installer.core.verify import OpenedBundle
from installer.core.vsa import VerificationTrace
from installer.host.context import Context
from installer.host.system import System
from installer.planning.plan import Options
from installer.planning.planner import plan_apply, plan_remove
from installer.staging.area import discard
from installer.staging.stage import stage
from installer.state.state import State, load
from tests.rig import bundlebuild
from tests.rig.bundlebuild import CREATED, BytesMedium
from tests.rig.faulty import snapshot
from tests.rig.releases import Member, ReleaseSpec, context

OURS = "var"
METRICS = "var/lib/node_exporter"
EVIDENCE = SignatureEvidence("", "release", 1, 0, ())
TODAY = datetime.fromtimestamp(CREATED, UTC)
TRUST = Trust(Root(1, TODAY + timedelta(days=1), {}, {"release": Role((), 1)}), lambda: TODAY)
OLD = ReleaseSpec(
    "1.0.0",
    1,
    {
        "config/chatd.conf": Member(b"port: 1\n", "/etc/chat/chatd.conf", 0o640, "template"),
        "bin/linux-amd64/chatd": Member(b"old daemon", "/opt/chat/bin/chatd", 0o755),
        "trees/web/index.html": Member(b"<old>", "/opt/chat/web/index.html", kind="tree"),
        "trees/web/gone/deep.js": Member(b"gone", "/opt/chat/web/gone/deep.js", kind="tree"),
        "trees/web/lib/a.js": Member(b"a", "/opt/chat/web/lib/a.js", kind="tree"),
    },
    links=(LinkEntry("trees/web/start", "index.html", "/opt/chat/web/start"),),
    platforms=("linux/amd64",),
)
NEW = replace(
    OLD,
    version="1.1.0",
    sequence=2,
    members={
        "config/chatd.conf": Member(b"port: {{ 1 + 1 }}\n", "/etc/chat/chatd.conf", 0o600, "template"),
        "bin/linux-amd64/chatd": Member(b"new daemon!" * 60, "/opt/chat/bin/chatd", 0o755),
        "trees/web/index.html": Member(b"<old>", "/opt/chat/web/index.html", kind="tree"),
        "trees/web/start/a.html": Member(
            b"a link became a directory", "/opt/chat/web/start/a.html", kind="tree"
        ),
        "trees/web/new/b.js": Member(b"b", "/opt/chat/web/new/b.js", kind="tree"),
    },
    links=(LinkEntry("trees/web/lib", "new", "/opt/chat/web/lib"),),
    directories=(DirectoryEntry("trees/web/empty", 0o750, "/opt/chat/web/empty"),),
)
SCRIPT = b'#!/bin/sh\necho "$(basename "$0") $WAYBILL_VERSION" > "$WAYBILL_ROOT/etc/ran"\n'


def with_scripts(spec: ReleaseSpec) -> ReleaseSpec:
    """Gives the release with a step that is a program."""
    scripts = {f"deploy/{word}.sh": Member(SCRIPT, mode=0o755, kind="script") for word in ("apply", "undo")}
    options = {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"}
    return replace(spec, members={**spec.members, **scripts}, deploy=(Deployment("script", options),))


def tar(spec: ReleaseSpec) -> bytes:
    """Gives a release as a bundle."""
    manifest = spec.manifest()
    files = {entry.path: spec.members[entry.path].data for entry in manifest.files}
    names = ("mode", "kind", "install", "owner", "expanded")
    entries = {entry.path: {name: getattr(entry, name) for name in names} for entry in manifest.files}
    fields = ("version", "sequence", "links", "directories", "deploy", "images")
    made = bundlebuild.plan(files, entries=entries, **{name: getattr(manifest, name) for name in fields})
    return made.tar()


@contextmanager
def attempting(within: Context, verb: str) -> Iterator[None]:
    """Goes around what a command does, as the command line has it: refusals are logged, then the metrics."""
    product, note = within.layout.product, within.progress.note
    try:
        with audited(within.system, AuditedCommand(verb, product), note):
            yield
    finally:
        publish(within.system, product, note)


def install(
    within: Context, spec: ReleaseSpec, options: Options | None = None, medium: BytesMedium | None = None
) -> TransactionResult:
    """Installs a bundle as `install BUNDLE` does it, once it is trusted."""
    system, layout, progress = within.system, within.layout, within.progress
    trace = VerificationTrace("b.tar", released=EVIDENCE)
    recorder = EvidenceRecorder(
        system, lambda: datetime.fromtimestamp(int(system.now()), UTC), progress.note, trace
    )
    with attempting(within, "apply"), recorder.record_refusals():
        opened = OpenedBundle(open_bundle(medium or BytesMedium(tar(spec)), unsafe_trust_anyone), EVIDENCE)
        bundle = opened.bundle
        trace.identity, trace.manifest = bundle.identity, bundle.manifest
        with exclusive(replace(within, resume=bundle.identity)) as (state, _):
            # Who signed does not matter here; that a release is not older than what the host had does.
            BundleVerifier(system, TRUST, "", [], trace).check_again(opened, state)
            _, staged = stage(opened, system, layout, progress)
            began = False
            try:
                found = plan_apply(within, state, staged, options or Options())
                found.require_ready()
                passed = None if found.nothing else recorder.record_passed()
                began = True
                return execute_plan(within, found, passed)
            finally:
                if not began:
                    discard(system, layout, progress, bundle.identity)


def back(within: Context) -> TransactionResult:
    """Rolls back."""
    with attempting(within, "rollback"), exclusive(within) as (state, _):
        return execute_plan(within, plan_rollback(within, state, None, Options()))


def remove(within: Context) -> TransactionResult:
    """Takes the product off the host."""
    with attempting(within, "remove"), exclusive(within) as (state, _):
        return execute_plan(within, plan_remove(within, state))


def recover(within: Context) -> None:
    """Recovers."""
    with attempting(within, "recover"), exclusive(within):
        pass


@dataclass(frozen=True)
class Story:
    """One thing that is done.

    Attributes:
        name: For the table.
        before: The host it begins on.
        verb: Does it.
        ends: The version that runs if it succeeds; empty for none.
    """

    name: str
    before: str
    verb: Callable[[Context], object]
    ends: str

    def __str__(self) -> str:
        return self.name


SCRIPTED = Options(only=frozenset({"script"}))
WORLDS: dict[str, tuple[ReleaseSpec, ...]] = {"empty": (), "old": (OLD,), "new": (OLD, NEW)}
STORIES = {
    story.name: story
    for story in (
        Story("install", "empty", lambda within: install(within, OLD), "1.0.0"),
        Story("upgrade", "old", lambda within: install(within, NEW), "1.1.0"),
        Story("rollback", "new", back, "1.0.0"),
        Story("remove", "new", remove, ""),
    )
}
SCRIPTS = Story(
    "upgrade with scripts", "scripted", lambda within: install(within, with_scripts(NEW), SCRIPTED), "1.1.0"
)


class Host(System):
    """A host on which waiting takes no time; `boot` tells one run of its kernel from the next."""

    def __init__(self, root: Path, boot: str = "1") -> None:
        super().__init__(root)
        self.boot = boot

    def boot_id(self) -> str:
        return self.boot

    def sleep(self, seconds: float) -> None:
        """Time is not what is tested here."""


def on(root: Path, boot: str = "1") -> Context:
    """Gives the context of a host."""
    return context(Host(root, boot))


def make_world(root: Path, name: str) -> None:
    """Makes a host to begin on."""
    root.mkdir()
    (root / "etc").mkdir()
    (root / "etc/hostname").write_bytes(b"host\n")
    (root / METRICS).mkdir(parents=True)
    (root / SETTING[1:]).parent.mkdir()
    (root / SETTING[1:]).write_text(f"/{METRICS}\n")
    if name == "scripted":
        install(on(root), with_scripts(OLD), SCRIPTED)
        return
    for spec in WORLDS[name]:
        install(on(root), spec)


def copy(source: Path, target: Path) -> Path:
    """Copies a host."""
    shutil.copytree(source, target, symlinks=True)
    return target


def told(verb: Callable[[Context], object], within: Context) -> str:
    """Does it and says what the operator is told."""
    try:
        done = verb(within)
    except RolledBackError:
        return "rolled back"
    except NotUndoneError:
        return "not undone"
    except (OSError, WaybillError) as error:
        return f"refused: {error}"
    return "pending" if isinstance(done, TransactionResult) and done.pending else "done"


def state(root: Path) -> State:
    """Gives what a host knows of the product."""
    return load(on(root).system, on(root).layout)


def outside(root: Path) -> dict[str, tuple[object, ...]]:
    """Gives everything on a host but what is Waybill's own."""
    return snapshot(root, besides=(OURS,))
