"""Who builds, as CI systems say it; and provenance that other tools wrote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bundler.provenance.builder import INFLUENCES, LOCAL, find_builder
from installer.core import jsonio
from installer.core.errors import UsageError
from installer.core.trust.approval import parse
from installer.core.trust.provenance import Provenance

PIPELINE = "https://ci.example/lan-chat/release"


class TestBuilder:
    def test_github_says_who_builds(self) -> None:
        said = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_REPOSITORY": "team/chat",
            "GITHUB_WORKFLOW_REF": "team/chat/.github/workflows/release.yml@refs/tags/v1.4.0",
            "GITHUB_RUN_ID": "77",
            "GITHUB_RUN_ATTEMPT": "2",
        }
        found = find_builder("", said)
        assert found.identity == "https://github.example/team/chat/.github/workflows/release.yml"
        assert found.invocation == "https://github.example/team/chat/actions/runs/77/attempts/2"
        assert find_builder("", {**said, "GITHUB_WORKFLOW_REF": ""}).identity == LOCAL

    def test_gitlab_says_who_builds(self) -> None:
        said = {
            "GITLAB_CI": "true",
            "CI_PROJECT_URL": "https://gitlab.lan/team/chat",
            "CI_RUNNER_ID": "12",
            "CI_JOB_URL": "https://gitlab.lan/team/chat/-/jobs/9",
        }
        found = find_builder("", said)
        assert found.identity == "https://gitlab.lan/team/chat/-/runners/12"
        assert found.invocation.endswith("/-/jobs/9")

    def test_what_is_given_counts_before_the_variable_and_that_before_ci(self) -> None:
        environ = {"GITLAB_CI": "true", "CI_PROJECT_URL": "https://a/b", "CI_RUNNER_ID": "1"}
        assert find_builder("", {}).identity == LOCAL
        assert find_builder("", {**environ, "WAYBILL_BUILDER_ID": PIPELINE}).identity == PIPELINE
        assert (
            find_builder("https://x/y", {**environ, "WAYBILL_BUILDER_ID": PIPELINE}).identity == "https://x/y"
        )

    def test_only_names_are_taken_of_variables(self) -> None:
        found = find_builder("", dict.fromkeys(INFLUENCES, "secret") | {"OTHER": "x"})
        assert found.variables == INFLUENCES
        assert "secret" not in repr(replace(found, identity=""))

    @pytest.mark.parametrize("given", ["two words", "x" * 501, "é", "a\nb"])
    def test_what_is_no_id_is_refused(self, given: str) -> None:
        with pytest.raises(UsageError, match="not a builder id"):
            find_builder(given, {})


def test_provenance_that_other_tools_wrote_is_read() -> None:
    def said(dependencies: Any) -> Provenance:
        document = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "SHA256SUMS", "digest": {"sha256": "a" * 64}}],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {
                "buildDefinition": {"resolvedDependencies": dependencies},
                "runDetails": {"builder": {"id": "https://b"}},
            },
        }
        found = parse(jsonio.dumps(document), "x")
        assert isinstance(found, Provenance)
        return found

    git = {"uri": "git+https://g/o/r@refs/heads/main", "digest": {"gitCommit": "b" * 40}}
    assert said([git]) == Provenance("a" * 64, "https://b", "https://g/o/r", "b" * 40)
    assert said([git, git]).commit == ""
    for odd in (None, {}, [None], [1], [{"digest": 5}], [{"digest": {"gitCommit": "x"}}]):
        assert said(odd).commit == ""
    assert said([{**git, "annotations": {"dirty": "no"}}]).clean is None
