"""The documentation of waybill.release.trust, whose action plugin does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: trust
short_description: Make a host trust a root
description:
  - Has the executable trust a root, after it compared the fingerprint. A host that trusts this root, or a
    later version
    of it, is not changed.
version_added: "0.1.0"
options:
  src:
    description: The file C(root.json), looked for as the module C(ansible.builtin.copy) looks for its O(src).
    type: str
    required: true
  fingerprint:
    description: Its fingerprint, from the trust sheet. It must come another way than the file.
    type: str
    required: true
  updates:
    description: Later versions of the root, and the signatures next to them.
    type: list
    elements: str
    default: []
  env:
    description: Environment of the host.
    type: str
extends_documentation_fragment: waybill.release.common
attributes:
  check_mode:
    description:
      The version that the host trusts is compared with those of the files. Signatures are not checked.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author: The authors of Waybill
"""

EXAMPLES = r"""
- name: Trust the root of the publisher
  waybill.release.trust:
    src: root.json
    fingerprint: "{{ waybill_fingerprint }}"
    env: production

- name: Bring later versions of it, too
  waybill.release.trust:
    src: 1.root.json
    fingerprint: "{{ waybill_fingerprint }}"
    updates: "{{ lookup('ansible.builtin.fileglob', 'trust/*', wantlist=true) }}"
"""

RETURN = r"""
# The rest is as waybill.release.bundle documents it: rc, cause, stderr.
exit: {description: The exit code of the executable., returned: always, type: int}
code: {description: The name of the error; null for a success., returned: always, type: str}
problems: {description: Why the command failed., returned: always, type: list, elements: dict}
hint: {description: The first remedy., returned: failure, type: str}
trust:
  description: The root that the host trusts, as C(install trust show --json) says it.
  returned: always
  type: dict
"""
