"""The rig takes its Debian mirror from apt's sources, whatever their format; the real apt reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.rig.mirror import mirror
from tests.rig.parts import PARTS
from tests.rig.provision import attempt, if_absent

pytestmark = pytest.mark.needs("apt")

Sources = Callable[[str, str], str]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAYBILL_RIG_MIRROR", "WAYBILL_RIG_MIRROR_BULLSEYE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def chosen(tmp_path: Path) -> Sources:
    """Returns the mirror taken from a file of apt's sources, a `.list` or a `.sources`."""

    def choose(name: str, text: str) -> str:
        for folder in ("lists/partial", "sources.list.d"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "sources.list.d" / name).write_text(text)
        places = {
            "Dir::State::lists": tmp_path / "lists",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": tmp_path / "sources.list.d",
        }
        return mirror("sid", [word for name, place in places.items() for word in ("-o", f"{name}={place}")])

    return choose


def test_one_line_sources_with_options_are_read(chosen: Sources) -> None:
    text = """
    # deb http://commented.example/debian bookworm main
    deb cdrom:[Debian GNU/Linux 12.11.0 _Bookworm_ - Official amd64 DVD]/ bookworm main
    deb-src http://source.example/debian bookworm main
    deb [arch=amd64 signed-by=/usr/share/keyrings/debian.gpg] http://mirror.example/debian/ bookworm main
    """
    assert chosen("debian.list", text) == "http://mirror.example/debian"


def test_deb822_sources_with_disabled_entries_are_read(chosen: Sources) -> None:
    text = """\
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
Enabled: no

# An own mirror, and another one that stands by.
Types: deb deb-src
URIs: https://mirror.example/debian/
 http://other.example/debian
Suites: bookworm bookworm-updates
Components: main non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
    assert chosen("debian.sources", text) == "https://mirror.example/debian"


def test_security_updates_and_other_publishers_are_no_main_archive(chosen: Sources) -> None:
    text = """
    deb http://security.example/debian-security bookworm-security main
    deb http://old-security.example/debian-security buster/updates main
    deb http://updates.example/debian bookworm-updates main
    deb http://firmware.example/debian bookworm non-free-firmware
    deb http://flat.example/debian ./
    deb https://browser.example/linux/deb/ stable main
    deb http://mirror.example/pub/debian bookworm main
    """
    assert chosen("debian.list", text) == "http://mirror.example/pub/debian"


def test_a_mirror_below_another_path_serves_where_it_is_the_only_one(chosen: Sources) -> None:
    text = "deb https://proxy.example/repository/apt-main/ trixie main\n"
    assert chosen("debian.list", text) == "https://proxy.example/repository/apt-main"


def test_a_list_of_mirrors_in_a_file_gives_its_first(chosen: Sources, tmp_path: Path) -> None:
    mirrors = tmp_path / "mirrors.list"
    mirrors.write_text(
        "# of this region\nhttps://near.example/debian\tpriority:1\nhttps://far.example/debian\n"
    )
    text = f"Types: deb\nURIs: mirror+file:{mirrors}\nSuites: bookworm\nComponents: main\n"
    assert chosen("debian.sources", text) == "https://near.example/debian"


def test_the_variable_to_set_is_named_where_no_source_serves(chosen: Sources) -> None:
    with pytest.raises(SystemExit, match="hint: set WAYBILL_RIG_MIRROR "):
        chosen("debian.list", "deb cdrom:[Debian]/ bookworm main\ndeb file:/srv/debian bookworm main\n")


def test_the_environment_goes_before_the_sources(chosen: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "deb http://mirror.example/debian bookworm main\n"
    monkeypatch.setenv("WAYBILL_RIG_MIRROR", "http://given.example/debian/")
    assert chosen("debian.list", text) == "http://given.example/debian"
    monkeypatch.setenv("WAYBILL_RIG_MIRROR_SID", "http://sid.example/debian")
    assert chosen("debian.list", text) == "http://sid.example/debian"


def test_a_suite_that_the_mirror_has_not_is_told_with_the_variable_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent() -> None:
        raise OSError("404")

    monkeypatch.setenv("WAYBILL_RIG_MIRROR", "http://mirror.example/debian")
    monkeypatch.setattr("tests.rig.provision.time.sleep", lambda _: None)
    with pytest.raises(SystemExit, match=r"(?s)404.*mirror\.example.*set WAYBILL_RIG_MIRROR_BULLSEYE to"):
        attempt("host-old", if_absent("bullseye"), absent)


def test_what_the_cache_holds_does_not_depend_on_the_mirror() -> None:
    assert "://" not in repr(PARTS)
