"""Parametric maps fitted to flow: the weaker correspondences of "Comparing Correspondences", Table 5.

The paper does not say how it fits; here every pixel counts alike. Coordinates are pixels, x then y, from 0.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

Fit = Literal["affine", "homography", "homography-geometric"]
FlowModel = Literal["dense", "affine", "homography", "homography-geometric"]
FITS: tuple[str, ...] = get_args(Fit)
_ITERATIONS = 50
_TOLERANCE = 1e-12


def fitted_flow(flow: Tensor, model: Fit) -> Tensor:
    """The flow of the best map of its kind, image by image.

    Args:
        flow: (B,2,H,W) in pixels.
        model: "affine" (least squares), "homography" (direct linear transform), or "homography-geometric" (least sum of
            squared distances in the second image).

    Returns:
        (B,2,H,W).
    """
    points = _positions(flow)
    if model == "affine":
        return _flow_of(affine_fit(flow), points, flow)
    matrix = homography_fit(flow) if model == "homography" else refined_homography(flow, homography_fit(flow))
    return _flow_of(matrix, points, flow)


def affine_fit(flow: Tensor) -> Tensor:
    """(B,3,3) affine maps, last row (0, 0, 1), that take p to p + flow(p) with the least squared error."""
    points = _positions(flow)
    there = points[..., :2] + _vectors(flow)
    scale = _normaliser(points[..., :2])
    design = points @ scale.T
    # By plain sums: what LAPACK's least squares gives hangs on where its arrays lie, and runs could not be repeated.
    normal = (design.unsqueeze(3) * design.unsqueeze(2)).sum(dim=1)
    right = (design.unsqueeze(3) * there.unsqueeze(2)).sum(dim=1)
    solution = torch.linalg.solve(normal.expand(flow.shape[0], -1, -1), right)
    rows = solution.transpose(1, 2) @ scale
    last = rows.new_tensor([0.0, 0.0, 1.0]).expand(flow.shape[0], 1, 3)
    return torch.cat([rows, last], dim=1)


def homography_fit(flow: Tensor) -> Tensor:
    """(B,3,3) homographies by the direct linear transform, last entry 1.

    Points of both images are shifted to their mean and scaled to a root mean square distance of sqrt(2) (Hartley's
    normalisation in its root-mean-square form).
    """
    points = _positions(flow)
    there = points[..., :2] + _vectors(flow)
    matrices = []
    for target in there:
        source_scale, target_scale = _normaliser(points[0, :, :2]), _normaliser(target)
        ones = points[0, :, 2:]
        source = points[0] @ source_scale.T
        u, v = (torch.cat([target, ones], dim=1) @ target_scale.T)[:, :2].unbind(dim=1)
        zeros = torch.zeros_like(source)
        upper = torch.cat([source, zeros, -u[:, None] * source], dim=1)
        lower = torch.cat([zeros, source, -v[:, None] * source], dim=1)
        design = torch.cat([upper, lower])
        # The smallest right singular vector, through the triangular factor: 9x9 however many pixels there are.
        vector = torch.linalg.svd(torch.linalg.qr(design, mode="r").R).Vh[-1]
        matrix = torch.linalg.inv(target_scale) @ vector.view(3, 3) @ source_scale
        matrices.append(matrix / matrix[2, 2])
    return torch.stack(matrices)


def refined_homography(flow: Tensor, start: Tensor) -> Tensor:
    """(B,3,3): from `start` to the least sum of squared transfer errors |H(p) - p - flow(p)|^2.

    By Levenberg-Marquardt, in normalised coordinates.
    """
    points = _positions(flow)[0]
    refined = []
    for target, matrix in zip(points[:, :2] + _vectors(flow), start, strict=True):
        source_scale, target_scale = _normaliser(points[:, :2]), _normaliser(target)
        source = points @ source_scale.T
        wanted = (torch.cat([target, points[:, 2:]], dim=1) @ target_scale.T)[:, :2]
        normalised = target_scale @ matrix @ torch.linalg.inv(source_scale)
        found = _least_transfer_error(source, wanted, (normalised / normalised[2, 2]).flatten()[:8])
        whole = torch.linalg.inv(target_scale) @ torch.cat([found, found.new_ones(1)]).view(3, 3) @ source_scale
        refined.append(whole / whole[2, 2])
    return torch.stack(refined)


def _least_transfer_error(source: Tensor, wanted: Tensor, entries: Tensor) -> Tensor:
    """The first eight entries of the homography of normalised points, from a start."""
    damping = 1e-3
    error, residual, jacobian = _transfer(source, wanted, entries)
    for _ in range(_ITERATIONS):
        normal, slope = jacobian.T @ jacobian, jacobian.T @ residual
        step = torch.linalg.solve(normal + damping * torch.diag(normal.diagonal()), -slope)
        candidate = _transfer(source, wanted, entries + step)
        if candidate[0] < error:
            gained = (error - candidate[0]) / error.clamp(min=1e-300)
            entries, damping = entries + step, damping / 10
            error, residual, jacobian = candidate
            if gained < _TOLERANCE:
                break
        else:
            damping *= 10
            if damping > 1e12:
                break
    return entries


def _transfer(source: Tensor, wanted: Tensor, entries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of squared errors, errors (2N,) and their derivatives (2N,8)."""
    above = source @ entries[:6].view(2, 3).T
    below = source[:, :2] @ entries[6:] + 1
    there = above / below[:, None]
    residual = (there - wanted).T.flatten()
    part = source / below[:, None]
    zeros = torch.zeros_like(part)
    upper = torch.cat([part, zeros, -there[:, :1] * part[:, :2]], dim=1)
    lower = torch.cat([zeros, part, -there[:, 1:] * part[:, :2]], dim=1)
    return residual.square().sum(), residual, torch.cat([upper, lower])


def _positions(flow: Tensor) -> Tensor:
    """(1,N,3): x, y, 1 of every pixel, row by row."""
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=flow.device, dtype=flow.dtype),
        torch.arange(width, device=flow.device, dtype=flow.dtype),
        indexing="ij",
    )
    return torch.stack([x.flatten(), y.flatten(), torch.ones_like(x).flatten()], dim=-1).unsqueeze(0)


def _vectors(flow: Tensor) -> Tensor:
    """(B,2,H,W) -> (B,N,2)."""
    return flow.flatten(2).transpose(1, 2)


def _normaliser(points: Tensor) -> Tensor:
    """(3,3) that shifts points (...,N,2) to their mean and scales them to a root mean square distance of sqrt(2)."""
    flat = points.reshape(-1, 2)
    centre = flat.mean(dim=0)
    distance = (flat - centre).square().sum(dim=1).mean().sqrt().clamp(min=1e-12)
    scale = 2**0.5 / distance
    row = torch.stack([scale, scale.new_zeros(()), -scale * centre[0]])
    below = torch.stack([scale.new_zeros(()), scale, -scale * centre[1]])
    return torch.stack([row, below, row.new_tensor([0.0, 0.0, 1.0])])


def _flow_of(matrix: Tensor, points: Tensor, flow: Tensor) -> Tensor:
    """The flow of maps (B,3,3) at every pixel."""
    there = points @ matrix.transpose(1, 2)
    vectors = there[..., :2] / there[..., 2:] - points[..., :2]
    return vectors.transpose(1, 2).reshape(flow.shape)
