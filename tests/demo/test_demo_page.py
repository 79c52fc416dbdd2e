"""The page of `flowzoo demo` in a browser."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import chromium, open_page
from PIL import Image

import flowzoo
from flowzoo.cli import main

PICTURES = os.environ.get("FLOWZOO_SCREENSHOTS")
"""Folder for pictures of the page, to be looked at."""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with chromium() as running:
        yield running


def shot(page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES, f"{name}.png"), full_page=True)


def give(page, first: Path, second: Path) -> None:
    page.set_input_files("#first", first)
    page.set_input_files("#second", second)
    page.click("#compute")


def computed(page) -> None:
    page.wait_for_selector("#result:not([hidden])")
    page.wait_for_function("document.getElementById('message').textContent === ''")


def saved(page, kind: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click(f"#save-{kind}")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_what_is_saved_is_what_infer_writes(browser, server, images, tmp_path):
    out = tmp_path / "infer"
    words = ["infer", str(images / "a.png"), str(images / "b.png"), "-o", str(out / "flow.flo")]
    assert main([*words, "--picture", str(out / "flow.png")]) == 0
    with open_page(browser, server.url) as page:
        give(page, images / "a.png", images / "b.png")
        computed(page)
        shot(page, "demo-flow")
        for kind in ("flo", "png"):
            assert saved(page, kind, tmp_path).read_bytes() == (out / f"flow.{kind}").read_bytes()
        flow = np.load(saved(page, "npy", tmp_path))
        expected, _ = flowzoo.read_flow(out / "flow.flo")
        assert flow.dtype == np.float32
        assert np.array_equal(flow, expected)
        page.check("[value=warp]")
        page.fill("#slider", "30")
        shot(page, "demo-warp")
        page.check("[value=occlusion]")
        shot(page, "demo-occlusion")


def test_the_vector_under_the_pointer_is_told_and_drawn(browser, server, images, tmp_path):
    assert main(["infer", str(images / "a.png"), str(images / "b.png"), "-o", str(tmp_path / "flow.flo")]) == 0
    flow, _ = flowzoo.read_flow(tmp_path / "flow.flo")
    with open_page(browser, server.url) as page:
        give(page, images / "a.png", images / "b.png")
        computed(page)
        before = page.evaluate("document.getElementById('view').toDataURL()")
        box = page.locator("#view").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 40.5 / 160, box["y"] + box["height"] * 20.5 / 96)
        u, v = (float(value) for value in flow[20, 40])
        across, along = (
            f"{abs(u):.2f} px {'left' if u < 0 else 'right'}",
            f"{abs(v):.2f} px {'up' if v < 0 else 'down'}",
        )
        assert page.inner_text("#vector") == f"At (40, 20): {across}, {along}; length {np.hypot(u, v):.2f} px"
        assert page.evaluate("document.getElementById('view').toDataURL()") != before
        shot(page, "demo-arrow")


def test_everything_goes_by_keyboard(browser, server, images):
    with open_page(browser, server.url) as page:
        page.set_input_files("#first", images / "a.png")
        page.set_input_files("#second", images / "b.png")
        page.focus("#first")
        reached = []
        for _ in range(4):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id"))
        assert reached == ["second", "network", "precision", "compute"]
        page.keyboard.press("Enter")
        computed(page)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.value") == "flow"
        page.keyboard.press("ArrowRight")
        assert page.is_visible("#slider")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "view"
        for key in ("ArrowRight", "ArrowDown", "Shift+ArrowLeft"):
            page.keyboard.press(key)
        assert page.inner_text("#vector").startswith("At (61, 49): ")


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ("a.png", "broken.png", "broken.png is a truncated or damaged image"),
        ("a.png", "small.png", "small.png"),
        ("huge.bin", "b.png", "200 MB are too many: at most 20 MB are taken"),
    ],
)
def test_what_is_wrong_is_said_on_the_page(first, second, says, browser, server, images):
    with open_page(browser, server.url) as page:
        give(page, images / first, images / second)
        page.wait_for_selector("#message.error")
        assert says in page.inner_text("#message")
        shot(page, f"demo-{Path(second).stem}-{Path(first).stem}")
        page.faults[:] = [text for text in page.faults if "400 (Bad Request)" not in text]
        give(page, images / "a.png", images / "b.png")
        computed(page)


def test_without_a_second_image_nothing_can_be_computed(browser, server, images):
    with open_page(browser, server.url) as page:
        page.set_input_files("#first", images / "a.png")
        assert page.is_disabled("#compute")


def test_two_files_are_dropped_in_the_order_of_their_names(browser, server):
    with open_page(browser, server.url) as page:
        page.evaluate("""() => {
            const dropped = new DataTransfer();
            for (const name of ["frame10.png", "frame9.png"]) dropped.items.add(new File(["x"], name));
            document.dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true, cancelable: true}));
        }""")
        names = [page.evaluate(f"document.getElementById('{place}').files[0].name") for place in ("first", "second")]
        assert names == ["frame9.png", "frame10.png"]
        assert page.is_enabled("#compute")


def test_a_narrow_screen_needs_no_sideways_scrolling(browser, server, images):
    with open_page(browser, server.url, 320, 640) as page:
        give(page, images / "a.png", images / "b.png")
        computed(page)
        shot(page, "demo-narrow")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.skipif(not os.environ.get("FLOWZOO_RUN_DOCS"), reason="takes a minute of a CPU: FLOWZOO_RUN_DOCS=1")
def test_a_pair_of_1920x1080_works(browser, server, images, tmp_path):
    for name in ("a.png", "b.png"):
        with Image.open(images / name) as image:
            image.resize((1920, 1080)).save(tmp_path / name)
    with open_page(browser, server.url) as page:
        page.set_default_timeout(400_000)
        give(page, tmp_path / "a.png", tmp_path / "b.png")
        computed(page)
        shot(page, "demo-1080p")
        assert "1920 x 1080" in page.inner_text("#facts")
