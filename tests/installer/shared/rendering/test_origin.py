"""A template can say where a value comes from; one that does not is rendered to the same bytes as ever."""

from __future__ import annotations

import pytest

from installer.shared.rendering.template import RenderError, render
from installer.shared.values import BuiltIns, Layer, configure

LAYERS = (
    Layer("config/values.yaml", b"ports: {client: 1, monitor: 2}\nlog: info\npeers: [a]\n", kind="defaults"),
    Layer("/etc/waybill/chat/clusters/plant-3.yaml", b"peers: [b, c]\n", kind="cluster"),
    Layer("/etc/waybill/chat/values.yaml", b"\n\nports: {client: 3}\n", kind="host"),
    Layer("/tmp/other.yaml", b"log: debug\n", kind="values"),
)


def rendered(template: str, *more: Layer) -> str:
    found = configure([*LAYERS, *more], None, BuiltIns("1.0.0", "chat"))
    assert found.problems == ()
    return render(template.encode(), "t", found.values, found.merged.told).decode()


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("ports.client", "/etc/waybill/chat/values.yaml"),
        ("ports.monitor", "the defaults of the release"),
        ("ports", "the defaults of the release, /etc/waybill/chat/values.yaml"),
        ("peers", "/etc/waybill/chat/clusters/plant-3.yaml"),
        # Not its path: it may be another one each time, and the file would differ each time.
        ("log", "a file given with --values"),
        ("log.file", "not set"),
        ("prots", "not set"),
    ],
)
def test_the_origin_of_a_value_is_the_file_that_set_it(key: str, told: str) -> None:
    assert rendered(f'# {{{{ "{key}" | origin }}}}') == f"# {told}"


def test_the_origin_of_a_value_from_the_command_line_is_the_option() -> None:
    assert rendered('{{ "ports.client" | origin }}', Layer.setting("ports.client", "9")) == "--set"


def test_a_line_more_in_a_values_file_does_not_change_what_is_rendered() -> None:
    template = '# {{ "log" | origin }}'
    found = [
        render(template.encode(), "t", each.values, each.merged.told)
        for text in (b"log: a\n", b"# a comment\n\nlog: a\n")
        for each in [configure([Layer("/etc/v.yaml", text)], None, BuiltIns("1", "chat"))]
    ]
    assert found[0] == found[1] == b"# /etc/v.yaml"


def test_the_key_is_written_in_quotes() -> None:
    with pytest.raises(RenderError, match="not of a key") as caught:
        rendered("{{ ports | origin }}")
    assert caught.value.hint == 'write the key in quotes: {{ "ports.client" | origin }}'


@pytest.mark.parametrize("name", ["origin", "env"])
def test_no_name_that_a_template_can_ask_for_is_taken(name: str) -> None:
    """A value of a site may have it, and a template may ask whether it is there."""
    assert rendered(f"{{% if {name} is defined %}}yes{{% else %}}no{{% endif %}}") == "no"


def test_what_templates_see_of_waybill_is_what_it_was() -> None:
    assert rendered("{{ waybill | tojson }}") == '{"version": "1.0.0", "product": "chat", "environment": ""}'
