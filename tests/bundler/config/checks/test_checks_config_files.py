"""`validate` and `on_change` in bundle.yaml: carried into the manifest, or refused with the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config.loader import load
from installer.core.format.entries.config_file import OnChange
from tests.rig.products import add, faults, put

UNIT = "[Service]\nExecStart=/usr/bin/web\n"
STEP = "deploy: [{method: systemd, units: [web.service]}]\n"


def configured(product_dir: Path, more: str, unit: str = UNIT) -> None:
    put(product_dir, "web.conf.j2", "port 1\n")
    put(product_dir, "web.service", unit)
    add(
        product_dir,
        f"config:\n  - template: web.conf.j2\n    install: /etc/web.conf\n    {more}\n"
        f"{STEP}health: [{{command: [x]}}]\n",
    )


def test_a_configuration_file_says_who_checks_it_and_what_its_change_does(product_dir: Path) -> None:
    configured(
        product_dir,
        'validate: ["/opt/web-{version}/check", "--file={file}"]\n'
        '    on_change: {command: [sync, "{version}"]}',
    )
    (item,) = (each for each in load(product_dir, "1.4.0").items if each.kind == "template")
    assert item.validate == ("/opt/web-1.4.0/check", "--file={file}")
    assert item.on_change == OnChange(command=("sync", "1.4.0"))
    assert item.timeout == 0


def test_the_time_limit_of_its_commands_is_a_duration(product_dir: Path) -> None:
    configured(product_dir, 'validate: [x, "{file}"]\n    timeout: 2m')
    (item,) = (each for each in load(product_dir, "1.4.0").items if each.kind == "template")
    assert item.timeout == 120


REFUSED = {
    "a file that is named nowhere": ("validate: [nginx, -t]", "validate must have {file} once"),
    "a file that is named twice": ('validate: [nginx, "{file}", "{file}"]', "but has it 2 times"),
    "a file as the program": ('validate: ["{file}"]', "must not have {file} in its first word"),
    "a relative path with a slash": ('validate: [bin/nginx, "{file}"]', "a name without a slash"),
    "a validator without words": ("validate: []", "validate"),
    "a placeholder that is not known": (
        'validate: [x, "{file}", "{port}"]',
        "{port} is not a known placeholder",
    ),
    "a command with a relative path": ("on_change: {command: [./run]}", "a name without a slash"),
    "a command without words": ("on_change: {command: []}", "on_change.command"),
    "nothing on a change": ("on_change: {}", "on_change"),
    "two things on a change": ("on_change: {reload: a.service, restart: a.service}", "on_change"),
    "a unit without a suffix": ("on_change: {reload: nginx}", "on_change.reload"),
    "a time limit for nothing": ("timeout: 30s", "timeout has no command that it could limit"),
    "an unknown key": ("on_change: {signal: HUP}", "signal"),
    "a unit of the release that cannot reload": ("on_change: {reload: web.service}", "without `ExecReload=`"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_create_refuses(product_dir: Path, fault: str) -> None:
    line, words = REFUSED[fault]
    configured(product_dir, line)
    (found,) = faults(product_dir)
    number = (product_dir / "bundle.yaml").read_text().splitlines().index(f"    {line}") + 1
    assert found.startswith(f"bundle.yaml:{number}: ")
    assert words in found


@pytest.mark.parametrize(("given", "seconds"), [("61m", 3660), ("2h", 7200), ("1w", 604800)])
def test_a_time_limit_of_more_than_an_hour_is_refused(product_dir: Path, given: str, seconds: int) -> None:
    configured(product_dir, f'validate: [x, "{{file}}"]\n    timeout: {given}')
    (found,) = faults(product_dir)
    assert f"timeout is {seconds} s, at most 60 minutes are allowed" in found


@pytest.mark.parametrize(
    "unit",
    [
        f"{UNIT}ExecReload=/bin/kill -HUP $MAINPID\n",
        f"{UNIT}Type=notify-reload\n",
        f"{UNIT}ExecReload=\nExecReload=/bin/true\n",
    ],
)
def test_a_unit_of_the_release_that_can_reload_is_accepted(product_dir: Path, unit: str) -> None:
    configured(product_dir, "on_change: {reload: web.service}", unit)
    load(product_dir, "1.4.0")


def test_a_unit_whose_last_reload_was_taken_back_cannot_reload(product_dir: Path) -> None:
    configured(product_dir, "on_change: {reload: web.service}", f"{UNIT}ExecReload=/bin/true\nExecReload=\n")
    assert "without `ExecReload=`" in faults(product_dir)[0]


def test_units_of_the_host_are_left_to_the_host(product_dir: Path) -> None:
    configured(product_dir, "on_change: {reload: nginx.service}")
    load(product_dir, "1.4.0")
