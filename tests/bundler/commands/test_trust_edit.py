"""A root over its life: keys, policies, signatures of several people, rotation, revocation, the sheet."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from bundler.commands import trust_edit, trust_sign
from bundler.commands.trust_edit import make_policy
from bundler.commands.trust_init import init_root
from bundler.commands.trust_sheet import make_sheet
from bundler.trust import root_files
from bundler.trust.root_files import load
from installer.core.digest import file_digest
from installer.core.errors import TamperedError, UsageError
from installer.core.trust.root import PRODUCTION, Policy, fingerprint
from installer.core.trust.rotation import check_successor
from tests.rig.signing import gpg_home
from tests.rig.trustworld import NOW, TEAM, World, person, public_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    root = tmp_path / "root.json"
    heads = [public_file(tmp_path, name) for name in ("Ann", "Ben")]
    init_root(root, [public_file(tmp_path, "Rea")], root_keys=heads, root_threshold=2, now=NOW)
    for role in ("provenance", "security", "ops"):
        trust_edit.add_keys(root, [person(TEAM[role]).key], [role], NOW)
    trust_edit.set_policy(root, "production", make_policy("production"), NOW)
    return root


def sign(path: Path, *names: str) -> None:
    for name in names:
        trust_sign.sign_root(path, [person(name).signer], NOW)


class TestMake:
    def test_what_was_made_lets_a_good_world_pass(self, path: Path) -> None:
        world = World(root=load(path).root)
        world.verify()

    def test_a_root_stays_one_version_until_enough_have_signed(self, path: Path) -> None:
        sign(path, "Ann")
        edited = trust_edit.add_keys(path, [person("Sam").key], ["security"], NOW)
        assert edited.file.root.version == 1
        assert len(edited.dropped) == 2
        assert load(path).signatures == ()

    def test_a_change_of_a_signed_root_makes_the_next_version_and_keeps_the_old(self, path: Path) -> None:
        sign(path, "Ann", "Ben")
        old = path.read_bytes()
        edited = trust_edit.add_keys(path, [person("Sam").key], ["security"], NOW)
        assert edited.file.root.version == 2
        assert edited.archived == path.with_name("1.root.json")
        assert edited.archived.read_bytes() == old
        assert len(load(edited.archived).signatures) == 4
        assert [each.complete for each in edited.file.standings(NOW)] == [False, False]

    def test_several_changes_make_one_version(self, path: Path) -> None:
        sign(path, "Ann", "Ben")
        for name in ("Sam", "Sue"):
            edited = trust_edit.add_keys(path, [person(name).key], ["security"], NOW)
        assert edited.file.root.version == 2

    def test_a_key_gets_a_further_role(self, path: Path) -> None:
        root = trust_edit.add_keys(path, [person("Ann").key], ["break-glass"], NOW).file.root
        assert root.roles["break-glass"].keys == (person("Ann").key.keyid,)

    def test_a_threshold_is_set_with_a_key(self, path: Path) -> None:
        root = trust_edit.add_keys(path, [person("Rob").key], ["release"], NOW, 2).file.root
        assert root.roles["release"].threshold == 2

    def test_a_threshold_that_nobody_can_meet_changes_nothing(self, path: Path) -> None:
        before = path.read_bytes()
        with pytest.raises(UsageError, match="nothing was written"):
            trust_edit.add_keys(path, [person("Rob").key], ["release"], NOW, 3)
        assert path.read_bytes() == before
        assert sorted(p.suffix for p in path.parent.iterdir()) == [".json", ".pub", ".pub", ".pub"]

    def test_an_unknown_role_is_refused(self, path: Path) -> None:
        for role, hint in (("boss", "use one of release, root,"), ("secrity", "did you mean security?")):
            with pytest.raises(UsageError, match="unknown role") as caught:
                trust_edit.add_keys(path, [person("Rob").key], [role], NOW)
            assert caught.value.hint.startswith(hint)


class TestPolicy:
    def test_production_starts_with_everything(self) -> None:
        assert make_policy("production") == PRODUCTION
        assert make_policy("lab") == Policy({})

    def test_what_is_given_is_changed_and_the_rest_stays(self) -> None:
        changed = make_policy(
            "production", PRODUCTION, requires=["security=2"], change_id=False, max_age="7d"
        )
        assert changed == Policy({"security": 2}, False, True, max_age_days=7)

    @pytest.mark.parametrize("asked", ["boss", "root", "break-glass", "security=x", "security=-1"])
    def test_a_policy_that_makes_no_sense_is_refused(self, asked: str) -> None:
        with pytest.raises(UsageError) as caught:
            make_policy("lab", requires=[asked])
        assert "did you mean" not in caught.value.hint

    def test_a_misspelt_role_of_a_policy_is_told_with_the_one_that_was_meant(self) -> None:
        with pytest.raises(UsageError) as caught:
            make_policy("lab", requires=["secrity=2"])
        assert (caught.value.where, caught.value.hint) == ("--require", "did you mean security?")

    @pytest.mark.parametrize("age", ["14", "0d", "x", "9999d"])
    def test_an_age_that_is_none_is_refused(self, age: str) -> None:
        with pytest.raises(UsageError):
            make_policy("lab", max_age=age)

    def test_a_policy_can_be_removed(self, path: Path) -> None:
        assert trust_edit.set_policy(path, "production", None, NOW).file.root.environments == {}

    def test_floor_and_reset_of_a_product_are_set(self, path: Path) -> None:
        trust_edit.set_product(path, "lan-chat", NOW, floor="v1.4.2")
        rule = trust_edit.set_product(path, "lan-chat", NOW, reset=True).file.root.products["lan-chat"]
        assert (rule.floor, rule.reset) == (100_040_002_999, 1)
        with pytest.raises(UsageError):
            trust_edit.set_product(path, "lan-chat", NOW, floor="1.0.0-odd.thing")


class TestSign:
    def test_several_people_can_sign_one_after_the_other(self, path: Path) -> None:
        sign(path, "Ann")
        (stand,) = load(path).standings(NOW)
        assert (stand.signed, stand.open, stand.complete) == (("Ann",), ("Ben",), False)
        assert "1 of 2 owners of version 1 have signed (Ann); can still sign: Ben" in stand.as_text()
        sign(path, "Ben")
        assert load(path).complete(NOW)

    def test_a_second_signature_by_one_person_changes_nothing(self, path: Path) -> None:
        sign(path, "Ann")
        assert trust_sign.sign_root(path, [person("Ann").signer], NOW).added == ()

    def test_a_signature_by_somebody_without_the_role_is_refused(self, path: Path) -> None:
        with pytest.raises(UsageError, match="does not have the role root"):
            sign(path, "Sec")

    def test_a_root_is_signed_by_gpg(self, path: Path) -> None:
        from bundler.commands.trust_init import key_from_gpg
        from bundler.signing.gpg import GpgSigner

        with gpg_home() as home:
            signer = GpgSigner(home.key("Gi"), home.path)
            trust_edit.add_keys(path, [key_from_gpg(signer.keyid, home.path)], ["root"], NOW)
            assert trust_sign.sign_root(path, [signer], NOW).added == (f"root.json.{signer.keyid8}.asc",)

    def test_a_signature_of_other_bytes_is_said(self, path: Path) -> None:
        sign(path, "Ann")
        path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 7'))
        with pytest.raises(TamperedError):
            sign(path, "Ben")

    def test_old_and_new_owners_sign_the_next_one(self, path: Path) -> None:
        sign(path, "Ann", "Ben")
        ben = person("Ben").key.keyid8
        trust_edit.rotate(path, NOW, replaced={ben: person("Cid").key})
        sign(path, "Ann", "Ben", "Cid")
        assert load(path).complete(NOW)
        old, new = load(path.with_name("1.root.json")), load(path)
        assert check_successor(old.root, new.data, new.signatures, "root.json", NOW) == new.root


class TestRotate:
    def test_a_new_key_takes_over_owner_and_roles(self, path: Path) -> None:
        ben = person("Ben").key
        root = trust_edit.rotate(path, NOW, expires="30d", replaced={ben.keyid8: person("Cid").key}).file.root
        cid = person("Cid").key.keyid
        assert root.keys[cid].owner == "Ben"
        assert cid in root.roles["root"].keys
        assert ben.keyid not in root.keys
        assert root.expires == NOW + timedelta(days=30)

    def test_a_key_is_taken_out_of_everything(self, path: Path) -> None:
        trust_edit.add_keys(path, [person("Sam").key], ["security", "ops"], NOW)
        root = trust_edit.rotate(path, NOW, removed=[person("Sam").key.keyid]).file.root
        assert person("Sam").key.keyid not in {keyid for role in root.roles.values() for keyid in role.keys}

    @pytest.mark.parametrize("keyid", ["00000000", "", "Ann"])
    def test_a_key_that_is_not_there_cannot_be_removed(self, path: Path, keyid: str) -> None:
        with pytest.raises(UsageError, match="is not a key of this root"):
            trust_edit.rotate(path, NOW, removed=[keyid])


class TestRevoke:
    def test_keys_and_bundles_can_be_revoked(self, path: Path, tmp_path: Path) -> None:
        world = World()
        bundle = tmp_path / "b.tar"
        bundle.write_bytes(world.tar())
        sec = person("Sec").key
        root = trust_edit.revoke(path, [sec.keyid8], [str(bundle), "c" * 64], NOW).file.root
        assert root.revoked_keys == {sec.keyid}
        assert root.revoked_bundles == {world.identity, "c" * 64}

    @pytest.mark.parametrize(("keys", "bundles"), [([], []), (["00000000"], []), ([], ["nothing.tar"])])
    def test_a_revocation_of_what_is_absent_is_refused(
        self, path: Path, keys: list[str], bundles: list[str]
    ) -> None:
        with pytest.raises(UsageError):
            trust_edit.revoke(path, keys, bundles, NOW)


class TestSheet:
    def test_text_and_page_have_all_that_is_compared(self, path: Path, tmp_path: Path) -> None:
        sign(path, "Ann", "Ben")
        (tmp_path / "install").write_bytes(b"\x7fELF")
        page = make_sheet(path, tmp_path / "install", NOW)
        assert page.warnings == ()
        for text in (page.as_text(), re.sub(r"<[^>]*>", " ", page.as_html())):
            plain = "".join(text.split())
            assert fingerprint(path.read_bytes()) in plain
            assert file_digest(tmp_path / "install") in plain
            assert "expires2027-" in plain
        assert all(len(line) <= 80 for line in page.as_text().splitlines())
        assert page.as_html().count("<svg") == 1
        assert "http" not in page.as_html().replace("http://www.w3.org/2000/svg", "")

    def test_the_code_holds_the_fingerprint(self, path: Path) -> None:
        import segno

        page = make_sheet(path, None, NOW)
        code = segno.make(f"sha256:{fingerprint(path.read_bytes())}", error="m", micro=False)
        drawn = re.search(r'<path[^>]* d="([^"]+)"', code.svg_inline(border=2, omitsize=True))
        assert drawn is not None
        assert drawn[1] in page.as_html()

    def test_the_sheet_of_a_root_that_hosts_would_not_take_says_so(self, path: Path) -> None:
        sign(path, "Ann")
        assert "signatures are missing" in make_sheet(path, None, NOW).as_text()
        assert "expired" in make_sheet(path, None, NOW + timedelta(days=999)).warnings[0]

    def test_what_owners_are_called_cannot_change_the_page(self, path: Path) -> None:
        from dataclasses import replace

        key = replace(person("Sam").key, owner="<script>alert(1)</script>")
        trust_edit.add_keys(path, [key], ["security"], NOW)
        assert "<script>" not in make_sheet(path, None, NOW).as_html()


def test_bytes_are_the_same_for_the_same_root(path: Path) -> None:
    root = load(path).root
    assert root_files.root_bytes(root) == path.read_bytes()
    assert json.loads(path.read_bytes()) == root.document()


def test_a_root_of_issue_a_can_be_extended(tmp_path: Path) -> None:
    path = tmp_path / "root.json"
    init_root(path, [public_file(tmp_path, "Rea")], now=NOW)
    (stand,) = load(path).standings(NOW)
    assert "has no key with the role root" in stand.as_text()
    assert trust_edit.add_keys(path, [person("Ann").key], ["root"], NOW).file.root.version == 1
