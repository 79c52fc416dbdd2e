"""The how-to about presets, followed."""

from howto import copy_of_tree, follow, steps

TITLE = "Add a preset"


def test_a_preset_is_one_file(tmp_path):
    tree = copy_of_tree(tmp_path)
    printed = follow(TITLE, tree)
    assert 'name = "short"' in printed
    journal = (tree / "run" / "log.csv").read_text().splitlines()
    assert [line.split(",")[journal[0].split(",").index("step")] for line in journal[1:]] == ["1", "2", "3"]
    assert (tree / "run" / "wren.safetensors").is_file()


def test_files_that_a_preset_touches():
    assert [step.path for step in steps(TITLE) if step.path] == ["flowzoo/presets/evening.toml"]
