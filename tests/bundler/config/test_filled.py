"""Placeholders of bundle.yaml."""

from __future__ import annotations

from bundler.config.filled import fill

KNOWN = {"version": "1.4.0", "arch": "amd64"}


def test_known_placeholders_are_filled_in() -> None:
    assert fill("dist/{version}/chatd-{arch}", KNOWN) == ("dist/1.4.0/chatd-amd64", [])


def test_unknown_placeholders_stay_and_are_named_in_order() -> None:
    assert fill("{os}/{version}/{}", KNOWN) == ("{os}/1.4.0/{}", ["{os}", "{}"])


def test_double_braces_of_templates_are_no_placeholders() -> None:
    assert fill("{{version}} ${HOME}", {}) == ("{{version}} ${HOME}", ["{HOME}"])
