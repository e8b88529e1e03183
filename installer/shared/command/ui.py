"""The port through which a command talks to the person or program that called it."""

from __future__ import annotations

from typing import Any

from installer.core.errors import DeclinedError, UsageError
from installer.shared.progress import Progress
from installer.shared.secrecy.known import Secrets


class Ui:
    """What a command reports and asks; this one reports nothing and answers no question.

    A caller from Python overrides what it wants to hear about. The console of both commands is another one.
    """

    everything = False
    """Whether lists are shown as a whole, however long they are (`--all`)."""

    def progress(self) -> Progress:
        """Return the object that a long operation reports bytes and steps to."""
        return Progress()

    def conceal(self, secrets: Secrets) -> None:
        """Remember what must not be shown. A session calls it; this one shows nothing."""

    def note(self, text: str) -> None:
        """Report one thing that happened."""

    def warn(self, text: str) -> None:
        """Report something out of the ordinary that stops nothing."""

    def alert(self, text: str) -> None:
        """Report a failure that must not be overlooked although the command goes on."""

    def show(self, name: str, text: str, document: Any) -> None:
        """Show something before it is carried out.

        Args:
            name: What it is, in one word: `plan`.
            text: For people.
            document: The same as JSON.
        """

    def tell(self, **facts: Any) -> None:
        """Take down facts about the run as soon as they are known, for the document of `--json`.

        Args:
            facts: Fields of `run_record.FACTS`; `from_` stands for `from`.
        """

    def ask(self, question: str, flag: str) -> str:  # noqa: ARG002 - a caller that asks needs it
        """Return the answer to a question, one line.

        Args:
            question: For people, with the space or newline that separates it from the answer.
            flag: The option that gives the answer beforehand.

        Raises:
            UsageError: There is nobody to ask; the error names the option.
            DeclinedError: The person left without an answer.
        """
        raise UsageError("this command needs an answer, but no terminal is available", hint=f"give {flag}")

    def ask_more(self, question: str, flag: str) -> str:
        """Return the rest of an answer of several lines, which may have been typed or pasted already.

        Args:
            question: For people.
            flag: The option that gives the whole answer beforehand.

        Raises:
            UsageError: There is nobody to ask; the error names the option.
            DeclinedError: The person left without an answer.
        """
        return self.ask(question, flag)

    def confirm(self, question: str, flag: str) -> None:
        """Return once a person has said yes.

        Raises:
            UsageError: There is nobody to ask; the error names the option.
            DeclinedError: The answer was not yes.
        """
        if self.ask(f"{question} [y/N] ", flag).strip().lower() not in ("y", "yes"):
            raise DeclinedError("declined; nothing was changed")
