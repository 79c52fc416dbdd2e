"""A convolution with its norm, folded or not, in recorded programs."""

import torch
from torch.export import Dim

from flowzoo.blocks.normalised_convolution import NormalisedConvolution


def test_a_recorded_program_makes_no_rule_of_the_size_it_was_recorded_at():
    block = NormalisedConvolution(8, 8).eval()
    sizes = {0: Dim("batch", min=1, max=8), 2: Dim("height", min=2, max=64), 3: Dim("width", min=2, max=64)}
    with torch.no_grad():
        program = torch.export.export(block, (torch.rand(2, 8, 16, 16),), dynamic_shapes={"parts": (sizes,)}).module()
        few = torch.rand(1, 8, 4, 4)
        torch.testing.assert_close(program(few), block(few))
