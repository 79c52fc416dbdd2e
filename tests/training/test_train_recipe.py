"""Presets: typed, complete, and refused with one line."""

import math
from pathlib import Path

import pytest
import torch

from flowzoo.cli.parser import run as flowzoo
from flowzoo.errors import InputError
from flowzoo.training import optimise
from flowzoo.training.flow.settings import LossSettings
from flowzoo.training.recipe import describe, list_presets, load_recipe
from flowzoo.training.stage import Stage


@pytest.mark.parametrize("preset", list_presets())
def test_the_printed_config_is_the_recipe(preset: str, tmp_path: Path) -> None:
    recipe = load_recipe(preset)
    copy = tmp_path / f"{preset}.toml"
    copy.write_text(describe(recipe), encoding="utf-8")
    assert load_recipe(str(copy)) == recipe


def test_changes_are_typed_and_reach_all_stages_or_one() -> None:
    recipe = load_recipe("default", {"batch": "6", "large.steps": "7", "crop": "64,128", "seed": "5"})
    assert {stage.batch for stage in recipe.stages} == {6}
    assert [stage.steps for stage in recipe.stages if stage.name == "large"] == [7]
    assert recipe.stages[0].steps != 7
    assert recipe.stages[0].task.pairs.crop == (64, 128)
    assert recipe.seed == 5


@pytest.mark.parametrize(
    ("preset", "changes", "words"),
    [
        ("defualt", {}, "did you mean 'default'"),
        ("default", {"learning_rat": "1"}, "did you mean 'learning_rate'"),
        ("default", {"learning_rate": "fast"}, "give a number"),
        ("default", {"learning_rate": "-1"}, "must be a number, 0 or more"),
        ("default", {"larg.steps": "3"}, "did you mean 'large'"),
        ("default", {"schedule": "sine"}, "choose one of"),
        ("default", {"batch": "0"}, "at least 1"),
        ("default", {"average": "1"}, "below 1"),
        ("nowhere.toml", {}, "nowhere.toml does not exist"),
    ],
)
def test_mistakes_are_one_line(preset: str, changes: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_recipe(preset, changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[alls]\nbatch = 3", "did you mean 'all'"),
        ("[all]\nbatches = 3", "did you mean 'batch'"),
        ("a b c", "is not a TOML file"),
        ('[[stage]]\nname = "a"\n[[stage]]\nname = "a"', "two stages of one name"),
        ("[[stage]]\ndata = []", "is empty"),
        ("model = 3", "model of mine.toml cannot be 3: give the name of a network"),
        ("[[all]]", r"all of mine.toml cannot be \[\{\}\]: give a table"),
        ("stage = 5", "stage of mine.toml cannot be 5"),
        ("stage = []", "stage of mine.toml"),
        ("stage = [1]", "stage of mine.toml"),
        ("seed = true", "seed of mine.toml"),
        ("seed = -1", "the seed cannot be -1"),
        ('model = "wren"\n[all]\nsteps = 99999999999', "'steps' of stage 'main' must be 0 or more and at most"),
        ('model = "wren"\n[all]\nsteps = inf', "give a whole number"),
        ('model = "wren"\n[all]\nbetas = [0.9, 1.0]', "betas"),
        ('model = "wren"\n[all]\ndecay = nan', "decay"),
        ('model = "wren"\n[all]\ncrop = [0, 4]', "stage 'main' of mine.toml: setting 'crop'"),
        ('model = "wren"\ntask = "flwo"', "did you mean 'flow'"),
        ("x = 1", "unknown key 'x'"),
        ('base = "mine"', "mine.toml is its own base"),
        ('base = "nowhere at all"', "has no base 'nowhere at all'"),
        ('base = "a\\u0000b"', "has no base"),
        ('base = "other"', "other.toml -> mine.toml"),
        ("a" * 5000 + " = 1", "unknown key"),
        ("summary = 1" + "0" * 5000, "is not a TOML file"),
        ("seed = 1", "names no network"),
        ("", "is empty"),
    ],
)
def test_broken_files_are_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    (tmp_path / "other.toml").write_text('base = "mine"')
    with pytest.raises(InputError, match=words) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_base_is_beside_the_file_or_among_the_presets(tmp_path: Path) -> None:
    mine, above = tmp_path / "mine.toml", tmp_path / "pwcnet-chairs.toml"
    mine.write_text('base = "pwcnet-chairs"\n[all]\nbatch = 6')
    packaged = load_recipe("pwcnet-chairs")
    assert [stage.steps for stage in load_recipe(str(mine)).stages] == [stage.steps for stage in packaged.stages]
    assert load_recipe(str(mine)).stages[0].batch == 6
    above.write_text('base = "pwcnet-chairs"\n[all]\nbatch = 5\nlog_every = 7')  # under its own name, changed
    assert (load_recipe(str(above)).stages[0].batch, load_recipe(str(above)).stages[0].steps) == (5, 1_200_000)
    assert (load_recipe(str(mine)).stages[0].batch, load_recipe(str(mine)).stages[0].log_every) == (6, 7)


