"""Pages of the documentation site that are made from the package: cards, speed, ideas, the API, sources."""

import base64
import importlib
import inspect
import json
import os
import re
import tomllib
from pathlib import Path

from flowzoo import registry
from flowzoo.charts import svg
from flowzoo.evaluation import model_card
from flowzoo.evaluation.speed import accuracy_chart

ROOT = Path(__file__).resolve().parents[1]
API = {
    "flowzoo": ("flowzoo",),
    "Images, flow files, pictures": ("flowzoo.files.flow", "flowzoo.files.images", "flowzoo.visualise"),
    "Inference": ("flowzoo.inference.estimator", "flowzoo.network", "flowzoo.flow"),
    "Evaluation": ("flowzoo.evaluation.run", "flowzoo.datasets.dataset", "flowzoo.datasets.catalogue"),
    "Operators": ("flowzoo.operators.warp", "flowzoo.operators.correlation", "flowzoo.operators.lookup",
                  "flowzoo.operators.deform", "flowzoo.operators.splat", "flowzoo.blocks.resize"),
    "Losses": ("flowzoo.losses.multiscale", "flowzoo.losses.sequence", "flowzoo.losses.correspondence"),
    "Training": ("flowzoo.training.task", "flowzoo.training.stage", "flowzoo.synthetic"),
}  # fmt: skip

PICTURES = {"image/png": ".png", "image/jpeg": ".jpg", "image/svg+xml": ".svg"}
"""Outputs of notebooks that become files."""


def write(path: Path, text: str) -> None:
    """A page, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def zoo(pages: Path) -> list[str]:
    """One card a network, the table, the times; returns the names of the cards."""
    names = list(registry.cards())
    for name in names:
        write(pages / "zoo" / f"{name}.md", model_card.markdown(registry.card(name)))
    write(pages / "zoo" / "index.md", model_card.zoo_table())
    chart, missing = accuracy_chart("sintel-clean")
    write(pages / "images" / "zoo.svg", svg([chart]))
    note = f"\nWithout such a score: {', '.join(missing)}.\n" if missing else ""
    picture = "\n## Accuracy against time\n\n![Published end-point error against measured time](images/zoo.svg)\n"
    write(pages / "speed.md", model_card.speed_table() + picture + note)
    return names


def ideas(pages: Path) -> None:
    """From the papers' ideas to lines of the code; every file that is named gets a page with its source."""
    lines = ["# From the papers to the code", ""]
    files = set()
    for paper in tomllib.loads((ROOT / "tools" / "site" / "ideas.toml").read_text(encoding="utf-8"))["paper"]:
        lines += [f"## {paper['title']}", "", "| idea | code |", "| --- | --- |"]
        for idea, reference in paper["ideas"]:
            file, line = place(reference)
            files.add(file)
            target = f"source/{file.with_suffix('').as_posix().replace('/', '.')}.md#line-0-{line}"
            lines.append(f"| {idea} | [`{reference.replace(':', '.')}`]({target}) |")
        lines.append("")
    write(pages / "ideas.md", "\n".join(lines))
    for file in sorted(files):
        code = (ROOT / file).read_text(encoding="utf-8")
        name = file.with_suffix("").as_posix().replace("/", ".")
        write(pages / "source" / f"{name}.md", f'# {file.as_posix()}\n\n```` {{ .python linenums="1" }}\n{code}````\n')


def place(reference: str) -> tuple[Path, int]:
    """File below the repository, and line, of "module" or "module:name"."""
    module_name, _, name = reference.partition(":")
    module = importlib.import_module(module_name)
    if not name:
        return Path(inspect.getsourcefile(module) or "").relative_to(ROOT), 1
    thing = getattr(module, name)
    if not inspect.isclass(thing):
        thing = inspect.unwrap(thing)
    return Path(inspect.getsourcefile(thing) or "").relative_to(ROOT), inspect.getsourcelines(thing)[1]


def api(pages: Path) -> list[str]:
    """One page a topic; mkdocstrings fills them from the docstrings. Returns the pages' names."""
    made = []
    for title, modules in API.items():
        name = re.sub(r"\W+", "-", title.lower()).strip("-")
        blocks = [f"::: {module}" for module in modules]
        write(pages / "api" / f"{name}.md", "\n\n".join([f"# {title}", *blocks]) + "\n")
        made.append(f"api/{name}.md")
    return made


def copied(pages: Path) -> None:
    """The pages of docs/, the contributing guide and the cards of the weights, with links that hold in the site."""
    for path in (ROOT / "docs").rglob("*"):
        target = pages / path.relative_to(ROOT / "docs")
        if path.suffix == ".md":
            write(target, _links(path.read_text(encoding="utf-8"), path, target, pages))
        elif path.suffix == ".ipynb":
            notebook(path, target.with_suffix(".md"))
        elif path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    for path in (ROOT / "CONTRIBUTING.md", *sorted((ROOT / "weights").glob("*.md"))):
        target = pages / _outside(path)
        write(target, _links(path.read_text(encoding="utf-8"), path, target, pages))


def notebook(path: Path, target: Path) -> None:
    """A notebook as a page: its text, its code, and what it printed and drew, with the pictures beside it."""
    parts, pictures = [], 0
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            kind = next((kind for kind in PICTURES if kind in data), None)
            text = "".join(data.get("text/plain", ""))
            if kind is not None:
                file = target.with_name(f"{target.stem}-{pictures}{PICTURES[kind]}")
                content = "".join(data[kind])
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content.encode() if kind == "image/svg+xml" else base64.b64decode(content))
                parts.append(f"![What the code above draws]({file.name})")
                pictures += 1
            elif text.strip():
                parts.append(f"```text\n{text.rstrip()}\n```")
    write(target, "\n\n".join(parts) + "\n")


def _outside(path: Path) -> Path:
    """Where in the site a page is that lies outside docs/."""
    return Path("contributing.md") if path.parent == ROOT else Path("weights", path.name)


def _links(text: str, source: Path, target: Path, pages: Path) -> str:
    """Links to pages that lie elsewhere in the repository than in the site; comments for the tests are left out."""
    text = re.sub(r"^ *<!-- (?:not run|given|test command).*?-->\n+", "", text, flags=re.S | re.M)

    def changed(match: re.Match[str]) -> str:
        name, _, anchor = match[1].partition("#")
        path = (source.parent / name).resolve()
        if not name or "://" in name or not path.exists():
            return match[0]
        if path.is_relative_to(ROOT / "docs"):
            there = pages / path.relative_to(ROOT / "docs")
        elif path.suffix == ".md" and path.parent in (ROOT, ROOT / "weights") and path.name != "README.md":
            there = pages / _outside(path)
        else:
            return match[0]
        return f"]({Path(os.path.relpath(there, target.parent)).as_posix()}{'#' if anchor else ''}{anchor})"

    return re.sub(r"\]\(([^)\s]+)\)", changed, text)
