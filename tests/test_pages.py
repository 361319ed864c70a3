"""Pictures wherever executed lessons are shown: PNG and JPEG, each with its alt text and width."""

import base64
import io
import re
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import pages
import slides
import website
from lessons_lib import plots

ALT = 'What "it" shows & why'
PHOTO = ndimage.zoom(np.random.default_rng(0).uniform(-1, 1, size=(1, 8, 8, 3)), (1, 8, 8, 1))
PNG, JPEG = plots.show_images(PHOTO[..., :1], ALT), plots.show_images(PHOTO, ALT)
each_kind = pytest.mark.parametrize(("image", "kind"), [(PNG, "image/png"), (JPEG, "image/jpeg")])


def cell(image):
    """A code cell that shows a picture, as a kernel leaves it."""
    data, metadata = image._repr_mimebundle_()
    output = nbformat.v4.new_output("execute_result", data, metadata=metadata, execution_count=1)
    return nbformat.v4.new_code_cell("picture", execution_count=1, outputs=[output])


class Shown(HTMLParser):
    """The attributes of every picture of a page, in `found`."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found += [dict(attrs)] * (tag == "img")


@each_kind
def test_every_page_shows_a_picture_with_its_alt_text(image, kind, tmp_path):
    lesson = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 01. Look"), cell(PNG), cell(image)])
    (on_card,) = Shown(pages.write_page(tmp_path, "01_look", lesson, "passed")).found
    _, on_page = Shown((tmp_path / "01_look.html").read_text()).found
    (on_slide,) = Shown("".join(slides.under_slides(cell(image)))).found

    source = f"data:{kind};base64,{base64.b64encode(image.data).decode()}"
    assert on_card == {"src": source, "alt": ""}  # its title says what it is
    assert on_page == {"src": source, "alt": ALT, "width": str(image.width)}
    assert on_slide == {"src": source, "alt": ALT}


def test_a_page_wraps_code_and_leads_to_the_other_pages(tmp_path):
    prose = nbformat.v4.new_markdown_cell("# 02. Walk\n\n[Lesson 01](01_naive_denoiser.ipynb#look), [x](other.ipynb)")
    pages.write_page(tmp_path, "02_walk", nbformat.v4.new_notebook(cells=[prose, cell(PNG)]), "passed")
    page = (tmp_path / "02_walk.html").read_text()
    assert re.search(r"\.jp-Notebook pre \{ white-space: pre-wrap", page)
    assert 'href="01_naive_denoiser.html#look"' in page
    assert 'href="other.ipynb"' in page
    assert '<a href="index.html">All lessons</a>' in page
    assert prose.source.count(".ipynb") == 2  # the notebook itself is as it was


def test_a_card_does_not_move(tmp_path):
    film = plots.animate(np.stack([PHOTO, -PHOTO]), ALT)
    lesson = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 01. Look"), cell(film)])
    (on_card,) = Shown(pages.write_page(tmp_path, "01_look", lesson, "passed")).found
    assert on_card["src"] == f"data:image/png;base64,{base64.b64encode(pages.still(film.data)).decode()}"


@pytest.mark.parametrize(("profile", "told"), [("smoke", True), ("cpu", False)])
def test_the_index_says_what_smoke_is_worth(profile, told, tmp_path):
    page = pages.write_index(tmp_path, ["card"], profile).read_text()
    assert f"in the profile <code>{profile}</code>" in page
    assert ("pictures mean nothing" in page) == told


FILMS = {"grey": np.linspace(-1, 1, 4 * 64).reshape(4, 1, 8, 8, 1), "colour": np.stack([PHOTO, -PHOTO, PHOTO / 2, PHOTO**2])}


@pytest.mark.parametrize("kind", FILMS)
def test_a_still_is_the_finished_frame_wherever_it_stands(kind, tmp_path):
    frames = FILMS[kind]
    plots.save_gif(tmp_path / "film.gif", frames, scale=2)
    gif = (tmp_path / "film.gif").read_bytes()
    turned = pages.finished_first(gif)
    for film in (gif, turned):
        off = np.abs(rgb(pages.still(film)) - rgb(Image.open(io.BytesIO(gif)), -1))
        assert off.max() == 0
    apng = plots.animate(frames, "x", scale=2).data
    np.testing.assert_array_equal(rgb(pages.still(apng)), rgb(Image.open(io.BytesIO(apng)), -1))
    assert pages.still(PNG.data) is None
    assert pages.still(JPEG.data) is None

    before, after = (Image.open(io.BytesIO(film)) for film in (gif, turned))
    assert before.n_frames == after.n_frames == 4
    assert after.info["loop"] == 0
    for i in range(4):
        np.testing.assert_array_equal(rgb(after, (i + 1) % 4), rgb(before, i))
        assert after.info["duration"] == before.info["duration"]


def rgb(picture, frame=0):
    """A frame of a picture, or of a file's bytes, as integers."""
    picture = Image.open(io.BytesIO(picture)) if isinstance(picture, bytes) else picture
    picture.seek(frame % getattr(picture, "n_frames", 1))
    return np.asarray(picture.convert("RGB"), int)


@each_kind
def test_the_website_is_told_a_pictures_alt_text_and_width(image, kind):
    (told,) = website.for_readers(nbformat.v4.new_notebook(cells=[cell(image)])).cells
    assert told.metadata["mystnb"]["image"] == {"alt": ALT, "width": f"{image.width}px"}
    assert list(told.outputs[0].data) == [kind]


@each_kind
def test_the_websites_card_shows_a_lessons_last_picture(image, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(website, "words_of", lambda measured: "a minute")
    monkeypatch.setattr(website, "verbs_of", lambda lesson: ["look"])
    lesson = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 01. Look"), cell(PNG), cell(image)])
    name = next(iter(website.chosen_lessons("")))
    (on_card,) = Shown(website.index(website.readme_parts(), {name: lesson}, tmp_path / "cards")).found[-1:]
    (card,) = (tmp_path / "cards").iterdir()
    assert (card.read_bytes(), card.suffix) == (image.data, kind.replace("image/", "."))
    assert (on_card["alt"], on_card["src"]) == (ALT, f"_static/cards/{card.name}")
