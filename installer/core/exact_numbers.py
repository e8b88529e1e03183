"""JSON Schema with whole numbers as they are written: 4222.0 is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def validator_class() -> Any:
    """Return the validator in which 4222.0 is no whole number.

    To JSON Schema it is one, and equal to 4222. But templates write it with its fraction.
    """
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def is_integer(_checker: Any, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    def exact(keyword: str) -> Callable[..., Iterator[Any]]:
        by_value = Draft202012Validator.VALIDATORS[keyword]

        def check(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
            allowed = wanted if keyword == "enum" else [wanted]
            if isinstance(value, float) and not any(
                isinstance(each, float) and each == value for each in allowed
            ):
                yield ValidationError(f"{value!r} is not one of {allowed!r}")
                return
            yield from by_value(validator, wanted, value, schema) or ()

        return check

    return extend(  # type: ignore[no-untyped-call]
        Draft202012Validator,
        {"enum": exact("enum"), "const": exact("const")},
        type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", is_integer),
    )
