"""Templates of a verified bundle, rendered in a sandbox to exact bytes.

Jinja2 with an immutable sandbox and no loader: a template can read the values and nothing else. An undefined
or empty (null) value is an error that names template, line and key. Bytes stay as they are: CRLF, a lone CR,
a missing last newline and lines of megabytes come out as they went in. What runs is bounded: loop rounds,
calls, and the text they make (`template_sandbox.py`). What cannot be counted is bounded by the kernel, in the
child process where `release.py` renders the templates of a release.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from installer.core.errors import HostNotReadyError
from installer.core.limits import LIMITS

if TYPE_CHECKING:
    from jinja2 import nodes

MAX_TAGS = 20_000
"""Compiling more takes seconds and hundreds of megabytes."""

# Jinja2 turns every CR into LF. These count as white space for it just like CR does, and pass unchanged.
_STAND_INS = "\x1f\x1e\x1d\x1c\u2028\u2029\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u205f\u3000"


class RenderError(HostNotReadyError):
    """A template cannot be rendered.

    Attributes:
        template: Its name.
        line: The line in it; 0 if not known.
        key: The value that is missing, as `a.b.c`; empty for another error.
    """

    def __init__(self, what: str, *, template: str, line: int = 0, key: str = "", hint: str = "") -> None:
        super().__init__(what, where=f"{template}:{line}" if line else template, hint=hint)
        self.template, self.line, self.key = template, line, key


def render(
    template: bytes, name: str, values: Mapping[str, Any], origin: Callable[[str], str] | None = None
) -> bytes:
    """Render a template.

    Args:
        template: The bytes of a template that was verified before.
        name: What errors call it.
        values: What it may use; plain mappings, lists, texts, numbers, booleans.
        origin: Returns where the value of a key comes from; None where only the defaults are known.

    Raises:
        RenderError: It is not UTF-8, its syntax is wrong, it uses a value that is not there or is null, it
            does something the sandbox refuses, or it makes too much.
    """
    from jinja2 import Template, TemplateError

    from installer.shared.rendering.template_sandbox import Budget, TemplateRefusedError, bind, sandbox

    budget = Budget()
    environment = sandbox(budget, origin)
    tree = parse(template, name)
    try:
        bind(tree)
        code = environment.compile(tree, name, name)
        compiled = Template.from_code(environment, code, environment.make_globals(None))
        parts: list[bytes] = []
        for text in compiled.generate(dict(values)):
            parts.append(text.encode("utf-8"))
            budget.written(len(parts[-1]))
    except TemplateRefusedError as error:
        line = _line(error, name)
        key = _null_key(line, tree, values) if error.is_null else ""
        what = f"the value {key} is null" if key else str(error)
        raise RenderError(what, template=name, line=line, key=key, hint=error.hint) from None
    except TemplateError as error:
        raise _explain(error, name, tree) from None
    except (RecursionError, MemoryError) as error:
        what = "is nested too deeply" if isinstance(error, RecursionError) else "needs too much memory"
        raise RenderError(what, template=name, hint="simplify the template") from None
    except Exception as error:  # an expression can raise anything: it is an error of the template
        line = _line(error, name)
        what = f"{_lower(str(error)) or type(error).__name__}"
        raise RenderError(
            what, template=name, line=line, hint="check the types of the values used there"
        ) from None
    return b"".join(parts)


def parse(template: bytes, name: str) -> nodes.Template:
    """Parse a template to its syntax tree, in which all text is exactly as in the bytes.

    Args:
        template: The bytes of the template.
        name: What errors call it.

    Raises:
        RenderError: It is too large, is not UTF-8, or its syntax is wrong.
    """
    from jinja2 import TemplateSyntaxError, nodes

    from installer.shared.rendering.template_sandbox import Budget, sandbox

    def refused(what: str, hint: str, line: int = 0) -> RenderError:
        return RenderError(what, template=name, line=line, hint=hint)

    if len(template) > LIMITS.document_bytes:
        size = LIMITS.document_bytes // 1024**2
        raise refused(f"is larger than {size} MiB", "ship it as a plain file in a tree, without a template")
    try:
        text = template.decode("utf-8")
    except UnicodeDecodeError as error:
        line = template.count(b"\n", 0, error.start) + 1
        hint = "ship a file that is not text as a plain file, without a template"
        raise refused(f"is not UTF-8 at offset {error.start}", hint, line) from None
    # Counted before the parser, which needs far more memory than the text.
    if text.count("{{") + text.count("{%") > MAX_TAGS:
        raise refused(f"has more than {MAX_TAGS} tags", "use a loop over a list of values")
    stand_in = ""
    # Jinja2 normalises line ends; configuration for other systems must keep them.
    if "\r" in text:
        stand_in = next((mark for mark in _STAND_INS if mark not in text), "")
        if not stand_in:
            raise refused("has CR characters that cannot be preserved", "convert it to LF line endings")
        text = text.replace("\r", stand_in)
    kinds: tuple[type[nodes.Node], ...] = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
    try:
        tree = sandbox(Budget()).parse(text, name, name)
        foreign = list(tree.find_all(kinds))
    except TemplateSyntaxError as error:
        what = f"template syntax: {_lower(error.message or 'wrong')}"
        raise refused(what, _syntax_hint(error.message or ""), error.lineno) from None
    # A long chain of filters is a deep tree, too.
    except RecursionError:
        raise refused("is nested too deeply", "simplify the template") from None
    # There is no loader: the error would only come when the template is rendered on the host.
    for reaching in foreign:
        what = f"uses another template ({type(reaching).__name__.lower()})"
        raise refused(what, "put everything into one template", reaching.lineno)
    if stand_in:
        for data in tree.find_all(nodes.TemplateData):
            data.data = data.data.replace(stand_in, "\r")
        for const in tree.find_all(nodes.Const):
            if isinstance(const.value, str):
                const.value = const.value.replace(stand_in, "\r")
    return tree


def chain(node: nodes.Node) -> tuple[str, ...] | None:
    """Return the path of an expression such as `a.b["c"]`, or None when it is something else."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return (node.name,)
    if isinstance(node, nodes.Getattr):
        above = chain(node.node)
        return (*above, node.attr) if above else None
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        above = chain(node.node)
        return (*above, str(node.arg.value)) if above else None
    return None


