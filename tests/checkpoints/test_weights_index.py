"""The index of weights: every entry is complete and means what it says."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flowzoo import registry, settings
from flowzoo.checkpoints import index
from flowzoo.checkpoints.index import UNKNOWN, Entry
from flowzoo.errors import InputError

MODELS = {
    *("liteflownet", "liteflownet2", "liteflownet2-kitti", "liteflownetx", "pwcnet", "pwcnet-paper", "pwcnet-gocor"),
    *("hd3", "hd3-context", "glunet", "glunet-gocor", "semantic-glunet", "basenet", "basenet-gocor", "wren"),
    *("raft", "raft-small", "spynet"),
    *("edvr-m", "edvr-l", "tdan", "toflow", "basicvsr", "kestrel"),
}
METRICS = {
    "flyingchairs": {"epe"},
    "sintel-clean": {"epe", "pck_1", "pck_5"},
    "sintel-final": {"epe", "pck_1", "pck_5"},
    "kitti-2012": {"epe", "fl_all"},
    "kitti-2015": {"epe", "fl_all"},
    **{key: {"psnr", "ssim", "psnr_y", "ssim_y"} for key in ("reds4", "vid4", "vimeo90k")},
    "hpatches": {"epe", "pck_1", "pck_5"},
}
ENTRIES = list(index.entries().values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.tag)
def test_entry_is_complete(entry: Entry) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", entry.tag)
    assert entry.model in MODELS
    assert entry.licence
    assert entry.format
    assert entry.trained_on
    assert all(isinstance(name, str) and name for name in entry.trained_on)
    assert sum(map(bool, (entry.url, entry.file, entry.manual))) == 1
    assert entry.sha256 == UNKNOWN or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert re.fullmatch(r"[0-9a-f]*", entry.sha256_prefix)
    assert isinstance(entry.bytes, int)
    assert entry.bytes >= 0
    if entry.url:
        parts = urlsplit(entry.url)
        assert parts.scheme in ("http", "https")
        assert Path(parts.path).name
    if "non-commercial" in entry.licence or "-NC-" in entry.licence:
        assert entry.non_commercial


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.tag)
def test_scores_say_who_measured_them(entry: Entry) -> None:
    for group in entry.published:
        assert set(group) <= {"by", "split", "seen", "scores"}
        assert group["by"]
        assert group["split"] in ("train", "validation", "test", "all")
        assert group["scores"]
        assert set(group.get("seen", ())) <= set(group["scores"])
        for dataset, scores in group["scores"].items():
            assert scores
            assert set(scores) <= METRICS[dataset]
            assert all(0 < value <= 100 for value in scores.values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.tag)
def test_settings_are_those_of_the_network(entry: Entry) -> None:
    if entry.model not in registry.cards():
        pytest.skip(f"{entry.model} has no card yet")
    card = registry.card(entry.model)
    assert card.checkpoint or entry.file or entry.not_importable
    changed = settings.replace(card.settings, entry.model, **entry.settings)
    for name, value in entry.settings.items():  # TOML has lists where settings are tuples
        assert getattr(changed, name) == (tuple(value) if isinstance(value, list) else value)


def test_no_two_entries_fetch_the_same_file() -> None:
    urls = [entry.url for entry in ENTRIES if entry.url]
    assert len(set(urls)) == len(urls)


def test_prefixes_of_hashes_in_the_names_of_files_are_recorded() -> None:
    named = {entry.tag: re.search(r"[-_]([0-9a-f]{8,})\.[a-z]+$", entry.url) for entry in ENTRIES}
    found = {tag: match[1] for tag, match in named.items() if match}
    assert len(found) > 35
    assert found == {entry.tag: entry.sha256_prefix for entry in ENTRIES if entry.sha256_prefix and entry.url}


def test_image_networks_of_losses_and_metrics_have_a_hash_and_a_licence() -> None:
    assert list(index.backbones()) == ["vgg19", "alexnet"]
    for name, backbone in index.backbones().items():
        assert urlsplit(backbone.url).scheme == "https"
        assert Path(backbone.url).name.startswith(name)
        assert f"-{backbone.sha256_prefix}." in backbone.url
        assert re.fullmatch("[0-9a-f]{8}", backbone.sha256_prefix)
        assert backbone.licence
        assert backbone.trained_on == ["ImageNet"]


def test_unknown_tags_get_a_suggestion() -> None:
    with pytest.raises(InputError, match="did you mean 'liteflownet2-sintel'"):
        index.find("liteflownet2-sintell")
    with pytest.raises(InputError, match="no tag of the index"):
        index.find("zzz")


GOOD = 'tag = "a"\nmodel = "m"\nformat = "f"\nlicence = "l"\ntrained_on = ["x"]\n'


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[[weights]]\n" + GOOD + "[[weights]]\n" + GOOD, "two weights have the tag 'a'"),
        ("[[weights]]\n" + GOOD + 'licences = "x"\n', "unknown field 'licences': did you mean 'licence'"),
        ("[[weights]]\n" + GOOD.replace('model = "m"\n', ""), "'a' are incomplete: .*model"),
        ("[[weights", "not readable as TOML"),
    ],
)
def test_damaged_index(tmp_path: Path, text: str, hint: str) -> None:
    path = tmp_path / "index.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=hint):
        index.read_index(path)
