"""One form of difference for plan, install, rollback and status, whatever was edited, and however much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.status import product_status
from installer.core.format.manifest_rules import section_rank
from installer.host.context import Context
from installer.planning.plan_text import plan_text
from installer.planning.views import content_diff
from installer.shared.secrecy.redaction import LIMIT
from tests.rig import bundlebuild as build
from tests.rig.bench import Bench
from tests.rig.releases import Member, ReleaseSpec, plan_for, root
from tests.rig.trustworld import APPROVALS, FILES, World

PAGE, CONF = "opt/web/page.html", "etc/web.conf"


def release(number: int) -> ReleaseSpec:
    members = {
        "trees/page.html": Member(b"first\nof release %d\nlast\n" % number, f"/{PAGE}", 0o644, "tree"),
        "config/web.conf": Member(b"port: %d\n" % number, f"/{CONF}", 0o640, "template"),
    }
    return ReleaseSpec(f"{number}.0.0", number, members)


pytestmark = pytest.mark.host(release(1))


def differences(host: Context) -> dict[str, str]:
    """Return what `status` says of edited files."""
    return {each.path: each.text or each.note for each in product_status(host).differences}


def test_an_edited_file_of_a_tree_shows_the_lines_that_differ(host: Context) -> None:
    (root(host) / PAGE).write_text("first\nedited\nlast\n")
    expected = f"--- /{PAGE}\n+++ /{PAGE}\n@@ -1,3 +1,3 @@\n first\n-edited\n+of release 1\n last"
    assert differences(host) == {f"/{PAGE}": expected}
    (diff,) = [each for each in plan_for(host, release(1)).diffs if each.path == f"/{PAGE}"]
    assert diff.text == expected
    text = product_status(host).text()
    assert "    -edited\n    +of release 1\n" in text


@pytest.mark.parametrize("path", [PAGE, CONF])
def test_a_changed_mode_is_one_line_and_is_set_back(host: Context, path: str) -> None:
    was = (root(host) / path).stat().st_mode & 0o777
    (root(host) / path).chmod(0o777)
    note = f"mode 0777 → {was:04o}; the content is the same"
    assert differences(host) == {f"/{path}": note}
    plan = plan_for(host, release(1))
    assert [(each.path, each.text, each.note) for each in plan.diffs] == [(f"/{path}", "", note)]
    assert f"\n/{path}: {note}\n" in plan_text(plan)
    (problem,) = plan.problems
    assert problem.what == f"was changed on this host (has mode 0777, not {was:04o})"
    assert problem.hint.startswith(f"set it back: `chmod {was:04o} /{path}`; ")
    assert "move it away" not in problem.hint
    (root(host) / path).chmod(was)
    assert plan_for(host, release(1)).nothing


def test_a_changed_mode_beside_changed_content_is_told_too(host: Context) -> None:
    (root(host) / PAGE).write_text("edited\n")
    (root(host) / PAGE).chmod(0o600)
    (problem,) = product_status(host).drift
    assert problem.what == "has different content and has mode 0600, not 0644"


def test_a_link_in_place_of_a_file_shows_nothing_of_what_it_leads_to(host: Context) -> None:
    secret = root(host) / "etc/secret"
    secret.write_text("only root may read this\n")
    for path in (PAGE, CONF):
        (root(host) / path).unlink()
        (root(host) / path).symlink_to("/etc/secret")
    plan = plan_for(host, release(2))
    assert {each.path: each.note for each in plan.diffs} == dict.fromkeys(
        (f"/{PAGE}", f"/{CONF}"), "is a link to /etc/secret, not a file"
    )
    assert "only root" not in plan_text(plan) + product_status(host).text()


def test_what_is_too_large_or_not_text_is_named(host: Context) -> None:
    (root(host) / PAGE).write_bytes(b"x" * (LIMIT + 1))
    assert differences(host) == {f"/{PAGE}": f"too large to show ({LIMIT + 1} and 24 bytes)"}
    (root(host) / PAGE).write_bytes(b"\xff\xfe")
    assert differences(host) == {f"/{PAGE}": "not text"}


def test_some_of_very_many_edited_files_are_only_named(
    host: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_diff, "TOTAL", 10)
    monkeypatch.setattr(content_diff._Budget.__init__, "__defaults__", (10,))
    (root(host) / PAGE).write_text("edited\n")
    note = "differs; not shown, because too many files were edited"
    assert differences(host) == {f"/{PAGE}": note}
    assert [each.note for each in plan_for(host, release(1)).diffs if each.path == f"/{PAGE}"] == [note]


def test_plan_of_a_bundle_shows_what_its_installation_shows(bench: Bench) -> None:
    bundle = str(bench.bundle(tree_release("1.4.0", 100_040_000_999, b"first\nold\nlast\n")))
    assert bench.run(bundle, "--yes")[0] == 0
    page = bench.host / PAGE
    page.write_text("first\nedited\nlast\n")
    newer = str(bench.bundle(tree_release("1.5.0", 100_050_000_999, b"first\nnew\nlast\n"), "newer.tar"))
    planned, installed = bench.text("plan", newer)[1], bench.text(newer, "--yes")[1]
    assert shown(planned) == shown(installed)
    assert shown(planned).splitlines() == [
        f"--- /{PAGE}", f"+++ /{PAGE}", "@@ -1,3 +1,3 @@", " first", "-edited", "+new", " last",
    ]  # fmt: skip
    page.write_text("first\nold\nlast\n")
    page.chmod(0o600)
    planned, installed = bench.text("plan", newer)[1], bench.text(newer, "--yes")[1]
    assert shown(planned) == shown(installed)
    assert "\n-old\n+new\n" in shown(planned)
    for text in (planned, installed):
        assert "was changed on this host (has mode 0600, not 0644)\n  hint: set it back: `chmod 0644 " in text


def shown(text: str) -> str:
    """Return the differences that a plan shows."""
    return text[text.index("--- /") : text.index("\nspace at")].strip("\n")


def test_a_plan_keeps_only_what_was_edited(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = str(bench.bundle(tree_release("1.4.0", 100_040_000_999, b"a\n")))
    assert bench.run(bundle, "--yes")[0] == 0
    chosen: list[frozenset[str]] = []
    real = content_diff.edited_members

    def remember(*given: object) -> frozenset[str]:
        chosen.append(real(*given))  # type: ignore[arg-type]
        return chosen[-1]

    monkeypatch.setattr("installer.commands.plan.edited_members", remember)
    newer = str(bench.bundle(tree_release("1.5.0", 100_050_000_999, b"b\n"), "newer.tar"))
    bench.run("plan", newer)
    Path(bench.host / PAGE).write_text("edited\n")
    bench.run("plan", newer)
    assert [sorted(each) for each in chosen] == [[], ["docs/page.html"]]


def tree_release(version: str, sequence: int, page: bytes) -> World:
    files = {**FILES, "docs/page.html": page}
    files = dict(sorted(files.items(), key=lambda each: (section_rank(each[0]), each[0])))
    plan = build.plan(
        files, room=512, rollback="docs/ROLLBACK.md", version=version,
        sequence=sequence, entries={"docs/page.html": {"install": f"/{PAGE}"}},
    )  # fmt: skip
    back = tuple(replace(each, fields={"rollback_to": "none"}) for each in APPROVALS)
    return World(plan=plan, approvals=back)
