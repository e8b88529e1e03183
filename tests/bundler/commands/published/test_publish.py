"""`bundle publish`: what is new is sent, what is there is not replaced, and an interruption costs no more."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bundler.commands.published.publish import Publication, publish_bundle
from bundler.commands.published.pull import pull_bundle
from installer.core.errors import MediaError, TamperedError, UnfitInputError, UsageError
from installer.shared.humanize import size_text
from installer.shared.progress import Progress
from tests.rig import bundlebuild as build
from tests.rig.filestore import FileStore
from tests.rig.registry import PASSWORD, USER, Registry
from tests.rig.registrygate import Gate, answers, breaks_off, tls_of
from tests.rig.tlscerts import Authority

pytestmark = pytest.mark.needs("registry")
SERIAL = itertools.count()


def noise(name: str, size: int) -> bytes:
    return random.Random(name).randbytes(size)


def payload(changed: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """Return files of 29 MB: some large ones, and a web page of many small ones."""
    found = {"docs/CHANGELOG.md": b"# 1\n"}
    found |= {f"bin/linux-amd64/p{n}": noise(f"p{n}", 3_600_000) for n in range(8)}
    found |= {f"trees/web/f{n}.js": noise(f"f{n}", 3000) for n in range(100)}
    return {**found, **(changed or {})}


def bundle(path: Path, files: Mapping[str, bytes], *, created: int = build.CREATED, **fields: Any) -> Path:
    entries = {"docs/CHANGELOG.md": {"install": ""}}
    ordered = dict(sorted(files.items(), key=lambda row: (section(row[0]), row[0])))
    plan = build.signed(build.plan(ordered, entries=entries, created=created, room=32768, **fields))
    path.write_bytes(plan.tar())
    return path


def section(path: str) -> int:
    return ("docs", "config", "bin", "trees").index(path.partition("/")[0])


@pytest.fixture
def target(gate: Gate) -> str:
    """A repository that nothing is in yet."""
    return f"oci://{gate.name}/releases/chat{next(SERIAL)}"


def publish(path: Path, target: str) -> Publication:
    return publish_bundle(path, target, Progress())


def test_a_published_bundle_comes_back_byte_for_byte(target: str, tmp_path: Path) -> None:
    path = bundle(tmp_path / "a.tar", payload())
    done = publish(path, f"{target}:1.4.0")
    assert done.changed
    assert done.signed
    pulled = pull_bundle(f"{target}:1.4.0", tmp_path / "back.tar", Progress())
    assert pulled.path.read_bytes() == path.read_bytes()
    assert pulled.identity == done.identity


def test_a_version_that_changed_one_percent_sends_one_percent(
    target: str, gate: Gate, tmp_path: Path
) -> None:
    publish(bundle(tmp_path / "a.tar", payload()), f"{target}:1.4.0")
    size = 285_000
    new = payload({"bin/linux-amd64/new": noise("new", size)})
    path = bundle(
        tmp_path / "b.tar", new, created=build.CREATED + 5000, version="1.5.0", sequence=100_050_000_999
    )
    gate.seen.clear()
    done = publish(path, f"{target}:1.5.0")
    assert 0.0095 < size / done.size < 0.01
    assert size <= done.sent <= 0.011 * done.size
    # What the gate saw, with the manifest: nothing is sent that is not counted.
    assert gate.sent() == done.sent
    # As people read it.
    published, figures = done.as_text().splitlines()[0].rsplit(": ", 1)
    assert published == f"published {target}:1.5.0"
    assert figures == f"{size_text(done.size)}, {size_text(done.sent)} sent"


def test_a_bundle_that_is_there_is_not_sent_again(target: str, gate: Gate, tmp_path: Path) -> None:
    path = bundle(tmp_path / "a.tar", payload())
    publish(path, f"{target}:1.4.0")
    gate.seen.clear()
    done = publish(path, f"{target}:1.4.0")
    assert (done.changed, done.sent, gate.sent()) == (False, 0, 0)


def test_another_bundle_under_the_same_name_is_refused_and_nothing_is_sent(
    target: str, gate: Gate, tmp_path: Path
) -> None:
    publish(bundle(tmp_path / "a.tar", payload()), f"{target}:1.4.0")
    gate.seen.clear()
    other = bundle(tmp_path / "b.tar", payload({"docs/CHANGELOG.md": b"# other\n"}))
    with pytest.raises(UnfitInputError, match="exists with other content"):
        publish(other, f"{target}:1.4.0")
    assert gate.sent() == 0


def test_somebody_else_who_publishes_meanwhile_is_not_replaced(
    target: str, gate: Gate, tmp_path: Path
) -> None:
    other = bundle(tmp_path / "b.tar", payload({"docs/CHANGELOG.md": b"# other\n"}))
    again = []

    def spoil(request: Any) -> bool:
        if request.command == "PATCH" and not again:
            again.append(1)
            publish(other, f"{target}:1.4.0")
        return False

    gate.spoil = spoil
    with pytest.raises(UnfitInputError, match="exists with other content"):
        publish(bundle(tmp_path / "a.tar", payload()), f"{target}:1.4.0")
    pulled = pull_bundle(f"{target}:1.4.0", tmp_path / "back.tar", Progress())
    assert pulled.path.read_bytes() == other.read_bytes()


def test_a_publication_that_was_interrupted_goes_on_and_leaves_no_name(
    target: str, gate: Gate, tmp_path: Path
) -> None:
    path = bundle(tmp_path / "a.tar", payload())
    gate.spoil = lambda request: (
        request.command == "PATCH" and gate.count("PATCH") > 30 and breaks_off(request)
    )
    with pytest.raises(MediaError, match="broke off the connection") as caught:
        publish(path, f"{target}:1.4.0")
    # The address as it was typed; it has answered before, so nothing of it is to be checked.
    assert caught.value.where == f"{target}:1.4.0"
    assert caught.value.hint.startswith("run the same command again: it continues")
    with pytest.raises(MediaError, match="there is no such bundle"):
        pull_bundle(f"{target}:1.4.0", tmp_path / "x.tar", Progress())
    gate.spoil = lambda _request: False
    done = publish(path, f"{target}:1.4.0")
    # What the registry had by then is not sent again.
    assert done.sent < done.size - 3_600_000


@pytest.mark.parametrize(("method", "part"), [("PUT", "manifests"), ("POST", "uploads")])
def test_a_publication_that_breaks_off_anywhere_is_continued_by_the_same_command(
    target: str, gate: Gate, tmp_path: Path, method: str, part: str
) -> None:
    path = bundle(tmp_path / "a.tar", {"docs/CHANGELOG.md": b"# 1\n"})
    gate.spoil = lambda request: (
        request.command == method and f"/{part}/" in request.path and breaks_off(request)
    )
    with pytest.raises(MediaError, match="broke off the connection") as caught:
        publish(path, f"{target}:1.4.0")
    assert caught.value.where == f"{target}:1.4.0"
    assert caught.value.hint.startswith("run the same command again: it continues")
    gate.spoil = lambda _request: False
    assert publish(path, f"{target}:1.4.0").changed


def test_an_address_that_never_answered_is_to_be_checked(gate: Gate, target: str, tmp_path: Path) -> None:
    gate.spoil = breaks_off
    with pytest.raises(MediaError, match="broke off the connection") as caught:
        publish(bundle(tmp_path / "a.tar", {"docs/CHANGELOG.md": b"# 1\n"}), f"{target}:1")
    assert caught.value.where == f"{target}:1"
    assert caught.value.hint == "check the address: https:// or http://, host and port"


def test_a_registry_that_is_full_is_named(target: str, gate: Gate, tmp_path: Path) -> None:
    gate.spoil = lambda request: request.command == "PATCH" and answers(request, 507)
    with pytest.raises(MediaError, match="the registry is full"):
        publish(bundle(tmp_path / "a.tar", payload()), f"{target}:1.4.0")


def test_what_is_no_bundle_is_not_published(target: str, gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no bundle" * 1000)
    with pytest.raises(TamperedError):
        publish(tmp_path / "x.tar", f"{target}:1")
    assert gate.seen == []


def test_a_bundle_that_nobody_signed_is_published_with_a_note(target: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(build.plan().tar())
    done = publish(path, f"{target}:1")
    assert not done.signed
    assert "no host will install it" in done.as_text()


def test_docker_knows_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry.launch(login=True)
    try:
        path = bundle(tmp_path / "a.tar", {"docs/CHANGELOG.md": b"# 1\n"})
        target = f"oci://{registry.name}/a:1"
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        with pytest.raises(MediaError, match="refuses the login"):
            publish(path, target)
        import base64
        import json

        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.name: {"auth": pair}}}))
        assert publish(path, target).changed
    finally:
        registry.stop()


def test_a_server_of_the_site_is_trusted_by_its_ca_and_by_no_other(store: FileStore, tmp_path: Path) -> None:
    site, other = Authority("site"), Authority("other")
    (tmp_path / "ca.pem").write_text(site.pem)
    (tmp_path / "other.pem").write_text(other.pem)
    path = bundle(tmp_path / "a.tar", {"docs/CHANGELOG.md": b"# 1\n"})
    with Gate(store.name).open(tls_of(site, tmp_path)) as gate:
        target = f"https://{gate.name}/chat.tar"
        with pytest.raises(MediaError, match="was not issued by a CA in"):
            publish_bundle(path, target, Progress(), ca_file=tmp_path / "other.pem")
        with pytest.raises(MediaError, match="by a CA that this host trusts"):
            publish(path, target)
        assert store.seen == []
        assert publish_bundle(path, target, Progress(), ca_file=tmp_path / "ca.pem").changed
        with pytest.raises(UsageError, match="has no certificate in PEM"):
            publish_bundle(path, target, Progress(), ca_file=path)


@pytest.mark.parametrize(
    "address",
    ["oci://r.lan/a", "oci://r.lan", "oci://r.lan/a:1@sha256:" + "a" * 64, "oci://u:p@r.lan/a:1", "oci://r.lan/A:1",
     "https://r.lan/", "https://r.lan/a/../b", "https://r.lan/a?x=1", "ftp://r.lan/a", "r.lan/a:1", "oci://r.lan:0/a:1"],
)  # fmt: skip
def test_a_target_that_is_no_address_is_a_question_of_usage(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        publish(bundle(tmp_path / "a.tar", {"docs/CHANGELOG.md": b"# 1\n"}), address)
    assert "u:p" not in str(error.value)


def test_http_to_another_machine_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="http:// to another machine is not used"):
        publish(bundle(tmp_path / "a.tar", {"docs/CHANGELOG.md": b"# 1\n"}), "http://store.lan/a.tar")


@pytest.fixture
def store() -> Iterator[FileStore]:
    with FileStore().serve() as serving:
        yield serving


def test_a_web_server_gets_the_bundle_as_one_file_with_its_digest(store: FileStore, tmp_path: Path) -> None:
    path = bundle(tmp_path / "a.tar", payload())
    target = f"http://{store.name}/releases/lan-chat-1.4.0.tar"
    done = publish(path, target)
    assert store.files["/releases/lan-chat-1.4.0.tar"] == path.read_bytes()
    assert (
        store.files["/releases/lan-chat-1.4.0.tar.sha256"] == f"{done.sha256}  lan-chat-1.4.0.tar\n".encode()
    )
    assert not publish(path, target).changed
    assert pull_bundle(target, tmp_path / "back.tar", Progress()).sha256 == done.sha256


def test_a_file_of_other_content_on_a_web_server_is_not_replaced(store: FileStore, tmp_path: Path) -> None:
    path, target = bundle(tmp_path / "a.tar", payload()), f"http://{store.name}/a.tar"
    store.files["/a.tar"] = b"somebody else's"
    with pytest.raises(UnfitInputError, match="exists with other content"):
        publish(path, target)
    assert store.files == {"/a.tar": b"somebody else's"}


def test_a_file_whose_digest_was_not_written_any_more_is_completed(store: FileStore, tmp_path: Path) -> None:
    path, target = bundle(tmp_path / "a.tar", payload()), f"http://{store.name}/a.tar"
    publish(path, target)
    del store.files["/a.tar.sha256"]
    store.seen.clear()
    assert publish(path, target).sent < 100
    assert ("PUT", "/a.tar") not in store.seen
    assert "/a.tar.sha256" in store.files


def test_a_web_server_that_wants_a_login_for_writing_gets_it(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64
    import json

    pair = base64.b64encode(b"me:secret").decode()
    store.login = f"Basic {pair}"
    path, target = bundle(tmp_path / "a.tar", payload()), f"http://{store.name}/a.tar"
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(MediaError, match="refuses the login"):
        publish(path, target)
    (tmp_path / "config.json").write_text(json.dumps({"auths": {store.name: {"auth": pair}}}))
    publish(path, target)
    assert store.files["/a.tar"] == path.read_bytes()


def test_versions_that_differ_in_their_time_alone_share_all_but_the_frame(
    target: str, tmp_path: Path
) -> None:
    publish(bundle(tmp_path / "a.tar", payload()), f"{target}:1")
    same = bundle(tmp_path / "b.tar", payload(), created=build.CREATED + 86400)
    done = publish(same, f"{target}:2")
    assert done.sent < 0.01 * done.size


def test_a_changed_small_file_sends_its_neighbours_at_most(target: str, tmp_path: Path) -> None:
    publish(bundle(tmp_path / "a.tar", payload()), f"{target}:1")
    changed = payload({"trees/web/f50.js": noise("changed", 3000)})
    done = publish(bundle(tmp_path / "b.tar", changed), f"{target}:2")
    # One of sixteen files ends a blob: this one has a part of the hundred.
    assert done.sent < 0.02 * done.size
