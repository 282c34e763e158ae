"""The built book as a reader has it: opened from disk in Chromium, without a network.

Run after `make book`; skipped where there is no book, no Chromium or no playwright.
"""

import json
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
from idinvert.study.run import ROOT
from reading import HTML

PAGES = sorted(HTML.glob("*.html"))

pytestmark = pytest.mark.skipif(not PAGES, reason="no book: run `make book` first")


@pytest.mark.parametrize("path", PAGES, ids=[path.stem for path in PAGES])
def test_page_opens_without_error_or_network(path, reader):
    reader.goto(path.as_uri())
    if path.stem == "index":  # leads to the title page
        reader.wait_for_url("**/intro.html")
    reader.wait_for_timeout(300)  # scripts that the page starts when it is loaded
    assert not reader.wrong
    assert not reader.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
    if "math" in path.read_text():
        assert not reader.locator("mjx-merror").count()


class Links(HTMLParser):
    """Addresses and anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes.get("id"), attributes.get("name")}
        self.links += [attributes[k] for k in ("href", "src") if attributes.get(k)]


def test_links_lead_somewhere():
    pages = {path: Links(path) for path in PAGES}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = pages[target].anchors if target in pages else None
            if not target.exists() or parts.fragment and known and unquote(
                    parts.fragment) not in known:
                broken.append(f"{path.name}: {link}")
    assert not broken


@pytest.mark.parametrize("name", [path.stem for path in PAGES if path.stem[:2].isdigit()])
def test_every_picture_of_a_notebook_is_in_its_chapter(name):
    executed = json.loads((ROOT / "results" / "notebooks" / f"{name}.ipynb").read_text())
    outputs = [o for cell in executed["cells"] for o in cell.get("outputs", [])]
    pictures = sum({"image/png", "image/jpeg"} & set(o.get("data", {})) != set() for o in outputs)
    assert pictures > 0
    assert (HTML / f"{name}.html").read_text().count('src="_images/') == pictures


def test_no_page_names_an_outside_script_or_style():
    outside = re.compile(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//[^"]+', re.I)
    assert not [found for path in PAGES for found in outside.findall(path.read_text())]


def pictures(page):
    """What the visible pictures of the widgets show, as small bitmaps."""
    return page.evaluate("""() => {
        const draw = image => {
            const canvas = document.createElement('canvas')
            canvas.width = canvas.height = 32
            const context = canvas.getContext('2d')
            context.drawImage(image, 0, 0, 32, 32)
            return context.getImageData(0, 0, 32, 32).data.join() }
        const images = [...document.querySelectorAll('img.widget-image')]
        return images.filter(i => i.offsetParent).map(draw)
    }""")


def test_explorer_works_without_a_kernel(reader):
    reader.goto((HTML / "explore.html").as_uri())
    sliders = reader.locator(".widget-slider .noUi-handle")
    sliders.first.wait_for()
    reader.wait_for_timeout(500)
    assert sliders.count() == 3 and len(pictures(reader)) == 3
    for i in range(3):
        before = pictures(reader)
        sliders.nth(i).focus()
        reader.keyboard.press("ArrowLeft")
        reader.wait_for_timeout(300)
        changed = [a != b for a, b in zip(before, pictures(reader))]
        assert changed == [i == j for j in range(3)]
    for i in range(2):
        before = pictures(reader)
        reader.locator(".widget-dropdown select").nth(i).select_option(index=1)
        reader.wait_for_timeout(300)
        assert pictures(reader)[i + 1] != before[i + 1]
    assert not reader.wrong


def test_pages_stay_small():
    assert not [path.name for path in PAGES if path.stat().st_size > 3e6]
