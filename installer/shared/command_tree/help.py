"""The help of a group of commands: every summary in full, and for `install` what `install BUNDLE` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typer.core import TyperGroup

WIDTH = 200
"""Characters of a summary that are shown; longer ones than that are not written."""


class Group(TyperGroup):
    """A group of commands whose summaries are wrapped instead of cut."""

    def __init__(self, *args: Any, **words: Any) -> None:
        super().__init__(*args, **words)
        # Typer's own proposals are too generous: see `invocation`.
        self.suggest_commands = False

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the table of commands."""
        rows = [
            (name, command.get_short_help_str(limit=WIDTH))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None and not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class WithDefault(Group):
    """A group of commands whose first command, `apply`, needs no word; its help is part of this one."""

    default = "apply"
    argument = "BUNDLE"
    order: Sequence[str] = ()

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, in the order of a release's life."""
        return sorted(super().list_commands(ctx), key=self.order.index)

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Write the usual form first."""
        formatter.write_usage(ctx.command_path, f"{self.argument} [OPTIONS]")
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", prefix="       ")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options of the usual form, those of the program, and the commands."""
        command = self.get_command(ctx, self.default)
        if command is not None:
            inner = command.make_context(self.default, [], parent=ctx, resilient_parsing=True)
            own = {name for each in self.get_params(ctx) for name in each.opts}
            records = [
                record
                for each in command.get_params(inner)
                if (record := each.get_help_record(inner)) is not None and not own & set(each.opts)
            ]
            with formatter.section(f"Options of {ctx.command_path} {self.argument}"):
                formatter.write_dl(records)
        super().format_options(ctx, formatter)
