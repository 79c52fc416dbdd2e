"""The system's Chromium, driven by Playwright: pages as people see them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason='needs Playwright: pip install "flowzoo[browser]"')
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("needs a browser on PATH: chromium or google-chrome")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Any, address: str, width: int = 1100, height: int = 900) -> Iterator[Any]:
    """A page of `address`; afterwards, every request must have gone to where it came from, and nothing have failed."""
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(60_000)  # a busy machine
    own, foreign, faults = "/".join(address.split("/")[:3]) + "/", [], []
    page.on(
        "request",
        lambda request: None if request.url.startswith((own, "blob:", "data:")) else foreign.append(request.url),
    )
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda entry: faults.append(entry.text) if entry.type == "error" else None)
    page.foreign, page.faults = foreign, faults
    try:
        page.goto(address)
        yield page
        assert foreign == []
        assert faults == []
    finally:
        context.close()
