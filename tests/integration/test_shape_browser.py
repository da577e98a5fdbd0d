"""Electric's client in a browser, on a page of another origin: CORS, and changes seen in the page."""

import pytest
from harness import ShapeApi
from harness.browser import Browser, Pages
from harness.node import installed
from harness.process import ROOT
from harness.waiting import wait_for

SHOWN = "[...document.querySelectorAll('#rows tr')].map(r => r.innerText).join('|')"
SCREENSHOT = ROOT / "build" / "results" / "shape-in-a-browser.png"


@pytest.fixture(scope="module")
def pages():
    programs = installed()
    client = programs / "node_modules/@electric-sql/client/dist/index.browser.mjs"
    with Pages({"/page.html": programs / "page.html", "/client.mjs": client}) as served:
        yield served


@pytest.fixture
def browser(tmp_path):
    with Browser(tmp_path) as running:
        yield running


@pytest.fixture
def items(database):
    database.sql("CREATE TABLE items (id int PRIMARY KEY, v text)")
    database.sql("INSERT INTO items VALUES (1, 'one'), (2, 'two')")
    return database


@pytest.mark.parametrize("sse", ["false", "true"], ids=["long poll", "sse"])
def test_page_of_another_origin_shows_changes_as_they_come(browser, pages, items, bridge, sse):
    """With an Authorization header, which a browser asks leave for first."""
    browser.open(f"{pages.url}/page.html?shape={bridge.url}/v1/shape&table=items&sse={sse}"
                 "&token=of-the-application")
    browser.wait_for(f"{SHOWN} === '1\\tone|2\\ttwo'")
    items.sql("INSERT INTO items VALUES (3, 'three')")
    browser.wait_for(f"{SHOWN} === '1\\tone|2\\ttwo|3\\tthree'")
    items.sql("UPDATE items SET v = 'zwei' WHERE id = 2")
    items.sql("DELETE FROM items WHERE id = 1")
    browser.wait_for(f"{SHOWN} === '2\\tzwei|3\\tthree'")
    items.sql("TRUNCATE items; INSERT INTO items VALUES (7, 'anew')")
    browser.wait_for(f"{SHOWN} === '7\\tanew'")
    assert not [line for line in browser.console if "CORS" in line or "Missing" in line]
    if sse == "false":
        browser.screenshot(SCREENSHOT)


def test_page_goes_on_after_the_bridge_was_away(browser, pages, items, bridge):
    browser.open(f"{pages.url}/page.html?shape={bridge.url}/v1/shape&table=items&sse=false")
    browser.wait_for(f"{SHOWN} === '1\\tone|2\\ttwo'")
    handle = ShapeApi(bridge).get(table="items", offset="-1")["electric-handle"]
    bridge.kill9()
    items.sql("INSERT INTO items VALUES (3, 'three')")
    bridge.start()
    browser.wait_for(f"{SHOWN} === '1\\tone|2\\ttwo|3\\tthree'", 60)
    assert wait_for(lambda: ShapeApi(bridge).get(table="items", offset="-1")["electric-handle"],
                    60) == handle
