"""The logins that `docker login` has stored."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from installer.core.oci.reference import DOCKER_HUB

_HUB_KEY = "https://index.docker.io/v1/"


def authorization(host: str) -> str:
    """Return the `Authorization` header for a registry; empty where nobody has logged in.

    Docker's configuration is looked at where Docker does (`DOCKER_CONFIG`, else `~/.docker`); its credential
    helpers are asked as Docker asks them.
    """
    config = _config()
    key = _HUB_KEY if host == DOCKER_HUB else host
    helpers = config.get("credHelpers")
    helper = helpers.get(key) if isinstance(helpers, dict) else None
    login = _from_helper(helper or config.get("credsStore"), key)
    if not login:
        logins = config.get("auths")
        for name in (key, f"https://{key}", f"https://{key}/v1/", f"https://{key}/v2/"):
            entry = logins.get(name) if isinstance(logins, dict) else None
            if isinstance(entry, dict) and isinstance(entry.get("auth"), str) and entry["auth"]:
                return f"Basic {entry['auth']}" if re.fullmatch(r"[A-Za-z0-9+/=]+", entry["auth"]) else ""
    return "Basic " + base64.b64encode(login.encode()).decode() if login else ""


def _config() -> dict[str, Any]:
    folder = os.environ.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _from_helper(helper: object, key: str) -> str:
    if not isinstance(helper, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", helper):
        return ""
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=key.encode(),
            capture_output=True,
            timeout=30,
            check=True,
        )
        answer = json.loads(done.stdout)
        return f"{answer['Username']}:{answer['Secret']}" if answer["Username"] != "<token>" else ""
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, RecursionError):
        return ""
