"""Preset files: TOML tables, a preset's on top of those of its base, each of the type that it must have."""

import tomllib
from pathlib import Path
from typing import Any

from flowzoo.errors import InputError
from flowzoo.files.reading import reason, text_of
from flowzoo.settings import shown, suggestion

LARGEST = 1_000_000
"""Bytes of a preset."""
PRESETS = Path(__file__).parent.parent / "presets"
KINDS: dict[str, tuple[type, str]] = {
    "summary": (str, "a text"),
    "base": (str, "the name of a preset"),
    "task": (str, "the name of a task"),
    "model": (str, "the name of a network"),
    "seed": (int, "a whole number"),
    "validate": (list, "a list of names of data sets"),
    "network": (dict, "a table, [network]"),
    "set": (dict, "a table, [set]"),
    "all": (dict, "a table, [all]"),
    "stage": (list, "tables, [[stage]]"),
}
"""What may stand at the top of a preset."""


def preset_path(preset: str) -> Path:
    """The file of a preset: a name in the package, or the path of a .toml file.

    Raises:
        InputError: there is no preset of this name.
    """
    if preset.endswith(".toml"):
        return Path(preset)
    path = PRESETS / f"{preset}.toml"
    names = [entry.stem for entry in PRESETS.glob("*.toml")]
    if preset not in names:
        raise InputError(f"no preset named {shown(preset)}: {suggestion(preset, names)} (or give a .toml file)")
    return path


def preset_tables(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tables of a preset on top of those of its `base`: [all], [network] and [set] key by key, others whole.

    A base is looked for beside the file, then among the presets of the package.

    Raises:
        InputError: no such file, not TOML, an unknown key, a value of the wrong type, or bases in a circle.
    """
    if path.resolve() in above:
        names = " -> ".join(entry.name for entry in (*above, path))
        raise InputError(f"{path.name} is its own base ({names}): name another base")
    table = _read(path)
    for key, value in table.items():
        if key not in KINDS:
            raise InputError(f"{path.name} has an unknown key {shown(key)}: {suggestion(key, KINDS)}")
        kind, words = KINDS[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(f"{key} of {path.name} cannot be {shown(value)}: give {words}")
    stages = table.get("stage")
    if stages is not None and not (stages and all(isinstance(stage, dict) for stage in stages)):
        raise InputError(f"stage of {path.name} cannot be {shown(stages)}: give tables, [[stage]]")
    if "base" not in table:
        return table
    below = preset_tables(_base_path(path, table["base"]), (*above, path.resolve()))
    for key in ("all", "network", "set"):
        table[key] = below.get(key, {}) | table.get(key, {})
    return below | table


def _base_path(path: Path, base: str) -> Path:
    beside, packaged = path.parent / f"{base}.toml", PRESETS / f"{base}.toml"
    try:
        for candidate in (beside, packaged):
            # A preset of the package may be changed under its own name.
            if candidate.is_file() and candidate.resolve() != path.resolve():
                return candidate
        if beside.is_file():
            return beside
    except (OSError, ValueError):  # no possible name of a file
        pass
    known = suggestion(base, [entry.stem for entry in PRESETS.glob("*.toml")])
    raise InputError(f"{path.name} has no base {shown(base)} beside it or among the presets: {known}")


def _read(path: Path) -> dict[str, Any]:
    text = text_of(path, "a preset, a .toml file", LARGEST)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a TOML file: {reason(error)}") from error
