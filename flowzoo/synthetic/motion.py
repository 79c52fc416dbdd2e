"""Motions with an exact inverse: drive, then bend by a smooth field, then a homography.

Every map takes points of the first frame to points of the second: `forward = homography(field(drive(x)))`. The drive
and the homography are inverted in closed form; the field by Newton's method, checked by its residual.
"""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from flowzoo.devices import costs_a_wait

COARSE_STEP = 8  # pixels between the points where the inversion of a field starts
RESIDUAL = 1e-3  # pixels; a point whose inverse misses it by more, before one more step, has none
STEPS = 6


def pixel_grid(top: int, left: int, height: int, width: int, device: torch.device, step: int = 1) -> Tensor:
    """Coordinates (1, 2, height, width), x then y, of every `step`-th pixel from (left, top) on."""
    x = torch.arange(left, left + width * step, step, dtype=torch.float32, device=device)
    y = torch.arange(top, top + height * step, step, dtype=torch.float32, device=device)
    return torch.stack((x.expand(height, width), y[:, None].expand(height, width)))[None]


@dataclass
class Drive:
    """A camera moving along its axis through a corridor: a far plane, a ground and two walls.

    The inverse depth at a point is the largest of `far` and of `slopes` (below, left, right; above is open) times the
    distance from the focus of expansion; the points move by (x - focus) * q / (1 - q). Planes map to themselves, so
    the inverse has the same form.

    Shapes: focus (B, 2), far (B), slopes (B, 3), direction (B): 1 forwards, -1 backwards, 0 none.
    """

    focus: Tensor
    far: Tensor
    slopes: Tensor
    direction: Tensor

    def _depth(self, offset: Tensor, far: Tensor) -> Tensor:
        below = offset[:, 1] * self.slopes[:, 0, None, None]
        left = offset[:, 0] * -self.slopes[:, 1, None, None]
        right = offset[:, 0] * self.slopes[:, 2, None, None]
        return torch.maximum(torch.maximum(below, left), torch.maximum(right, far[:, None, None]))

    def forward(self, points: Tensor) -> Tensor:
        """(B, 2, h, w) -> the same."""
        offset = points - self.focus[:, :, None, None]
        q = (self._depth(offset, self.far) * self.direction[:, None, None]).clamp(max=0.9)
        return points + offset * (q / (1 - q))[:, None]

    def inverse(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points (B, 2, h, w) and where they exist (B, h, w)."""
        offset = points - self.focus[:, :, None, None]
        far = self.far / (1 - self.far * self.direction)
        q = self._depth(offset, far) * self.direction[:, None, None]
        valid = q > -0.9
        return points - offset * (q / (1 + q.clamp(min=-0.9)))[:, None], valid


@dataclass
class Waves:
    """A smooth field: the sum of cosine waves. amplitude (B, K, 2), vector (B, K, 2) rad/px, phase (B, K).

    Invertible when the sum of |amplitude| |vector| is below 1, which is what `scene` draws.
    """

    amplitude: Tensor
    vector: Tensor
    phase: Tensor

    def displacement(self, points: Tensor) -> Tensor:
        """(B, 2, h, w) -> displacement (B, 2, h, w), pixels."""
        waves = self._phases(points).cos_()
        return (self.amplitude.transpose(1, 2) @ waves).view(points.shape)

    def linearised(self, points: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The displacement and its slopes du/dx, du/dy, dv/dx, dv/dy, each (B, h, w)."""
        phases = self._phases(points)
        total = (self.amplitude.transpose(1, 2) @ phases.cos()).view(points.shape)
        steepness = -(self.amplitude[:, :, :, None] * self.vector[:, :, None]).flatten(2)  # (B, K, 4)
        slopes = steepness.transpose(1, 2) @ phases.sin_()
        return total, slopes.view(len(points), 4, *points.shape[2:]).unbind(1)

    def _phases(self, points: Tensor) -> Tensor:
        """(B, K, h w)."""
        return torch.baddbmm(self.phase[:, :, None], self.vector, points.flatten(2))


@dataclass
class ThinPlate:
    """A thin-plate spline through control displacements: knots (B, N, 2) px, weights (B, N, 2), affine (B, 3, 2).

    displacement(x) = [1, x, y] affine + sum_i weights_i U(|x - knot_i| / scale), U(r) = r^2 log r^2, scale (B) in px.
    Strong displacements may fold; the inverse is then reported as missing there.
    """

    knots: Tensor
    weights: Tensor
    affine: Tensor
    scale: Tensor

    @classmethod
    def through(cls, knots: Tensor, displacements: Tensor) -> "ThinPlate":
        """The spline with the given displacements (B, N, 2), px, at knots (B, N, 2), px."""
        knots, displacements = knots.double(), displacements.double()
        batch, count, _ = knots.shape
        scale = (knots.amax(dim=1) - knots.amin(dim=1)).amax(dim=1).clamp(min=1.0)
        square = ((knots[:, :, None] - knots[:, None]) / scale[:, None, None, None]).square().sum(-1)
        kernel = square * square.clamp(min=1e-12).log()
        ones = torch.ones(batch, count, 1, dtype=torch.float64, device=knots.device)
        border = torch.cat((ones, knots), dim=2)
        corner = torch.zeros(batch, 3, 3, dtype=torch.float64, device=knots.device)
        system = torch.cat((torch.cat((kernel, border), 2), torch.cat((border.transpose(1, 2), corner), 2)), 1)
        right = torch.cat((displacements, torch.zeros(batch, 3, 2, dtype=torch.float64, device=knots.device)), 1)
        solved = torch.linalg.solve(system, right).float()
        return cls(knots.float(), solved[:, :count], solved[:, count:], scale.float())

    def displacement(self, points: Tensor) -> Tensor:
        """(B, 2, h, w) -> displacement (B, 2, h, w), pixels."""
        x, y = points[:, :1], points[:, 1:]
        linear = self.affine[:, :, :, None, None]
        total = linear[:, 0] + linear[:, 1] * x + linear[:, 2] * y
        for k in range(self.knots.shape[1]):
            offset = (points - self.knots[:, k, :, None, None]) / self.scale[:, None, None, None]
            square = offset.square().sum(dim=1, keepdim=True)
            total = total + self.weights[:, k, :, None, None] * (square * square.clamp(min=1e-12).log())
        return total

    def linearised(self, points: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The displacement and its slopes du/dx, du/dy, dv/dx, dv/dy, each (B, h, w)."""
        order = ((0, 0), (0, 1), (1, 0), (1, 1))  # component, axis
        slopes = [_pixel(self.affine[:, 1 + axis, component]).expand(points[:, 0].shape) for component, axis in order]
        for k in range(self.knots.shape[1]):
            offset = (points - self.knots[:, k, :, None, None]) / self.scale[:, None, None, None]
            slope = 2 * (offset.square().sum(dim=1).clamp(min=1e-12).log() + 1)
            for index, (component, axis) in enumerate(order):
                slopes[index] = (
                    slopes[index] + _pixel(self.weights[:, k, component] / self.scale) * slope * offset[:, axis]
                )
        return self.displacement(points), tuple(slopes)


Field = Waves | ThinPlate


def _pixel(value: Tensor) -> Tensor:
    return value[:, None, None]


@dataclass
class Motion:
    """A batch of maps from the first to the second frame. matrix (B, 3, 3) acts on (x, y, 1) in pixels.

    Made on the host, which inverts matrices; `transfer` then brings it to another device.
    """

    matrix: Tensor
    field: Field | None = None
    drive: Drive | None = None
    inverse_matrix: Tensor = dataclasses.field(init=False)
    affine: tuple[bool, bool] = dataclasses.field(init=False)  # matrix, and its inverse, of every pair

    def __post_init__(self) -> None:
        self.inverse_matrix = torch.linalg.inv(self.matrix.double()).float()
        self.affine = _affine(self.matrix), _affine(self.inverse_matrix)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points of the first frame (B or 1, 2, h, w) -> points of the second, and where they exist (B, h, w)."""
        points = points.expand(len(self.matrix), -1, -1, -1)
        if self.drive is not None:
            points = self.drive.forward(points)
        if self.field is not None:
            points = points + self.field.displacement(points)
        return project(self.matrix, points, affine=self.affine[0])

    def inverse(self, top: int, left: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """For the pixels of a window of the second frame: their points (B, 2, h, w) in the first, where they exist."""
        device, affine = self.matrix.device, self.affine[1]
        points, valid = project(self.inverse_matrix, pixel_grid(top, left, height, width, device), affine=affine)
        if self.field is not None:
            # Newton's method on every eighth pixel; the full grid starts from its interpolated solution and slopes.
            rows, columns = -(-(height - 1) // COARSE_STEP) + 1, -(-(width - 1) // COARSE_STEP) + 1
            grid = pixel_grid(top, left, rows, columns, device, COARSE_STEP)
            coarse, _ = project(self.inverse_matrix, grid, affine=affine)
            start, slopes = solve(self.field, coarse)
            full = functional.interpolate(
                torch.cat((start - coarse, slopes), dim=1),
                size=((rows - 1) * COARSE_STEP + 1, (columns - 1) * COARSE_STEP + 1),
                mode="bilinear",
                align_corners=True,
            )[:, :, :height, :width]
            guess, slopes = points + full[:, :2], full[:, 2:]
            for _ in range(STEPS):
                error = guess + self.field.displacement(guess) - points
                guess = guess - _times(slopes, error)
                missed = error.abs().amax(dim=1)
                # Elsewhere all steps are quicker than to wait for that number; they only make good points better.
                if not costs_a_wait(device) and float(missed.max() if missed.numel() else 0.0) < RESIDUAL:
                    break
            points = guess
            valid = valid & (missed < RESIDUAL)
        if self.drive is not None:
            points, exists = self.drive.inverse(points)
            valid = valid & exists
        return points, valid


def _affine(matrix: Tensor) -> bool:
    return not bool(matrix[:, 2, :2].any())


def project(matrix: Tensor, points: Tensor, *, affine: bool) -> tuple[Tensor, Tensor]:
    """Homography (B, 3, 3) of points (B or 1, 2, h, w); valid (B, h, w) where the point is in front of the camera.

    affine: whether the lower rows of all matrices are (0, 0, 1).
    """
    x, y = points[:, 0], points[:, 1]
    m = matrix[:, :, :, None, None]
    rows = [m[:, r, 0] * x + m[:, r, 1] * y + m[:, r, 2] for r in range(2)]
    if affine:
        moved = torch.stack(rows, dim=1)
        return moved, torch.ones_like(rows[0], dtype=torch.bool)
    w = m[:, 2, 0] * x + m[:, 2, 1] * y + m[:, 2, 2]
    valid = w > 0.05
    return torch.stack(rows, dim=1) / w.clamp(min=0.05)[:, None], valid


def solve(field: Field, target: Tensor) -> tuple[Tensor, Tensor]:
    """x (B, 2, h, w) with x + field(x) = target, and there the inverse of the derivative (B, 4, h, w), row by row."""
    guess = target
    for _ in range(8):
        guess = target - field.displacement(guess)
    for step in range(4):
        moved, (ux, uy, vx, vy) = field.linearised(guess)
        a, d = 1 + ux, 1 + vy
        determinant = a * d - uy * vx
        determinant = torch.where(determinant.abs() < 0.05, torch.full_like(determinant, 0.05), determinant)
        inverse = torch.stack((d, -uy, -vx, a), dim=1) / determinant[:, None]
        if step < 3:
            guess = guess - _times(inverse, guess + moved - target)
    return guess, inverse


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """(B, 4, h, w) 2x2 matrices, row by row, times (B, 2, h, w)."""
    return matrix[:, 0::2] * vector[:, :1] + matrix[:, 1::2] * vector[:, 1:]
