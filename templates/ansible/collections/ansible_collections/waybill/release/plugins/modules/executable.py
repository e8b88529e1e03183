"""The documentation of waybill.release.executable, whose action plugin does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: executable
short_description: Put the executable install on a host
description:
  - Copies the executable C(install) of Waybill, and has it set itself up in C(/opt/waybill/bin), unless
    this one is there.
  - A copy that was cut is continued.
version_added: "0.1.0"
options:
  src:
    description: The executable, looked for as the module C(ansible.builtin.copy) looks for its O(src).
    type: str
    required: true
  root:
    description: Directory to use in place of C(/), as with the option C(--root) of the executable.
    type: str
    default: /
  env:
    description: The environment of the host. It counts where the executable is copied, and not later.
    type: str
  recover_at_boot:
    description:
      Also install a systemd unit that recovers interrupted transactions at boot. It counts as O(env) does.
    type: bool
    default: false
  dest:
    description:
      Directory on the host for the copy, which is removed afterwards. By default
      C(/var/lib/waybill-bundles) below O(root).
    type: path
  piece:
    description: MiB that are sent at once.
    type: int
    default: 64
attributes:
  check_mode:
    description: The digests are compared.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
  platform:
    description: Platforms of the hosts.
    support: full
    platforms: posix
notes:
  - The host needs no Python. See the README of the collection.
requirements:
  - "On the host: what the module waybill.release.bundle needs, and tar and gzip; those of busybox will do."
author: The authors of Waybill
"""

EXAMPLES = r"""
- name: Have the executable on the host
  waybill.release.executable:
    src: install
"""

RETURN = r"""
# The rest is as waybill.release.bundle documents it: rc, cause, stderr.
exit: {description: The exit code of the executable., returned: always, type: int}
code: {description: The name of the error; null for a success., returned: always, type: str}
problems: {description: Why the command failed., returned: always, type: list, elements: dict}
hint: {description: The first remedy., returned: failure, type: str}
path:
  description: The executable on the host.
  returned: success
  type: str
copied:
  description: Bytes that were sent.
  returned: changed
  type: int
resumed:
  description: Bytes of an earlier copy that was cut, and continued.
  returned: changed
  type: int
"""
