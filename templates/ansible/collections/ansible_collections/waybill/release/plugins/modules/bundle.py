"""The documentation of waybill.release.bundle, whose action plugin does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bundle
short_description: Install, verify, remove or roll back a release
description:
  - Brings a signed bundle to a host and has the executable C(install) of Waybill verify and install it.
  - The executable verifies signatures and approvals every time. No option turns this off.
  - A host that has the release, as it was released, is not changed, and the task says so.
version_added: "0.1.0"
options:
  state:
    description:
      - V(installed) copies the bundle, verifies and installs it, and watches its health. A release that is
        not healthy
        is rolled back, and the task fails.
      - V(verified) copies the bundle and verifies it.
      - V(rolled_back) rolls back to the retained release O(version).
      - V(absent) removes O(product), and the copy of its bundle in O(dest).
    type: str
    choices: [installed, verified, rolled_back, absent]
    default: installed
  src:
    description:
      - The bundle, looked for as the module C(ansible.builtin.copy) looks for its O(src).
      - With O(remote_src), a path on the host, or the address of a published bundle (C(oci://…),
        C(https://…)).
      - Required for V(installed) and V(verified).
    type: str
  remote_src:
    description: Whether O(src) is on the host, and nothing is copied.
    type: bool
    default: false
  dest:
    description:
      - Directory on the host for the copy. It is created with the mode 0700. By default
        C(/var/lib/waybill-bundles) below O(root).
      - Approvals in C(SRC.approvals) lie next to it; those that the controller does not have any more are
        removed.
      - A copy that was cut lies there as C(NAME.partial). The next run sends the missing rest, if the begin
        has the right
        digest.
    type: path
  keep_copy:
    description:
      - Whether the copy stays after the installation, instead of that of the release before. The next run
        then sends
        nothing, and has the executable compare the host with the bundle, values included.
      - Without it, a host whose C(status) says that the release is installed and unchanged is left alone,
        unless the task
        has values, O(only) or O(skip). Changed values in files of the host go unnoticed.
    type: bool
    default: true
  piece:
    description: MiB that are sent at once. A cut costs at most one piece.
    type: int
    default: 64
  product:
    description: The product, for V(rolled_back) and V(absent).
    type: str
  version:
    description: The version, for V(rolled_back).
    type: str
  env:
    description: Environment to verify for, if the host does not set it.
    type: str
  approvals:
    description: Directory on the host with additional approvals, besides those next to O(src).
    type: path
  values:
    description:
      - Values that override those of the host. They reach the host in a file with the mode 0600, which is
        removed. Messages call it C(values of the task).
      - Give them in every run, or write them into C(/etc/waybill/PRODUCT/values.yaml).
      - Secrets do not belong here. Refer to them with C(secret://), or set C(no_log) for the task.
    type: dict
    default: {}
  values_files:
    description: Files on the host with values that override those of the host; the last one wins.
    type: list
    elements: path
    default: []
  only:
    description: Run only these deployment steps.
    type: list
    elements: str
    default: []
  skip:
    description: Skip these deployment steps.
    type: list
    elements: str
    default: []
  on_drift:
    description:
      "What to do with files that were edited on the host: C(refuse), C(keep) or C(replace), each with
      C(:PATH) if wanted."
    type: list
    elements: str
    default: []
  work_dir:
    description: Directory on the host for container images until the engine has loaded them.
    type: path
  keep:
    description: Number of releases to retain on the host. The executable retains 3 by default.
    type: int
  retry_failed:
    description: Apply the release even if it failed and was rolled back on the host before.
    type: bool
    default: false
  allow_quorum_loss:
    description: Go on even if too few peers of the cluster are left.
    type: bool
    default: false
  data_restored:
    description: Allow a rollback past a step that cannot be undone.
    type: bool
    default: false
  purge:
    description: With V(absent), delete the data of the product, too.
    type: bool
    default: false
  wait:
    description: Seconds to wait if another install is running on the host.
    type: int
  timeout:
    description: Seconds after which the executable stops, and rolls back what was begun.
    type: int
extends_documentation_fragment: waybill.release.common
attributes:
  check_mode:
    description:
      The executable plans. The bundle is copied for this, to the place where the installation needs it.
    support: full
  diff_mode:
    description: The files that change, and the differences of rendered configuration.
    support: full
requirements:
  - "On the host: cat, chmod, ln, mkdir, mv, readlink, rm, sha256sum and wc; those of busybox will do."
author: The authors of Waybill
"""

EXAMPLES = r"""
- name: Install a release
  waybill.release.bundle:
    src: lan-chat-1.5.0.tar

- name: Install it with values of the inventory
  waybill.release.bundle:
    src: lan-chat-1.5.0.tar
    values:
      ports: {client: "{{ chat_port }}"}

- name: Show what would change, on a run that changes other things
  waybill.release.bundle:
    src: lan-chat-1.5.0.tar
  check_mode: true
  diff: true

- name: Install from a registry that the host reaches
  waybill.release.bundle:
    src: oci://registry.lan/releases/lan-chat:1.5.0
    remote_src: true

- name: Roll back
  waybill.release.bundle:
    state: rolled_back
    product: lan-chat
    version: 1.4.0
"""

RETURN = r"""
exit:
  description: The exit code of the executable. RV(rc) is the same.
  returned: always
  type: int
  sample: 14
rc:
  description: The same as RV(exit), under the name that other modules use.
  returned: always
  type: int
code:
  description: The name of the error; null for a success.
  returned: always
  type: str
  sample: not-approved
cause:
  description: What made a transaction fail, such as V(health).
  returned: always
  type: str
problems:
  description: Why the command failed. Each has code, where, what and hint.
  returned: always
  type: list
  elements: dict
hint:
  description: The first remedy.
  returned: failure
  type: str
stderr:
  description: The last 4,000 bytes of standard error.
  returned: failure
  type: str
plan:
  description: What changes, as C(install plan --json) says it.
  returned: for V(installed), unless there was nothing to do
  type: dict
product:
  description: The product.
  returned: always
  type: str
from:
  description: The release that was there before.
  returned: always
  type: dict
to:
  description: The release that is there now, or would be.
  returned: always
  type: dict
transaction:
  description: The id of the transaction; null where none began.
  returned: always
  type: str
evidence:
  description: The record of the verification, as path and sha256.
  returned: always
  type: dict
steps:
  description: What the transaction did, its undo included.
  returned: always
  type: list
  elements: dict
path:
  description: The bundle on the host.
  returned: for V(installed) and V(verified)
  type: str
copied:
  description: Bytes that were sent.
  returned: for V(installed) and V(verified)
  type: int
resumed:
  description: Bytes of an earlier copy that was cut, and continued.
  returned: for V(installed) and V(verified)
  type: int
"""
