"""The documentation site: its pages from the package, and, where Zensical is installed, the site itself."""

import functools
import http.server
import importlib
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from browser import chromium, open_page
from doc_blocks import ROOT

from flowzoo import registry


@pytest.fixture(scope="module")
def tool() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        yield importlib.import_module("make_site")


@pytest.fixture(scope="module")
def pages(tool: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that Zensical is given."""
    folder = tmp_path_factory.mktemp("site")
    tool.make_pages(folder)
    return folder


def listed(value: object) -> set[str]:
    if isinstance(value, str):
        return {value}
    parts = value.values() if isinstance(value, dict) else value
    return set().union(*map(listed, parts))


def test_every_page_is_in_the_list(pages: Path) -> None:
    names = listed(tomllib.loads((pages / "zensical.toml").read_text())["project"]["nav"])
    there = {path.relative_to(pages / "pages").as_posix() for path in (pages / "pages").rglob("*.md")}
    assert names <= there
    assert {name for name in there - names if not name.startswith(("source/", "weights/"))} == set()


def test_every_network_has_a_card(pages: Path) -> None:
    assert {path.stem for path in (pages / "pages" / "zoo").glob("*.md")} == {"index", *registry.cards()}


def test_ideas_lead_to_the_lines_where_they_begin(pages: Path, tool: ModuleType) -> None:
    table = tomllib.loads((ROOT / "tools" / "site" / "ideas.toml").read_text())
    page = (pages / "pages" / "ideas.md").read_text()
    for paper in table["paper"]:
        for idea, reference in paper["ideas"]:
            assert idea in page
            file, line = tool.site_pages.place(reference)
            name = reference.partition(":")[2]
            source = (ROOT / file).read_text().splitlines()
            assert not name or any(name in text for text in source[line - 1 : line + 4]), reference


def test_comments_for_the_tests_are_left_out(pages: Path) -> None:
    assert not [
        path for path in (pages / "pages").rglob("*.md") if re.search("^<!-- (given|not run)", path.read_text(), re.M)
    ]


def test_broken_links_are_found(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="b.html">1</a><a href="#here">2</a><a href="#gone">3</a><a href="https://x.example">4</a>'
        '<img src="https://x.example/p.png"><script src="missing.js"></script>'
    )
    assert tool.broken_links(tmp_path) == [
        "a.html loads https://x.example/p.png",
        "a.html: b.html leads nowhere",
        "a.html: #gone: no such place on that page",
        "a.html: missing.js leads nowhere",
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the built site on this machine."""
    pytest.importorskip("zensical", reason='needs Zensical: pip install ".[docs]"')
    pytest.importorskip("mkdocstrings", reason='needs mkdocstrings: pip install ".[docs]"')
    folder = tmp_path_factory.mktemp("built")
    words = [sys.executable, str(ROOT / "tools" / "make_site.py"), "-o", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    handler = functools.partial(Quiet, directory=str(folder / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_the_site_in_a_browser(site: str) -> None:
    """Pages open, pictures load, the search finds "occlusion"; nothing is asked of anybody else."""
    with chromium() as browser:
        for name in ("index.html", "recipes/occlusion.html", "zoo/pwcnet.html", "api/operators.html", "speed.html"):
            with open_page(browser, site + name) as page:
                assert page.locator("h1").count() == 1
                images = page.evaluate("[...document.images].map(image => [image.src, image.naturalWidth])")
                assert all(width > 0 for _, width in images), images
        with open_page(browser, site + "index.html") as page:
            page.get_by_role("button", name="Search").first.click()
            page.locator("input:visible").first.fill("occlusion")
            page.locator("a[href*='recipes/occlusion.html?h=occlusion']").first.wait_for()
        with open_page(browser, site + "index.html", 360, 640) as page:
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
