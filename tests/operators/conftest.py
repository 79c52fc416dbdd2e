"""What tests of operators share."""

import pytest

from flowzoo.operators import native, native_call


@pytest.fixture(params=["native", "portable"])
def native_and_portable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs twice: on the CPU kernels, none of which may decline, and without them."""
    monkeypatch.setenv("FLOWZOO_NATIVE", "1" if request.param == "native" else "0")
    if request.param == "portable":
        return
    if native.library() is None:
        pytest.skip("no C++ compiler to build the CPU kernels with")
    run = native_call.run

    def must_run(*arguments: object, **options: object) -> bool:
        assert run(*arguments, **options)  # type: ignore[arg-type]
        return True

    monkeypatch.setattr(native_call, "run", must_run)
