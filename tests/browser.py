"""Chromium for tests, driven by Playwright. Without one a test is skipped and says why; with REQUIRE_BROWSER set it fails."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("google-chrome", "google-chrome-stable", "chromium", "chromium-browser")


@contextmanager
def chromium():
    """Playwright's own browser if it is installed, else this machine's."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        missing("Playwright is not installed")
    with sync_playwright() as playwright:
        found = [playwright.chromium.executable_path, *filter(None, map(shutil.which, NAMES))]
        # A snap cannot read the files that it is to show.
        found = [path for path in found if Path(path).exists() and "snap" not in Path(path).resolve().parts]
        if not found:
            missing(f"none of {', '.join(NAMES)} is installed")
        try:
            browser = playwright.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        except Error as error:
            missing(f"{found[0]} does not start: {error}")
        yield browser
        browser.close()


def missing(reason):
    """Skip, or fail where a browser is promised."""
    told = f"no browser: {reason}; .venv/bin/playwright install --with-deps chromium"
    (pytest.fail if os.environ.get("REQUIRE_BROWSER") else pytest.skip)(told)


def listen(page, allowed):
    """What goes wrong on a page from now on: messages of errors, exceptions, requests for anything but `allowed` beginnings."""
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(allowed) else wrong.append(request.url))
    return wrong
