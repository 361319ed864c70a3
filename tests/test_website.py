"""`make site`, without and with a browser."""

import pkgutil
import re
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest
from browser import listen
from PIL import Image, ImageSequence

import website
from citations import Place, citations, cited, texts
from lessons import NOTEBOOKS, ROOT, chosen_lessons, to_notebook
from pages import pictures


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one step (DDPM, eq. 2).", [("DDPM", "eq.", "2")]),
        (r"$$x \qquad \text{(Wu and He 2018, eq. 7)}$$", [("Wu and He 2018", "eq.", "7")]),
        ("(DDIM, eqs. 12 and 16; DDPM, algorithm 2)", [("DDIM", "eq.", "12"), ("DDIM", "eq.", "16"), ("DDPM", "algorithm", "2")]),
        ("(DDPM, eqs. 1, 2 and 13)", [("DDPM", "eq.", number) for number in ("1", "2", "13")]),
        ("a comment (DDPM,\n    # eq. 4)", [("DDPM", "eq.", "4")]),
        ("(*slerp*; DDIM, appendix D.5)", [("DDIM", "appendix", "D.5")]),
        ("(Ronneberger et al. 2015, section 2, with additive skips)", [("Ronneberger et al. 2015", "section", "2")]),
        ("(DDPM) and (see lesson 04), eq. 3", []),
        ("(This is a sentence that ends in a citation: Karras et al. 2022, section 4)", []),
    ],
)
def test_citations_are_found(text, expected):
    assert list(cited(text)) == expected


def test_every_equation_of_the_library_has_a_test_and_a_lesson():
    missing = {
        key: kinds
        for key, places in citations().items()
        if key[1] == "eq." and "library" in (kinds := {place.kind for place in places}) and len(kinds) < 3
    }
    assert not missing


LOOSELY = re.compile(r"\b(?:DDPM|DDIM|et al\. \d{4}), (?:see )?(?:eqs?|equations?|alg\w*|app\w*|sec\w*)\b", re.IGNORECASE)


def test_no_citation_is_overlooked():
    """Whatever looks like one has the form that all have."""
    for place, text in texts():
        line = re.sub(r"\s*\n\s*#?\s*", " ", text)
        found = {(paper, kind) for paper, kind, _ in cited(text)}
        assert len(set(LOOSELY.findall(line))) <= len(found) or place.kind == "tests", (place, LOOSELY.findall(line), found)


def test_papers_come_in_order_with_their_equations():
    keys = list(citations())
    assert keys[0] == ("DDPM", "eq.", "1")
    papers = [paper for paper, _, _ in keys]
    assert papers == sorted(papers, key=lambda paper: (paper != "DDPM", paper != "DDIM", paper))
    numbers = [int(number) for paper, kind, number in keys if (paper, kind) == ("DDPM", "eq.")]
    assert numbers == sorted(numbers)
    assert Place("library", "diffusion.add_noise") in citations()["DDPM", "eq.", "4"]


def test_every_module_is_documented():
    modules = {module.name for module in pkgutil.iter_modules([ROOT / "lessons_lib"])}
    assert sorted(website.MODULES) == sorted(modules - {"checks"})