def _explain(error: Exception, name: str, tree: nodes.Template) -> RenderError:
    from jinja2 import TemplateSyntaxError, UndefinedError
    from jinja2.exceptions import SecurityError

    line = error.lineno if isinstance(error, TemplateSyntaxError) else _line(error, name)
    message = str(error.message if isinstance(error, TemplateSyntaxError) else error) or "cannot be rendered"
    if isinstance(error, UndefinedError):
        key = _undefined_key(message, line, tree)
        what = f"the value {key} is not defined" if key else _lower(message)
        hint = "set it in the values file" if key else "check the values used there"
        return RenderError(what, template=name, line=line, key=key, hint=hint)
    if isinstance(error, SecurityError):
        what = f"uses something that the template sandbox does not allow: {message}"
        return RenderError(what, template=name, line=line, hint="use only plain values")
    return RenderError(_lower(message), template=name, line=line, hint=_syntax_hint(message))


def _undefined_key(message: str, line: int, tree: nodes.Template) -> str:
    from jinja2 import nodes

    match = re.search(r"has no (?:attribute|element) '?([^']+)'?$|^'([^']+)' is undefined", message)
    if match is None:
        return ""
    last = match[1] or match[2]
    expressions = tree.find_all((nodes.Name, nodes.Getattr, nodes.Getitem))
    # One in this line is meant rather than an earlier one in another line.
    ordered = sorted(expressions, key=lambda node: node.lineno != line)
    found = [path for node in ordered if (path := chain(node)) and path[-1] == last]
    return ".".join(found[0] if found else (last,))


def _null_key(line: int, tree: nodes.Template, values: Mapping[str, Any]) -> str:
    from jinja2 import nodes

    for output in tree.find_all(nodes.Output):
        for node in output.nodes:
            path = chain(node) if node.lineno == line else None
            value: Any = values
            for part in path or ():
                value = value.get(part, "") if isinstance(value, Mapping) else ""
            if path and value is None:
                return ".".join(path)
    return ""


def _line(error: BaseException, name: str) -> int:
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _syntax_hint(message: str) -> str:
    if "No filter" in message or "No test" in message:
        return "see the list of filters in the documentation; filters with random results are not available"
    if "end of" in message or "endif" in message or "endfor" in message:
        return "close every {% if %} with {% endif %} and every {% for %} with {% endfor %}"
    return "put text that only looks like a template between {% raw %} and {% endraw %}"


def _lower(text: str) -> str:
    # Not cut: it may quote a secret, and half of one is not recognised. Who shows it does both.
    line = " ".join(text.split()).rstrip(".")
    return line[:1].lower() + line[1:] if line[1:2].islower() else line
