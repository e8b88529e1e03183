"""The environment that a person names for a host: a typing error does not cost the fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from installer.core.errors import UsageError
from installer.core.trust.root import PRODUCTION, Policy, fingerprint
from installer.host.system import System
from installer.state.host_identity import recorded_environment
from installer.state.trust_store import ROOT_FILE, init_trust
from tests.rig.trustworld import NOW, headed, write_root

QUESTION = "Which environment does this host belong to: production, test? "


@pytest.fixture
def system(tmp_path: Path) -> System:
    (tmp_path / "host").mkdir()
    return System(tmp_path / "host")


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    made = headed(1, "Ann", environments={"production": PRODUCTION, "test": Policy({"release": 1})})
    return write_root(tmp_path / "stick", "root.json", made, "Ann")


def answers(asked: list[str], *lines: str) -> Callable[[str, str], str]:
    left = list(lines)

    def ask(question: str, _flag: str) -> str:
        asked.append(question)
        return left.pop(0)

    return ask


@pytest.mark.parametrize("wrong", [["prodution"], ["prodution", "no such"]], ids=["once", "twice"])
def test_a_wrong_environment_is_asked_for_again_after_the_fingerprint(
    system: System, carried: Path, wrong: list[str]
) -> None:
    asked = list[str]()
    ask = answers(asked, fingerprint(carried.read_bytes()), *wrong, " production ")
    assert init_trust(system, carried, "", ask, lambda: NOW)[2] == "production"
    assert recorded_environment(system) == "production"
    said = "'prodution' is not an environment of this root: did you mean production?\n"
    assert asked[1:3] == [QUESTION, said + QUESTION]
    assert len(asked) == 2 + len(wrong)


@pytest.mark.parametrize(
    ("lines", "said"),
    [(["a", "b", "c"], "'c' is not an environment"), (["a", ""], "no environment was chosen")],
    ids=["three wrong ones", "an empty line"],
)
def test_a_person_who_names_no_environment_is_not_asked_for_ever(
    system: System, carried: Path, lines: list[str], said: str
) -> None:
    asked = list[str]()
    ask = answers(asked, fingerprint(carried.read_bytes()), *lines)
    with pytest.raises(UsageError, match=said):
        init_trust(system, carried, "", ask, lambda: NOW)
    assert len(asked) == 1 + len(lines)
    assert not Path(system.root, ROOT_FILE[1:]).exists()


def test_a_wrong_environment_that_was_given_is_refused_before_the_fingerprint_is_asked_for(
    system: System, carried: Path
) -> None:
    asked = list[str]()
    with pytest.raises(UsageError, match="'prodution' is not an environment of this root"):
        init_trust(system, carried, "", answers(asked), lambda: NOW, "prodution")
    assert asked == []
