"""The documentation of waybill.release.facts, whose action plugin does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: facts
short_description: Gather what is installed, and whether it drifted
description:
  - Returns C(install status --json) as the fact C(waybill).
version_added: "0.1.0"
options:
  product:
    description: Only this product.
    type: str
  health:
    description: Ask the health checks of the installed releases once.
    type: bool
    default: false
  check:
    description:
      Fail if a product has drifted, is incomplete or interrupted, or, with O(health), is not healthy.
    type: bool
    default: false
extends_documentation_fragment: waybill.release.common
attributes:
  check_mode:
    description: Nothing is changed in any mode.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
author: The authors of Waybill
"""

EXAMPLES = r"""
- name: Gather facts
  waybill.release.facts:

- name: Print the version of a product
  ansible.builtin.debug:
    msg: "{{ ansible_facts.waybill.by_name['lan-chat'].installed.version }}"

- name: Stop a rolling upgrade at the first host that is not healthy
  waybill.release.facts:
    health: true
    check: true
"""

RETURN = r"""
# The rest is as waybill.release.bundle documents it: rc, cause, stderr.
exit: {description: The exit code of the executable., returned: always, type: int}
code: {description: The name of the error; null for a success., returned: always, type: str}
problems: {description: Why the command failed., returned: always, type: list, elements: dict}
hint: {description: The first remedy., returned: failure, type: str}
ansible_facts:
  description: Facts of the host.
  returned: always
  type: dict
  contains:
    waybill:
      description:
        The document of C(install status --json). RV(ansible_facts.waybill.by_name) has the products by
        name.
      returned: always
      type: dict
"""
