"""Each pass on a graph made by hand: what it changes, and that the network computes the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from netsuke import Error
from netsuke.artifact import Reference
from netsuke.artifact.graph import (
    Add,
    Affine,
    AveragePool,
    Binarize,
    BinaryConv2d,
    Conv2d,
    Graph,
    Identity,
    MaxPool,
    Mean,
    Multiply,
    Node,
    Output,
    Step,
    Store,
    TwoSlope,
)
from netsuke.lowering import passes

RNG = np.random.default_rng(0)
SHAPE = (3, 4, 5)


def array(*shape: int) -> np.ndarray:
    """float32 numbers, so that a graph may also run before it is rounded."""
    return RNG.normal(size=shape).astype(np.float32)


def conv(source: int, *steps: Step, name: str = "conv") -> Conv2d:
    return Conv2d(name, [source], list(steps), weight=array(3, 3, 3, 3), bias=array(3), padding=(1, 1, 1, 1))


def binary_conv(source: int, *steps: Step, name: str = "binary") -> BinaryConv2d:
    signs = RNG.choice(np.array([-1, 1], np.int8), size=(3, 3, 3, 3))
    constants = {"alpha_w": array(3), "beta_w": array(3), "bias": array(3), "alpha_a": 0.5, "gamma": -0.25}
    return BinaryConv2d(name, [source], list(steps), weight=signs, padding=(1, 1, 1, 1), **constants)  # type: ignore[arg-type]


def identity(source: int, *steps: Step, name: str = "step") -> Identity:
    return Identity(name, [source], list(steps))


def affine() -> Affine:
    return Affine(array(3), array(3))


def graph(*nodes: Node, outputs: tuple[int, ...]) -> Graph:
    return Graph("made by hand", SHAPE, list(nodes), [Output(value, 4) for value in outputs])


def run(g: Graph) -> list[np.ndarray]:
    numbered, _ = passes.renumber(passes.round_arrays(g))
    images = np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
    out = Reference(numbered)(images)
    return list(out) if isinstance(out, tuple) else [out]


def assert_same(before: Graph, after: Graph, tolerance: float = 0.0) -> None:
    for a, b in zip(run(before), run(after), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def steps(node: Node) -> list[type]:
    return [type(step) for step in node.epilogue]


# ------------------------------------------------------------------------------------------- drop_dead
def test_drop_dead() -> None:
    before = graph(
        conv(0, Store(1), affine(), Store(2), affine()),
        conv(1, Store(3), name="nobody reads it"),
        identity(2, Store(4), Binarize(array(1), False, 5), name="taps"),
        outputs=(4,),
    )
    after = passes.drop_dead(before)
    assert [node.name for node in after.nodes] == ["conv", "taps"]
    assert steps(after.nodes[0]) == [Affine, Store]
    assert steps(after.nodes[1]) == [Store]
    assert_same(before, after)


def test_drop_dead_keeps_what_an_addition_reads() -> None:
    before = graph(conv(0, Store(1)), conv(0, Add(1), Store(2)), outputs=(2,))
    assert passes.drop_dead(before) == before


# ------------------------------------------------------------------------------------------- merge_strides
def slices(source: int, stride: tuple[int, int], out: int) -> MaxPool:
    return MaxPool("slice", [source], [Store(out)], kernel=(1, 1), stride=stride)


def test_merge_strides() -> None:
    before = graph(slices(0, (2, 1), 1), slices(1, (1, 3), 2), outputs=(2,))
    after = passes.merge_strides(before)
    assert len(after.nodes) == 1
    assert_same(before, after)


def test_merge_strides_leaves_slices_that_are_read_elsewhere_and_other_pools() -> None:
    for before in (
        graph(slices(0, (2, 1), 1), slices(1, (1, 3), 2), outputs=(1, 2)),
        graph(MaxPool("p", [0], [Store(1)], kernel=(2, 1), stride=(2, 1)), slices(1, (1, 2), 2), outputs=(2,)),
    ):
        assert passes.merge_strides(before) == before


# ------------------------------------------------------------------------------------------- fuse_taps
def test_fuse_taps_puts_bits_where_their_value_is() -> None:
    before = graph(
        conv(0, Store(1), affine(), Store(2)),
        identity(1, Binarize(array(1), False, 3)),
        identity(2, Binarize(array(1), True, 4)),
        binary_conv(3, Store(5)),
        binary_conv(4, Store(6)),
        outputs=(5, 6),
    )
    after = passes.fuse_taps(before)
    assert [type(node) for node in after.nodes] == [Conv2d, BinaryConv2d, BinaryConv2d]
    assert steps(after.nodes[0]) == [Store, Binarize, Affine, Store, Binarize]
    assert_same(before, after)


def test_fuse_taps_leaves_bits_of_the_input() -> None:
    before = graph(identity(0, Binarize(array(1), False, 1)), binary_conv(1, Store(2)), outputs=(2,))
    assert passes.fuse_taps(before) == before


# ------------------------------------------------------------------------------------------- fuse_epilogues
def test_fuse_epilogues_takes_a_chain() -> None:
    before = graph(
        conv(0, Store(1)),
        identity(1, affine(), Store(2)),
        identity(2, Add(0), Store(3)),
        identity(3, TwoSlope(array(3), array(3)), Store(4)),
        outputs=(4,),
    )
    after = passes.drop_dead(passes.fuse_epilogues(before))
    (node,) = after.nodes
    assert steps(node) == [Affine, Add, TwoSlope, Store]
    assert_same(before, after)


def test_fuse_epilogues_stores_what_is_read_elsewhere() -> None:
    before = graph(
        conv(0, Store(1)), identity(1, affine(), Store(2)), conv(1, Store(3), name="other"), outputs=(2, 3)
    )  # fmt: skip
    after = passes.drop_dead(passes.fuse_epilogues(before))
    assert steps(after.nodes[0]) == [Store, Affine, Store]
    assert_same(before, after)


def test_only_one_of_two_that_change_a_value_moves_in() -> None:
    before = graph(conv(0, Store(1)), identity(1, affine(), Store(2)), identity(1, affine(), Store(3)), outputs=(2, 3))
    after = passes.fuse_epilogues(before)
    assert [type(node) for node in after.nodes] == [Conv2d, Identity]
    assert_same(before, after)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_binary_convolution_hosts_the_addition_and_moves_behind_its_operand(swapped: bool) -> None:
    add = identity(3, Add(2), Store(4)) if swapped else identity(2, Add(3), Store(4))
    before = graph(
        identity(0, Binarize(array(1), False, 1)),
        binary_conv(1, Store(2)),
        conv(0, Store(3)),
        add,
        outputs=(4,),
    )
    after = passes.drop_dead(passes.fuse_epilogues(before))
    assert [type(node) for node in after.nodes] == [Identity, Conv2d, BinaryConv2d]
    assert steps(after.nodes[2]) == [Add, Store]
    assert_same(before, after)


def test_a_host_does_not_move_past_what_reads_it() -> None:
    """conv -> pool -> the operand of the addition: the sum waits for the pool, so the pool takes it over."""
    pool = AveragePool("pool", [1], [Store(2)], kernel=(1, 1), stride=(1, 1))
    before = graph(conv(0, Store(1)), pool, identity(1, Add(2), Store(3)), outputs=(3,))
    after = passes.fuse_epilogues(before)
    assert [type(node) for node in after.nodes] == [Conv2d, AveragePool]
    assert steps(after.nodes[1]) == [Store, Add, Store]
    assert_same(before, after)


def test_a_value_added_to_itself_stays() -> None:
    before = graph(conv(0, Store(1)), identity(1, Add(1), Store(2)), outputs=(2,))
    assert passes.fuse_epilogues(before) == before


# ------------------------------------------------------------------------------------------- fold_affine
@pytest.mark.parametrize("binary", [False, True])
def test_fold_affine_into_a_convolution(binary: bool) -> None:
    make = binary_conv if binary else conv
    before = graph(
        identity(0, Binarize(array(1), False, 1)),
        make(int(binary), affine(), affine(), TwoSlope(array(3), array(3)), affine(), affine(), Store(2)),
        outputs=(2,),
    )
    after = passes.fold_affine(before)
    assert steps(after.nodes[1]) == [TwoSlope, Affine, Store]
    assert_same(before, after, tolerance=1e-5)


def test_fold_affine_stops_at_a_stored_value_and_at_pools() -> None:
    pool = AveragePool("pool", [0], [affine(), Store(3)], kernel=(2, 2), stride=(1, 1))
    before = graph(conv(0, Store(1), affine(), Store(2)), pool, outputs=(1, 2, 3))
    assert passes.fold_affine(before) == before


def test_fold_affine_rounds_once() -> None:
    node = conv(0, Affine(np.full(3, 1 / 3), np.zeros(3)), Affine(np.full(3, 0.7), np.zeros(3)), Store(1))
    after = passes.settle_scales(passes.fold_affine(graph(node, outputs=(1,))))
    (folded,) = passes.round_arrays(after).nodes
    assert isinstance(folded, Conv2d)
    assert folded.weight.dtype == np.float32
    np.testing.assert_array_equal(folded.weight, (node.weight.astype(np.float64) * (1 / 3 * 0.7)).astype(np.float32))


def test_weights_of_few_values_keep_their_scale() -> None:
    node = conv(0, Affine(np.float64([0.3, -2.0, 1e-3]), np.zeros(3)), Store(1))
    node = replace(node, weight=np.sign(node.weight) * 0.25)
    before = graph(node, outputs=(1,))
    after = passes.settle_scales(passes.fold_affine(before))
    (kept,) = passes.round_arrays(after).nodes
    assert isinstance(kept, Conv2d)
    assert kept.weight_scale is not None
    np.testing.assert_array_equal(np.abs(kept.weight), np.full_like(kept.weight, 0.25))
    np.testing.assert_array_equal(kept.weight_scale, np.float32([0.3, -2.0, 1e-3]))
    assert_same(before, after, tolerance=1e-5)


# ------------------------------------------------------------------------------------------- the last two
def test_round_arrays_names_a_layer_that_is_not_finite() -> None:
    node = replace(conv(0, Store(1), name="layer1.conv"), bias=np.array([1.0, 1e300, 0.0]))
    with pytest.raises(Error, match="layer1.conv"):
        passes.round_arrays(graph(node, outputs=(1,)))


def test_round_arrays_keeps_signs() -> None:
    (node,) = passes.round_arrays(graph(binary_conv(0, Store(1)), outputs=(1,))).nodes
    assert isinstance(node, BinaryConv2d)
    assert node.weight.dtype == np.int8
    assert node.alpha_w.dtype == np.float32


def test_renumber() -> None:
    before = graph(conv(0, Store(7), Binarize(array(1), False, 3)), binary_conv(3, Add(7), Store(5)), outputs=(5, 7))
    after, ids = passes.renumber(before)
    assert ids == {0: 0, 7: 1, 3: 2, 5: 3}
    assert [output.value for output in after.outputs] == [3, 1]
    assert after.nodes[1].inputs == [2]
    assert after.nodes[1].epilogue == [Add(1), Store(3)]
    assert [type(step) for step in before.nodes[1].epilogue] == [Add, Store]
    assert before.nodes[1].inputs == [3], "the graph that came in was changed"


# ------------------------------------------------------------------------------------------- gates
def test_a_mean_is_taken_where_its_map_is_made_and_once() -> None:
    before = graph(
        conv(0, Store(1)),
        identity(1, Mean(2), name="mean"),
        identity(1, Mean(3), name="the same mean"),
        identity(1, affine(), Store(4), name="later"),
        identity(4, Mean(5), name="another mean"),
        identity(1, Multiply(2), Multiply(3), Store(6), name="gated"),
        outputs=(3, 5, 6),
    )
    after = passes.optimise(before)
    assert [node.name for node in after.nodes] == ["conv", "gated"]
    assert [type(s) for s in after.nodes[0].epilogue if not isinstance(s, Affine)] == [Store, Mean, Mean]
    mean = after.outputs[0].value
    assert after.nodes[1].epilogue == [Multiply(mean), Multiply(mean), Store(6)]
    assert [output.value for output in after.outputs] == [mean, 5, 6]
    assert_same(before, after, 1e-5)


def test_bits_of_one_map_are_taken_once() -> None:
    zeros, others = np.zeros(1), array(3)
    before = graph(
        conv(0, Store(1)),
        identity(1, Binarize(zeros, False, 2), name="bits"),
        identity(1, Binarize(zeros.copy(), False, 3), name="the same bits"),
        identity(1, Binarize(zeros, True, 4), name="flipped"),
        identity(1, Binarize(others, False, 5), name="another threshold"),
        identity(1, affine(), Store(6), Binarize(zeros, False, 7), name="another map"),
        *(binary_conv(source, Store(source + 6)) for source in (2, 3, 4, 5, 7)),
        outputs=(6, 8, 9, 10, 11, 13),
    )
    after = passes.optimise(before)
    same, again, *others_read = [node.inputs for node in after.nodes if isinstance(node, BinaryConv2d)]
    assert (same, others_read) == (again, [[4], [5], [7]])
    assert sum(isinstance(step, Binarize) for node in after.nodes for step in node.epilogue) == 4
    assert_same(before, after, 1e-5)


def test_steps_behind_a_mean_do_not_move_to_the_map_it_is_of() -> None:
    before = graph(conv(0, Store(1), Mean(2)), identity(2, affine(), Store(3)), outputs=(1, 3))
    after = passes.optimise(before)
    assert [steps(node) for node in after.nodes] == [[Store, Mean], [Affine, Store]]
    assert_same(before, after)


def test_a_product_joins_the_operand_that_is_made_last() -> None:
    before = graph(
        conv(0, Store(1)),
        identity(1, Mean(2)),
        conv(1, Store(3), name="second"),
        identity(3, Multiply(2), Store(4)),
        identity(4, Multiply(1), Store(5)),
        identity(5, Add(1), Store(6)),
        outputs=(6,),
    )
    after = passes.optimise(before)
    assert [steps(node) for node in after.nodes] == [[Store, Mean], [Multiply, Multiply, Add, Store]]
    assert_same(before, after)
