"""The method `ansible`: runs playbooks with the `ansible-playbook` of this host, here or on other hosts."""

from installer.deploy.ansible import host_operations, operations
from installer.deploy.ansible.method import METHOD

HANDLERS = {**operations.HANDLERS, **host_operations.HANDLERS}

__all__ = ["HANDLERS", "METHOD"]
