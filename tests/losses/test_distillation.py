"""Which of a teacher's vectors are trusted."""

import torch

from flowzoo.losses.distillation import Trust, distilled, trusted


def scene() -> dict[str, torch.Tensor]:
    """A textured image that moves by one pixel to the right, seen by a perfect teacher."""
    texture = torch.rand(1, 3, 6, 9)
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0] = 1
    return {"flow": flow, "backward": -flow, "first": texture[..., 1:].clone(), "second": texture[..., :-1]}


def test_a_perfect_teacher_is_trusted_inside_the_image():
    kept = trusted(**scene())
    assert kept[..., :-1].all()
    assert not kept[..., -1].any()


def test_each_check_refuses_what_it_is_for():
    contradicted = scene()
    contradicted["backward"][0, 1, 2, 4] = 3
    assert trusted(**contradicted)[0, 2].tolist() == [True, True, True, False, True, True, True, False]
    other_colour = scene()
    other_colour["first"][0, :, 3, 5] = 1 - other_colour["first"][0, :, 3, 5].round()
    assert not trusted(**other_colour)[0, 3, 5]
    confidence = torch.full((1, 1, 6, 8), 0.9)
    confidence[0, 0, 1, 1] = 0.2
    unsure = trusted(**scene(), confidence=confidence)
    assert not unsure[0, 1, 1]
    assert unsure[0, 1, 2]
    assert trusted(**scene(), confidence=confidence, trust=Trust(confidence=0.1))[0, 1, 1]


def test_equation_seven():
    torch.testing.assert_close(distilled(torch.tensor(2.0), torch.tensor(10.0)), torch.tensor(2.8))
