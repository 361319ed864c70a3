"""Pictures wherever executed lessons are shown: PNG and JPEG, each with its alt text and width."""

import base64
from html.parser import HTMLParser

import nbformat
import numpy as np
import pytest
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
