"""What scripts read of `bundle`: real runs of every command; the rig checks each document by its schema."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rig.answers import UNSAFE, Document
from tests.rig.product import YAML, Product

PASSWORD = "correct horse"
Run = Callable[..., Document]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Product:
    """A product, keys and a root; each test works in it and leaves it usable for the next."""
    return Product.make(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def run(desk: Product, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`bundle … --json` in this process; gives the document."""
    from bundler.cli.main import app, console
    from installer.shared.command.command_line import run_app

    for name in ("CI", "SOURCE_DATE_EPOCH", "WAYBILL_PROVENANCE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COSIGN_PASSWORD", PASSWORD)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(desk.directory.parent))
    monkeypatch.chdir(desk.directory)

    def run(*words: str | Path, code: int = 0) -> Document:
        ended = run_app(console, app, [*map(str, words), "--json"])
        said = capsys.readouterr()
        assert not UNSAFE.search(said.out + said.err)
        found = Document.read(said.out)
        assert (ended, found["exit"]) == (code, code), said.err
        assert (found["code"] is None) == (code == 0)
        assert (found["root"], found["transaction"], found["steps"]) == (None, None, [])
        return found

    return run


@pytest.fixture
def made(desk: Product, run: Run) -> Path:
    """A signed bundle, a root that trusts its key, and one that approves."""
    if not (desk.directory / "root.json").exists():
        for name in ("release", "security"):
            assert run("keygen", name)["changed"] is True
        done = run("trust", "init", "root.json", "--release-key", "release.pub", "--owner", "team")
        assert (done["from"], done["to"]["sequence"], done["trust"]["version"]) == (None, 1, 1)
        assert done["to"]["identity"] == done["trust"]["fingerprint"]
        run("trust", "add-key", "root.json", "security.pub", "--role", "security", "--owner", "Sec")
        run("trust", "set-policy", "root.json", "test", "--require", "security=1")
    return desk.directory


def test_create_says_what_is_in_the_bundle_and_whether_it_is_new(made: Path, run: Run) -> None:
    done = run("create", "v1.4.0", "--key", "release.key")
    assert (done["product"], done["to"]["version"], done["changed"]) == ("lan-chat", "1.4.0", True)
    assert Path(done["path"]).stat().st_size == done["size"]
    again = run("create", "v1.4.0", "--key", "release.key")
    assert (again["to"], again["changed"]) == (done["to"], False)
    dry = run("create", "v1.4.0", "--dry-run")
    assert (dry["dry_run"], dry["changed"], dry["size"], dry["files"]) == (True, False, None, done["files"])
    assert dry["to"]["identity"] is None


def test_an_input_that_cannot_be_bundled_is_about_the_same_release(made: Path, run: Run) -> None:
    (made / "bundle.yaml").write_text(YAML.replace("path: web\n", "path: nowhere\n"))
    failed = run("create", "v1.4.0", code=30)
    assert (failed["code"], failed["changed"]) == ("unfit-input", False)
    assert any("nowhere" in f"{each['where']} {each['what']}" for each in failed["problems"])
    (made / "bundle.yaml").write_text(YAML)


def test_each_way_to_look_at_a_bundle_has_its_document(made: Path, run: Run) -> None:
    for version in ("1.3.0", "1.4.0"):
        run("create", version, "--key", "release.key", "-o", f"{version}.tar")
    for view in ("", "deploy", "scripts", "risks", "files", "images", "config", "approvals", "sbom", "docs"):
        shown = run("inspect", "1.4.0.tar", *([view] if view else []))
        assert (shown["view"], shown["verified"]) == (view or "overview", False)
        assert (shown["product"], shown["to"]["version"]) == ("lan-chat", "1.4.0")
    compared = run("diff", "1.3.0.tar", "1.4.0.tar")
    assert (compared["from"]["version"], compared["to"]["version"]) == ("1.3.0", "1.4.0")
    checked = run("verify", "1.4.0.tar", "--root", "root.json")
    assert checked["to"] == shown["to"]
    assert checked["signatures"]["owners"] == ["team"]
    assert (
        run("verify", "1.4.0.tar", "--root", "root.json", "--env", "test", code=14)["code"] == "not-approved"
    )
    assert run("verify", "1.4.0.tar", "--key", "security.pub", code=10)["to"] is None
    (made / "cut.tar").write_bytes((made / "1.4.0.tar").read_bytes()[:5000])
    assert run("verify", "cut.tar", "--root", "root.json", code=11)["code"] == "tampered"
    assert run("inspect", "a\x9b\u202e.tar", code=2).where.startswith("a\x9b\u202e")


def test_signing_and_approving_say_what_was_added(made: Path, run: Run) -> None:
    run("create", "1.4.0", "-o", "unsigned.tar")
    prepared = run("sign", "unsigned.tar", "--prepare")
    assert (prepared["added"], Path(prepared["path"]).name) == (None, "unsigned.tar.SHA256SUMS")
    signed = run("sign", "unsigned.tar", "--key", "release.key")
    assert (len(signed["added"]) > 0, signed["changed"]) == (True, True)
    again = run("sign", "unsigned.tar", "--key", "release.key")
    assert (again["added"], again["changed"]) == ([], False)
    words = ("approve", "unsigned.tar", "--role", "security", "--env", "test", "--root", "root.json")
    approved = run(*words, "--key", "security.key", "--yes")
    assert approved["approvals"][0]["added"]
    assert run("approve", "unsigned.tar", "--repair")["outcome"] == "nothing"
    assert run(*words, "--key", "release.key", "--yes", code=10)["changed"] is False
    # Nobody can be asked here.
    assert run(*words, "--key", "security.key", code=2)["code"] == "usage"


def test_the_commands_of_trust_say_which_root_there_was_and_is(made: Path, run: Run) -> None:
    shown = run("trust", "show", "root.json")
    assert shown["to"]["identity"] == shown["trust"]["fingerprint"]
    signed = run("trust", "sign", "root.json", "--key", "security.key", code=2)
    assert signed["changed"] is False
    for words in (
        ("trust", "set-product", "root.json", "lan-chat", "--floor", "1.0.0"),
        ("trust", "revoke", "root.json", "--bundle", "1" * 64),
        ("trust", "rotate", "root.json", "--expires", "300d"),
    ):
        edited = run(*words)
        assert (edited["changed"], edited["to"]["identity"]) == (True, edited["trust"]["fingerprint"])
    assert run("trust", "sheet", "root.json")["path"] is None
    assert run("trust", "sheet", "root.json", "-o", "sheet.html")["path"] == "sheet.html"


def test_the_remaining_commands_have_their_documents(made: Path, run: Run) -> None:
    assert run("init", "new")["written"]
    assert run("init", "new", code=30)["written"] is None
    assert run("schema")["document"]["title"]
    found = run("find-images", ".")
    assert (found["directory"], found["unused"], found["unsearched"]) == (".", [], [])
    # Only the executables carry these.
    assert run("licenses", code=2)["sbom"] is None
