"""Every instruction set is a parameter of the tests: one that this machine lacks is an explicit skip."""

from __future__ import annotations

import pytest

from isas import ISAS
from netsuke import engine


@pytest.fixture(scope="session")
def compiled() -> None:
    """Skip where no engine was compiled."""
    if not engine.available_isas():
        pytest.skip("netsuke.engine has no compiled module here: pip install -e . builds it")


@pytest.fixture(scope="session", params=ISAS)
def isa(request: pytest.FixtureRequest, compiled: None) -> str:
    if request.param not in engine.available_isas():
        pytest.skip(f"this CPU cannot run {request.param}")
    return request.param
