"""A bundle that one generation makes, signs and approves passes through the other one's `install`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.rig.compatrelease import FIRST, SECOND, bundle
from tests.rig.desk import Desk
from tests.rig.executables import Executables
from tests.rig.hostdir import PRODUCT, HostDir
from tests.rig.signing import gpg_home

ROLES = ("security", "ops")
METHODS = ("--yes", "--only", "files,images,script")


@dataclass(frozen=True)
class Shipment:
    """Two approved bundles, and the root that hosts of the environment `production` trust."""

    desk: Desk
    bundles: tuple[Path, Path]


@pytest.fixture(scope="module", params=["old", "new"])
def shipped(
    request: pytest.FixtureRequest, approving: Desk, tmp_path_factory: pytest.TempPathFactory
) -> Shipment:
    """Bundles by one generation, approved by two roles; one approval of the second one lies beside it."""
    programs: Executables = request.getfixturevalue(request.param)
    home = tmp_path_factory.mktemp("desk") / "keys"
    for path in [*approving.home.glob("*.key"), approving.root]:
        home.mkdir(exist_ok=True)
        shutil.copy2(path, home)
    desk = Desk(home, programs, approving.env)
    made = bundle(desk, FIRST, "undo", images=True), bundle(desk, SECOND, "undo", images=True)
    for path, back in zip(made, ("none", FIRST), strict=True):
        for role in ROLES:
            words = ["--role", role, "--env", "production", "--key", f"{role}.key", "--change-id", "CHG-1"]
            words += ["--rollback-to", back] if role == "ops" else []
            words += ["--sidecar"] if (role, back) == ("ops", FIRST) else []
            desk.approve(path, *words)
    return Shipment(desk, made)


@pytest.fixture
def receiver(shipped: Shipment, old: Executables, new: Executables, tmp_path: Path) -> HostDir:
    """A host of the environment `production`, driven by the other generation."""
    programs = new if shipped.desk.programs == old else old
    host = HostDir(tmp_path / "host", programs.install)
    for folder in ("etc/waybill", "srv"):
        (host.root / folder).mkdir(parents=True)
    (host.root / "etc/waybill/environment").write_text("production\n")
    host.check("trust", "init", shipped.desk.root, "--fingerprint", shipped.desk.fingerprint)
    return host


def test_a_bundle_of_the_other_version_is_verified_installed_rolled_back_and_removed(
    shipped: Shipment, receiver: HostDir
) -> None:
    before, seen = receiver.outside(), []
    for version, path in zip((FIRST, SECOND), shipped.bundles, strict=True):
        verified = receiver.document("verify", path)
        # Executables before the schemas of documents had the version at the top.
        assert verified.get("to", verified)["version"] == version
        receiver.check("plan", path)
        receiver.check(path, "--verify", *METHODS)
        assert receiver.version == version
        seen.append(receiver.outside())
    assert seen[0] != seen[1]
    receiver.check("rollback", "--yes")
    assert receiver.outside() == seen[0]
    assert receiver.status()["drift"] == []
    receiver.check("remove", PRODUCT, "--yes")
    assert receiver.outside() == before
    receiver.check("audit")


def test_an_approval_of_the_other_generation_counts(
    shipped: Shipment, receiver: HostDir, tmp_path: Path
) -> None:
    """The approval that is missing is given by the other generation's `bundle`, in the same file."""
    path = tmp_path / "second.tar"
    shutil.copy2(shipped.bundles[1], path)
    assert receiver.run("verify", path).rc == 14
    other = Desk(shipped.desk.home, Executables(receiver.install, receiver.install.with_name("bundle")))
    words = ("--role", "ops", "--env", "production", "--key", "ops.key", "--change-id", "CHG-1")
    other.approve(path, *words, "--rollback-to", FIRST)
    for install in (receiver.install, shipped.desk.programs.install):
        HostDir(receiver.root, install).check("verify", path)


@pytest.mark.needs("gpg", "gpgv")
def test_a_gpg_signature_is_verified(desk: Desk, old: Executables, new: Executables, tmp_path: Path) -> None:
    released = bundle(desk, FIRST)
    with gpg_home() as gpg:
        key = gpg.key("Release <release@example.org>")
        for maker, receiver in ((old, new), (new, old)):
            home = tmp_path / f"by {maker.bundle.parent.name}"
            home.mkdir()
            signing = Desk(home, maker, {**desk.env, "GNUPGHOME": str(gpg.path)})
            signing.bundle("trust", "init", signing.root, "--gpg-release", key)
            path = Path(shutil.copy2(released, home / "signed.tar"))
            signing.bundle("sign", path, "--gpg-key", key)
            host = HostDir(home / "host", receiver.install)
            (host.root / "etc").mkdir(parents=True)
            host.check("trust", "init", signing.root, "--fingerprint", signing.fingerprint)
            host.check("verify", path)
