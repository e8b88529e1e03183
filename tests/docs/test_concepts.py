"""The concepts match the code: paths, modules, folders, state on disk. All links lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.words import CODE, COMMENT, FENCE, rows

TOP = Path(__file__).parents[2]
DOCS = TOP / "docs"
CONCEPTS = sorted((DOCS / "concepts").glob("*.md"))
ARCHITECTURE = DOCS / "concepts" / "architecture.md"
STATE = DOCS / "concepts" / "state-on-disk.md"
COMING_FROM = DOCS / "coming-from.md"
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
TREE = re.compile(r"(?:installer|bundler|tests|schemas|templates|examples|docs)/[\w./-]*")
MODULE = re.compile(r"(?:installer|bundler)(?:\.[a-z_]+)+")


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(TOP)) for path in paths]


def codes(path: Path) -> list[str]:
    return CODE.findall(FENCE.sub(" ", path.read_text(encoding="utf-8")))


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def anchors(path: Path) -> set[str]:
    text = FENCE.sub(" ", path.read_text(encoding="utf-8"))
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


EXAMPLE = TOP / "examples" / "quickstart" / "README.md"
RIG = TOP / "tests" / "rig" / "README.md"
PAGES = sorted([*DOCS.rglob("*.md"), *TOP.glob("*.md"), EXAMPLE, RIG])


@pytest.mark.parametrize("path", PAGES, ids=ids(PAGES))
def test_every_link_leads_to_a_page_and_to_a_heading_of_it(path: Path) -> None:
    text = COMMENT.sub(" ", FENCE.sub(" ", path.read_text(encoding="utf-8")))
    missing = []
    for target, anchor in LINK.findall(text):
        page = path.parent / target if target else path
        if not page.exists() or (anchor and page.suffix == ".md" and anchor not in anchors(page)):
            missing.append(f"{target}#{anchor}")
    assert missing == []


@pytest.mark.parametrize("path", CONCEPTS, ids=ids(CONCEPTS))
def test_every_path_and_module_that_is_named_exists(path: Path) -> None:
    missing = [code for code in codes(path) if TREE.fullmatch(code) and not (TOP / code).exists()]
    for code in codes(path):
        if MODULE.fullmatch(code):
            place = TOP / code.replace(".", "/")
            if not place.is_dir() and not place.with_suffix(".py").is_file():
                missing.append(code)
    assert missing == []


def where() -> list[list[str]]:
    section = ARCHITECTURE.read_text(encoding="utf-8").split("## Where is …?", 1)[1].split("\n## ", 1)[0]
    return rows(section)[1:]


def test_the_concepts_answer_where_something_is() -> None:
    questions = [row[0] for row in where()]
    assert len(questions) > 25
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize(("_question", "module", "name"), where())
def test_what_answers_where_something_is_exists(_question: str, module: str, name: str) -> None:
    tree = ast.parse((TOP / module.strip("`")).read_text(encoding="utf-8"))
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    targets = [
        node.targets if isinstance(node, ast.Assign) else [node.target]
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
    ]
    assert name.strip("`") in defined | {ast.unparse(target) for each in targets for target in each}


def test_every_folder_of_code_has_a_line_in_the_architecture() -> None:
    listed = [row[0].strip("`") for row in rows(ARCHITECTURE.read_text(encoding="utf-8"))]
    there = {
        f"{path.parent.relative_to(TOP)}/"
        for package in ("installer", "bundler")
        for path in (TOP / package).glob("*/**/*.py")
    }
    assert there - set(listed) == set()
    assert [name for name in listed if listed.count(name) > 1] == []


def on_disk() -> list[tuple[re.Pattern[str], str]]:
    """The rows of the page about the state on disk, as patterns of paths, each with its mode."""
    known = []
    for row in rows(STATE.read_text(encoding="utf-8")):
        for code in CODE.findall(row[0]):
            path = re.sub(r"\\?<[a-z0-9]+\\?>", "[^/]+", re.escape(code.rstrip("/")))
            known.append((re.compile(path), row[1]))
    return known


def listing() -> list[tuple[str, str, str]]:
    text = STATE.read_text(encoding="utf-8")
    return re.findall(r"^([0-7]{3}) ([dfl]) (\S+)$", text, re.MULTILINE)


def test_the_listing_of_a_real_host_is_long_enough_to_prove_something() -> None:
    assert len(listing()) > 20


@pytest.mark.parametrize(("mode", "kind", "path"), listing())
def test_every_path_of_a_real_host_has_a_row_with_its_mode(mode: str, kind: str, path: str) -> None:
    """`test_documents.py` runs the command that prints the listing."""
    modes = [said for pattern, said in on_disk() if pattern.fullmatch(f"/{path.replace('...', 'x')}")]
    assert ("link" if kind == "l" else f"0{mode}") in modes


def options() -> dict[str, set[str]]:
    """The options of each command, as the reference page, which is made from --help, has them."""
    sections = re.split(r"^#{2,3} ", (DOCS / "reference" / "cli.md").read_text(encoding="utf-8"), flags=re.M)
    return {
        section.split("\n", 1)[0].strip(): set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", section))
        for section in sections[1:]
    }


def command_of(words: list[str], known: dict[str, set[str]]) -> str | None:
    """The longest name of a command that the words start with; `install BUNDLE` is the unnamed one."""
    names = [" ".join(words[:count]) for count in (3, 2) if len(words) >= count]
    found = next((name for name in names if name in known), None)
    is_bundle = words[0] == "install" and len(words) > 1 and words[1] == "BUNDLE"
    return found or ("install BUNDLE" if is_bundle else None)


def test_what_newcomers_are_told_to_type_exists() -> None:
    known = options()
    typed = [
        code.split() for row in rows(COMING_FROM.read_text(encoding="utf-8")) for code in CODE.findall(row[1])
    ]
    commands = [words for words in typed if words[0] in ("bundle", "install")]
    assert len(commands) > 60
    wrong = []
    for words in commands:
        name = command_of(words, known)
        given = {word for word in words if word.startswith("-")}
        if name is None or not given <= known[name]:
            wrong.append(" ".join(words))
    assert wrong == []


def test_the_records_of_decisions_have_numbers_nouns_and_a_line_in_the_index() -> None:
    records = sorted((DOCS / "adr").glob("[0-9]*.md"))
    index = (DOCS / "adr" / "README.md").read_text(encoding="utf-8")
    for path in records:
        title = path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
        assert title.startswith(path.name[:4] + " ")
        assert f"[{title}]({path.name})" in index
        assert not re.search(r"\b(is|are|has|have|goes|comes|waits|stands|means|may)\b", title)
