"""Makes hostile bundles: each function gives a maker of a plan to be signed, or of the bytes of a tar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from installer.core.format import manifest_json
from installer.core.format.manifest import SUMS, Deployment, HealthCheck
from installer.core.format.manifest_rules import section_rank
from installer.core.format.tar_header import BLOCK, END
from tests.attacks.box import DAY, now, plan
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import Part, Plan
from tests.rig.imagebuild import Built, layer
from tests.rig.imageplan import Section, section
from tests.rig.trustworld import person

DOC = "docs/CHANGELOG.md"
Made = Plan | bytes


def extra(part: Part) -> Callable[[], Made]:
    """A member that nobody signed, last of the payload."""

    def make() -> Made:
        good = build.signed(plan())
        return replace(good, payload=(*good.payload, part)).tar()

    return make


def instead(part: Part, name: str = DOC) -> Callable[[], Made]:
    """Another member in place of one."""

    def make() -> Made:
        good = build.signed(plan())
        return b"".join(part.tar() if each.name == name else each.tar() for each in good.parts) + END

    return make


def header(name: str = DOC, **fields: bytes) -> Callable[[], Made]:
    """One field of a header changed, its checksum right."""

    def make() -> Made:
        good = build.signed(plan())
        block = next(part for part in good.parts if part.name == name).tar()[:BLOCK]
        return good.changed(name, header=build.raw_header(block, **fields)).tar()

    return make


def document(old: bytes, new: bytes) -> Callable[[], Made]:
    """Another text in bundle.json, listed and signed."""

    def make() -> Made:
        good = plan()
        data = manifest_json.dump(good.manifest)
        assert old in data
        return good.resealed(document=data.replace(old, new, 1))

    return make


def listed(path: str) -> Callable[[], Made]:
    """A name that the signed list and the signed manifest agree on."""
    return document(f'"path":"{DOC}"'.encode(), f'"path":"{path}"'.encode())


def before(name: str, part: Part) -> Callable[[], Made]:
    """A member put in front of another."""

    def make() -> Made:
        good = build.signed(plan())
        parts = [each for old in good.parts for each in ((part, old) if old.name == name else (old,))]
        return b"".join(each.tar() for each in parts) + END

    return make


def twins() -> Made:
    return plan({DOC: b"x", "docs/changelog.md": b"y"})


def with_link(target: str) -> Callable[[], Made]:
    return document(
        b'"schema":', b'"links":[{"path":"trees/web/x","target":"%s"}],"schema":' % target.encode()
    )


def installed_at(place: str) -> Callable[[], Made]:
    return lambda: plan(entries={DOC: {"install": place}})


def after_the_end(data: bytes) -> Callable[[], Made]:
    return lambda: build.signed(plan()).tar() + data


def signatures(count: int) -> Made:
    good = build.signed(plan())
    more = tuple(Part(f"{SUMS}.{n:08x}.sig", b"AAAA", mtime=good.manifest.created) for n in range(count))
    return replace(good, head=(*good.head[:3], *more, *good.head[3:])).tar()


def approvals(*parts: Part) -> Callable[[], Made]:
    def make() -> Made:
        good = build.signed(plan())
        return replace(good, tail=tuple(replace(part, mtime=good.manifest.created) for part in parts)).tar()

    return make


def dirty_padding() -> Made:
    return build.signed(plan()).changed(DOC, tail=b"\1".rjust(-len(build.FILES[DOC]) % BLOCK, b"\0")).tar()


def swapped() -> Made:
    good = build.signed(plan({"docs/a": b"alpha", "docs/b": b"bravo"}))
    return good.changed("docs/a", data=b"bravo").changed("docs/b", data=b"alpha").tar()


def of_another() -> Made:
    other = build.signed(plan(version="1.3.9"))
    good = build.signed(plan())
    return replace(good, head=(good.head[0], *other.head[1:3], *good.head[3:])).tar()


def stripped() -> Made:
    return plan().tar()


def by_a_stranger() -> Made:
    good = plan()
    files = person("Eve").signer.sign(good.head[0].data)
    key = person("Eve").signer.keyid8
    parts = tuple(
        Part(f"{SUMS}.{key}.{form}", data, mtime=good.manifest.created) for form, data in files.items()
    )
    return replace(good, head=(good.head[0], *parts, *good.head[1:])).tar()


def signature(form: str, change: Callable[[bytes], bytes]) -> Callable[[], Made]:
    """A signature file of the trusted key, changed."""

    def make() -> Made:
        good = build.signed(plan())
        name = f"{SUMS}.{build.key()[0].keyid8}.{form}"
        data = next(part.data for part in good.head if part.name == name)
        return good.changed(name, data=change(data)).tar()

    return make


def template(text: str) -> Callable[[], Made]:
    """A template whose rendering is the attack."""
    files = {"config/a.j2": text.encode(), "docs/a": b"x"}
    return lambda: plan(
        dict(sorted(files.items(), key=lambda each: order(each[0]))),
        entries={"config/a.j2": {"install": "/etc/lan-chat/a"}},
    )


def values(text: str) -> Callable[[], Made]:
    """Values of the bundle that are the attack."""
    files = {DOC: b"x", "config/a.j2": b"{{ a }}", "config/values.yaml": text.encode()}
    entries = {"config/a.j2": {"install": "/etc/lan-chat/a"}, "config/values.yaml": {"kind": "values"}}
    return lambda: plan(files, entries=entries, values="config/values.yaml")


def images(change: Callable[[Section], object]) -> Callable[[], Made]:
    """A bundle with one image, and something about it changed."""

    def make() -> Made:
        made = section([Built("chat/app:1", [layer("app")], form="zstd")])
        change(made)
        return made.plan(created=now() - DAY, expires=now() + 90 * DAY, room=512)

    return make


def steps(*deploy: Deployment, health: tuple[HealthCheck, ...] = ()) -> Callable[[], Made]:
    """Steps or probes that are the attack; the bundle has one script and one unit."""
    entries = {"deploy/a.sh": {"kind": "script", "mode": 0o755}, "deploy/a.service": {"kind": "unit"}}
    files = {DOC: b"x", "deploy/a.service": b"[Service]\n", "deploy/a.sh": b"#!/bin/sh\n"}
    return lambda: plan(files, entries=entries, deploy=deploy, health=health)


def order(path: str) -> tuple[int, str]:
    return section_rank(path), path
