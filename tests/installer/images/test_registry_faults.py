"""A registry of a site that fails: found before a change where it can be, undone where it cannot."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.core.errors import HostNotReadyError, NotUndoneError, RolledBackError
from installer.core.format.manifest import HealthCheck
from installer.host.system import System
from installer.shared.terminal import interrupts
from installer.state.state import load
from tests.rig.faulty import Killed
from tests.rig.imagerelease import plain_layer
from tests.rig.registry import PASSWORD, USER, Registry
from tests.rig.registrygate import answers
from tests.rig.registrysite import RegistrySite, image, registry_site
from tests.rig.releases import ReleaseSpec, context, install, plan_for, recovered, remove
from tests.rig.share import share

pytestmark = pytest.mark.needs("registry")
BASE, ONE, TWO = (plain_layer(name, 40_000) for name in ("base", "one", "two"))
SICK = (HealthCheck("command", "", command=("/bin/false",), within=0),)


def test_two_images_of_one_name_on_the_site_are_refused(registry_host: RegistrySite) -> None:
    spec = registry_host.release("1.0.0", {"images.example/app:1": [BASE], "other.example/app:1": [ONE]})
    with pytest.raises(HostNotReadyError) as refused:
        plan_for(registry_host.context(), spec).require_ready()
    assert "has the same name in the registry as images.example/app:1" in str(refused.value)
    assert registry_host.gate.count("POST", "PUT") == 0


def test_a_registry_that_removes_nothing_keeps_the_tags_and_is_named(tmp_path: Path) -> None:
    registry = Registry.launch(deletes=False)
    try:
        with registry_site(registry, tmp_path / "host") as site:
            install(site.context(), site.release("1.0.0", {"app:latest": [BASE]}))
            before = site.tags("app")
            within = site.context()
            new = site.release("2.0.0", {"app:latest": [ONE]})
            with pytest.raises(RolledBackError):
                install(within, replace(new, health=SICK))
            lines = within.progress.lines  # type: ignore[attr-defined]
            assert any("the registry does not remove tags" in line for line in lines)
            # Names are back; what keeps the new image stays, and leads to it and nothing else.
            assert before.items() <= site.tags("app").items()
            assert set(site.tags("app").values()) == {image(new).manifest, *before.values()}
            found = remove(site.context()).removal
            assert found is not None
            left = [row for row in found.rows if row.how == "left"]
            assert [row.kind for row in left] == ["pushed image"]
            assert "remove the tag waybill." in left[0].hint
    finally:
        registry.stop()


def effects(site: RegistrySite, spec: ReleaseSpec) -> list[int]:
    """Return the numbers of the effects on the registry of an upgrade that goes well, on such a host."""
    within = site.context()
    install(within, spec)
    trace = within.system.trace  # type: ignore[attr-defined]
    return [at for at, name in enumerate(trace, 1) if name.startswith("registry.")]


@pytest.mark.parametrize("fault", ["kill before", "kill after"])
def test_an_upgrade_that_was_killed_at_any_request_ends_as_old_or_as_new(
    fault: str, registry: Registry, tmp_path: Path
) -> None:
    old, new = {"app:latest": [BASE]}, {"app:latest": [BASE, ONE], "web:1": [ONE]}
    with registry_site(registry, tmp_path / "golden") as golden:
        specs = [golden.release(f"{n}.0.0", each) for n, each in ((1, old), (2, new))]
        install(golden.context(), specs[0])
        numbers = effects(golden, specs[1])
    assert len(numbers) > 12
    for at in share(numbers, 5):
        with registry_site(registry, tmp_path / f"at-{at}") as site:
            install(site.context(), specs[0])
            before = site.tags("app"), site.tags("web")
            with pytest.raises(Killed):
                install(site.context(at, fault), specs[1])
            recovered(site.context())
            within = site.context()
            current = load(within.system, within.layout).current
            assert current is not None
            if current.version == "1.0.0":
                assert (site.tags("app"), site.tags("web")) == before, at
            install(site.context(), specs[1])
            assert site.named("app") == {"latest": image(specs[1]).manifest}, at
            assert site.named("web") == {"1": image(specs[1], 1).manifest}, at
            assert len(site.kept("app")) == 2, at


def test_a_login_that_is_refused_is_found_before_anything_is_changed(tmp_path: Path) -> None:
    registry = Registry.launch(login=True)
    try:
        with registry_site(registry, tmp_path / "host") as site:
            secret = site.root / "etc/waybill/password"
            secret.write_text("wrong-horse")
            secret.chmod(0o600)
            site.configure(
                f"auth: {{method: basic, username: {USER}, password_file: /etc/waybill/password}}\n"
            )
            spec = site.release("1.0.0", {"app:1": [BASE]})
            with pytest.raises(HostNotReadyError, match="refuses the login") as refused:
                plan_for(site.context(), spec).require_ready()
            assert "wrong-horse" not in str(refused.value)
            secret.write_text(PASSWORD)
            install(site.context(), spec)
            assert site.named("app") == {"1": image(spec).manifest}
    finally:
        registry.stop()


@pytest.mark.parametrize("status", [403, 503, 507])
def test_a_registry_that_takes_no_push_is_found_before_anything_is_changed(
    status: int, registry_host: RegistrySite
) -> None:
    registry_host.gate.spoil = lambda request: request.command == "POST" and answers(request, status)
    spec = registry_host.release("1.0.0", {"app:1": [BASE]})
    with pytest.raises(HostNotReadyError) as refused:
        plan_for(registry_host.context(), spec).require_ready()
    assert f"{registry_host.gate.name}/{registry_host.prefix}/app" in str(refused.value)
    assert registry_host.tags("app") == {}


def test_a_registry_that_gets_full_while_it_is_pushed_to_ends_in_the_old_release(
    registry_host: RegistrySite,
) -> None:
    old = registry_host.release("1.0.0", {"app:latest": [BASE]})
    install(registry_host.context(), old)
    before = registry_host.tags("app")
    registry_host.gate.spoil = lambda request: request.command == "PATCH" and answers(request, 507)
    new = registry_host.release("2.0.0", {"app:latest": [BASE, ONE]})
    with pytest.raises(RolledBackError, match="the registry is full"):
        install(registry_host.context(), new)
    assert registry_host.tags("app") == before


def test_a_registry_that_lies_about_a_manifest_ends_in_the_old_release(registry_host: RegistrySite) -> None:
    old = registry_host.release("1.0.0", {"app:latest": [BASE]})
    install(registry_host.context(), old)
    before = registry_host.tags("app")
    new = registry_host.release("2.0.0", {"app:latest": [BASE, ONE]})
    digest, pushed = image(new).manifest, list[str]()

    def lie(request: Any) -> bool:
        if request.command == "PUT" and request.path.endswith(digest):
            pushed.append(digest)
        asked = request.command == "GET" and request.path.endswith(digest)
        return asked and len(pushed) == 1 and answers(request, 200, {}, b'{"schemaVersion":2}')

    registry_host.gate.spoil = lie
    with pytest.raises(RolledBackError, match="sends a manifest with the digest"):
        install(registry_host.context(), new)
    assert registry_host.tags("app") == before


def test_an_undo_without_the_registry_waits_for_it(registry_host: RegistrySite) -> None:
    old = registry_host.release("1.0.0", {"app:latest": [BASE]})
    install(registry_host.context(), old)
    before = registry_host.tags("app")
    new = replace(registry_host.release("2.0.0", {"app:latest": [ONE]}), health=SICK)
    named_new = list[int]()

    def down(request: Any) -> bool:
        if request.command == "PUT" and request.path.endswith("/manifests/latest"):
            named_new.append(1)
            return False
        # From the moment that the name leads to the new image: it answers once more, then the undo begins.
        return len(named_new) > 0 and request.command != "GET" and answers(request, 503)

    registry_host.gate.spoil = down
    with pytest.raises(NotUndoneError, match="status 503"):
        install(registry_host.context(), new)
    registry_host.gate.spoil = lambda _request: False
    recovered(registry_host.context())
    assert registry_host.tags("app") == before


def test_a_signal_waits_for_a_manifest_that_the_registry_is_about_to_take(
    registry_host: RegistrySite,
) -> None:
    install(registry_host.context(), registry_host.release("1.0.0", {"app:latest": [BASE]}))
    before = registry_host.tags("app")
    new = registry_host.release("2.0.0", {"app:latest": [BASE, ONE]})
    named = list[int]()

    def interrupt(request: Any) -> bool:
        if request.command == "PUT" and request.path.endswith("/manifests/latest") and not named:
            named.append(1)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)  # the registry takes its time; the client could go away
        return False

    registry_host.gate.spoil = interrupt
    with interrupts.handled(), pytest.raises(RolledBackError, match="SIGTERM"):
        install(registry_host.context(), new)
    time.sleep(1)
    assert named
    assert registry_host.tags("app") == before


def test_another_registry_in_the_settings_does_not_undo_what_was_pushed(registry_host: RegistrySite) -> None:
    specs = [registry_host.release(f"{n}.0.0", {"app:latest": [BASE, plain_layer(str(n))]}) for n in (1, 2)]
    install(registry_host.context(), specs[0])
    before = registry_host.tags("app")
    with pytest.raises(Killed):
        install(registry_host.context(effects_before_name(registry_host), "kill after"), specs[1])
    registry_host.configure(address="http://127.0.0.1:9")
    with pytest.raises(NotUndoneError, match=r"registry\.yaml names http://127\.0\.0\.1:9") as caught:
        recovered(registry_host.context())
    assert registry_host.gate.name in str(caught.value)
    registry_host.configure()
    recovered(registry_host.context())
    assert registry_host.tags("app") == before


def effects_before_name(site: RegistrySite) -> int:
    """Return the number of an effect of an upgrade in which something of it is in the registry."""
    with registry_site(site.registry, site.root.parent / "golden") as golden:
        specs = [golden.release(f"{n}.0.0", {"app:latest": [BASE, plain_layer(str(n))]}) for n in (1, 2)]
        install(golden.context(), specs[0])
        return effects(golden, specs[1])[-1]


def test_images_stay_in_the_release_below_a_root_that_is_not_live(registry_host: RegistrySite) -> None:
    install(context(System(registry_host.root)), registry_host.release("1.0.0", {"app:1": [BASE]}))
    assert registry_host.gate.seen == []
