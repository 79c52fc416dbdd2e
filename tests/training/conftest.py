"""Fixtures of the training tests."""

from pathlib import Path

import pytest
from preset_samples import make_samples


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with tiny pairs; see `preset_samples`."""
    return make_samples(tmp_path_factory.mktemp("samples"))
