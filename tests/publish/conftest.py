"""The built book as a reader has it: in Chromium, without a network."""

import os
import shutil
from urllib.parse import urlsplit

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium")
    with playwright.sync_playwright() as p:
        # Chromium's own sandbox does not run as root, as in containers
        browser = p.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=os.geteuid() != 0)
        yield browser
        browser.close()


@pytest.fixture
def reader(browser):
    """A page that collects what went wrong on it, requests to elsewhere included."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.set_default_timeout(120_000)
    page.wrong = []
    page.on("console", lambda m: m.type == "error" and page.wrong.append(m.text))
    page.on("pageerror", lambda e: page.wrong.append(str(e)))
    page.on("requestfailed", lambda r: page.wrong.append(f"failed: {r.url}"))
    page.on("request", lambda r: is_outside(r.url) and page.wrong.append(f"outside: {r.url}"))
    yield page
    page.close()


def is_outside(address):
    """Whether an address leads to another machine."""
    parts = urlsplit(address)
    return parts.scheme in ("http", "https", "ws") and parts.hostname != "127.0.0.1"
