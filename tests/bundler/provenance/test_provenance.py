"""Provenance: what `create` records, who signs it, what policies ask of it; and nobody can bend it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bundler.trust.root_files import root_bytes
from installer.core import jsonio
from installer.core.digest import sha256_hex
from installer.core.errors import NotApprovedError, TamperedError, WaybillError
from installer.core.format.bundle_source import FileSource
from installer.core.format.partial_append import STATEMENT_START
from installer.core.limits import LIMITS
from installer.core.trust.approval import parse
from installer.core.trust.approval_sidecar import Sidecars
from installer.core.trust.policy import HostFacts
from installer.core.trust.provenance import Provenance
from installer.core.trust.verifier import Trust
from installer.core.verify import check_approvals, open_trusted
from tests.rig.needs import needs
from tests.rig.pipeline import ORIGIN, PIPELINE, STRICT, Pipeline
from tests.rig.product import EPOCH, YAML, Product
from tests.rig.signing import Cosign
from tests.rig.trustworld import person, root

CI = {
    "CI": "true",
    "GITHUB_TOKEN": "ghs_secret",
    "WAYBILL_GPG_PASSPHRASE": "hunter2",
    "WAYBILL_BUILDER_ID": "",
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keys of two pipelines, in files that nothing here changes."""
    place = tmp_path_factory.mktemp("keys")
    for name in ("ci", "eve"):
        done = Product(place).run("keygen", name, COSIGN_PASSWORD="pw")
        assert done.returncode == 0, done.stderr
    return place


@pytest.fixture
def pipeline(tmp_path: Path, keys: Path) -> Pipeline:
    return Pipeline(tmp_path, keys)


