"""Exported files against the networks that they were made from, and what is refused.

FLOWZOO_TEST_EXPORT=all runs every network in every form (some minutes); otherwise small ones stand for all.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch.torch_version import TorchVersion

import flowzoo
from flowzoo import registry
from flowzoo.blocks.gocor import GOCor, LocalGOCor
from flowzoo.cli.parser import run
from flowzoo.errors import InputError
from flowzoo.export import Shape, export_network
from flowzoo.export.checked import SHARE_OF_FLOW, Checked, check, sample_pair
from flowzoo.export.program import exportable, trace
from flowzoo.network import FlowNetwork
from flowzoo.operators import correlation, local_convolution
from flowzoo.operators.registration import REGISTERED, decompositions, plain_operators

EVERYTHING = os.environ.get("FLOWZOO_TEST_EXPORT") == "all"
NETWORKS = registry.list_models(task="flow")
STATIC_ONLY = ("basenet", "basenet-gocor", "glunet", "glunet-gocor", "semantic-glunet")
PYRAMIDS = [name for name in NETWORKS if name not in STATIC_ONLY]
QUICK = {"dynamic": ("spynet",), "static": ("spynet",), "compiled": ("spynet", "wren")}
TOLERANCE = 1e-4
"""Pixels."""


def chosen(kind: str, names: list[str]) -> list:
    """All of `names`; those that are not quick are asked for."""
    slow = pytest.mark.skipif(not EVERYTHING, reason="takes minutes: set FLOWZOO_TEST_EXPORT=all")
    return [pytest.param(name, marks=() if name in QUICK[kind] else slow) for name in names]


def small(name: str) -> FlowNetwork:
    """The network with random weights that make rounding visible as such, and few iterations where it has many."""
    few = {"iterations": 2} if name.startswith("raft") else {}
    network = flowzoo.create(name, **few)
    if name.startswith("hd3"):
        set_statistics(network)
    for module in network.modules():
        if isinstance(module, GOCor):
            # Else the steps of steepest descent differ a hundredfold, which multiplies rounding at each of them.
            module.optimiser.regularisation.data.fill_(10.0 if isinstance(module, LocalGOCor) else 1.0)
    return network.eval()


def set_statistics(network: FlowNetwork) -> None:
    """Give batch norms the statistics of a pair, or HD3's random features are too faint for any choice but the first.

    Its densities are then uniform in float32, and all that a network does before it chooses goes unseen.
    """
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(*sample_pair(2, 128, 192))


def in_onnxruntime(path, first, second):
    """What the file gives, by the runtime alone."""
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra export: pip install 'flowzoo[export]'")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [entry.name for entry in session.get_inputs()] == ["first", "second"]
    assert [entry.name for entry in session.get_outputs()] == ["flow"]
    (flow,) = session.run(None, {"first": first.numpy(), "second": second.numpy()})
    return torch.from_numpy(flow), session.get_modelmeta().custom_metadata_map


def compare(network: FlowNetwork, path, *shapes: tuple[int, int, int]) -> Checked:
    """The file, in the runtime alone, against the network, by the rule that files are kept by."""
    found = Checked()
    check(exportable(network, torch.float32)[0], lambda *pair: in_onnxruntime(path, *pair)[0], list(shapes), found)
    return found


@pytest.mark.parametrize("name", chosen("dynamic", PYRAMIDS))
def test_one_dynamic_file_serves_other_sizes_and_batches(name, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra export: pip install 'flowzoo[export]'")
    network, path = small(name), tmp_path / "net.onnx"
    export_network(network, path, Shape())
    assert len(compare(network, path, (1, 128, 192), (2, 192, 128)).shapes) == 2


@pytest.mark.parametrize("name", chosen("static", NETWORKS))
def test_a_static_file_gives_the_networks_flow(name, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra export: pip install 'flowzoo[export]'")
    network, path = small(name), tmp_path / "net.onnx"
    export_network(network, path, Shape((72, 100), 2))
    assert len(compare(network, path, (2, 72, 100)).shapes) == 1


@pytest.mark.parametrize("name", chosen("compiled", PYRAMIDS))
def test_compiles_as_one_graph(name):
    network = exportable(small(name), torch.float32)[0].network
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    pair = sample_pair(1, 64, 128)
    with torch.no_grad():
        # Of long flow, which random weights give, float32 has no more than a share right.
        torch.testing.assert_close(compiled(*pair).flow, network(*pair).flow, atol=TOLERANCE, rtol=SHARE_OF_FLOW)
    torch._dynamo.reset()


def test_a_pt2_file_runs_where_flowzoo_is_not(tmp_path):
    network, path = small("spynet"), tmp_path / "net.pt2"
    export_network(network, path, Shape((64, 64)), weights="none of them")
    first, second = sample_pair(1, 64, 64)
    torch.save((first, second), tmp_path / "pair.pt")
    (tmp_path / "run.py").write_text(
        "import sys, json, torch\n"
        "sys.modules['flowzoo'] = None\n"
        "facts = {'flowzoo.json': ''}\n"
        "program = torch.export.load('net.pt2', extra_files=facts).module()\n"
        "torch.save((program(*torch.load('pair.pt')), json.loads(facts['flowzoo.json'])), 'flow.pt')\n"
    )
    subprocess.run([sys.executable, "run.py"], cwd=tmp_path, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    flow, facts = torch.load(tmp_path / "flow.pt")
    with torch.no_grad():
        torch.testing.assert_close(flow, network(first, second).flow, atol=TOLERANCE, rtol=0)
    assert facts["model"] == "spynet"
    assert facts["weights"] == "none of them"


@pytest.mark.parametrize(("name", "precision"), [("net.onnx", torch.float16), ("net.pt2", torch.bfloat16)])
def test_half_precision_is_inside_and_float32_outside(name, precision, tmp_path):
    if name == "net.onnx":
        pytest.importorskip("onnxruntime", reason="needs the extra export: pip install 'flowzoo[export]'")
    found = export_network(small("spynet"), tmp_path / name, Shape((64, 64)), precision)
    assert found.largest < 0.05
    assert found.bytes < 3.8e6  # 2.9 MB of weights and the graph; in float32 5.8 MB of weights


def test_the_shipped_weights_are_exported_and_named(tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="needs the extra export: pip install 'flowzoo[export]'")
    path = tmp_path / "wren.onnx"
    assert run(["export", "wren", "-o", str(path), "--size", "128x64"]) == 0
    said = capsys.readouterr().out
    assert "without its variational refinement" in said
    pair = sample_pair(1, 64, 128)
    flow, facts = in_onnxruntime(path, *pair)
    with torch.no_grad():
        wanted = flowzoo.create("wren", "wren", refinement="none")(*pair).flow
    torch.testing.assert_close(flow, wanted, atol=TOLERANCE, rtol=0)
    assert facts["model"] == "wren"
    assert facts["weights"] == "wren"
    assert "licence" in facts["licence"]
    assert json.loads(facts["settings"]) == {}
    assert facts["left_out"] == "without its variational refinement"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["glunet", "--random-weights", "--dynamic"], "only be exported for one size"),
        (["pwcnet", "--size", "64x64"], "--random-weights"),
        (["wren", "--dynamic", "--batch", "2"], "--batch goes with --size"),
        (["wren", "--size", "64x64", "--batch", "0"], "batch must be at least 1"),
        (["edvr-m", "--random-weights", "--size", "64x64"], "superresolve"),
        (["wren"], "--size --dynamic"),
        (["spynet", "--random-weights", "--size", "64x64", "--precision", "bfloat16", "-o", "net.onnx"], "no bfloat16"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words, said, tmp_path, capsys):
    path = tmp_path / "net.pt2"
    output = [] if "-o" in words else ["-o", str(path)]
    assert run(["export", *words, *output]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert said in message
    assert not list(tmp_path.iterdir())


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.onnx or \.pt2"):
        export_network(small("spynet"), tmp_path / "net.pb", Shape((64, 64)))


def test_a_file_that_gives_another_flow_is_not_kept(tmp_path, monkeypatch):
    from flowzoo.export import pt2_file

    right = pt2_file.run
    monkeypatch.setattr(pt2_file, "run", lambda path, *pair: right(path, *pair) + 1)
    with pytest.raises(InputError, match=r"net\.pt2 is not kept: spynet at 64x32, batch 1 its flow is up to 1 px"):
        export_network(small("spynet"), tmp_path / "net.pt2", Shape((32, 64)))
    assert not list(tmp_path.iterdir())


class Trembling(torch.nn.Module):
    """Turns the last bits of the images into flow."""

    def __init__(self):
        super().__init__()
        self.network = torch.nn.Conv2d(1, 1, 1)

    def forward(self, first, second):
        values = first.to(next(self.network.parameters()).dtype).mean(dim=1, keepdim=True)
        return (1e6 * values).sin().repeat(1, 2, 1, 1).float()


def test_what_no_two_runs_agree_on_is_compared_with_float64():
    found, program = Checked(), Trembling()
    one = torch.ones(())

    def last_bit(first, second):
        return program(torch.cat([torch.nextafter(first[:, :1], one), first[:, 1:]], dim=1), second)

    check(program, last_bit, [(1, 64, 64)], found)
    assert found.largest > 0.01
    assert found.rounding > 0.01
    with pytest.raises(InputError, match="px from the network's"):
        check(program, lambda first, second: program(first * (1 + 1e-5), second), [(1, 64, 64)], Checked())


class Tied(Trembling):
    """Chooses by what float32 does not see."""

    def forward(self, first, second):
        values = first.to(next(self.network.parameters()).dtype)[:, :2]
        return torch.where(values + 1e-12 > values, 40.0, 0.0).float()


def test_float64_excuses_nothing_where_it_gives_another_flow():
    pair = sample_pair(1, 64, 64)
    assert (Tied().double()(*pair) - Tied()(*pair)).abs().mean() > 30
    with pytest.raises(InputError, match="px from the network's"):
        check(Tied(), lambda first, second: torch.full((1, 2, 64, 64), 20.0), [(1, 64, 64)], Checked())


def test_long_flow_may_differ_by_a_share_of_it():
    program = exportable(small("spynet"), torch.float32)[0]
    program.forward = lambda first, second: 100 * second[:, :2]  # float64 gives the same: no rounding to excuse
    check(program, lambda first, second: 100 * second[:, :2] + 9e-4, [(1, 64, 64)], Checked())
    with pytest.raises(InputError, match="px from the network's"):
        check(program, lambda first, second: 100 * second[:, :2] + 2e-3, [(1, 64, 64)], Checked())
    program.forward = lambda first, second: second[:, :2]
    with pytest.raises(InputError, match="px from the network's"):
        check(program, lambda first, second: second[:, :2] + 2e-4, [(1, 64, 64)], Checked())


def test_a_network_that_overflows_its_precision_is_told_so():
    program = exportable(small("spynet"), torch.float16)[0]
    program.forward = lambda first, second: (1e6 * first[:, :2]).half().float()
    with pytest.raises(InputError, match="the network itself gives no finite flow in float16"):
        check(program, program, [(1, 64, 64)], Checked())


def test_without_the_libraries_the_extra_is_named(tmp_path, monkeypatch):
    from flowzoo.export import onnx_file

    monkeypatch.setattr(onnx_file, "NEEDED", ("onnx", "a_library_that_is_not_there"))
    with pytest.raises(InputError, match=r"needs .*a_library_that_is_not_there.*flowzoo\[export\]"):
        export_network(small("spynet"), tmp_path / "net.onnx", Shape((64, 64)))


@pytest.mark.parametrize("name", ["basenet", "glunet"])
def test_networks_whose_passes_depend_on_the_size_are_not_traced(name):
    network = flowzoo.create(name)
    with pytest.raises(InputError, match="cannot be traced"):
        torch.jit.trace(network, (torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)), check_trace=False)


class Filtered(torch.nn.Module):
    """Two of our operators in somebody's own network."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return local_convolution(first, torch.softmax(correlation(first, second, 1), 1), 3)


