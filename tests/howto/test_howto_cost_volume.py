"""The how-to about cost volumes, followed."""

from howto import copy_of_tree, follow, python, steps

TITLE = "Add a cost volume"


def test_a_cost_volume_is_a_block_and_a_word(tmp_path):
    tree = copy_of_tree(tmp_path)
    assert "CosineVolume" in follow(TITLE, tree)
    code = """
import torch, flowzoo
torch.manual_seed(0)
images = torch.rand(2, 1, 3, 64, 64)
for name in flowzoo.list_models(task="flow"):
    if hasattr(flowzoo.registry.card(name).settings, "cost_range"):
        torch.manual_seed(0)
        network = flowzoo.create(name, cost_volume="cosine")
        with torch.inference_mode():
            assert torch.isfinite(network(*images).flow).all(), name
        print(name)
maps = torch.randn(2, 1, 5, 6, 7)
from flowzoo.blocks.cost_volume import make_cost_volume
from flowzoo.zoo.shared import PyramidSettings
costs = make_cost_volume(PyramidSettings(cost_volume="cosine", cost_range=1), 5)(*maps)
wanted = torch.cosine_similarity(maps[0, :, :, 2:4, 2:4], maps[1, :, :, 1:3, 3:5], dim=1)
assert torch.allclose(costs[:, 2, 2:4, 2:4], wanted, atol=1e-6)
"""
    assert {"pwcnet", "liteflownet2", "hd3", "wren"} <= set(python(code, tree).split())


def test_files_that_a_cost_volume_touches():
    assert [step.path for step in steps(TITLE) if step.path] == [
        "flowzoo/blocks/cosine_volume.py",
        "flowzoo/zoo/shared.py",
    ]
