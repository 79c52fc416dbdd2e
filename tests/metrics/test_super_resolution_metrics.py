"""PSNR and SSIM as super-resolution measures them, against reference values."""

import json

import numpy as np
import pytest
import torch

from flowzoo.metrics import image


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_psnr_and_ssim_of_rgb_and_y_with_and_without_borders(shared, dtype):
    reference = np.load(shared / "parity" / "degradation-metrics.npz")
    rows = json.loads(str(reference["metrics"]))
    assert {row["channel"] for row in rows} == {"RGB", "Y"}
    for row in rows:
        one, two = (
            torch.tensor(reference[f"{name}{row['image']}"]).permute(2, 0, 1)[None].to(dtype) / 255
            for name in ("image", "distorted")
        )
        border = row["border"]
        if border:
            one, two = one[..., border:-border, border:-border], two[..., border:-border, border:-border]
        suffix = "_y" if row["channel"] == "Y" else ""
        psnr, ssim = (image.METRICS[f"{name}_8bit{suffix}"](one, two) for name in ("psnr", "ssim"))
        assert float(psnr) == pytest.approx(row["psnr"], abs=1e-4)
        assert float(ssim) == pytest.approx(row["ssim"], abs=1e-6 if dtype == torch.float64 else 2e-5)
