"""All products of a host share one space of names: what one has, no other one takes, changes or removes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.commands.status import product_status
from installer.core import jsonio
from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError
from installer.core.format.manifest import DirectoryEntry, LinkEntry
from installer.deploy.inventory import InventoryItem
from installer.host.context import Context
from installer.planning.drift import Policy
from installer.planning.owners import OtherProducts, name_problems
from installer.planning.plan import Options, Plan
from tests.rig.faulty import FaultySystem, kill_at, snapshot
from tests.rig.releases import Member, ReleaseSpec, context, install, plan_for, planned, remove, root

pytestmark = pytest.mark.host(system=FaultySystem)
REPLACE = Options(drift=Policy("replace"))
PAGE, UNIT = "/opt/demo/web/index.html", "/etc/systemd/system/chat.service"
OURS = {
    "docs/index.html": Member(b"hi", PAGE),
    "deploy/chat.service": Member(b"[Service]\n", UNIT, kind="unit"),
}
FIRST = ReleaseSpec("1.0.0", 1, OURS)


def spec(version: str = "1.0.0", sequence: int = 1, **fields: object) -> ReleaseSpec:
    members = fields.pop("members", {"docs/x": Member(b"x", "/opt/other/x")})
    return ReleaseSpec(version, sequence, members, product="other", **fields)  # type: ignore[arg-type]


def carrying(*places: str, data: bytes = b"hi") -> ReleaseSpec:
    return spec(members={f"docs/{n}": Member(data, place) for n, place in enumerate(places)})


@pytest.fixture
def other(host: Context) -> Context:
    """Another product on the host, where the first one is installed."""
    install(host, FIRST)
    return context(host.system, "other")


def whats(plan: Plan) -> list[tuple[str, str]]:
    return [(problem.where, problem.what) for problem in plan.problems]


@pytest.mark.parametrize("data", [b"hi", b"another"], ids=["same content", "other content"])
@pytest.mark.parametrize("options", [Options(), REPLACE], ids=["no policy", "replace"])
def test_a_file_of_another_product_is_refused_with_its_name(
    host: Context, other: Context, data: bytes, options: Options
) -> None:
    before = snapshot(root(host), besides=("var",))
    with (
        planned(other, carrying(PAGE, data=data), options) as plan,
        pytest.raises(HostNotReadyError) as raised,
    ):
        execute_plan(other, plan)
    assert raised.value.exit_code == 15
    assert str(raised.value.problems[0]) == (
        f"{PAGE}: belongs to lan-chat, which is installed on this host\n  hint: ask the team that built the "
        "bundle to use another name in bundle.yaml; or remove lan-chat first: `install remove lan-chat`"
    )
    assert snapshot(root(host), besides=("var",)) == before
    assert product_status(host).drift == ()


def test_the_same_place_by_another_path_is_the_same_file(host: Context, other: Context) -> None:
    (root(host) / "srv").symlink_to("opt/demo")
    plan = plan_for(other, carrying("/srv/web/index.html"))
    what = f"belongs to lan-chat as {PAGE}, which is installed on this host"
    assert whats(plan) == [("/srv/web/index.html", what)]


@pytest.mark.parametrize(
    ("path", "what"),
    [
        (UNIT, "the unit chat.service belongs to lan-chat, which is installed on this host"),
        (
            "/usr/lib/systemd/system/chat.service",
            "the unit chat.service belongs to lan-chat, which is installed on this host",
        ),
        (
            "/etc/systemd/system/chat.service.d/limits.conf",
            "the unit chat.service belongs to lan-chat, which is installed on this host",
        ),
        (
            "/etc/systemd/system/multi-user.target.wants/chat.service",
            "the unit chat.service belongs to lan-chat, which is installed on this host",
        ),
    ],
)
def test_a_unit_is_known_by_its_name_wherever_it_lies(other: Context, path: str, what: str) -> None:
    assert whats(plan_for(other, carrying(path))) == [(path, what)]


def test_links_and_directories_are_part_of_the_space(host: Context, other: Context) -> None:
    tree = replace(
        FIRST,
        version="2.0.0",
        sequence=2,
        links=(LinkEntry("trees/t/now", "v1", "/srv/now"),),
        directories=(DirectoryEntry("trees/t/data", 0o700, "/srv/data"),),
    )
    install(host, tree)
    wanted = spec(
        links=(LinkEntry("trees/t/now", "v1", "/srv/now"),),
        directories=(
            DirectoryEntry("trees/t/data", 0o700, "/srv/data"),
            DirectoryEntry("trees/t/demo", 0o700, "/opt/demo"),
        ),
    )
    belongs = "belongs to lan-chat, which is installed on this host"
    assert whats(plan_for(other, wanted, REPLACE)) == [
        ("/opt/demo", belongs),
        ("/srv/data", belongs),
        ("/srv/now", belongs),
    ]


def test_a_directory_that_holds_files_of_both_goes_with_the_last(host: Context, other: Context) -> None:
    install(other, carrying("/opt/demo/other/x"))
    assert (root(host) / "opt/demo/web/index.html").exists()
    done = remove(host)
    assert done.removal is not None
    assert (root(host) / "opt/demo/other/x").exists()
    assert any("belongs to other too" in row.what for row in done.removal.rows if row.name == "/opt/demo")
    remove(other)
    assert not (root(host) / "opt").exists()


def test_an_empty_directory_of_the_other_is_not_removed(host: Context, other: Context) -> None:
    (root(host) / "srv").mkdir()
    both = (DirectoryEntry("trees/t/spool", 0o755, "/srv/spool"),)
    members = {"docs/x": Member(b"x", "/srv/spool/x")}
    install(host, replace(FIRST, version="2.0.0", sequence=2, members=members))
    # The first product made the directory to hold a file; the second one needs it, empty.
    install(other, spec(directories=both))
    remove(host)
    assert (root(host) / "srv/spool").is_dir()
    remove(other)
    assert not (root(host) / "srv/spool").exists()


def hand_over(host: Context, path: str) -> None:
    """Make the record of the other product list a file of the first, as earlier versions allowed."""
    (record,) = (root(host) / "var/lib/waybill/other/rendered").glob("*/record.json")
    state = root(host) / "var/lib/waybill/other/state.json"
    (old,) = (root(host) / "var/lib/waybill/lan-chat/rendered").glob("*/record.json")
    row = next(each for each in json.loads(old.read_bytes())["installed"] if each["path"] == path)
    document = json.loads(record.read_bytes())
    document["installed"].append(row)
    before, data = sha256_hex(record.read_bytes()), jsonio.dumps_lines(document)
    record.write_bytes(data)
    state.write_text(state.read_text().replace(before, sha256_hex(data)))


def test_what_both_have_from_an_earlier_version_is_left_to_the_other(host: Context, other: Context) -> None:
    install(other, spec())
    hand_over(host, PAGE)
    plan = plan_for(host, FIRST)
    assert plan.problems == ()
    assert any("also belongs to other" in note for note in plan.notes)
    done = remove(other)
    assert (root(host) / PAGE[1:]).read_bytes() == b"hi"
    assert product_status(host).drift == ()
    assert done.removal is not None
    assert "belongs to lan-chat too" in done.removal.text()
    remove(host)
    assert not (root(host) / "opt").exists()


def test_a_change_of_what_both_have_is_refused(host: Context, other: Context) -> None:
    install(other, spec())
    hand_over(host, PAGE)
    members = {**OURS, "docs/index.html": Member(b"new", PAGE)}
    plan = plan_for(host, replace(FIRST, version="2.0.0", sequence=2, members=members))
    assert whats(plan) == [(PAGE, "belongs to other, which is installed on this host")]


def test_an_unfinished_transaction_has_what_it_has_placed(host: Context) -> None:
    kill_at(host, FIRST, "symlink releases")
    assert (root(host) / PAGE[1:]).exists()
    plan = plan_for(context(host.system, "other"), carrying(PAGE), REPLACE)
    assert whats(plan) == [(PAGE, "belongs to lan-chat, which is installed on this host")]


def test_a_damaged_record_of_another_product_stops_what_is_new_only(host: Context, other: Context) -> None:
    install(other, spec())
    (record,) = (root(host) / "var/lib/waybill/lan-chat/rendered").glob("*/record.json")
    record.write_text("{}")
    assert plan_for(other, spec("2.0.0", 2)).problems == ()
    members = {"docs/x": Member(b"x", "/opt/other/x"), "docs/y": Member(b"y", "/opt/other/y")}
    (problem,) = plan_for(other, spec("2.0.0", 2, members=members)).problems
    assert problem.where.endswith("record.json")
    assert "Install lan-chat 1.0.0 again from its bundle" in problem.hint
    remove(other)


def test_names_of_images_and_projects_are_part_of_the_space() -> None:
    has = [
        InventoryItem("image", "chat/web:1", "sha256:1", "sha256:2"),
        InventoryItem("project", "chat"),
        InventoryItem("unit", "chat.service"),
    ]
    others = OtherProducts(names={(item.kind, item.name): ("lan-chat", item) for item in has})
    assert list(name_problems(others, [has[0], InventoryItem("image", "mine:1", "sha256:1")])) == []
    wanted = [InventoryItem("image", "chat/web:1", "sha256:9", "sha256:8"), *has[1:]]
    assert [(problem.where, problem.what) for problem in name_problems(others, wanted)] == [
        ("image chat/web:1", "belongs to lan-chat, which is installed on this host"),
        ("project chat", "belongs to lan-chat, which is installed on this host"),
        ("unit chat.service", "belongs to lan-chat, which is installed on this host"),
    ]
