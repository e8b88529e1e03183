"""The strict reader: what a bundle's head, list, order and end have to be, and how each fault is named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import pytest

from installer.core.errors import TamperedError, UntrustedError
from installer.core.format import archive
from installer.core.format.archive import RESERVED_SPACE, open_bundle, unsafe_trust_anyone
from installer.core.format.checksums import parse_sums, sum_lines
from installer.core.format.manifest import MANIFEST, SUMS
from installer.core.format.tar_header import BLOCK, END, Header, encode
from installer.core.limits import LIMITS
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import CREATED, FILES, BytesMedium, Part, Plan, refusal

SIGNATURE = f"{SUMS}.0a1b2c3d.sig"
APPROVAL = "approvals/security-0a1b2c3d.json"


def head_part(plan: Plan, index: int, part: Part) -> Plan:
    return replace(plan, head=(*plan.head[:index], part, *plan.head[index:]))


class TestGood:
    def test_every_member_is_where_the_manifest_says(self) -> None:
        plan = build.plan()
        bundle = build.read(plan.tar())
        assert {member.entry.path: member.offset for member in bundle.members} == {
            path: plan.offset(path) for path in FILES
        }
        assert bundle.end == len(plan.tar()) - len(END)
        assert bundle.payload_bytes == sum(map(len, FILES.values()))

    def test_the_identity_is_the_digest_of_the_list(self) -> None:
        plan = build.plan()
        assert build.read(plan.tar()).identity == hashlib.sha256(plan.head[0].data).hexdigest()

    def test_documents_are_read_by_name_and_checked(self) -> None:
        bundle = build.read(build.plan().tar())
        assert bundle.read_file("docs/CHANGELOG.md") == FILES["docs/CHANGELOG.md"]
        with pytest.raises(KeyError):
            bundle.read_file("docs/NONE.md")

    def test_a_document_that_was_changed_is_not_given(self) -> None:
        tar = build.plan().changed("docs/CHANGELOG.md", data=b"X" * len(FILES["docs/CHANGELOG.md"])).tar()
        bundle = open_bundle(BytesMedium(tar), unsafe_trust_anyone)
        with pytest.raises(TamperedError, match=r"docs/CHANGELOG.md does not match the signed list"):
            bundle.read_file("docs/CHANGELOG.md")

    @pytest.mark.parametrize("room", [-1, 0, 512, 4096])
    def test_room_may_be_of_any_size_or_absent(self, room: int) -> None:
        assert build.read(build.plan(room=room).tar()).head.reserved == max(room, 0)

    def test_what_is_in_the_room_has_no_effect(self) -> None:
        plan = build.plan(room=1024)
        assert (
            build.read(plan.changed(RESERVED_SPACE, data=b"\xff" * 1024).tar()).identity
            == build.read(plan.tar()).identity
        )

    def test_signatures_stand_in_any_order_since_later_ones_come_behind(self) -> None:
        parts = [
            Part(f"{SUMS}.{name}", b"x")
            for name in ("ffffffff.sig", "00000000.asc", "00000000.sigstore.json")
        ]
        bundle = build.read(build.plan(signatures=parts).tar())
        assert list(bundle.head.signatures) == [part.name for part in parts]

    def test_approvals_are_given_and_not_judged(self) -> None:
        bundle = open_bundle(
            BytesMedium(build.plan(approvals=[Part(APPROVAL, b"{}")]).tar()), unsafe_trust_anyone
        )
        assert bundle.read_tail() == {APPROVAL: b"{}"}


class TestDecision:
    def test_nothing_is_parsed_before_the_decision(self) -> None:
        broken = build.plan().changed(SUMS, data=b"not a list").changed(MANIFEST, data=b"not JSON")
        seen: list[bytes] = []

        def decide(sums: bytes, _signatures: Mapping[str, bytes]) -> None:
            seen.append(sums)
            raise UntrustedError("no")

        with pytest.raises(UntrustedError):
            open_bundle(BytesMedium(broken.tar()), decide)
        assert seen == [b"not a list"]

    def test_the_decision_is_given_the_exact_bytes_and_all_signatures(self) -> None:
        plan = build.signed()
        found: list[tuple[bytes, dict[str, bytes]]] = []
        open_bundle(BytesMedium(plan.tar()), lambda sums, files: found.append((sums, dict(files))))
        sums = plan.head[0].data
        assert found == [(sums, {part.name: part.data for part in plan.head[1:3]})]

    def test_not_one_byte_behind_the_head_is_read_before_the_decision(self) -> None:
        plan = build.signed()
        limit = plan.offset(MANIFEST) + BLOCK

        def fault(offset: int, size: int) -> None:
            assert offset + size <= limit

        def decide(_sums: bytes, _signatures: Mapping[str, bytes]) -> None:
            raise UntrustedError("no")

        with pytest.raises(UntrustedError):
            open_bundle(BytesMedium(plan.tar(), fault), decide)


class TestHead:
    def test_another_first_member_is_no_bundle(self) -> None:
        error = refusal(Part("README", b"hello").tar() + END)
        assert error.what == "the first member is README with mode 0644, not SHA256SUMS with 0644"
        assert error.where == "b.tar@0"

    def test_another_mode_of_the_list_is_refused(self) -> None:
        assert "SHA256SUMS with mode 0755" in refusal(build.plan().changed(SUMS, mode=0o755)).what

    @pytest.mark.parametrize("data", [b"", bytes(512), bytes(10240), b"PK\3\4" * 300, b"\x1f\x8b" * 300])
    def test_what_is_no_tar_is_no_bundle(self, data: bytes) -> None:
        refusal(data)

    @pytest.mark.parametrize(
        "name",
        [
            "SHA256SUMS.0a1b2c3.sig",
            "SHA256SUMS.0A1B2C3D.sig",
            "SHA256SUMS.0a1b2c3d.exe",
            "SHA256SUMS.0a1b2c3d.sig.sig",
            "SHA256SUMS..sig",
            "SHA256SUMS.sig",
            "SHA256SUMS",
            "0a1b2c3d.sig",
            "docs/CHANGELOG.md",
            "provenance.intoto.jsonl",
            "approvals/x.json",
        ],
    )
    def test_a_foreign_member_in_the_head_is_named_with_its_offset(self, name: str) -> None:
        plan = build.plan()
        error = refusal(head_part(plan, 1, Part(name, b"x")))
        assert error.what == f"expected a signature or bundle.json, found {name}"
        assert error.where == f"b.tar@{plan.offset(RESERVED_SPACE)}"

    def test_a_signature_twice_is_refused(self) -> None:
        plan = build.plan(signatures=[Part(SIGNATURE, b"x"), Part(SIGNATURE, b"y")])
        assert refusal(plan).what == f"expected a signature or bundle.json, found {SIGNATURE}"

    @pytest.mark.parametrize("name", [RESERVED_SPACE, SIGNATURE, "docs/x"])
    def test_only_bundle_json_may_follow_the_reserved_space(self, name: str) -> None:
        error = refusal(head_part(build.plan(), 2, Part(name, bytes(512))))
        assert error.what == f"expected bundle.json, found {name}"

    def test_more_signatures_than_the_limit_are_refused(self) -> None:
        parts = [Part(f"{SUMS}.{number:08x}.sig", b"x") for number in range(LIMITS.signatures + 1)]
        assert refusal(build.plan(signatures=parts)).what == "has more than 64 signatures"
        build.read(build.plan(signatures=parts[:-1]).tar())

    @pytest.mark.parametrize("change", [{"mode": 0o755}, {"mode": 0o600}, {"mtime": CREATED + 1}])
    @pytest.mark.parametrize("name", [SIGNATURE, RESERVED_SPACE, MANIFEST])
    def test_another_mode_or_time_in_the_head_is_refused(self, name: str, change: dict[str, int]) -> None:
        plan = build.plan(signatures=[Part(SIGNATURE, b"x")])
        error = refusal(plan.changed(name, **change))
        assert error.what == f"{name} has a time or mode that the format does not allow"
        assert error.where == f"b.tar@{plan.offset(name)}"

    def test_a_time_of_all_headers_other_than_the_manifests_is_refused(self) -> None:
        plan = build.plan()
        later = replace(plan, head=tuple(replace(part, mtime=CREATED + 1) for part in plan.head))
        assert "from the time in the manifest" in refusal(later).what

    def test_a_room_that_is_not_whole_blocks_is_refused(self) -> None:
        assert "which the format does not allow" in refusal(build.plan(room=100)).what

    def test_dirty_padding_in_the_head_is_refused(self) -> None:
        for name in (SUMS, SIGNATURE, MANIFEST):
            plan = build.plan(signatures=[Part(SIGNATURE, b"x")])
            part = next(part for part in plan.head if part.name == name)
            length = -len(part.data) % BLOCK
            error = refusal(plan.changed(name, tail=b"\1".rjust(length, b"\0")))
            assert error.what == f"the padding of {name} is not zero"
            assert error.where == f"b.tar@{plan.offset(name)}"

    def test_bundle_json_missing_is_refused(self) -> None:
        assert "expected bundle.json, found " in refusal(build.plan().without(MANIFEST)).what

    def test_the_list_missing_is_refused(self) -> None:
        assert "the first member is SHA256SUMS.room" in refusal(build.plan().without(SUMS)).what


class TestClaims:
    """A header may claim any size; nothing of that size is read or allocated."""

    @pytest.mark.parametrize(
        ("name", "limit"),
        [
            (SUMS, LIMITS.sums_bytes),
            (SIGNATURE, LIMITS.signature_bytes),
            (MANIFEST, LIMITS.manifest_bytes),
        ],
    )
    @pytest.mark.parametrize("more", [1, 2**33, 2**52])
    def test_a_document_that_claims_more_than_its_limit_is_refused_by_its_header(
        self, name: str, limit: int, more: int
    ) -> None:
        plan = build.plan(signatures=[Part(SIGNATURE, b"x")])
        error = refusal(plan.changed(name, header=encode(Header(name, 0o644, limit + more, CREATED))))
        assert error.what == f"{name} has {limit + more} bytes, at most {limit} are allowed"
        assert error.where == f"b.tar@{plan.offset(name)}"

    def test_a_room_that_claims_more_than_its_limit_is_refused(self) -> None:
        big = encode(Header(RESERVED_SPACE, 0o644, LIMITS.reserved_bytes + BLOCK, CREATED))
        assert (
            "which the format does not allow"
            in refusal(build.plan().changed(RESERVED_SPACE, header=big)).what
        )

    def test_an_approval_that_claims_more_than_its_limit_is_refused(self) -> None:
        big = encode(Header(APPROVAL, 0o644, LIMITS.approval_bytes + 1, CREATED))
        plan = build.plan(approvals=[Part(APPROVAL, b"{}", header=big)])
        assert "at most 65536 are allowed" in refusal(plan).what


class TestSums:
    def sums(self, *lines: str, end: str = "\n") -> bytes:
        return "\n".join(lines).encode() + end.encode()

    def refused(self, data: bytes) -> TamperedError:
        with pytest.raises(TamperedError) as caught:
            parse_sums(data)
        assert caught.value.where.startswith(SUMS)
        return caught.value

    A, B = "a" * 64, "b" * 64

    def test_lines_are_digest_two_spaces_and_path(self) -> None:
        assert parse_sums(self.sums(f"{self.A}  a/x", f"{self.B}  b")) == {"a/x": self.A, "b": self.B}

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "does not end in a newline"),
            (f"{A}  a".encode(), "does not end in a newline"),
            (f"{A}  a\r\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A}  a\n\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A.upper()}  a\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A} *a\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A} a\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A}   a\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A}\ta\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"\\{A}  a\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A[:-1]}  a\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A}a  a\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A}  \n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A}  ../a\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A}  /a\n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A}  a \n".encode(), "is not in the form `<sha256>  <path>`"),
            (f"{A}  caf\u00e9\n".encode(), "is not ASCII"),
            (f"# comment\n{A}  a\n".encode(), "is not in the form `<sha256>  <path>`"),
        ],
    )
    def test_another_form_of_line_is_refused(self, data: bytes, why: str) -> None:
        assert why in self.refused(data).what

    def test_unsorted_lines_are_refused_and_the_line_is_named(self) -> None:
        error = self.refused(self.sums(f"{self.A}  b", f"{self.A}  c", f"{self.A}  a"))
        assert (error.what, error.where) == ("is not sorted, or names a twice", f"{SUMS}:3")

    def test_sorting_is_by_bytes_not_by_letters(self) -> None:
        parse_sums(self.sums(f"{self.A}  B", f"{self.A}  a"))
        self.refused(self.sums(f"{self.A}  a", f"{self.A}  B"))

    @pytest.mark.parametrize("path", ["bin/linux-amd64/a", "docs/a"], ids=["before", "behind"])
    def test_the_manifest_is_listed_where_it_sorts(self, path: str) -> None:
        entry = replace(build.plan().manifest.files[0], path=path, sha256=self.A)
        found = parse_sums(b"".join(sum_lines((entry,), self.B)))
        assert found == {path: self.A, MANIFEST: self.B}

    def test_a_name_twice_is_refused(self) -> None:
        assert "names a twice" in self.refused(self.sums(f"{self.A}  a", f"{self.B}  a")).what

    def test_more_lines_than_members_allowed_are_refused(self) -> None:
        lines = [f"{self.A}  {number:07d}" for number in range(LIMITS.members + 1)]
        assert "lists 250001 files, at most 250000" in self.refused(self.sums(*lines)).what
        assert len(parse_sums(self.sums(*lines[:-1]))) == LIMITS.members


class TestLists:
    """SHA256SUMS, bundle.json and the members are the same set."""

    def test_a_manifest_that_the_list_does_not_have_is_refused(self) -> None:
        plan = build.plan()
        other = plan.resealed(replace(plan.manifest, version="1.4.1")).changed(SUMS, data=plan.head[0].data)
        error = refusal(other)
        assert error.what == "bundle.json does not match its entry in SHA256SUMS"
        assert error.where == f"b.tar@{plan.offset(MANIFEST)}"

    def test_a_list_without_the_manifest_is_refused(self) -> None:
        plan = build.plan()
        lines = [line for line in plan.head[0].data.splitlines(True) if not line.endswith(b"  bundle.json\n")]
        assert (
            "does not match its entry in SHA256SUMS" in refusal(plan.changed(SUMS, data=b"".join(lines))).what
        )

    def test_a_file_that_only_the_list_has_is_refused_by_name(self) -> None:
        plan = build.plan()
        lines = [*plan.head[0].data.splitlines(True), b"0" * 64 + b"  trees/web/zzz\n"]
        assert (
            "do not list the same files: trees/web/zzz"
            in refusal(plan.changed(SUMS, data=b"".join(lines))).what
        )

    def test_a_file_that_only_the_manifest_has_is_refused_by_name(self) -> None:
        plan = build.plan()
        lines = [line for line in plan.head[0].data.splitlines(True) if b"chatd.yaml" not in line]
        what = refusal(plan.changed(SUMS, data=b"".join(lines))).what
        assert "do not list the same files: config/chatd.yaml.j2" in what

    def test_two_digests_of_one_file_are_refused(self) -> None:
        plan = build.plan()
        lines = plan.head[0].data.splitlines(True)
        lines[0] = b"0" * 64 + lines[0][64:]
        assert (
            "have different values for bin/linux-amd64/chatd"
            in refusal(plan.changed(SUMS, data=b"".join(lines))).what
        )

    def test_a_list_that_names_itself_is_refused(self) -> None:
        plan = build.plan()
        lines = sorted(
            [*plan.head[0].data.splitlines(True), b"0" * 64 + b"  SHA256SUMS\n"], key=lambda line: line[66:]
        )
        assert (
            "do not list the same files: SHA256SUMS" in refusal(plan.changed(SUMS, data=b"".join(lines))).what
        )


def test_the_reader_never_uses_tarfile() -> None:
    assert "tarfile" not in vars(archive)