class Tags(HTMLParser):
    """All start tags of a page: (name, attributes)."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    assert website.main(folder / "pages", folder / "site") == 0  # a warning is a failure
    return folder / "site"


def pages_of(site):
    return sorted(page for page in site.rglob("*.html") if "_static" not in page.parts)


def test_the_site_has_its_pages(site):
    pages = {str(page.relative_to(site)) for page in pages_of(site)}
    assert {
        "index.html",
        "symbols.html",
        "papers.html",
        "api.html",
        "contribute.html",
        "docs/teaching.html",
        "docs/judged.html",
    } <= pages
    assert {f"notebooks/{lesson}.html" for lesson in chosen_lessons("")} <= pages
    index = (site / "index.html").read_text()
    assert all(f'href="notebooks/{lesson}.html"' in index for lesson in chosen_lessons(""))


def test_nothing_is_fetched_and_every_picture_has_alt_text(site):
    for page in pages_of(site):
        for tag, attributes in Tags(page).found:
            address = attributes.get("src") or (attributes.get("href") if tag == "link" else None) or ""
            assert not address.startswith(("http", "//")), (page.name, address)
            if tag == "img":
                assert len(attributes.get("alt", "").split()) >= 3, (page.name, attributes)


def test_no_page_shows_how_python_prints_an_object(site):
    for page in pages_of(site):
        if "_modules" not in page.parts:
            assert not re.search(r"&lt;(function|bound method|lessons_lib|keras|\w+ object|[\w.]+ at 0x)", page.read_text()), (
                page.name
            )


MOVING = {"index.html": 2, "notebooks/01_naive_denoiser.html": 1, "notebooks/07_ddim_sampling.html": 1}  # animations, at least


def test_an_animation_has_a_still_for_where_nothing_moves(site):
    for name, count in MOVING.items():
        page = site / name
        stills = re.findall(
            r'<picture><source media="([^"]+)" srcset="([^"]+)"><img [^>]*src="([^"]+)"[^>]*></picture>', page.read_text()
        )
        assert len(stills) >= count, name
        for media, still, film in stills:
            assert {"print", "(prefers-reduced-motion: reduce)"} == set(media.split(", "))
            with Image.open(page.parent / still) as one, Image.open(page.parent / film) as many:
                durations = [frame.info["duration"] for frame in ImageSequence.Iterator(many)]
                many.seek(int(np.argmax(durations)))
                assert max(durations) == 2000  # the finished picture is held
                np.testing.assert_array_equal(one.convert("L"), many.convert("L"))
                assert getattr(one, "n_frames", 1) == 1
    for film in ("ddim", "naive_sampling"):  # also where the README is shown
        with Image.open(ROOT / "docs" / f"{film}.gif") as gif:
            assert gif.info["duration"] == 2000
    for card in (site / "_static" / "cards").iterdir():
        assert getattr(Image.open(card), "n_frames", 1) == 1


def test_the_guide_and_the_readme_name_only_what_exists():
    """Sections of lessons as the guide quotes them, exercises in its syllabus, commands in both."""
    guide = (ROOT / "docs" / "teaching.md").read_text()
    cells = {name[:2]: [cell.source for cell in to_notebook(name).cells] for name in chosen_lessons("")}
    headings = {number: re.findall(r"^##? (.+)$", "\n".join(sources), re.M) for number, sources in cells.items()}
    quoted = [
        (number, part)
        for number, rest in re.findall(r"^\| (\d\d) \|(.*)$", guide, re.M)
        for part in re.findall('"([^"]+)"', rest)
    ]
    quoted += re.findall(r'\((\d\d), "([^"]+)"', " ".join(guide.split()))
    assert len(quoted) > 12
    assert not [(number, part) for number, part in quoted if part not in headings[number]]
    commands = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z]+)", guide)) <= commands
    for session, lesson, *plan in re.findall(r"^\| (\d) \|[^|]*\| (\d\d)[^|]*\| ([^|]*)\| ([^|]*)\|$", guide, re.M):
        exercises = re.findall(r"^\*\*(\d)\. (.+?)\*\*", "\n".join(cells[lesson]), re.M)
        numbers = [int(i) for part in plan for i in spelled(part)]
        assert set(numbers) <= {int(number) for number, _ in exercises}, (session, numbers, exercises)
        clinics = [number for number, title in exercises if title.startswith("Bug clinic")]
        assert re.findall(r"(\d) \(bug clinic\)", " ".join(plan)) == clinics, session


def spelled(numbers):
    """ "1 to 3, 5 (bug clinic)" as 1, 2, 3, 5."""
    for first, last in re.findall(r"(\d)(?: to (\d))?", numbers):
        yield from range(int(first), int(last or first) + 1)


def test_a_lesson_shows_its_pictures_with_their_alt_texts(site):
    for lesson in chosen_lessons(""):
        notebook = nbformat.read(NOTEBOOKS / f"{lesson}.ipynb", as_version=4)
        expected = [picture.about["alt"] for cell in notebook.cells for picture in pictures(cell)]
        page = Tags(site / "notebooks" / f"{lesson}.html").found
        assert [attributes["alt"] for tag, attributes in page if tag == "img"] == expected


def test_links_within_the_site_lead_somewhere(site):
    anchors = {page: {a["id"] for _, a in Tags(page).found if a.get("id")} for page in pages_of(site)}
    for page in anchors:
        for tag, attributes in Tags(page).found:
            address = attributes.get("href", "")
            if tag != "a" or not address or re.match(r"[a-z]+:", address) or "_sources" in address:
                continue
            path, _, anchor = address.partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), (page.name, address)
            if anchor and target in anchors and "_modules" not in target.parts:
                assert anchor in anchors[target], (page.name, address)


def test_solutions_are_folded(site):
    for lesson in chosen_lessons(""):
        text = (site / "notebooks" / f"{lesson}.html").read_text()
        cells = to_notebook(lesson).cells
        solutions = [cell for cell in cells if "solution" in cell.metadata.get("tags", [])]
        assert solutions
        assert text.count("Show our answer") == len(solutions)
        assert text.count("<summary>Answer") == sum(cell.source.count("<summary>Answer") for cell in cells) > 0
        assert "<details open" not in text


# ---- in a browser


RENDERED = "() => window.MathJax?.startup?.promise.then(() => true) ?? true"
MEASURE = """() => ({
  formulas: document.querySelectorAll('.math').length,
  rendered: document.querySelectorAll('.math mjx-container').length,
  broken: document.querySelectorAll('mjx-merror, [data-mml-node="merror"]').length,
  wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  cut: [...document.querySelectorAll('pre')].filter(one => one.scrollWidth > one.clientWidth).length,
  text: [...document.querySelectorAll('article p, article td, article li')].map(one => one.innerText).join(' '),
  ground: getComputedStyle(document.body).backgroundColor,
})"""
# The addresses of those that cannot be shown.
BROKEN_PICTURES = """async () => {
  const broken = [...document.images].map(one => (one.loading = 'eager', one.decode().then(() => null, () => one.src)));
  return (await Promise.all(broken)).filter(one => one);
}"""


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def test_every_page_opens(site, browser, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True)
    page = context.new_page()
    wrong = listen(page, ("file:", "data:", "blob:"))
    for one in pages_of(site):
        page.goto(one.as_uri())
        page.evaluate(RENDERED)
        found = page.evaluate(MEASURE)
        assert found["rendered"] == found["formulas"], one.name
        assert found["formulas"] > 10 or one.parent.name != "notebooks"
        assert "\\bar" not in found["text"], one.name  # no formula is left as it is written
        assert found["broken"] == 0, one.name
        assert found["wider"] <= 0, (one.name, found["wider"])
        assert found["cut"] == 0 or "_modules" in one.parts, (one.name, found["cut"])  # no line of code is out of sight
        assert not page.evaluate(BROKEN_PICTURES), one.name
        bright = sum(map(int, re.findall(r"\d+", found["ground"])[:3])) > 3 * 128
        assert bright == (scheme == "light"), (one.name, found["ground"])
    context.close()
    assert not wrong


def test_animations_move(site, browser):
    page = browser.new_page()
    page.goto((site / "notebooks" / "07_ddim_sampling.html").as_uri())
    film = page.get_by_alt_text("Noise becomes eight digits in ten steps.")
    film.scroll_into_view_if_needed()
    seen = set()
    for _ in range(8):
        seen.add(film.screenshot())
        page.wait_for_timeout(300)
    page.close()
    assert len(seen) > 2


ROOM = """() => {
  const pre = document.querySelector('.cell_input pre'), line = document.createElement('span');
  line.textContent = 'm'.repeat(96);
  line.style.whiteSpace = 'pre';
  pre.append(line);
  const style = getComputedStyle(pre);
  return [line.offsetWidth, pre.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)];
}"""


def test_a_lessons_longest_lines_fit_on_a_desktop(site, browser):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto((site / "notebooks" / "05_training.html").as_uri())
    line, room = page.evaluate(ROOM)
    page.close()
    assert line <= room


@pytest.mark.parametrize("wish", [{"reduced_motion": "reduce"}, {"media": "print"}], ids=str)
@pytest.mark.parametrize("name", MOVING)
def test_nothing_moves_where_nothing_is_to_move(site, browser, wish, name):
    page = browser.new_page()
    page.emulate_media(**wish)
    page.goto((site / name).as_uri())
    film = page.locator("picture img").first
    film.scroll_into_view_if_needed()
    page.wait_for_function("one => one.complete && one.currentSrc.endsWith('.still.png')", arg=film.element_handle())
    page.emulate_media(reduced_motion="no-preference", media="screen")
    page.wait_for_function("one => one.complete && !one.currentSrc.includes('.still.')", arg=film.element_handle())
    page.close()


def test_a_folded_answer_opens(site, browser):
    page = browser.new_page()
    page.goto((site / "notebooks" / "03_reparameterization.html").as_uri())
    answer = page.locator("details", has_text="That picture, perfectly sharp").locator("p").first
    assert not answer.is_visible()
    page.locator("summary", has_text="Answer").first.click()
    assert answer.is_visible()
    solution = page.locator("pre", has_text="def to_noise").first
    assert not solution.is_visible()
    page.get_by_text("Show our answer").first.click()
    assert solution.is_visible()
    page.close()