def test_the_command_line_says_it_in_one_line_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert flowzoo(["train", "default", "--root", "nowhere"]) == 2
    assert capsys.readouterr().err.strip() == "flowzoo: no training data at nowhere: no such file or folder"
    assert flowzoo(["train", "default", "--print-config", "--set", "batch=7"]) == 0
    assert "batch = 7" in capsys.readouterr().out
    assert flowzoo(["train", "--list"]) == 0
    assert "pwcnet-chairs" in capsys.readouterr().out


def test_published_schedules() -> None:
    """Facts of the papers: S_long and S_fine of PWC-Net, the stages of LiteFlowNet2."""
    long = load_recipe("pwcnet-chairs").stages[0]
    rates = [optimise.learning_rate(long, step) for step in (0, 399_999, 400_000, 600_000, 800_000, 1_000_000)]
    assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 2.5e-5, 1.25e-5, 6.25e-6])
    assert long.steps == 1_200_000
    assert long.batch == 8
    fine = load_recipe("pwcnet-things").stages[0]
    assert (fine.learning_rate, fine.steps, fine.task.pairs.crop) == (1e-5, 600_000, (384, 768))
    stages = load_recipe("liteflownet2-chairs").stages
    assert [stage.steps for stage in stages] == [300_000, 300_000, 200_000, 200_000, 200_000]
    assert [stage.learning_rate for stage in stages] == [1e-4] * 4 + [6e-5]
    assert [stage.task.loss.full_weight for stage in stages] == [0, 0, 0, 0, 6.25e-4]


def test_rates_of_the_smooth_schedules() -> None:
    cosine = Stage(schedule="cosine", steps=110, warmup=10, learning_rate=1.0, last_learning_rate=0.2)
    assert optimise.learning_rate(cosine, 4) == pytest.approx(0.5)
    assert optimise.learning_rate(cosine, 10) == pytest.approx(1.0)
    assert optimise.learning_rate(cosine, 60) == pytest.approx(0.6)
    assert optimise.learning_rate(cosine, 35) == pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi / 4)))
    linear = Stage(schedule="linear", steps=110, warmup=10, learning_rate=1.0)
    assert optimise.learning_rate(linear, 85) == pytest.approx(0.25)


def test_the_average_is_the_exponential_mean() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    values, expected = [1.0, 3.0, -2.0, 5.0], None
    with torch.no_grad():
        network.weight.fill_(values[0])
        average = optimise.WeightAverage(network, 0.2)
        expected = values[0]
        for step, value in enumerate(values):
            network.weight.fill_(value)
            average.update(network, step)
            decay = min(0.2, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * value
    assert average.state["weight"].item() == pytest.approx(expected)


def test_biases_are_not_decayed_and_frozen_parts_rest() -> None:
    """Those that a network has frozen itself, such as a backbone, too."""
    network = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2) for name in "abc"})
    network["c"].requires_grad_(False)
    optimizer = optimise.make_optimizer(network, Stage(frozen=("a.",), weight_decay=0.1))
    decayed, free = (group["params"] for group in optimizer.param_groups)
    assert [id(p) for p in decayed] == [id(network["b"].weight)]
    assert [id(p) for p in free] == [id(network["b"].bias)]
    assert not network["a"].weight.requires_grad
    assert not network["c"].weight.requires_grad
    with pytest.raises(InputError, match="trains nothing"):
        optimise.make_optimizer(network, Stage(frozen=("a.", "b.")))


def test_what_is_frozen_is_there() -> None:
    network = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2) for name in "ab"})
    with pytest.raises(InputError, match=r"freezes 'b\.wight', .* parts of the network are a, b"):
        optimise.make_optimizer(network, Stage(frozen=("a.", "b.wight")))


@pytest.mark.parametrize("weights", [{"level_weights": (0.1, float("nan"))}, {"full_weight": float("inf")}])
def test_weights_of_the_loss_are_numbers(weights: dict) -> None:
    (name,) = weights
    with pytest.raises(InputError, match=f"setting '{name}' must be"):
        LossSettings(**weights)
