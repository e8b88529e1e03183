"""Which methods are driven: optional ones only where they are named, images where something needs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from installer.core.errors import UsageError
from installer.core.format.manifest import Deployment, Image, Manifest
from installer.core.format.methods import ON_THIS_MACHINE, SPECS
from installer.deploy.method import Target
from installer.deploy.method_registry import method
from installer.host.context import Context
from installer.planning.method_selection import Selection, select
from installer.planning.plan import Options
from installer.state.release import Release
from tests.rig.livedir import LiveDir
from tests.rig.releases import context, install, roll_back
from tests.rig.steps import UNDO, lines, stepped

IMAGE = Image("shop/web:1", "linux/amd64", "sha256:" + "1" * 64, "sha256:" + "2" * 64, ())


def release(*methods: Deployment) -> Manifest:
    return Manifest(
        product="shop", version="1.0.0", sequence=1, created=0, expires=2**40, platforms=("linux/amd64",),
        files=(), images=(IMAGE,), deploy=methods,
    )  # fmt: skip


def driven(*methods: Deployment, live: bool = True, only: str = "", skip: str = "") -> set[str]:
    names = (frozenset(text.split()) for text in (only, skip))
    return set(select(release(*methods), live=live, only=next(names), skip=next(names)).used)


OPTIONAL_IMAGES = Deployment("images", {}, optional=True)
OPTIONAL_COMPOSE = Deployment("compose", {}, optional=True)
SYSTEMD = Deployment("systemd", {})


def test_images_are_loaded_without_being_named():
    assert driven(SYSTEMD) == {"files", "images", "systemd"}
    assert driven(SYSTEMD, live=False) == {"files", "images"}


@pytest.mark.parametrize("live", [True, False])
def test_optional_images_need_no_engine_where_nobody_asked_for_them(live):
    assert "images" not in driven(OPTIONAL_IMAGES, SYSTEMD, live=live)


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("only", ["images", "compose"])
def test_optional_images_are_loaded_where_they_or_compose_are_named(live, only):
    assert "images" in driven(OPTIONAL_IMAGES, OPTIONAL_COMPOSE, SYSTEMD, live=live, only=only)


def test_optional_images_are_loaded_for_compose_that_is_not_optional():
    assert "images" in driven(OPTIONAL_IMAGES, Deployment("compose", {}))


def test_only_another_method_loads_no_images_on_a_live_host():
    assert driven(SYSTEMD, only="systemd") == {"files", "systemd"}


def test_skip_wins_over_need():
    assert driven(Deployment("compose", {}), skip="images") == {"files", "compose"}


def test_name_of_no_method_is_named():
    with pytest.raises(UsageError, match="--only helm: the release has no such method"):
        driven(SYSTEMD, only="helm")


def test_a_misspelt_method_is_told_with_the_one_that_was_meant():
    with pytest.raises(UsageError) as error:
        driven(SYSTEMD, only="fils")
    assert error.value.hint == "did you mean files?"


def test_methods_that_refuse_a_root_are_known_before_and_not_recommended(host: Context) -> None:
    for name, spec in SPECS.items():
        step = Deployment(name, {}, optional=name == "helm")
        made = release(step)
        if spec.implicit or spec.runs_below_root:
            continue
        found = method(name)
        assert found is not None
        (problem,) = found.check(host, None, Target(Release(made, "/r", "/r", "/r"), {}))
        assert "--root is a directory" in problem.what
        why = " because it is optional" if step.optional else " with --root"
        told = select(made, live=False, only=frozenset(), skip=frozenset()).skipped[name]
        assert told == f'step "{name}" is skipped{why}; it runs only on a running host'
    assert ON_THIS_MACHINE == ("compose", "salt", "script")
    told = select(release(Deployment("salt", {})), live=False, only=frozenset(), skip=frozenset()).skipped[
        "salt"
    ]
    assert told.endswith("; add --only files,images,salt to run it on this machine")


def again(*methods: Deployment, running: str, only: str = "", skip: str = "") -> set[str]:
    names = (frozenset(text.split()) for text in (only, skip, running))
    only_, skip_, running_ = names
    return set(select(release(*methods), live=False, only=only_, skip=skip_, running=running_).used)


def test_what_brought_up_the_running_release_is_driven_again_without_being_named():
    assert again(OPTIONAL_COMPOSE, SYSTEMD, running="files compose") == {"files", "images", "compose"}


def test_a_flag_wins_over_what_was_driven_before():
    assert again(OPTIONAL_COMPOSE, SYSTEMD, running="files compose", only="systemd") == {
        "files",
        "images",
        "systemd",
    }
    assert again(OPTIONAL_COMPOSE, SYSTEMD, running="files compose", skip="compose") == {"files", "images"}


def test_a_method_that_the_new_release_lacks_is_not_driven():
    assert again(SYSTEMD, running="files compose") == {"files", "images"}


class TestRollback:
    """A rollback drives what the releases that are involved were installed with, unless a flag says more."""

    @staticmethod
    def returned(*methods: Deployment, running: str, only: str = "", skip: str = "") -> Selection:
        names = [frozenset(text.split()) for text in (only, skip, running)]
        return select(
            release(*methods), live=True, only=names[0], skip=names[1], running=names[2], returns=True
        )

    def test_what_neither_release_was_installed_with_is_left_out_and_said(self):
        found = self.returned(SYSTEMD, OPTIONAL_COMPOSE, OPTIONAL_IMAGES, running="files images compose")
        assert found.used == {"files", "images", "compose"}
        assert found.skipped["systemd"] == (
            'step "systemd" is skipped: neither release used it on this host; '
            "add --only compose,files,images,systemd to run it"
        )

    def test_images_that_were_skipped_stay_skipped(self):
        assert self.returned(Deployment("compose", {}), running="files compose").used == {"files", "compose"}

    def test_a_flag_wins_over_what_the_releases_used(self):
        assert self.returned(SYSTEMD, running="files", only="systemd").used == {"files", "systemd"}
        assert self.returned(SYSTEMD, running="files systemd", skip="systemd").used == {"files"}

    def test_steps_of_releases_that_were_installed_without_them_run_where_they_are_named(
        self, tmp_path: Path
    ):
        live: Context = context(LiveDir(tmp_path))
        for number in (1, 2):
            install(live, stepped(f"{number}.0.0", number, UNDO), Options(only=frozenset({"files"})))
        roll_back(live)
        assert (tmp_path / "etc/f").read_text() == "1.0.0"
        assert not (tmp_path / "log").exists()
        roll_back(live, "2.0.0", Options(only=frozenset({"script"})))
        assert (tmp_path / "etc/f").read_text() == "2.0.0"
        assert [line.split()[0] for line in lines(live)] == ["apply"]
