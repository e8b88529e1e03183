"""Hostile bundles at the prompt of `install`: each named by its fault, each refused, the host as it was.

Those that change what is signed are signed again, by the very key that the host trusts: a signature makes
nothing harmless.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from installer.core.digest import sha256_hex
from installer.core.format.archive import RESERVED_SPACE
from installer.core.format.manifest import MANIFEST, SUMS
from installer.core.format.tar_header import END
from installer.core.limits import LIMITS
from installer.core.trust.root import ProductRule
from tests.attacks.box import DAY, Box, member, now, plan, run
from tests.attacks.makers import (
    DOC,
    Made,
    after_the_end,
    approvals,
    before,
    by_a_stranger,
    dirty_padding,
    document,
    extra,
    header,
    images,
    installed_at,
    instead,
    listed,
    of_another,
    signature,
    signatures,
    stripped,
    swapped,
    template,
    twins,
    values,
    with_link,
)
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import Part

IMAGES = (
    "an image that nobody listed",
    "a layer that climbs in Docker's list",
    "a layer that expands to something else",
    "a blob that belongs to no image",
)
LAUGHS = "a0: &a0 x\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
ATTACKS: dict[str, tuple[Callable[[], Made], int, str]] = {
    # traversal, absolute, .., NUL
    "a member that climbs": (extra(member("../outside/evil")), 11, r"b\.tar@\d+: .*\.\./outside/evil"),
    "a member with an absolute name": (extra(member("/etc/cron.d/evil")), 11, r"b\.tar@\d+: .*/etc/cron"),
    "a first member that climbs": (
        instead(member("../SHA256SUMS"), SUMS),
        11,
        r"b\.tar@0: .*\.\./SHA256SUMS",
    ),
    "a signed name that climbs": (listed("docs/../../evil"), 11, r"bundle\.json.*(evil|docs)"),
    "a signed absolute name": (listed("/docs/evil"), 11, r"bundle\.json.*(evil|docs)"),
    "a signed name with NUL": (listed("docs/a\\u0000b"), 11, r"bundle\.json.*(evil|docs)"),
    "a signed name with a backslash": (listed("docs\\\\evil"), 11, r"bundle\.json.*(evil|docs)"),
    "an approval that climbs": (approvals(member("approvals/../evil")), 11, r"b\.tar@\d+"),
    "a destination that climbs": (installed_at("/opt/../../outside/evil"), 11, r"bundle\.json: destination"),
    "a destination in Waybill's own place": (
        installed_at("/etc/waybill/trust/root.json"),
        11,
        r"bundle\.json",
    ),
    "a link that leaves its tree": (
        with_link("../../../outside/precious"),
        11,
        r"bundle\.json: link trees/web/x",
    ),
    "an absolute link": (with_link("/etc/passwd"), 11, r"bundle\.json"),
    # links, devices, fifos, directories
    **{
        f"a {what} in place of a file": (header(type=flag, link=b"/etc/passwd"), 11, r"b\.tar@\d+: .*type")
        for what, flag in {
            "symbolic link": b"2",
            "hard link": b"1",
            "character device": b"3",
            "block device": b"4",
            "directory": b"5",
            "fifo": b"6",
            "contiguous file": b"7",
        }.items()
    },
    "a list that is a link": (header(SUMS, type=b"2", link=b"/etc/passwd"), 11, r"b\.tar@0: .*type"),
    # setuid, owner, extended attributes
    "a setuid bit in a header": (header(mode=b"0004755\0"), 11, r"b\.tar@\d+: .*CHANGELOG"),
    "a signed setuid bit": (
        document(b'"mode":"0755"', b'"mode":"4755"'),
        11,
        r"bundle\.json: files\[\d+\]\.mode",
    ),
    "an owner in a header": (header(uid=b"0001750\0"), 11, r"b\.tar@\d+"),
    "a user's name in a header": (header(uname=b"evil"), 11, r"b\.tar@\d+"),
    "a device number in a header": (header(major=b"0000001\0"), 11, r"b\.tar@\d+"),
    # duplicates, case folding, Unicode twins
    "a second member of one name": (extra(Part(DOC, b"evil")), 11, r"b\.tar@\d+: .*CHANGELOG"),
    "a second list": (before(MANIFEST, Part(SUMS, b"x\n")), 11, r"b\.tar@\d+"),
    "a second manifest": (extra(Part(MANIFEST, b"{}")), 11, r"b\.tar@\d+: bundle\.json"),
    "names that differ in letter case": (twins, 11, r"bundle\.json: .*changelog"),
    "a name with a Unicode twin": (listed("docs/CHANGEL\u041eG.md"), 11, r"bundle\.json.*(evil|docs)"),
    # pax, GNU longname, sparse, global headers
    **{
        f"a {what} header": (
            before(DOC, member("x", b"30 path=../outside/evil\n", type=flag)),
            11,
            r"b\.tar@\d+",
        )
        for what, flag in {
            "pax": b"x",
            "pax global": b"g",
            "GNU long name": b"L",
            "GNU long link": b"K",
            "GNU sparse": b"S",
            "old Solaris": b"X",
        }.items()
    },
    # sizes, padding, what follows the end
    "a size below zero": (header(size=b"\xff" * 12), 11, r"b\.tar@\d+"),
    "a size of 8 EiB": (header(SUMS, size=b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7), 11, r"b\.tar@0"),
    "a small size in base 256": (header(size=b"\x80" + b"\0" * 10 + b"\x1e"), 11, r"b\.tar@\d+"),
    "a size that is no number": (header(size=b"0000000000x\0"), 11, r"b\.tar@\d+"),
    "a signed size below zero": (document(b'"size":0', b'"size":-1'), 11, r"bundle\.json.*(size|gpj)"),
    "a signed size beyond 2^53": (
        document(b'"size":0', b'"size":9007199254740993'),
        11,
        r"bundle\.json.*2\^53",
    ),
    "dirty padding": (dirty_padding, 11, r"b\.tar@\d+: .*padding"),
    "a byte after the end": (after_the_end(b"x"), 11, r"b\.tar@\d+: the end of the archive is followed"),
    "a second archive after the end": (
        after_the_end(Part("bin/evil", b"x").tar() + END),
        11,
        r"the end of the archive is followed",
    ),
    # floods
    "more signatures than are allowed": (
        lambda: signatures(LIMITS.signatures),
        11,
        r"more than 64 signatures",
    ),
    "more approvals than are allowed": (
        approvals(*(Part(f"approvals/ops-{n:08x}.json", b"") for n in range(LIMITS.approvals + 1))),
        11,
        r"more than 64 approvals",
    ),
    "a script among the approvals": (
        approvals(Part("approvals/INSTALL.sh", b"#!/bin/sh\n")),
        11,
        r"approvals/INSTALL\.sh is not in the signed list",
    ),
    "a script that is named like a signature": (
        approvals(Part("SHA256SUMS.run.sh", b"#!/bin/sh\n")),
        11,
        r"SHA256SUMS\.run\.sh is not in the signed list",
    ),
    "a signature of an approval that is missing": (
        approvals(Part("approvals/ops-00000000.json.sig", b"AAAA")),
        11,
        r"approvals/ops-00000000\.json, which is missing",
    ),
    "an approval that is too large": (
        approvals(Part("approvals/ops-00000000.json", bytes(LIMITS.approval_bytes + 1))),
        11,
        r"at most 65536",
    ),
    "a list that claims a terabyte": (
        header(SUMS, size=b"\x80\0\0\0\0\0\1\0\0\0\0\0"),
        11,
        r"SHA256SUMS has 1099511627776 bytes, at most \d+ are allowed",
    ),
    "a manifest that claims 8 GiB": (
        header(MANIFEST, size=b"\x80\0\0\0\0\0\0\2\0\0\0\0"),
        11,
        r"bundle\.json has 8589934592 bytes, at most \d+ are allowed",
    ),
    "a room that claims a terabyte": (
        header(RESERVED_SPACE, size=b"\x80\0\0\0\0\0\1\0\0\0\0\0"),
        11,
        r"room has 1099511627776",
    ),
    # bombs
    "a template that multiplies": (template("{{ 'x' * 999999999 }}"), 15, r"config/a\.j2:1: .*too large"),
    "a template without end": (
        template("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
        15,
        r"config/a\.j2:1: .*1000000 loop iterations",
    ),
    "values of a billion laughs": (values(LAUGHS), 15, r"config/values\.yaml:\d+: .*(anchor|alias)"),
    "values nested without end": (
        values("a: " + "[" * 900 + "]" * 900),
        15,
        r"config/values\.yaml:1: .*nested",
    ),
    # terminal escapes
    "a member with an escape sequence": (extra(member("docs/\x1b[2Jevil")), 11, r"b\.tar@\d+"),
    "a signed product with an escape sequence": (
        document(b'"lan-chat"', b'"\\u001b]0;evil"'),
        11,
        r"bundle\.json: product",
    ),
    "a signed name that runs backwards": (listed("docs/\u202egpj.exe"), 11, r"bundle\.json.*(size|gpj)"),
    # JSON
    "a key twice": (
        document(b'"version":', b'"version":"9.9.9","version":'),
        11,
        r"bundle\.json: has the key 'version' twice",
    ),
    "a number that is none": (document(b'"size":0', b'"size":NaN'), 11, r"bundle\.json: .*not an integer"),
    "a number without end": (document(b'"size":0', b'"size":' + b"9" * 5000), 11, r"bundle\.json: .*2\^53"),
    "a fraction": (document(b'"size":0', b'"size":0.0'), 11, r"bundle\.json: .*not an integer"),
    "a lone surrogate": (document(b'"lan-chat"', b'"\\ud800"'), 11, r"bundle\.json: .*surrogate"),
    "a document that is nested without end": (
        lambda: plan().resealed(document=b'{"files":[' + b'{"":' * 200_000),
        11,
        r"bundle\.json: is nested more than \d+ levels deep",
    ),
    "a byte order mark": (
        lambda: plan().resealed(document=b"\xef\xbb\xbf{}"),
        11,
        r"bundle\.json:1: is not an object",
    ),
    "a field that nobody knows": (document(b'"schema":', b'"evil":1,"schema":'), 11, r"bundle\.json: evil"),
    # images other than the manifest's
    "an image that nobody listed": (
        images(lambda made: made.replace("images/index.json", b"chat/app:1", b"nginx:latest")),
        11,
        r"images/index\.json: is not the document",
    ),
    "a layer that climbs in Docker's list": (
        images(lambda made: made.replace("images/manifest.json", b'["blobs', b'["../../etc/shadow","blobs')),
        11,
        r"images/manifest\.json: is not the document",
    ),
    "a layer that expands to something else": (
        images(lambda made: made.lie(diff_id="sha256:" + "0" * 64)),
        11,
        r"images/blobs/sha256/\w+: (expands to|has other layers)",
    ),
    "a blob that belongs to no image": (
        images(lambda made: made.blob(b"stray")),
        11,
        r"images/blobs/sha256/\w+: belongs to no image",
    ),
    # templates reach out
    "a template that looks at classes": (
        template("{{ ''.__class__.__mro__ }}"),
        15,
        r"config/a\.j2:1: .*sandbox",
    ),
    "a template that reads a file": (
        template("{% include '/etc/passwd' %}"),
        15,
        r"config/a\.j2:1: .*another template",
    ),
    "a template that asks for what is not there": (
        template("{{ cycler.__init__.__globals__ }}"),
        15,
        r"config/a\.j2:1",
    ),
    # signatures
    "no signature": (stripped, 10, r"has no signature"),
    "a stranger's signature": (by_a_stranger, 10, r"not .*trusted|stranger|nobody"),
    "the signature of another bundle": (of_another, 11, r"SHA256SUMS\.[0-9a-f]{8}\.sig: "),
    "a signature that is noise": (signature("sig", lambda _: b"\xff" * 90), 11, r"\.sig: is not base64"),
    "a signature that is empty": (signature("sig", lambda _: b""), 11, r"\.sig: "),
    "a signature that is too large": (
        signature("sig", lambda data: data.ljust(LIMITS.signature_bytes + 1)),
        11,
        r"65536",
    ),
    "a Sigstore bundle with a key twice": (
        signature(
            "sigstore.json",
            lambda data: (
                data.replace(b'{"mediaType"', b'{"mediaType":"x","mediaType"', 1)
                if b'{"mediaType"' in data
                else b'{"a":1,"a":1}'
            ),
        ),
        11,
        r"sigstore\.json: .*twice",
    ),
    "a Sigstore bundle nested without end": (
        signature("sigstore.json", lambda _: b"[" * 60_000),
        11,
        r"sigstore\.json: is nested more than \d+ levels deep",
    ),
    "a Sigstore bundle of an attestation": (
        signature("sigstore.json", lambda data: data.replace(b"messageSignature", b"dsseEnvelope")),
        11,
        r"sigstore\.json: ",
    ),
    # mix and match, freeze, wrong software
    "swapped payloads": (swapped, 11, r"docs/a does not match the signed list"),
    "a bundle that is expired": (lambda: plan(created=now() - 9 * DAY, expires=now() - DAY), 12, r"expired"),
    "a first release that no later one could follow": (
        lambda: plan(sequence=2**53),
        13,
        r"is too high for the first release on a host",
    ),
    "a bundle for another platform": (
        lambda: plan({DOC: b"x"}, platforms=("linux/arm64",)),
        13,
        r"linux/arm64",
    ),
}


@pytest.mark.parametrize("fault", ATTACKS)
def test_a_hostile_bundle_is_refused_and_changes_nothing(box: Box, fault: str) -> None:
    make, code, words = ATTACKS[fault]
    box.carry(make())
    box.watch()
    box.refused(box.apply(), code, words)
    box.agreed(code)


@pytest.mark.parametrize("fault", IMAGES)
def test_lying_images_are_refused_by_every_command_that_verifies(box: Box, fault: str) -> None:
    """At the desk and on the host alike, with what is staged and before."""
    make, code, words = ATTACKS[fault]
    bundle = str(box.carry(make()))
    (box.home / "release.pub").write_text(build.key()[1])
    box.watch()
    box.refused(run("bundle", ["verify", bundle, "--key", "release.pub", "--json"], box.home), code, words)
    for verb in (["verify"], ["plan"], ["apply", "--yes"], ["apply", "--yes", "--only", "files"]):
        box.refused(box.install(*verb, bundle, "--json"), code, words)


LATER = {
    "an older release": (
        {"version": "1.3.9", "sequence": 100_030_900_999},
        13,
        "is a downgrade: the highest sequence number",
    ),
    "a sequence that leaps": ({"version": "9.0.0", "sequence": 2**53 - 1}, 13, "sequence"),
    "a jump that it says it cannot make": (
        {"version": "1.6.0", "sequence": 100_060_000_999, "upgrade_from": "1.5.0"},
        13,
        "1.5.0",
    ),
}


@pytest.mark.parametrize("fault", LATER)
def test_a_later_bundle_that_the_running_release_forbids_is_refused(box: Box, fault: str) -> None:
    box.carry(plan())
    assert box.apply().code == 0
    fields, code, words = LATER[fault]
    box.carry(plan(**fields))
    box.watch()
    box.refused(box.apply(), code, words)
    box.agreed(0)


def test_a_revoked_bundle_is_refused_whoever_signed_it(box: Box) -> None:
    made = plan()
    box.trust(box.root(revoked_bundles=frozenset({sha256_hex(made.head[0].data)})))
    box.carry(made)
    box.watch()
    box.refused(box.apply(), 12, "revoked")
    box.agreed(0)


def test_a_release_below_the_security_floor_is_refused(box: Box) -> None:
    box.trust(box.root(products={"lan-chat": ProductRule(floor=2**40)}))
    box.carry(plan())
    box.watch()
    box.refused(box.apply(), 13, "floor")
    box.agreed(0)


def test_the_good_one_is_installed_so_that_a_refusal_means_something(box: Box) -> None:
    box.carry(plan())
    said = box.apply()
    assert said.code == 0, said.err
    box.agreed(0)
    assert (box.host / "opt/lan-chat/chatd").read_bytes() == build.FILES["bin/linux-amd64/chatd"]
