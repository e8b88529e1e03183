"""Health checks of bundle.yaml: what each key becomes, and every mistake with its line."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.config.loader import load
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import HealthCheck
from tests.rig.products import add, put

TLS = "https://127.0.0.1:8443/health"


def checks(product_dir: Any, text: str) -> tuple[HealthCheck, ...]:
    add(product_dir, f"health:\n  - {text}\n")
    return load(product_dir, "1.4.0").manifest.health


@pytest.mark.parametrize(
    ("text", "check"),
    [
        (
            f"{{http: '{TLS}', status: [200, 204, 300-399], start_period: 2m}}",
            HealthCheck("http", TLS, statuses=("200", "204", "300-399"), start_period=120),
        ),
        (
            f"{{http: '{TLS}', body: '{{\"status\":\"ok\"}}', header: {{X-Version: '{{version}}'}}}}",
            HealthCheck("http", TLS, body='{"status":"ok"}', headers=("X-Version: 1.4.0",)),
        ),
        (
            f"{{http: '{TLS}', ca: '/etc/{{version}}/ca.pem'}}",
            HealthCheck("http", TLS, ca="/etc/1.4.0/ca.pem"),
        ),
        (
            "{http: 'http://chat/health', unix: /run/chat.sock, within: 5s}",
            HealthCheck("http", "http://chat/health", unix="/run/chat.sock", within=5),
        ),
        ("{unit: chatd.service, stable: 10s}", HealthCheck("unit", "chatd.service", stable=10)),
        (
            "{prometheus: 'http://127.0.0.1:9090', query: 'up{job=\"chatd\"}', min: 0.5, max: 1}",
            HealthCheck("prometheus", "http://127.0.0.1:9090", query='up{job="chatd"}', min="0.5", max="1"),
        ),
        (
            "{prometheus: 'http://127.0.0.1:9090', query: errors, equals: 0}",
            HealthCheck("prometheus", "http://127.0.0.1:9090", query="errors", equals="0"),
        ),
        ("{tcp: '127.0.0.1:1', start_period: 30s}", HealthCheck("tcp", "127.0.0.1:1", start_period=30)),
    ],
)
def test_a_probe_is_in_the_manifest_as_it_was_declared(
    product_dir: Any, text: str, check: HealthCheck
) -> None:
    assert checks(product_dir, text) == (check,)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{http: 'http://h/', status: [2xx]}", "health[0].status"),
        ("{http: 'http://h/', status: [299-200]}", "must be a range whose end is not below its start"),
        ("{http: 'http://h/', status: []}", "health[0].status"),
        ("{http: 'http://h/', body: ''}", "health[0].body"),
        ("{http: 'http://h/', header: {'X Y': a}}", "health[0].header"),
        ("{http: 'http://h/', header: {}}", "health[0].header"),
        (
            "{http: 'http://h/', ca: /etc/ca.pem}",
            "must not have `ca`, since its URL does not begin with https:",
        ),
        ("{http: 'https://h/', ca: ca.pem}", "health[0].ca is 'ca.pem', but must be an absolute path"),
        (f"{{http: 'http://h/', unix: /{'x' * 107}}}", "of at most 107 bytes"),
        ("{http: 'http://h/', query: up}", "query"),
        ("{unit: chatd}", "must be the name of a unit with its suffix"),
        ("{unit: -x.service}", "must be the name of a unit with its suffix"),
        ("{prometheus: 'http://h', min: 1}", "query"),
        ("{prometheus: 'http://h', query: up}", "must have `min`, `max` or `equals`"),
        ("{prometheus: 'http://h', query: up, min: 2, max: 1}", "must not have a `min` above its `max`"),
        ("{prometheus: 'http://h', query: up, min: 2, equals: 1}", "must not have `equals` together with"),
        ("{prometheus: 'http://h/?x', query: up, min: 1}", "without a query in it"),
        ("{prometheus: 'http://u:p@h', query: up, min: 1}", "must be the URL of a Prometheus server"),
        (
            "{prometheus: 'http://h', query: up, min: 10000000000000000}",
            "must be a decimal number with at most",
        ),
        ("{prometheus: 'http://h', query: up, min: one}", "health[0].min"),
        ("{tcp: 'h:1', start_period: 2d}", "at most 1d"),
        ("{tcp: 'h:1', body: x}", "body"),
    ],
)
def test_a_mistake_is_named_at_its_line(product_dir: Any, text: str, what: str) -> None:
    with pytest.raises(UnfitInputError) as caught:
        checks(product_dir, text)
    found = [each for each in caught.value.problems if what in each.what]
    assert found, [each.what for each in caught.value.problems]
    assert found[0].where == "bundle.yaml:9"


@pytest.mark.parametrize("key", ["http", "prometheus"])
def test_a_password_in_a_url_is_refused_and_not_repeated(product_dir: Any, key: str) -> None:
    more = ", query: up, min: 1" if key == "prometheus" else ""
    with pytest.raises(UnfitInputError) as caught:
        checks(product_dir, f"{{{key}: 'http://admin:hunter2@h/'{more}}}")
    (problem,) = caught.value.problems
    assert "without a user name or password: it is shown and logged" in problem.what
    assert "is 'http://***@h/'" in problem.what
    assert "hunter2" not in problem.what + problem.hint


def test_a_token_in_the_query_of_a_url_that_is_refused_is_not_repeated(product_dir: Any) -> None:
    with pytest.raises(UnfitInputError) as caught:
        checks(product_dir, "{http: 'http://admin:hunter2@h/?page=1&token=hunter3'}")
    (problem,) = caught.value.problems
    assert "is 'http://***@h/?page=***&token=***'" in problem.what
    assert "hunter" not in problem.what + problem.hint


def test_a_template_in_any_text_is_checked_with_the_defaults(product_dir: Any) -> None:
    put(product_dir, "values.yaml", "ca: etc/ca.pem\n")
    with pytest.raises(UnfitInputError) as caught:
        checks(
            product_dir,
            f"{{http: '{TLS}', ca: '{{{{ ca }}}}', body: '{{{{ absent }}}}'}}\n"
            "values: {defaults: values.yaml}",
        )
    said = [(each.where, each.what) for each in caught.value.problems]
    assert ("bundle.yaml:9", "the probe uses absent, which is not a known value") in said
    assert any("is 'etc/ca.pem' with the default values, but must be an absolute path" in w for _, w in said)


def test_the_version_is_filled_in_where_other_braces_are_usual(product_dir: Any) -> None:
    (check,) = checks(product_dir, """{http: 'http://h/', body: '{"v":"{version}","x":{},"y":{z}}'}""")
    assert check.body == '{"v":"1.4.0","x":{},"y":{z}}'
    (check,) = checks(
        product_dir,
        """{prometheus: 'http://h', query: 'up{} and build{version="{version}"}', min: 1}""",
    )
    assert check.query == 'up{} and build{version="1.4.0"}'
