"""What the action plugins have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from ansible.plugins.action import ActionBase


class HostAction(ActionBase):
    """An action plugin that runs on the controller and reaches the host by its connection only.

    Attributes:
        takes: The arguments of the task, as an argument spec.
        required: Which of them belong together, as `required_if`.
    """

    _requires_connection = True
    takes: ClassVar[dict[str, dict[str, Any]]] = {}
    required: ClassVar[list[Any]] = []

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Check the arguments, do the work, and remove what it left in the temporary directory of the host.

        Args:
            tmp: Not used, as in every action plugin.
            task_vars: The variables of the host.

        Returns:
            The result of the task.

        Raises:
            AnsibleActionFail: An argument is wrong, or the host could not do what was asked of it.
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(argument_spec=self.takes, required_if=self.required)
        try:
            return {**result, **self.act(arguments)}
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    @abstractmethod
    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Do the work with valid arguments, and return what the task returns."""
