"""What the operator is refused: each with its own exit code, and the host as it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.e2e.site import STATE
from tests.rig.desk import BETTER, GOOD, PRODUCT, Desk
from tests.rig.products import elf, make_product, put

PLACES = ("/opt", "/etc", f"{STATE}/{PRODUCT}")


def damaged(good: Path, name: str, offset: int) -> Path:
    """Makes a copy of a bundle in which one bit is another one."""
    data = bytearray(good.read_bytes())
    data[offset] ^= 1
    copy = good.with_name(name)
    copy.write_bytes(data)
    return copy


def member(bundle: Path, name: str) -> int:
    """Finds where a member's bytes begin."""
    return bundle.read_bytes().index(name.encode().ljust(100, b"\0")) + 512


@pytest.fixture(scope="module")
def other_platform(desk: Desk) -> Path:
    """A release of the same product for arm64 only."""
    directory = make_product(desk.home / "arm64")
    put(directory, "bundle.yaml", (directory / "bundle.yaml").read_text().replace("amd64", "arm64"))
    put(directory, "build/linux-arm64/chatd", elf(183))
    changelog = (directory / "CHANGELOG.md").read_text().replace("1.4.0", "1.9.0")
    put(directory, "CHANGELOG.md", changelog)
    target = desk.home / "arm64.tar"
    desk.bundle("create", "1.9.0", "-C", directory, "-o", target, "--key", desk.key)
    return target


@pytest.fixture(scope="module")
def bad(desk: Desk, other_platform: Path) -> dict[str, Path]:
    """Bundles that are refused, by their fault."""
    good = desk.release(BETTER)
    desk.bundle("keygen", "stranger")
    cut = good.with_name("cut.tar")
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    return {
        "stranger's key": desk.release("1.5.0", "stranger", key=desk.home / "stranger.key"),
        "bit in the server": damaged(
            good, "server-bit.tar", member(good, "bin/linux-amd64/nats-server") + 999
        ),
        "bit in the list": damaged(good, "list-bit.tar", 512 + 3),
        "bit in the manifest": damaged(good, "manifest-bit.tar", member(good, "bundle.json") + 30),
        "cut short": cut,
        "for arm64": other_platform,
        "downgrade": desk.release(GOOD),
        "not a bundle": desk.root,
    }


@pytest.fixture(scope="module")
def running(site, desk):
    """The host with 1.5.0 on it."""
    site.apply(desk.release(BETTER))
    return site


@pytest.mark.parametrize(
    ("fault", "exit_code"),
    [
        ("stranger's key", 10),
        ("bit in the server", 11),
        ("bit in the list", 11),
        ("bit in the manifest", 11),
        ("cut short", 11),
        ("for arm64", 13),
        ("downgrade", 13),
        ("not a bundle", 11),
    ],
)
def test_refused_bundle_leaves_the_host_as_it_was(running, bad, fault, exit_code):
    before = running.tree(*PLACES)
    running.carry(bad[fault])
    rc, out, err = running.run(f"{bad[fault].name} --verify --yes --json")
    assert rc == exit_code, err
    error = json.loads(out)
    assert error["exit"] == exit_code
    assert error["problems"][0]["what"]
    assert "Traceback" not in err
    assert running.tree(*PLACES) == before
    assert running.serving() == BETTER


@pytest.mark.parametrize(
    "fault", ["stranger's key", "bit in the server", "cut short", "for arm64", "downgrade"]
)
def test_plan_refuses_what_apply_refuses(running, bad, fault):
    running.carry(bad[fault])
    applied = running.run(f"{bad[fault].name} --yes").rc
    assert running.run(f"plan {bad[fault].name}").rc == applied


def test_host_without_trust_refuses_everything(running, desk):
    running.carry(desk.release(BETTER))
    running.host.check("mkdir -p /srv/untrusting")
    said = running.install(f"{PRODUCT}-{BETTER}.tar --verify --yes --root /srv/untrusting", exit_code=10)
    assert "install trust init" in said
    left = running.host.check("find /srv/untrusting -type f").split()
    names = {name.rpartition("/")[2] for name in left if "/evidence.d/" not in name}
    assert names == {"audit.jsonl", "audit.head", "audit.lock"}
    assert sum("/var/lib/waybill/evidence.d/" in name for name in left) == 1


