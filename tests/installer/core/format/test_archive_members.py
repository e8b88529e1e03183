"""The strict reader: the files behind the head, their order, and the end; how each fault is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.core.errors import TamperedError
from installer.core.format.tar_header import BLOCK, END
from installer.core.limits import LIMITS
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import FILES, Part, raw_header, refusal

APPROVAL = "approvals/security-0a1b2c3d.json"


class TestPayload:
    def test_swapped_payloads_of_one_size_are_refused(self) -> None:
        plan = build.plan({"docs/a": b"one", "docs/b": b"two"})
        error = refusal(plan.changed("docs/a", data=b"two").changed("docs/b", data=b"one"))
        assert error.what == "the SHA-256 of docs/a does not match the signed list"
        assert error.where == f"b.tar@{plan.offset('docs/a') + BLOCK}"
        assert "copy it again from its source" in error.hint

    def test_members_in_another_order_are_refused(self) -> None:
        plan = build.plan()
        error = refusal(replace(plan, payload=(plan.payload[1], plan.payload[0], *plan.payload[2:])))
        assert error.what == "expected member docs/CHANGELOG.md, found member config/chatd.yaml.j2"
        assert error.where == f"b.tar@{plan.offset('docs/CHANGELOG.md')}"

    def test_a_member_twice_is_refused(self) -> None:
        plan = build.plan()
        twice = replace(plan, payload=(plan.payload[0], *plan.payload))
        assert refusal(twice).where.startswith("b.tar@")

    def test_a_copy_of_a_member_at_the_end_is_refused(self) -> None:
        plan = build.plan()
        error = refusal(replace(plan, payload=(*plan.payload, plan.payload[0])))
        assert (
            error.what == "docs/CHANGELOG.md is after the payload: it is a duplicate, or in the wrong place"
        )
        assert error.where == f"b.tar@{len(plan.tar()) - len(END)}"

    def test_an_extra_member_is_refused(self) -> None:
        plan = build.plan()
        error = refusal(replace(plan, payload=(*plan.payload, Part("deploy/evil.sh", b"#!/bin/sh\n", 0o755))))
        said = "is not in the signed list, and is neither an approval nor a signature of one"
        assert error.what == f"deploy/evil.sh {said}"

    @pytest.mark.parametrize("path", list(FILES))
    def test_a_missing_member_is_refused(self, path: str) -> None:
        refusal(build.plan().without(path))

    def test_an_archive_that_ends_before_its_files_is_refused(self) -> None:
        plan = build.plan()
        padded = replace(plan, payload=plan.payload[:-1], end=bytes(5 * BLOCK))
        refusal(padded)
        with pytest.raises(
            TamperedError, match=r"the archive is incomplete: it ends before trees/web/index.html"
        ):
            build.read(build.stream(padded.tar()))

    def test_dirty_padding_is_refused(self) -> None:
        plan = build.plan()
        length = -len(FILES["docs/CHANGELOG.md"]) % BLOCK
        error = refusal(plan.changed("docs/CHANGELOG.md", tail=b"\1" + bytes(length - 1)))
        assert error.what == "the padding of docs/CHANGELOG.md is not zero"

    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"type": b"2", "link": b"/etc/passwd"}, "member type b'2'"),
            ({"type": b"1", "link": b"SHA256SUMS"}, "member type b'1'"),
            ({"type": b"5"}, "member type b'5'"),
            ({"type": b"3"}, "member type b'3'"),
            ({"type": b"x"}, "member type b'x'"),
            ({"type": b"L"}, "member type b'L'"),
            ({"type": b"S"}, "member type b'S'"),
            ({"mode": b"0004755\0"}, "not in the only form"),
            ({"mode": b"0000755\0"}, "mode is 0755, but the signed value is 0644"),
            ({"mtime": b"00000000000\0"}, "mtime is 0, but the signed value is 1790000000"),
            ({"uid": b"0001750\0"}, "not in the only form"),
            ({"uname": b"evil"}, "not in the only form"),
            ({"size": b"00000000001\0"}, "size is 1, but the signed value is 29"),
            (
                {"name": b"docs/changelog.md"},
                "expected member docs/CHANGELOG.md, found member docs/changelog.md",
            ),
            ({"name": b"/etc/cron.d/x"}, "empty, `.` or `..`"),
        ],
        ids=str,
    )
    def test_a_header_that_the_manifest_does_not_dictate_is_refused(
        self, fields: dict[str, bytes], why: str
    ) -> None:
        plan = build.plan()
        good = plan.payload[0].tar()[:BLOCK]
        error = refusal(plan.changed("docs/CHANGELOG.md", header=raw_header(good, **fields)))
        assert why in error.what
        assert error.where == f"b.tar@{plan.offset('docs/CHANGELOG.md')}"

    def test_a_world_writable_file_of_the_manifest_is_masked_in_the_tar(self) -> None:
        plan = build.plan({"docs/a": b"x"}, entries={"docs/a": {"mode": 0o666}})
        build.read(plan.tar())
        assert plan.payload[0].mode == 0o644
        assert (
            "not in the only form"
            in refusal(
                plan.changed("docs/a", header=raw_header(plan.payload[0].tar()[:BLOCK], mode=b"0000666\0"))
            ).what
        )


class TestEnd:
    @pytest.mark.parametrize("end", [b"", bytes(BLOCK), bytes(1023)])
    def test_an_end_that_is_too_short_is_refused(self, end: bytes) -> None:
        assert "but the bundle is longer" in refusal(replace(build.plan(), end=end)).what

    @pytest.mark.parametrize("end", [END + b"\0", END + bytes(512), END + bytes(8192), END + b"x", END + END])
    def test_anything_behind_the_end_is_refused(self, end: bytes) -> None:
        error = refusal(replace(build.plan(), end=end))
        zeros = len(end) - len(END)
        assert error.what.startswith(
            "the end of the archive is followed by other bytes"
            if any(end)
            else f"the bundle is complete, but {zeros} zero bytes follow it"
        )
        assert error.where == f"b.tar@{len(build.plan().tar())}"

    def test_one_zero_block_and_something_else_is_no_end(self) -> None:
        plan = replace(build.plan(), end=bytes(BLOCK) + Part("docs/x", b"").tar())
        assert refusal(plan).what == "the end of the archive is not two zero blocks"

    def test_a_second_archive_behind_the_first_is_refused(self) -> None:
        refusal(build.plan().tar() + build.plan().tar())

    @pytest.mark.parametrize(
        "name",
        [
            "approvals",
            "approvals/a/b",
            "approvals-x/a",
            "Approvals/a",
            "docs/zzz",
            "approvals/INSTALL.sh",
            "approvals/ops-0a1b2c3d.json.pem",
            "approvals/root-0a1b2c3d.json",
            "SHA256SUMS.run.sh",
            "SHA256SUMS.0a1b2c3d.sig",
            APPROVAL.replace("security", "Security"),
        ],
    )
    def test_only_approvals_stand_behind_the_payload(self, name: str) -> None:
        error = refusal(build.plan(approvals=[Part(name, b"{}")]))
        said = "is not in the signed list, and is neither an approval nor a signature of one"
        assert error.what == f"{name} {said}"
        assert "nobody signed this member" in error.hint

    def test_a_signature_without_its_approval_is_refused(self) -> None:
        parts = [Part(APPROVAL, b"{}"), Part("approvals/ops-0a1b2c3d.json.asc", b"x")]
        what = (
            "approvals/ops-0a1b2c3d.json.asc is a signature of approvals/ops-0a1b2c3d.json, which is missing"
        )
        assert refusal(build.plan(approvals=parts)).what == what

    def test_an_approval_twice_is_refused(self) -> None:
        error = refusal(build.plan(approvals=[Part(APPROVAL, b"{}"), Part(APPROVAL, b"[]")]))
        assert error.what == f"{APPROVAL} occurs twice"

    def test_more_approvals_than_the_limit_are_refused(self) -> None:
        for count in (65, 85, 4 * LIMITS.approvals + 1):
            parts = [Part(f"approvals/ops-{number:08x}.json", b"{}") for number in range(count)]
            what = refusal(build.plan(approvals=parts)).what
            assert what == "has more than 64 approvals, which is the most that are allowed"
        build.read(build.plan(approvals=parts[:64]).tar())

    @pytest.mark.parametrize("change", [{"mode": 0o755}, {"mtime": 0}])
    def test_another_mode_or_time_of_an_approval_is_refused(self, change: dict[str, int]) -> None:
        plan = build.plan(approvals=[Part(APPROVAL, b"{}")]).changed(APPROVAL, **change)
        assert refusal(plan).what == f"{APPROVAL} has a time or mode that the format does not allow"

    def test_an_approval_in_front_of_the_payload_is_refused(self) -> None:
        plan = build.plan()
        refusal(replace(plan, payload=(Part(APPROVAL, b"{}"), *plan.payload)))
