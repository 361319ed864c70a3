"""Where each equation of a paper is: in which function, test and lesson cell. All of them cite it as (DDPM, eq. 4)."""

import ast
import re
from typing import NamedTuple

import jupytext

from lessons import NOTEBOOKS, ROOT, chosen_lessons

PAPERS = {  # those that the course calls by a shorter name
    "DDPM": "Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic Models* (2020)",
    "DDIM": "Song, Meng and Ermon, *Denoising Diffusion Implicit Models* (2021)",
}
KINDS = {"eq.": "eqs?\\.", "algorithm": "algorithms?", "appendix": "appendix", "section": "sections?"}  # in this order
NUMBER = r"(?:\d+|[A-Z]\b)(?:\.\d+)*"
NAMES = r"[A-Z]\w+(?:, [A-Z]\w+)*(?: and [A-Z]\w+| et al\.)?"
PAPER = rf"{'|'.join(PAPERS)}|{NAMES} \d{{4}}"
CITED = re.compile(rf"({PAPER}), ({'|'.join(KINDS.values())}) ({NUMBER}(?:, {NUMBER})*(?: and {NUMBER})?)")


class Place(NamedTuple):
    """Where something is cited: in the "library", the "tests" or the "lessons"."""

    kind: str
    name: str
    heading: str = ""  # a lesson's, as it is written


def citations():
    """{(paper, "eq." or "algorithm" or ..., number): places}, in the order of the papers and of their numbers."""
    found = {}
    for place, text in texts():
        for key in cited(text):
            places = found.setdefault(key, [])
            if place not in places:
                places.append(place)
    papers = [*PAPERS, *sorted({paper for paper, _, _ in found} - set(PAPERS))]
    kinds = list(KINDS)
    return dict(sorted(found.items(), key=lambda item: (papers.index(item[0][0]), kinds.index(item[0][1]), parts(item[0][2]))))


def cited(text):
    """The (paper, kind, number) of each citation in a text, also of "(DDIM, eqs. 12 and 16; DDPM, algorithm 2)"."""
    for brackets in re.findall(r"\(([^()]*)\)", re.sub(r"\s*\n\s*#?\s*", " ", text)):
        for part in brackets.split(";"):
            if match := CITED.match(part.strip()):
                paper, word, numbers = match.groups()
                kind = next(kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, word))
                for number in re.findall(NUMBER, numbers):
                    yield paper, kind, number


def parts(number):
    """To sort by: numbers before letters."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in number.split(".")]


def texts():
    """(place, text) of every function, class, test and lesson cell."""
    for path in sorted((ROOT / "lessons_lib").glob("*.py")):
        yield from definitions("library", path)
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        if path.name != "test_website.py":  # which tests this module
            yield from (found for found in definitions("tests", path) if ".test_" in found[0].name)
    for lesson in chosen_lessons(""):
        heading = ""
        for cell in jupytext.read(NOTEBOOKS / f"{lesson}.py").cells:
            for part in re.split(r"^(?=#+ )", cell.source, flags=re.MULTILINE) if cell.cell_type == "markdown" else [cell.source]:
                if cell.cell_type == "markdown" and part.startswith("#"):
                    heading = part.partition("\n")[0].lstrip("# ")
                yield Place("lessons", lesson, heading), part


def definitions(kind, path):
    """(place, source) of each function and class that a module defines, with its decorators."""
    lines = path.read_text("utf-8").splitlines()
    for node in ast.parse("\n".join(lines)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield Place(kind, f"{path.stem}.{node.name}"), "\n".join(lines[first - 1 : node.end_lineno])