def test_trust_is_not_set_up_with_another_fingerprint_and_twice_is_once(running, desk):
    wrong = hashlib.sha256(b"").hexdigest()
    running.host.check("mkdir -p /srv/other")
    assert running.run(f"trust init root.json --fingerprint {wrong} --root /srv/other").rc == 10
    running.install("trust show --root /srv/other", exit_code=10)
    running.install(f"trust init root.json --fingerprint {desk.fingerprint}")


def test_without_terminal_and_without_yes_the_flag_is_named(running, desk):
    before = running.tree(*PLACES)
    reset = "--root /srv/fresh"
    running.host.check("mkdir -p /srv/fresh")
    running.install(f"trust init root.json --fingerprint {desk.fingerprint} {reset}")
    running.carry(desk.release(BETTER))
    said = running.install(f"{PRODUCT}-{BETTER}.tar --verify {reset}", exit_code=2)
    assert "--yes" in said
    assert running.tree(*PLACES) == before
    assert running.host.check("ls /srv/fresh") == "etc\nvar\n"


def test_only_one_installer_runs_and_declining_changes_nothing(running):
    """The first one waits at its prompt, in a terminal; it is answered with no."""
    before = running.tree(*PLACES[:2])
    terminal = f"cd /media/usb && script -qec './install remove {PRODUCT}' /tmp/said"
    wait = "for i in $(seq 100); do grep -q 'y/N' /tmp/said 2>/dev/null && break; sleep 0.1; done"
    second = f"./install {PRODUCT}-{BETTER}.tar --verify --yes >/tmp/second 2>&1; echo $? >/tmp/second-code"
    shell = f"({wait}; {second}; echo n; sleep 1) | ({terminal} >/dev/null; echo $?)"
    assert running.host.check(f"cd /media/usb; {shell}").strip() == "17"
    assert running.host.check("cat /tmp/second-code").strip() == "16"
    assert "another install is running" in running.host.check("cat /tmp/second")
    assert running.tree(*PLACES[:2]) == before
    assert running.version() == BETTER


def test_verify_needs_no_rights_and_the_rest_says_that_it_does(running, desk, bad):
    good = desk.release(BETTER)
    running.carry(good, bad["bit in the server"])
    cache = "env HOME=/nonexistent WAYBILL_CACHE=/srv/nobody/cache"
    running.host.check("rm -rf /srv/nobody && install -d -o nobody -m 700 /srv/nobody")
    as_nobody = f"cd /media/usb && {cache} setpriv --reuid=nobody --regid=nogroup --clear-groups ./install"
    rc, out, err = running.host.run(f"{as_nobody} verify {good.name} --json")
    assert rc == 0, err
    assert json.loads(out)["to"]["version"] == BETTER
    assert running.host.run(f"{as_nobody} verify server-bit.tar").rc == 11
    assert running.version() == BETTER
    for words, code in (
        ("status", 0),
        ("history", 0),
        # A plan of what is installed has nothing that this user may not do.
        (f"plan {good.name}", 0),
        (f"{good.name} --yes", 15),
    ):
        rc, out, err = running.host.run(f"{as_nobody} {words}")
        assert rc == code, err
        assert "run as root" in out + err


@pytest.mark.parametrize("words", ["status", "history", "trust show", f"plan {PRODUCT}-{BETTER}.tar"])
def test_reports_are_one_document(running, desk, words):
    running.carry(desk.release(BETTER))
    assert running.document(words)


@pytest.mark.parametrize(
    "words", ["nonsense.tar --yes", "--no-such-option", "rollback 9.9.9 --yes", "remove ../ghost --yes"]
)
def test_wrong_words_are_explained_without_a_trace(running, words):
    rc, _, err = running.run(words)
    assert rc in (2, 13)
    assert "hint:" in err
    assert "Traceback" not in err
