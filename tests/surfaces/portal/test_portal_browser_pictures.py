"""Every page of the portal in Chromium, in both themes, on a desk and in a hand: as the manual shows it."""

import os
import re
import struct
import zlib
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.surfaces.portal.browsing import expect_drawn, expect_no_defect, expect_said, orders

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.xdist_group("browser")]

LARGEST_BYTES = 200_000
GROUND = """async scheme => { const [red] = getComputedStyle(document.querySelector('.stApp')).backgroundColor.match(/\\d+/g);
    if ((red < 128) !== (scheme === 'dark')) return false;
    for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);  // charts and tables draw themselves after the page
    return true; }"""


@pytest.fixture(scope="module")
def two_runs(stack, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A small workbook's run, and one of real orders after it."""
    small = orders(tmp_path_factory.mktemp("pictures") / "orders_2026.csv", 400)
    return stack.succeeded_run(small, mapping=None), stack.succeeded_run()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("width", [1440, 390])
def test_every_page_has_a_picture_in_the_manual(visit, stack, two_runs, width):
    """The pictures are written where the manual has them when TREADLE_PICTURES is set; else they are only looked at for what must not be there."""
    first, second = two_runs
    page = visit(None, width=width)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    look_at_both(page, "sign-in", width)
    page = visit("olga", width=width)
    for name, address, heading, last in (
        ("import", "import", "Import", r"superstore\.xlsx"),
        ("file", "import?file=superstore.xlsx", "superstore.xlsx", "checks passed"),
        ("monitor", "monitor", "Monitor", "Open this run"),
        ("results", "results", "Results", "In the CSV"),
        ("archive", "archive", "Archive", "runs that succeeded"),
        ("compare", f"compare?a={first}&b={second}", "Compare", "Open B"),
        ("run", f"run?run={second}", f"Run {second[:8]}", "The workbook is in the lake"),
    ):
        page.goto(f"{stack.url}/{address}")
        expect(page.get_by_role("heading", name=heading, exact=True).first).to_be_visible()
        expect_said(page, re.compile(last))
        look_at_both(page, name, width)
    page.goto(f"{stack.url}/run?run={first}")
    page.get_by_role("button", name="Restore this run").click()
    expect(page.get_by_role("button", name=f"Restore run {first[:8]}")).to_be_enabled()
    look_at_both(page, "restore", width)


def look_at_both(page: Page, name: str, width: int) -> None:
    """In both themes; a page that is open follows when its reader goes from day to night."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(GROUND, arg=scheme)
        look_at(page, f"{name}-{scheme}-{width}")
    page.emulate_media(color_scheme="light")


def look_at(page: Page, name: str) -> None:
    """Wait until the page is whole, see that nothing is wrong with it, and take its picture where pictures are wanted."""
    expect_drawn(page)
    expect_no_defect(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is wider than the window"
    if folder := os.environ.get("TREADLE_PICTURES"):
        picture = smaller(page.screenshot(animations="disabled"))
        assert len(picture) < LARGEST_BYTES
        (Path(folder) / f"{name}.png").write_bytes(picture)


def smaller(png: bytes) -> bytes:
    """The same picture, pressed harder: Chromium is in a hurry."""
    chunks, at = [], 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        chunks.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += length + 12
    pixels = zlib.compress(zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT")), 9)
    kept = [(kind, content) for kind, content in chunks if kind in (b"IHDR", b"PLTE", b"tRNS")]
    whole = [*kept, (b"IDAT", pixels), (b"IEND", b"")]
    return png[:8] + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)) for kind, content in whole
    )
