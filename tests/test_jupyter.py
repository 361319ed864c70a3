"""Lessons in JupyterLab, in a browser: run all cells, get an answer from a check, play with the widget."""

import json
import os
import socket
import subprocess
import sys
import time

import nbformat
import numpy as np
import pytest
from browser import listen

from course import for_students
from lessons import outputs, to_notebook
from lessons_lib import plots

# No news from the network, and all cells in the page, also those out of sight.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """JupyterLab's folder and address."""
    folder = tmp_path_factory.mktemp("lab")
    for name, settings in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
    command += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
    places = {"JUPYTERLAB_SETTINGS_DIR": folder / "settings", "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces"}
    environment = os.environ | {"LESSONS_PROFILE": "smoke"} | {name: str(place) for name, place in places.items()}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        wait_for(port, server, folder / "log")
        yield folder, f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()


def wait_for(port, server, log):
    """Until the server listens."""
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"JupyterLab does not listen: {log.read_text()}")


# Some cells have their numbers, and none is waiting: all have run, or one has failed.
DONE = """() => {
  const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent);
  return prompts.some(prompt => /\\d/.test(prompt)) && !prompts.some(prompt => prompt.includes('*'));
}"""
HOLES = """(board, colour) => {
  const pixels = board.getContext('2d').getImageData(0, 0, board.width, board.height).data;
  return pixels.filter((_, i) => i % 4 == 0 && colour.every((part, channel) => pixels[i + channel] == part)).length;
}"""
ANOTHER = "src => { const picture = document.querySelector('.lessons-sliders img'); return picture && picture.src !== src; }"


def run_all(page, lab, name, notebook):
    """Open a notebook, run all its cells, and give the code cells that JupyterLab saved then."""
    folder, address = lab
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    page.goto(f"{address}/lab/workspaces/{name}/tree/{name}.ipynb")  # a workspace of its own shows nothing else
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=120_000)
    for _ in range(60):  # until the kernel is there
        kernels = page.request.get(f"{address}/api/sessions").json()
        kernel = next((one["kernel"] for one in kernels if one["path"] == path.name), {})
        if kernel.get("execution_state") == "idle" and kernel["connections"]:
            break
        page.wait_for_timeout(1000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(DONE, timeout=300_000)
    for _ in range(30):
        page.keyboard.press("Control+s")
        page.wait_for_timeout(1000)
        code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        if any(output.output_type == "error" for output in outputs({"cells": code})) or all(
            cell.execution_count for cell in code
        ):
            return code
    return pytest.fail("JupyterLab did not save the notebook")


def opened(browser, lab, lesson):
    """A lesson that has run, without a complaint and with all answers right: its page, and a list of what will go wrong there."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    wrong = listen(page, (lab[1], lab[1].replace("http", "ws"), "data:", "blob:"))
    notebook = to_notebook(lesson)
    told = outputs({"cells": run_all(page, lab, lesson, notebook)})
    assert not [output.evalue for output in told if output.output_type == "error"]
    assert not [output.text for output in told if output.get("name") == "stderr"]
    solutions = [cell for cell in notebook.cells if "solution" in cell.metadata.get("tags", [])]
    assert sum("well done" in output.get("text", "") for output in told) == len(solutions)  # of the checks
    return page, wrong


@pytest.mark.parametrize("lesson", ["02_forward_chain", "06_ddpm_sampling", "07_ddim_sampling"])
def test_a_lesson_runs_and_its_widget_answers(browser, lab, lesson):
    page, wrong = opened(browser, lab, lesson)
    widget = page.locator(".lessons-sliders")
    widget.scroll_into_view_if_needed()
    button, picture = widget.get_by_role("button"), widget.locator("img")
    if button.count():  # it draws when it is told to
        button.click()
    picture.wait_for(timeout=60_000)
    for handle in widget.locator(".noUi-handle").all():
        before = picture.get_attribute("src")
        handle.focus()
        for _ in range(3):
            handle.press("ArrowLeft")
        if button.count():
            button.click()
        page.wait_for_function(ANOTHER, arg=before, timeout=60_000)
    page.close()
    assert not wrong


def test_a_picture_is_rubbed_out_with_the_mouse_and_filled(browser, lab):
    page, wrong = opened(browser, lab, "11_editing")
    widget = page.locator(".lessons-canvas")
    board, press = widget.locator("canvas"), widget.get_by_role("button", name="fill")
    press.scroll_into_view_if_needed()
    corner = board.bounding_box()
    x, y = corner["x"] + 100, corner["y"] + 180

    def holes():
        return board.evaluate(HOLES, list(plots.HOLE))

    assert holes() == 0
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=2)
    page.mouse.up()
    page.mouse.move(x, y - 150)
    page.wait_for_timeout(2000)
    stroke = (60 / 5 + np.pi * 5 / 2) * 2 * 5 * 5**2  # a line with round ends, in pixels of the page: 5 to one of the picture
    assert holes() == pytest.approx(stroke, rel=0.2)
    before = board.evaluate("board => board.toDataURL()")
    press.click()
    page.wait_for_function("told => document.querySelector('.lessons-canvas').innerText.includes(told)", arg="Rub something out")
    page.wait_for_timeout(1000)
    assert holes() == 0
    assert board.evaluate("board => board.toDataURL()") != before
    page.close()
    assert not wrong


def test_a_students_notebook_stops_where_there_is_something_to_do(browser, lab):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    code = run_all(page, lab, "student", for_students(to_notebook("03_reparameterization")))
    errors = [output for output in outputs({"cells": code}) if output.output_type == "error"]
    assert [(error.ename, "not done yet" in error.evalue) for error in errors] == [("NotDoneYet", True)]
    assert page.get_by_text("not done yet").first.is_visible()
    page.close()


def test_a_caption_is_typed_and_drawn(browser, lab):
    """Also one with a word that the network has not learned: it is named, and nothing is drawn for it."""
    page, wrong = opened(browser, lab, "13_text")
    widget = page.locator(".lessons-sliders")
    widget.scroll_into_view_if_needed()
    caption, draw, picture = widget.get_by_role("textbox").first, widget.get_by_role("button", name="draw"), widget.locator("img")
    for told in ("a red ring by day", "a blue heart at night"):
        before = picture.get_attribute("src") if picture.count() else ""
        caption.fill(told)
        draw.click()
        page.wait_for_function(ANOTHER, arg=before, timeout=120_000)
        assert told in picture.get_attribute("alt")
    caption.fill("a pink ring by day")
    draw.click()
    widget.get_by_text("received pink in").wait_for(timeout=60_000)
    assert not picture.count()
    page.close()
    assert not wrong