class TestRecorded:
    def test_a_clean_tagged_checkout_is_recorded(self, pipeline: Pipeline) -> None:
        created = pipeline.committed().create()
        said = pipeline.statement(created)
        assert said["subject"] == [{"name": "SHA256SUMS", "digest": {"sha256": created["to"]["identity"]}}]
        definition, details = said["predicate"]["buildDefinition"], said["predicate"]["runDetails"]
        source = definition["resolvedDependencies"][0]
        assert source["uri"] == f"git+{ORIGIN}@refs/tags/v1.4.0"
        assert source["digest"] == {"gitCommit": pipeline.commit}
        assert source["annotations"] == {"dirty": False, "tag": "v1.4.0"}
        assert details["builder"]["id"] == PIPELINE
        assert definition["externalParameters"] == {
            "command": "bundle create", "version": "v1.4.0", "platforms": [],
        }  # fmt: skip
        assert details["metadata"]["startedOn"] <= details["metadata"]["finishedOn"]

    def test_every_input_is_there_with_its_digest(self, pipeline: Pipeline) -> None:
        said = pipeline.statement(pipeline.committed().create())
        rows = {row["name"]: row for row in said["predicate"]["buildDefinition"]["resolvedDependencies"]}
        directory = pipeline.product.directory
        for name in ("bundle.yaml", "build/chatd", "CHANGELOG.md", "docs/UPGRADE.md"):
            assert rows[name]["digest"]["sha256"] == sha256_hex((directory / name).read_bytes())
        listed = subprocess.run(
            f"tar -xOf {pipeline.path()} SHA256SUMS | grep '  trees/web/' | sha256sum | cut -c1-64",
            shell=True, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert rows["web"]["digest"]["dirHash1"] == listed.stdout.strip()
        assert set(rows) == {"source", "bundle.yaml", "build/chatd", "CHANGELOG.md", "docs/UPGRADE.md", "web"}

    def test_a_dirty_tree_names_its_files(self, pipeline: Pipeline) -> None:
        pipeline.committed()
        (pipeline.product.directory / "web/index.html").write_text("changed")
        said = pipeline.statement(pipeline.create())
        source = said["predicate"]["buildDefinition"]["resolvedDependencies"][0]
        assert source["annotations"]["dirty"] is True
        assert source["annotations"]["changed"] == ["web/index.html"]

    @pytest.mark.needs("git")
    def test_provenance_without_a_repository_says_so(self, pipeline: Pipeline) -> None:
        said = pipeline.statement(pipeline.create())
        definition = said["predicate"]["buildDefinition"]
        assert definition["internalParameters"]["source"] == "unknown: not a git repository"
        assert not any("gitCommit" in row["digest"] for row in definition["resolvedDependencies"])

    def test_provenance_without_git_says_so(self, pipeline: Pipeline, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        said = pipeline.statement(pipeline.committed().create(PATH=str(tmp_path / "empty")))
        source = said["predicate"]["buildDefinition"]["internalParameters"]["source"]
        assert source == "unknown: git is not installed"

    def test_variables_are_named_and_their_values_are_nowhere(self, pipeline: Pipeline) -> None:
        created = pipeline.committed(origin="https://oauth2:s3cr3t@git.example/lan-chat.git").create(
            key="", **CI
        )
        said = pipeline.statement(created)
        internal = said["predicate"]["buildDefinition"]["internalParameters"]
        assert {"COSIGN_PASSWORD", "WAYBILL_GPG_PASSPHRASE"} <= set(internal["variables"])
        assert internal["SOURCE_DATE_EPOCH"] == EPOCH
        text = json.dumps(said)
        assert not [secret for secret in ("hunter2", "ghs_secret", "s3cr3t") if secret in text]

    def test_more_inputs_than_fit_are_given_by_directory(self, pipeline: Pipeline) -> None:
        directory, rows = pipeline.product.directory, []
        for number in range(400):
            name = f"config/{'long' * 20}-{number:03}.conf.j2"
            (directory / "config").mkdir(exist_ok=True)
            (directory / name).write_text(str(number))
            rows.append(f"  - {{template: {name}, install: /etc/lan-chat/{number}}}")
        (directory / "bundle.yaml").write_text(YAML + "config:\n" + "\n".join(rows) + "\n")
        created = pipeline.committed().create()
        data = pipeline.tail()[created["provenance"][0]]
        assert len(data) <= LIMITS.approval_bytes
        found = {r["name"] for r in json.loads(data)["predicate"]["buildDefinition"]["resolvedDependencies"]}
        assert "config/" in found
        assert "build/chatd" in found

    def test_what_is_written_is_what_the_reader_reads(self, pipeline: Pipeline) -> None:
        created = pipeline.committed().create()
        data = pipeline.tail()[created["provenance"][0]]
        assert data.startswith(STATEMENT_START)
        assert parse(data, "x") == Provenance(
            created["to"]["identity"], PIPELINE, ORIGIN, pipeline.commit, "v1.4.0", True
        )


class TestWhereItLies:
    def test_the_bits_are_the_same_whoever_builds_and_when(self, pipeline: Pipeline, tmp_path: Path) -> None:
        pipeline.committed()
        one = pipeline.create("-o", str(tmp_path / "1.tar"), key="")
        two = pipeline.create("-o", str(tmp_path / "2.tar"), "--builder", "https://other", key="", CI="true")
        assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
        assert one["provenance"] == [f"{tmp_path}/1.tar.provenance.json"]
        signed = pipeline.create("-o", str(tmp_path / "3.tar"))
        assert one["to"]["identity"] == two["to"]["identity"] == signed["to"]["identity"]
        plain, more = (tmp_path / "1.tar").read_bytes(), (tmp_path / "3.tar").read_bytes()
        assert more.startswith(plain[:-1024])

    def test_signed_provenance_is_in_the_bundle_and_not_beside_it(self, pipeline: Pipeline) -> None:
        created = pipeline.committed().create()
        assert created["provenance"] == list(pipeline.tail())
        assert pipeline.product.leftovers() == []

    def test_provenance_that_is_made_again_is_not_added_twice_and_another_key_adds_its_own(
        self, pipeline: Pipeline
    ) -> None:
        pipeline.committed().create()
        before = pipeline.path().read_bytes()
        assert pipeline.create()["provenance"] == []
        assert pipeline.path().read_bytes() == before
        assert pipeline.create(key="eve")["changed"] is False
        assert len([name for name in pipeline.tail() if name.endswith(".json")]) == 4

    def test_unsigned_provenance_beside_the_bundle_is_replaced(self, pipeline: Pipeline) -> None:
        pipeline.committed().create("--builder", "https://one", key="")
        created = pipeline.create("--builder", "https://two", key="")
        assert pipeline.statement(created)["predicate"]["runDetails"]["builder"]["id"] == "https://two"
        assert len(pipeline.product.leftovers()) == 1

    def test_inspect_shows_it(self, pipeline: Pipeline) -> None:
        pipeline.committed().create()
        text = pipeline.product.run("inspect", str(pipeline.path())).stdout
        assert f"built by    {PIPELINE}, according to approvals/provenance-" in text
        assert f"commit {pipeline.commit}, tag v1.4.0" in text

    def test_the_key_of_provenance_has_a_password_of_its_own(self, pipeline: Pipeline) -> None:
        pipeline.committed().create(COSIGN_PASSWORD="wrong", WAYBILL_PROVENANCE_PASSWORD="pw")
        pipeline.released().decide()


class TestWithStockTools:
    def files(self, pipeline: Pipeline, tmp_path: Path) -> tuple[Path, Path]:
        pipeline.committed().create()
        subprocess.run(["tar", "-xf", pipeline.path(), "-C", tmp_path, "approvals"], check=True)
        statement = next(each for each in tmp_path.glob("approvals/*.json") if "sigstore" not in each.name)
        return statement, pipeline.keys / "ci.pub"

    def test_openssl_verifies_provenance(self, pipeline: Pipeline, tmp_path: Path) -> None:
        needs("openssl")
        statement, public = self.files(pipeline, tmp_path)
        script = (
            'openssl base64 -d -A -in "$1.sig" -out s && openssl dgst -sha256 -verify "$2" -signature s "$1"'
        )
        words = ["sh", "-c", script, "sh", str(statement), str(public)]
        assert subprocess.run(words, check=False, cwd=tmp_path).returncode == 0
        statement.write_bytes(statement.read_bytes().replace(b"release", b"releasf"))
        assert subprocess.run(words, check=False, cwd=tmp_path).returncode != 0

    @pytest.mark.needs("cosign3")
    def test_cosign_verifies_provenance(self, pipeline: Pipeline, tmp_path: Path, cosign3: str) -> None:
        statement, public = self.files(pipeline, tmp_path)
        tool = Cosign(cosign3, 3, tmp_path)
        bundle = Path(f"{statement}.sigstore.json")
        assert tool.verify_raw(public, Path(f"{statement}.sig"), statement)
        assert tool.verify_bundle(public, bundle, statement)
        statement.write_bytes(statement.read_bytes()[:-1])
        assert not tool.verify_bundle(public, bundle, statement)


class TestPolicy:
    def refused(
        self,
        pipeline: Pipeline,
        kind: type[WaybillError] = NotApprovedError,
        trust: Trust | None = None,
        data: bytes | None = None,
    ) -> str:
        with pytest.raises(kind) as caught:
            pipeline.released().decide(trust, data)
        return str(caught.value)

    def test_the_designated_pipeline_with_a_clean_tree_is_accepted(self, pipeline: Pipeline) -> None:
        pipeline.committed().create()
        decision = pipeline.released().decide()
        assert (decision.builder, decision.provenance[0].commit) == (PIPELINE, pipeline.commit)
        rows = dict(decision.rows())
        assert rows["built by"] == PIPELINE
        assert rows["built from"] == f"commit {pipeline.commit}, tag v1.4.0, clean, of {ORIGIN}"
        assert decision.as_json()["provenance"][0]["clean"] is True

    def test_another_builder_is_refused(self, pipeline: Pipeline) -> None:
        pipeline.committed().create("--builder", "https://laptop.example")
        assert "Pipeline: was built by https://laptop.example" in self.refused(pipeline)

    def test_a_builder_whose_id_only_begins_alike_is_refused(self, pipeline: Pipeline) -> None:
        pipeline.committed().create("--builder", f"{PIPELINE}2")
        self.refused(pipeline)

    def test_a_dirty_tree_is_refused(self, pipeline: Pipeline) -> None:
        pipeline.committed()
        (pipeline.product.directory / "docs/UPGRADE.md").write_text("changed\n")
        pipeline.create()
        assert "was built from a source tree with uncommitted changes" in self.refused(pipeline)
        assert pipeline.decide(pipeline.trust(replace(STRICT, clean_tree=False))).builder == PIPELINE

    def test_no_repository_is_not_a_clean_tree(self, pipeline: Pipeline) -> None:
        pipeline.create()
        assert "was built from a repository that it does not name" in self.refused(pipeline)
        said = self.refused(pipeline, trust=pipeline.trust(replace(STRICT, repositories=())))
        assert "does not state whether the source tree had uncommitted changes" in said

    def test_another_repository_is_refused(self, pipeline: Pipeline) -> None:
        pipeline.committed(origin="https://git.example/fork.git").create()
        assert "was built from https://git.example/fork" in self.refused(pipeline)

    def test_provenance_of_another_bundle_does_not_count(self, pipeline: Pipeline, tmp_path: Path) -> None:
        other = Pipeline(tmp_path / "b", pipeline.keys)
        (other.product.directory / "web/index.html").write_text("other")
        other.committed().create()
        foreign = other.tail()
        pipeline.committed().create(key="")
        pipeline.released()
        medium = FileSource(pipeline.path())
        opened = open_trusted(medium, other.trust(), lambda _manifest: HostFacts("plant"))
        with pytest.raises(NotApprovedError) as caught:
            check_approvals(opened, other.trust(), Sidecars((("beside", foreign),)))
        assert ": is about another bundle" in str(caught.value)

    def test_provenance_that_is_signed_by_a_key_without_the_role_does_not_count(
        self, pipeline: Pipeline
    ) -> None:
        pipeline.committed().create(key="eve")
        assert "is not trusted here for the role provenance" in self.refused(pipeline)

    def test_provenance_that_nobody_signed_does_not_count(self, pipeline: Pipeline) -> None:
        pipeline.committed().create(key="")
        assert "missing: 1 approval in role provenance" in self.refused(pipeline)

    def test_a_statement_with_one_changed_byte_does_not_count(self, pipeline: Pipeline) -> None:
        created = pipeline.committed().create()
        pipeline.released()
        data = pipeline.path().read_bytes()
        statement = pipeline.tail()[created["provenance"][0]]
        start = data.rindex(statement)
        for place in range(0, len(statement), max(1, len(statement) // 40)):
            bent = bytearray(data)
            bent[start + place] ^= 1
            with pytest.raises(TamperedError) as caught:
                pipeline.decide(data=bytes(bent))
            assert caught.value.step == 16

    def test_another_commit_than_the_bundle_itself_names_does_not_count(self, pipeline: Pipeline) -> None:
        pipeline.committed().create()
        made = person("Ci").signer
        created = pipeline.tail()
        name = next(iter(created))
        told = json.loads(created[name])
        told["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"]["gitCommit"] = "0" * 40
        data = jsonio.dumps(told)
        files = {f"approvals/provenance-{made.keyid8}.json": data}
        files |= {f"approvals/provenance-{made.keyid8}.json.sig": made.sign(data)["sig"]}
        pipeline.released()
        trust = Trust(
            root(environments={"plant": STRICT}, expires=datetime.now(UTC) + timedelta(days=9)),
            lambda: datetime.now(UTC),
        )
        opened = open_trusted(FileSource(pipeline.path()), trust, lambda _manifest: HostFacts("plant"))
        with pytest.raises(NotApprovedError, match="not approved") as caught:
            check_approvals(opened, trust, Sidecars((("beside", files),)))
        assert f"names commit {'0' * 40}" in str(caught.value)

    def test_the_policy_is_set_and_shown_by_the_command(self, pipeline: Pipeline) -> None:
        path = pipeline.product.directory.parent / "root.json"
        path.write_bytes(root_bytes(root()))
        options = ("--builder", PIPELINE, "--repository", ORIGIN, "--clean-tree")
        done = pipeline.product.run("trust", "set-policy", str(path), "production", *options)
        assert done.returncode == 0, done.stderr
        for line in (
            f"built by {PIPELINE}",
            f"built from {ORIGIN}",
            "built from a source tree without uncommitted changes",
        ):
            assert line in done.stdout
        plain = pipeline.product.run(
            "trust", "set-policy", str(path), "test", "--require", "release", "--clean-tree"
        )
        assert plain.returncode == 2
        assert "has no effect where the role provenance is not required" in plain.stderr
