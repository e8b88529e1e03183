"""An absent component is a visible skip, or a failure where it is required; a present one is returned."""

from __future__ import annotations

import pytest

from tests.rig import needs as module
from tests.rig.needs import COMPONENTS, Component, needs


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setitem(COMPONENTS, "absent", Component(lambda: None, "apt-get install absent"))
    monkeypatch.delenv("WAYBILL_REQUIRE", raising=False)


def test_absent_component_skips_and_names_what_to_install(absent):
    with pytest.raises(pytest.skip.Exception, match="needs absent: apt-get install absent"):
        needs("absent")


@pytest.mark.parametrize("value", ["absent", "other, absent", "all"])
def test_absent_component_that_is_required_fails(absent, monkeypatch, value):
    monkeypatch.setenv("WAYBILL_REQUIRE", value)
    with pytest.raises(pytest.fail.Exception, match="apt-get install absent"):
        needs("absent")


def test_present_component_is_returned(monkeypatch):
    monkeypatch.setitem(COMPONENTS, "present", Component(lambda: "/there", ""))
    assert needs("present") == "/there"


def test_misspelt_component_is_an_error_not_a_skip():
    with pytest.raises(KeyError):
        needs("dokcer")


def test_every_probe_answers_and_every_component_says_how_it_is_had():
    for name, component in module.COMPONENTS.items():
        component.find()
        assert component.install, name
