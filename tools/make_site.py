"""Builds the documentation site into build/docs/site, offline: pip install ".[docs]" && python tools/make_site.py

Pages of docs/ are taken as they are; the cards of the networks, the times, the map from papers to code and the API
reference are made from the package. Then all links between pages are checked. `-o DIR` builds elsewhere.
"""

import argparse
import html.parser
import json
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.parse
from pathlib import Path

import site_pages

GUIDES = ("infer", "evaluation", "training", "synthetic", "weights", "matching", "pyramid-level", "super-resolution")
LAST = ("kernels", "layout", "releasing")
SEPARATE = ("index", "start", "concepts", "scores", "speed", "ideas", "contributing")


def navigation(pages: Path, networks: list[str], api: list[str]) -> list[object]:
    """The list of pages; whatever else lies in docs/ becomes a guide."""
    found = {path.stem for path in pages.glob("*.md")} - set(SEPARATE) - set(LAST)
    guides = [name for name in GUIDES if name in found] + sorted(found - set(GUIDES))
    recipes = ["recipes/index.md"] + [f"recipes/{path.name}" for path in sorted((pages / "recipes").glob("*.md"))]
    notebooks = [f"notebooks/{path.name}" for path in sorted((pages / "notebooks").glob("*.md"))]
    return [
        {"Start": "index.md"},
        {"Conventions": "concepts.md"},
        {"Recipes": list(dict.fromkeys(recipes))},
        *([{"Notebooks": notebooks}] if notebooks else []),
        {"Guides": [f"{name}.md" for name in guides]},
        {"The zoo": ["zoo/index.md", "scores.md", "speed.md", *(f"zoo/{name}.md" for name in networks)]},
        {"Inside": ["ideas.md", *(f"{name}.md" for name in LAST), "contributing.md"]},
        {"API": api},
    ]


def make_pages(folder: Path) -> None:
    """Write all pages and the settings into `folder`."""
    pages = folder / "pages"
    site_pages.copied(pages)
    (pages / "start.md").rename(pages / "index.md")
    for path in pages.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        if "start.md)" in text:
            path.write_text(text.replace("start.md)", "index.md)"), encoding="utf-8")
    networks, api = site_pages.zoo(pages), site_pages.api(pages)
    site_pages.ideas(pages)
    settings = (site_pages.ROOT / "tools" / "site" / "zensical.toml").read_text(encoding="utf-8")
    listed = f"[project]\nnav = {_toml(navigation(pages, networks, api))}\n"
    paths = f"paths = {json.dumps([str(site_pages.ROOT)])}\n"
    settings = settings.replace("[project]\n", listed, 1).replace("inventories = []\n", f"inventories = []\n{paths}", 1)
    tomllib.loads(settings)
    site_pages.write(folder / "zensical.toml", settings)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


class _Page(html.parser.HTMLParser):
    """What one page refers to, and the places in it that can be referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect links, what is loaded, and places."""
        values = {name: value or "" for name, value in attrs}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        if "href" in values:
            (self.loaded if tag == "link" and values.get("rel") != "canonical" else self.links).append(values["href"])
        if "src" in values:
            self.loaded.append(values["src"])


def broken_links(site: Path) -> list[str]:
    """Links between pages that lead nowhere, and whatever a page would load from elsewhere."""
    read = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}
    faults = []
    for path, page in read.items():
        name = path.relative_to(site).as_posix()
        faults += [f"{name} loads {link}" for link in page.loaded if urllib.parse.urlsplit(link).netloc]
        for link in page.links + page.loaded:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                faults.append(f"{name}: {link} leads nowhere")
            elif parts.fragment and target in read and urllib.parse.unquote(parts.fragment) not in read[target].places:
                faults.append(f"{name}: {link}: no such place on that page")
    return faults


def main() -> None:
    """Build, check, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("build/docs"), help="folder (default: build/docs)")
    folder = parser.parse_args().output.resolve()
    began = time.perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    make_pages(folder)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"], cwd=folder, capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    faults = broken_links(folder / "site") if done.returncode == 0 else [said.strip()]
    if faults:
        sys.exit("\n".join(faults))
    files = [path for path in (folder / "site").rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    pages = sum(path.suffix == ".html" for path in files)
    print(f"{folder / 'site'}: {pages} pages, {megabytes:.1f} MB, {time.perf_counter() - began:.0f} s; all links hold")


if __name__ == "__main__":
    main()
