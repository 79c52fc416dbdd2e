"""The Docker file, the conda recipe and the Space say what pyproject.toml says. (They are not built here.)"""

import http.client
import re
import runpy
import threading
import tomllib
from pathlib import Path

import pytest

import flowzoo

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "packaging" / "Dockerfile").read_text()
RECIPE = (ROOT / "packaging" / "conda" / "meta.yaml").read_text()


def test_what_the_image_copies_is_there_and_let_in():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in re.findall(r"^COPY (.*) /src/?\S*$", DOCKERFILE, re.M) for word in line.split()}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_extras_of_the_image_exist():
    extras = {name for names in re.findall(r"\[([\w,]+)\]", DOCKERFILE) for name in names.split(",")}
    assert extras
    assert extras <= set(PROJECT["optional-dependencies"])


def test_every_instruction_is_one():
    joined = DOCKERFILE.replace("\\\n", " ")
    words = {line.split()[0] for line in joined.splitlines() if line.strip() and not line.startswith("#")}
    assert words <= {"FROM", "RUN", "ARG", "COPY", "WORKDIR", "USER", "ENTRYPOINT", "CMD"}


def test_the_recipe_has_the_versions_of_the_project():
    assert f'version = "{PROJECT["version"]}"' in RECIPE
    asked = dict(
        re.findall(r"^    - ([\w-]+) (>=[\d.]+)$", RECIPE.split("  run:\n")[1].split("run_constrained")[0], re.M)
    )
    named = dict(re.fullmatch(r"([\w-]+)(>=[\d.]+)", entry).groups() for entry in PROJECT["dependencies"])
    named["pytorch"] = named.pop("torch")
    assert asked == named | {"python": PROJECT["requires-python"]}
    entry = next(iter(PROJECT["scripts"].items()))
    assert f"- {entry[0]} = {entry[1]}" in RECIPE


def test_a_space_answers_its_own_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_HOST", "somebody-flowzoo.hf.space")
    server = runpy.run_path(str(ROOT / "tools" / "space" / "app.py"), run_name="app")["make_server"](0)
    with server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        for host, origin, status in (
            ("somebody-flowzoo.hf.space", "https://somebody-flowzoo.hf.space", 200),
            ("somebody-flowzoo.hf.space", "http://evil.example", 403),
            ("evil.example", "https://evil.example", 403),
        ):
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
            connection.request("GET", "/", headers={"Host": host, "Origin": origin})
            assert connection.getresponse().status == status
            connection.close()
        server.shutdown()
    assert flowzoo.__version__ == PROJECT["version"]
