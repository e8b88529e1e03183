"""`install trust init` and `ensure`: the fingerprint is compared every time, and the environment is set."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bundler.trust.root_files import root_bytes
from installer.commands.trust import ensure_trust
from installer.core.errors import DeclinedError, UntrustedError
from installer.core.timestamps import format_time
from installer.core.trust.root import Root, display_fingerprint, fingerprint
from installer.core.trust.root_json import parse_root
from installer.host.system import System
from installer.state.host_identity import ENVIRONMENT_FILE
from installer.state.trust_store import EARLIER_FILE, ROOT_FILE, TIME_FILE, require_fingerprint
from tests.rig.answers import Document
from tests.rig.bench import CLOCK, Bench, environment
from tests.rig.faulty import FaultySystem, Killed
from tests.rig.trustworld import NOW, headed, root, write_root

WRONG = "0" * 64


@pytest.fixture
def fresh(bench: Bench) -> Bench:
    """A host that trusts nothing and has no environment."""
    (bench.host / ROOT_FILE[1:]).unlink()
    (bench.host / ENVIRONMENT_FILE[1:]).unlink()
    return bench


def of(path: Path) -> str:
    return fingerprint(path.read_bytes())


def chain(bench: Bench, last: int = 3) -> Path:
    """Lays versions 1 to `last` on the stick, and gives the first."""
    stick = bench.stick / "trust"
    for version in range(1, last + 1):
        write_root(stick, f"{version}.root.json", headed(version, "Ann"), "Ann")
    return stick / "1.root.json"


def trusted(bench: Bench) -> Root:
    return parse_root((bench.host / ROOT_FILE[1:]).read_bytes())


def recorded(bench: Bench) -> str:
    path = bench.host / ENVIRONMENT_FILE[1:]
    return path.read_text() if path.exists() else ""


def everything(bench: Bench) -> dict[str, bytes]:
    """The host without its records and locks."""
    return {
        str(path): path.read_bytes()
        for path in sorted(bench.host.rglob("*"))
        if path.is_file() and "audit" not in path.name and path.name != ".lock"
    }


def version(document: Document) -> int:
    """The version of the root that the host trusts in the end."""
    return int(document["to"]["sequence"])


class TestInit:
    def test_a_wrong_fingerprint_is_refused_whatever_the_host_has(self, fresh: Bench) -> None:
        path = chain(fresh, 1)
        words = ("trust", "init", str(path), "--env", "production", "--fingerprint")
        for _ in range(2):
            code, document, _ = fresh.run(*words, WRONG)
            assert (code, document["code"]) == (10, "untrusted")
            assert "does not match this file" in document.what
            assert fresh.run(*words, of(path))[0] == 0  # the second time the host has this root

    def test_a_repetition_without_a_fingerprint_changes_nothing(self, fresh: Bench) -> None:
        path = chain(fresh, 1)
        assert fresh.run("trust", "init", str(path), "--env", "production", "--fingerprint", of(path))[0] == 0
        before = everything(fresh)
        assert fresh.run("trust", "init", str(path))[0] == 0
        assert everything(fresh) == before

    def test_another_root_is_refused_by_its_fingerprint(self, fresh: Bench) -> None:
        first = chain(fresh, 1)
        fresh.run("trust", "init", str(first), "--env", "production", "--fingerprint", of(first))
        other = write_root(fresh.stick / "other", "root.json", headed(1, "Eve"))
        before = everything(fresh)
        for words in ((), ("--fingerprint", of(other))):
            code, document, _ = fresh.run("trust", "init", str(other), *words)
            assert (code, document["code"], document.where) == (13, "refused", ROOT_FILE)
            assert "this host already trusts another root" in document.what
            assert display_fingerprint(of(first)) in document.what
        assert everything(fresh) == before

    def test_an_empty_root_of_the_host_is_damage_and_not_none(self, fresh: Bench) -> None:
        path = chain(fresh, 1)
        (fresh.host / ROOT_FILE[1:]).write_bytes(b"")
        assert fresh.run("trust", "init", str(path), "--fingerprint", of(path))[0] == 13

    def test_an_expired_root_names_the_clock(self, fresh: Bench) -> None:
        path = write_root(fresh.stick / "old", "root.json", headed(1, "Ann", expires=NOW - timedelta(days=1)))
        code, document, _ = fresh.run("trust", "init", str(path), "--fingerprint", of(path))
        assert code == 12
        assert "the clock shows 20" in document.what
        assert "`date -u`" in document.hint


class TestEnvironment:
    def test_a_root_with_policies_needs_one_and_it_is_recorded(self, fresh: Bench) -> None:
        path = chain(fresh, 1)
        words = ("trust", "init", str(path), "--fingerprint", of(path))
        code, document, _ = fresh.run(*words)
        assert (code, document.hint) == (2, "give --env with one of: production")
        assert not (fresh.host / ROOT_FILE[1:]).exists()
        assert fresh.run(*words, "--env", "production")[0] == 0
        assert recorded(fresh) == "production\n"
        assert (fresh.host / ENVIRONMENT_FILE[1:]).stat().st_mode & 0o777 == 0o644

    def test_the_environment_is_asked_for_by_name(
        self, fresh: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = chain(fresh, 1)
        asked = list[str]()

        def answer(question: str, flag: str) -> str:
            asked.append(question)
            return {"--fingerprint": display_fingerprint(of(path)), "--env": " production "}[flag]

        monkeypatch.setattr("installer.cli.options.console.ask", answer)
        assert fresh.run("trust", "init", str(path))[0] == 0
        assert asked[1] == "Which environment does this host belong to: production? "
        assert recorded(fresh) == "production\n"

    def test_a_clock_that_jumps_while_somebody_types_is_not_kept(
        self, fresh: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = chain(fresh, 1)
        shown = [NOW]
        monkeypatch.setattr(CLOCK, lambda: shown[0])

        def answer(_question: str, flag: str) -> str:
            shown[0] = NOW + timedelta(days=4000)
            return {"--fingerprint": of(path), "--env": "production"}[flag]

        monkeypatch.setattr("installer.cli.options.console.ask", answer)
        assert fresh.run("trust", "init", str(path))[0] == 0
        assert (fresh.host / TIME_FILE[1:]).read_text().strip() == format_time(NOW)

    def test_a_person_who_leaves_has_changed_nothing(
        self, fresh: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = chain(fresh, 1)

        def leave(_question: str, _flag: str) -> str:
            raise DeclinedError("no answer; nothing was changed")

        monkeypatch.setattr("installer.cli.options.console.ask", leave)
        assert fresh.run("trust", "init", str(path), "--fingerprint", of(path))[0] == 17
        assert not (fresh.host / ROOT_FILE[1:]).exists()
        assert recorded(fresh) == ""

    @pytest.mark.parametrize("name", ["staging", "Production", "../x", " "])
    def test_an_environment_that_the_root_does_not_have_is_refused(self, fresh: Bench, name: str) -> None:
        path = chain(fresh, 1)
        code, document, _ = fresh.run("trust", "init", str(path), "--fingerprint", of(path), "--env", name)
        assert (code, document.where) == (2, "--env")
        assert "production" in document.hint
        assert recorded(fresh) == ""

    def test_a_misspelt_environment_is_told_with_the_one_that_was_meant(self, fresh: Bench) -> None:
        path = chain(fresh, 1)
        words = ("trust", "init", str(path), "--fingerprint", of(path), "--env", "prodution")
        code, document, _ = fresh.run(*words)
        assert (code, document.hint, recorded(fresh)) == (2, "did you mean production?", "")

    def test_an_environment_that_is_set_stays(self, fresh: Bench) -> None:
        environment(fresh.host, "production\n")
        path = chain(fresh, 1)
        words = ("trust", "init", str(path), "--fingerprint", of(path))
        code, document, _ = fresh.run(*words, "--env", "test")
        assert (code, document.what) == (
            13, "this host belongs to the environment production, not test",
        )  # fmt: skip
        assert fresh.run(*words)[0] == 0
        assert recorded(fresh) == "production\n"

    def test_a_root_without_policies_asks_for_none(self, fresh: Bench) -> None:
        path = write_root(fresh.stick / "plain", "root.json", root(environments={}))
        assert fresh.run("trust", "init", str(path), "--fingerprint", of(path))[0] == 0
        assert recorded(fresh) == ""

    def test_the_environment_can_be_recorded_later_on_a_host_that_has_the_root(self, fresh: Bench) -> None:
        path = chain(fresh, 1)
        (fresh.host / ROOT_FILE[1:]).write_bytes(path.read_bytes())
        here = str(fresh.host / ROOT_FILE[1:])
        assert fresh.run("trust", "init", here, "--env", "production")[0] == 0
        assert recorded(fresh) == "production\n"


class TestEnsure:
    def test_trust_ensure_may_be_repeated(self, fresh: Bench) -> None:
        path = chain(fresh, 1)
        words = ("trust", "ensure", str(path), "--fingerprint", of(path), "--env", "production")
        code, document, _ = fresh.run(*words)
        assert (code, document["from"], document["changed"], version(document)) == (0, None, True, 1)
        assert (recorded(fresh), (fresh.host / TIME_FILE[1:]).exists()) == ("production\n", True)
        before = everything(fresh)
        code, document, _ = fresh.run(*words)
        assert (code, document["from"]["sequence"], document["changed"]) == (0, 1, False)
        assert everything(fresh) == before

    def test_later_versions_are_taken_at_once_and_again(self, fresh: Bench) -> None:
        path = chain(fresh)
        words = ("trust", "ensure", str(path), "--fingerprint", of(path), "--env", "production")
        words = (*words, "--update", str(path.parent))
        assert fresh.run(*words)[1]["trust"]["version"] == 3
        assert (fresh.host / EARLIER_FILE[1:]).read_text().split() == [
            "1", of(path), "2", of(path.with_name("2.root.json")),
        ]  # fmt: skip
        code, document, _ = fresh.run(*words)
        assert (code, document["changed"], version(document)) == (0, False, 3)
        # Without the directory the host itself knows that it went through version 1.
        code, said = fresh.text("trust", "ensure", str(path), "--fingerprint", of(path))
        assert code == 0
        assert said.startswith("this host already trusts version 3, which follows from version 1\n")

    @pytest.mark.parametrize("has", [None, 1, 3])
    def test_a_wrong_fingerprint_is_refused_whatever_the_host_trusts(
        self, fresh: Bench, has: int | None
    ) -> None:
        path = chain(fresh)
        if has:
            words = ("--update", str(path.parent)) if has == 3 else ()
            done = fresh.run(
                "trust", "ensure", str(path), "--fingerprint", of(path), "--env", "production", *words
            )
            assert done[1]["trust"]["version"] == has
        before = everything(fresh)
        for update in ((), ("--update", str(path.parent))):
            code, document, _ = fresh.run("trust", "ensure", str(path), "--fingerprint", WRONG, *update)
            assert (code, document["code"]) == (10, "untrusted")
        assert everything(fresh) == before

    def test_another_root_is_refused_also_with_its_own_fingerprint(self, fresh: Bench) -> None:
        path = chain(fresh)
        fresh.run("trust", "ensure", str(path), "--fingerprint", of(path), "--env", "production")
        other = write_root(fresh.stick / "other", "root.json", headed(1, "Eve"), "Eve")
        before = everything(fresh)
        # With the directory that has later versions of its own, which are good, nothing is taken either.
        for update in ((), ("--update", str(path.parent)), ("--update", str(other.parent))):
            code, document, _ = fresh.run("trust", "ensure", str(other), "--fingerprint", of(other), *update)
            assert (code, document["code"], document.where) == (13, "refused", str(other))
        assert everything(fresh) == before

    def test_a_host_without_a_record_takes_the_versions_as_the_proof(self, fresh: Bench) -> None:
        path = chain(fresh)
        environment(fresh.host, "production\n")
        fresh.trust(headed(3, "Ann"))
        words = ("trust", "ensure", str(path), "--fingerprint", of(path))
        code, document, _ = fresh.run(*words)
        assert (code, document["code"]) == (13, "refused")
        assert "--update" in document.hint
        assert fresh.run(*words, "--update", str(path.parent))[1]["trust"]["version"] == 3

    def test_the_next_version_with_its_signatures_is_taken(self, fresh: Bench) -> None:
        path = chain(fresh, 2)
        fresh.run("trust", "ensure", str(path), "--fingerprint", of(path), "--env", "production")
        second = path.with_name("2.root.json")
        code, document, _ = fresh.run("trust", "ensure", str(second), "--fingerprint", of(second))
        assert (code, document["from"]["sequence"], version(document)) == (0, 1, 2)

    def test_an_expired_first_version_is_no_fault_where_a_later_one_is_in_force(self, fresh: Bench) -> None:
        stick = fresh.stick / "trust"
        old = headed(1, "Ann", expires=NOW - timedelta(days=1))
        path = write_root(stick, "1.root.json", old, "Ann")
        words = ("trust", "ensure", str(path), "--fingerprint", of(path), "--env", "production")
        assert fresh.run(*words)[0] == 12
        write_root(stick, "2.root.json", headed(2, "Ann"), "Ann")
        assert fresh.run(*words, "--update", str(stick))[1]["trust"]["version"] == 2

    def test_trust_ensure_takes_good_versions_and_names_the_bad_one(self, fresh: Bench) -> None:
        path = chain(fresh)
        third = path.with_name("3.root.json")
        third.write_bytes(third.read_bytes() + b" ")
        code, document, _ = fresh.run(
            "trust", "ensure", str(path), "--fingerprint", of(path), "--env", "production",
            "--update", str(path.parent),
        )  # fmt: skip
        assert (code, version(document)) == (11, 2)
        assert "it trusted nothing before" in document["problems"][-1]["what"]
        assert trusted(fresh).version == 2


class TestTextThatWasChanged:
    """Mail and editors: the operator is told that, not to tell the security team."""

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda data: data.replace(b"\n", b"\r\n"), "Windows line ends"),
            (lambda data: b"\xef\xbb\xbf" + data, "byte order mark"),
            (lambda data: data.decode().encode("utf-16"), "UTF-16"),
            (lambda data: data.decode().replace("\n", "\r\n").encode("utf-16-le"), "UTF-16"),
        ],
    )
    @pytest.mark.parametrize("verb", ["init", "ensure", "update"])
    def test_a_root_that_an_editor_changed_is_named_as_that(
        self, fresh: Bench, change, words: str, verb: str
    ) -> None:
        path = chain(fresh, 2)
        digits = of(path)
        if verb == "update":
            fresh.run("trust", "init", str(path), "--fingerprint", digits, "--env", "production")
            path = path.with_name("2.root.json")
        path.write_bytes(change(path.read_bytes()))
        given = ["--fingerprint", digits] if verb != "update" else []
        code, document, _ = fresh.run("trust", verb, str(path), *given)
        assert code in (10, 11)
        assert words in document.what
        assert "an editor, a mail program" in document.hint
        assert "security team" not in document.hint

    def test_another_last_line_end_alone_is_named(self, tmp_path: Path) -> None:
        data = root_bytes(root())
        with pytest.raises(UntrustedError, match="has another last line end"):
            require_fingerprint(tmp_path, data.removesuffix(b"\n"), fingerprint(data))

    def test_another_file_is_still_another_file(self, tmp_path: Path) -> None:
        data = root_bytes(root()).replace(b"\n", b"\r\n")
        with pytest.raises(UntrustedError, match="does not match this file"):
            require_fingerprint(tmp_path, data, fingerprint(root_bytes(replace(root(), version=2))))


@pytest.mark.parametrize("fault", ["kill before", "kill half", "kill after"])
def test_a_kill_at_any_effect_leaves_no_root_without_its_environment(
    fresh: Bench, tmp_path: Path, fault: str
) -> None:
    path = chain(fresh)
    words = (path, of(path), lambda _question, _flag: "", lambda: NOW, path.parent, "production")
    whole = FaultySystem(tmp_path / "whole")
    (tmp_path / "whole").mkdir()
    ensure_trust(whole, *words)
    seen = set()
    for number in range(1, len(whole.trace) + 1):
        host = tmp_path / f"host-{number}"
        host.mkdir()
        with suppress(Killed):
            ensure_trust(FaultySystem(host, number, fault), *words)
        has = [(host / file[1:]).exists() for file in (ENVIRONMENT_FILE, EARLIER_FILE, ROOT_FILE)]
        # In this order: what exists later never exists alone.
        assert has == sorted(has, reverse=True)
        seen.add(tuple(has))
        assert ensure_trust(System(host), *words).root.version == 3
    assert {(False,) * 3, (True,) * 3} <= seen
