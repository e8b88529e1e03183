"""The modules of templates/salt behind a master: its file server has the bundle and the approvals."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml

from installer.core.trust.root import Policy
from tests.rig.chatreleases import approve, write_root
from tests.rig.minions import WAITING, Mastered, Minion, by_identifier, mastered

pytestmark = pytest.mark.needs("salt")
BUNDLE = "lan-chat-1.4.0.tar"
TRUSTED = """\
salt://root.json:
  waybill.trusted: [{{fingerprint: {}}}, {{environment: plant}}]
"""
INSTALLED = """\
lan-chat:
  waybill.installed:
    - source: salt://lan-chat-1.4.0.tar
"""


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mastered]:
    """A master whose minion trusts a root that asks for an approval."""
    minion = Minion.set_up(tmp_path_factory.mktemp("salt"))
    write_root(minion.files, {"plant": Policy({"release": 1, "security": 1})})
    minion.put_executable()
    minion.release("1.4.0")
    (minion.files / "trusted.sls").write_text(TRUSTED.format(minion.fingerprint))
    (minion.files / "installed.sls").write_text(INSTALLED)
    with mastered(minion) as made:
        yield made


def test_approvals_next_to_the_bundle_come_and_go_with_it_and_the_bundle_is_copied_once(
    master: Mastered,
) -> None:
    _, told = master.call("state.apply", "trusted")
    (trusted,) = by_identifier(told).values()
    assert trusted["changes"] == {"trust": {"old": None, "new": "1"}}, trusted["comment"]
    code, without = master.call("waybill.verify", f"salt://{BUNDLE}")
    assert (without["exit"], without["code"], bool(code)) == (14, "not-approved", True)
    before = master.cached()[BUNDLE]
    beside = approve(master.minion.files / BUNDLE, "security", "plant")
    code, told = master.call("state.apply", "installed")
    (done,) = by_identifier(told).values()
    assert (done["result"], code) == (True, 0), done["comment"]
    assert done["changes"]["version"] == {"old": None, "new": "1.4.0"}
    names = {f"{beside.name}/{path.name}" for path in beside.iterdir()}
    assert names <= master.cached().keys()
    for path in beside.iterdir():
        path.unlink()
    _, withdrawn = master.call("waybill.verify", f"salt://{BUNDLE}")
    assert withdrawn["exit"] == 14
    assert not names & master.cached().keys()
    assert master.cached()[BUNDLE] == before


def test_sys_doc_shows_every_function_and_every_state(master: Mastered) -> None:
    shown = master.minion.run("salt", *WAITING, "minion-1", "sys.doc", "waybill").stdout
    found = re.split(r"^waybill\.(\w+):$", shown, flags=re.MULTILINE)
    names = ("apply", "plan", "remove", "rollback", "status", "trust_ensure", "trust_show", "verify")
    assert sorted(found[1::2]) == sorted(names)
    assert all("CLI Example" in text for text in found[2::2])
    _, states = master.call("sys.state_doc", "waybill")
    names = ("absent", "installed", "rolled_back", "trusted", "verified")
    assert states.keys() == {"waybill", *(f"waybill.{name}" for name in names)}
    # The example at the end of each is a state.
    for name in names:
        (example,) = yaml.safe_load(states[f"waybill.{name}"].rpartition("\n\n")[2]).values()
        assert list(example) == [f"waybill.{name}"]
