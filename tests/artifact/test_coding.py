"""Coded arrays (docs/coding.md): both implementations make one stream, nothing is lost, damage is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netsuke.artifact import coding
from netsuke.artifact.contract import Error

RANGES = [(0, 1), (-1, 1), (-7, 7), (-127, 127), (-300, 5), (0, 200), (-20, 0), (0, 0), (-32767, 32767)]


@pytest.fixture(params=["numpy", "compiled"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(coding, "compiled", None)
    elif coding.compiled is None:
        pytest.skip("the coder is not compiled here")
    return request.param


def some_levels(seed: int, shape: tuple[int, ...], least: int, most: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    spread = 10.0 ** rng.uniform(-1, 4)
    return np.clip(np.rint(rng.standard_t(2, shape) * spread), least, most).astype(np.int16)


shapes = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), shapes, st.sampled_from(RANGES))
def test_levels_come_back_and_both_forms_make_one_stream(
    seed: int, shape: tuple[int, ...], limits: tuple[int, int]
) -> None:
    levels = some_levels(seed, shape, *limits)
    streams = []
    compiled = coding.compiled
    for form in {id(None): None, id(compiled): compiled}.values():
        coding.compiled = form
        try:
            streams.append(coding.encode(levels, *limits))
            np.testing.assert_array_equal(coding.decode(streams[-1], shape, *limits), levels)
        finally:
            coding.compiled = compiled
    assert len(set(streams)) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 70), st.booleans())
def test_floats_come_back_and_both_forms_make_one_stream(seed: int, count: int, rising: bool) -> None:
    rng = np.random.default_rng(seed)
    floats = (rng.normal(size=count) * 10.0 ** rng.integers(-30, 30)).astype(np.float32)
    floats[: count // 5] = [0.0, -0.0, 1e-44, 3.4e38, -1.0][seed % 5]
    if rising:
        floats.sort()
    streams = []
    compiled = coding.compiled
    for form in {id(None): None, id(compiled): compiled}.values():
        coding.compiled = form
        try:
            streams.append(coding.encode_floats(floats))
            assert coding.decode_floats(streams[-1], count).tobytes() == floats.tobytes()
        finally:
            coding.compiled = compiled
    assert len(set(streams)) == 1


def test_a_stream_that_was_cut_off_or_goes_on_is_refused(form: str) -> None:
    levels = some_levels(0, (8, 3, 3, 8), -7, 7)
    stream = coding.encode(levels, -7, 7)
    for damaged in (stream[:-5], stream[: len(stream) // 2], b"", stream + b"\1" * 5, stream + stream):
        with pytest.raises(Error, match="stream is damaged"):
            coding.decode(damaged, levels.shape, -7, 7)
    floats = np.random.default_rng(0).normal(size=50).astype(np.float32)
    for cut in (coding.encode_floats(floats)[:-5], coding.encode_floats(floats) + b"\1" * 5):
        with pytest.raises(Error, match="stream is damaged"):
            coding.decode_floats(cut, 50)


def test_a_level_outside_its_range_is_refused(form: str) -> None:
    """5 bits are enough for 20 and for 31: what is above 20 is damage."""
    levels = np.full((4, 1, 1, 4), 31, np.int16)
    with pytest.raises(Error, match="stream is damaged"):
        coding.decode(coding.encode(levels, -31, 31), levels.shape, -20, 20)


def test_what_is_alike_becomes_small() -> None:
    """Zeros cost next to nothing, and numbers without pattern what their entropy is, to a few per cent."""
    rng = np.random.default_rng(0)
    zeros = np.zeros((100, 1, 1, 1000), np.int16)
    assert len(coding.encode(zeros, -1, 1)) < 60
    sparse = np.where(rng.random((100, 1, 1, 1000)) < 0.05, rng.choice([-1, 1], (100, 1, 1, 1000)), 0).astype(np.int16)
    entropy = 100_000 / 8 * (-0.05 * np.log2(0.025) - 0.95 * np.log2(0.95))
    assert entropy * 0.98 < len(coding.encode(sparse, -1, 1)) < entropy * 1.03


def test_columns_that_are_dead_cost_less() -> None:
    """Contexts see which inputs have no weights, as behind the border pixels of MNIST."""
    rng = np.random.default_rng(0)
    alive = rng.random(400) < 0.5
    levels = np.where((rng.random((100, 1, 1, 400)) < 0.3) & alive, rng.integers(1, 4, (100, 1, 1, 400)), 0)
    mixed = np.apply_along_axis(rng.permutation, 3, levels)
    sizes = [len(coding.encode(v.astype(np.int16), 0, 3)) for v in (levels, mixed)]
    assert sizes[0] < 0.95 * sizes[1]
