"""Values that the filter `env` writes for systemd are what a service of the real systemd gets."""

from __future__ import annotations

import pytest

from installer.host.context import Context
from installer.shared.rendering.env_values import env_value

pytestmark = [pytest.mark.needs("docker"), pytest.mark.host(machine="bookworm")]

FILE = "/run/odd.env"
TEXTS = [
    *(
        "",
        " a ",
        "a\\",
        "\\'",
        "it's",
        '"q"',
        "$HOME",
        "${X:-y}",
        "$$",
        "$(id)",
        "`id`",
        "a # b",
        "# a",
        "; a",
    ),
    *(
        "\\n",
        "\\x41",
        "é\t漢",
        "🔑",
        "''",
        '""',
        "~",
        "-n",
        "%h %%",
        "a\\'b\"c$d\\",
        "'\\\\'",
        '\\"',
        "a=b",
        "!*?",
    ),
]


def test_a_service_gets_each_value_as_it_was_written(host: Context) -> None:
    lines = [f"A{number}={env_value(text, 'systemd')}\n" for number, text in enumerate(TEXTS)]
    host.system.write_new(FILE, "".join(lines).encode(), 0o600)
    words = ["systemd-run", "--wait", "--pipe", "--quiet", "-p", f"EnvironmentFile={FILE}", "env", "-0"]
    done = host.system.run(words, timeout=60)
    host.system.unlink(FILE)
    assert done.ok, done
    found = dict(row.split("=", 1) for row in done.stdout.decode().split("\0") if row)
    assert [found.get(f"A{number}") for number in range(len(TEXTS))] == TEXTS
