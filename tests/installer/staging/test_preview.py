"""A plan without an installation keeps what it has to run: programs for this host alone, and ansible-core."""

from __future__ import annotations

from pathlib import Path

from installer.core.format.manifest import Deployment
from installer.host.layout import Layout
from installer.host.system import System
from installer.staging.preview import previewed
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium
from tests.rig.releases import Notes
from tests.rig.staging import opened

CHART, LICENCE = "deploy/helm/chat-1.0.0.tgz", "deploy/helm.LICENSE"


def test_a_carried_program_of_this_platform_can_be_run_while_planning(tmp_path: Path) -> None:
    system = System(tmp_path)
    here, other = system.platform(), "linux/s390x"
    members = {platform: f"deploy/tools/{platform.replace('/', '-')}/helm" for platform in (here, other)}
    entries = {
        CHART: {"kind": "chart"},
        LICENCE: {"kind": "licence"},
        **{path: {"kind": "tool", "mode": 0o755, "platform": each} for each, path in members.items()},
    }
    program = Path("/bin/echo").read_bytes()
    files = {path: program if path == members[here] else b"x" for path in sorted(entries)}
    options = {"chart": CHART, "helm": sorted(members.values()), "helm_licence": LICENCE}
    made = build.signed(
        build.plan(
            files, entries=entries, deploy=(Deployment("helm", options),), platforms=tuple(sorted(members))
        )
    )
    with previewed(opened(BytesMedium(made.tar())), system, Layout("lan-chat"), Notes()) as (_, staged):
        place = Path(system.real(staged.directory))
        assert system.run([str(place / members[here]), "hello"], timeout=10).stdout == b"hello\n"
        assert not (place / members[other]).exists()


def test_the_files_of_a_carried_ansible_are_there_while_planning(tmp_path: Path) -> None:
    site, first = "deploy/ansible/site.yml", "deploy/ansible-core/ansible/cli/playbook.py"
    entries = {site: {"kind": "playbook"}, first: {"kind": "ansible-core"}}
    step = Deployment("ansible", {"playbook": [site], "ansible": [first]})
    made = build.signed(build.plan(dict.fromkeys(sorted(entries), b"x"), entries=entries, deploy=(step,)))
    system = System(tmp_path)
    with previewed(opened(BytesMedium(made.tar())), system, Layout("lan-chat"), Notes()) as (_, staged):
        assert Path(system.real(staged.directory), first).read_bytes() == b"x"