@pytest.mark.parametrize("dynamo", [True, False], ids=["torch.export", "TorchScript"])
@pytest.mark.filterwarnings("ignore")
def test_torchs_own_exporters_meet_plain_operators(dynamo, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra export: pip install 'flowzoo[export]'")
    images = torch.randn(1, 3, 8, 9), torch.randn(1, 3, 8, 9)
    path, module = tmp_path / "net.onnx", Filtered()
    if dynamo and TorchVersion(torch.__version__) < (2, 8):  # which does not say that it exports: see docs/export.md
        module = torch.export.export(module, images).run_decompositions(decompositions())
    torch.onnx.export(module, images, str(path), dynamo=dynamo, input_names=["a", "b"], verbose=False)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.run(None, dict(zip("ab", (image.numpy() for image in images), strict=True)))
    torch.testing.assert_close(torch.from_numpy(given), Filtered()(*images), atol=1e-6, rtol=1e-5)


def test_no_operator_of_ours_is_in_a_program():
    program = trace(exportable(small("liteflownetx"), torch.float32)[0], Shape((64, 64)))
    assert not [node for node in program.graph.nodes if "flowzoo." in str(node.target)]
    assert not [node for node in program.graph.nodes if "autocast" in str(node.target)]
    assert torch.autocast is torch.amp.autocast


@pytest.mark.parametrize("name", ["correlate", "gather", "sampled_volume"])
def test_exported_forms_are_the_definitions(name):
    maps = torch.rand(2, 6, 9, 11)
    arguments = {
        "correlate": (maps, torch.rand_like(maps), 2, 1, 0.5),
        "gather": (torch.rand(2, 25, 9, 11), maps, 2, 1, 0.5),
        "sampled_volume": (maps, torch.rand_like(maps), 4 * torch.randn(2, 2, 9, 11), 2, 1, 1, True),
    }[name]
    entry = REGISTERED[name]
    assert entry.exported is not entry.portable
    torch.testing.assert_close(entry.exported(*arguments), entry.portable(*arguments))


def test_plain_operators_end_with_the_block():
    from flowzoo.operators import registration

    with plain_operators():
        assert registration._in_plain_torch
    assert not registration._in_plain_torch
