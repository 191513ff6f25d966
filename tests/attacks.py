"""Hostile files, one function an attack, and files at the very edge of what is allowed. Checksums are always right.

An attack takes the small file of `graphs.every_operator` and returns what a reader must refuse. `ATTACKS` maps its name
to the words that the Python reader's message must hold and to the function; `EDGES` are files that must be accepted.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import graphs
from corruption import Parts, redigest, take_apart
from netsuke import artifact
from netsuke.artifact.graph import Conv2d, Graph, Identity, MaxPool, Output, PadChannels, Store

ATTACKS: dict[str, tuple[str, Callable[[], bytes]]] = {}
EDGES: dict[str, Callable[[], bytes]] = {}


def base() -> Parts:
    """The file that the attacks change. Nodes: 0 conv2d, 1 binary_conv2d, 2 max_pool, 3 average_pool, 4 concat,
    5 pad_channels, 6 identity, 7 identity, 8 int8_conv2d; values 2 and 4 are bits, 10 is uint8."""
    return take_apart(artifact.encode(graphs.every_operator()))


def attack(words: str) -> Callable[[Callable[[Parts], bytes]], Callable[[Parts], bytes]]:
    """Register a function from the parts of a good file to the bytes of a hostile one."""

    def register(function: Callable[[Parts], bytes]) -> Callable[[Parts], bytes]:
        ATTACKS[function.__name__] = (words, lambda: function(base()))
        return function

    return register


def graph_attack(words: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Register a function that changes the graph's JSON object in place."""

    def register(function: Callable[[Any], None]) -> Callable[[Any], None]:
        ATTACKS[function.__name__] = (words, lambda: with_graph(function))
        return function

    return register


def edge(function: Callable[[Any], None]) -> Callable[[Any], None]:
    """Register a change of the graph's JSON object that leaves a valid file."""
    EDGES[function.__name__] = lambda: with_graph(function)
    return function


def with_graph(change: Callable[[Any], None]) -> bytes:
    parts = base()
    root = json.loads(parts.text)
    change(root)
    return with_text(parts, dump(root))


def dump(root: Any) -> bytes:
    return json.dumps(root, sort_keys=True, separators=(",", ":")).encode()


def with_text(parts: Parts, text: bytes) -> bytes:
    return replace(parts, graph=text).file()


# ----------------------------------------------------------------------------------------------- the container
@attack("not a netsuke file")
def header_of_2_to_the_63_bytes(parts: Parts) -> bytes:
    return struct.pack("<Q", 1 << 63) + parts.file()[8:]


@attack("do not fit together|not canonical")
def header_length_one_byte_short(parts: Parts) -> bytes:
    file = parts.file()
    return redigest(struct.pack("<Q", struct.unpack_from("<Q", file)[0] - 1) + file[8:])


@attack("not canonical")
def header_longer_than_the_file(parts: Parts) -> bytes:
    return redigest(struct.pack("<Q", 4096) + parts.file()[8:400])


@attack("not canonical")
def header_with_eight_spaces_more(parts: Parts) -> bytes:
    header = parts.header()
    return parts.file(header + b" " * (8 + -len(header) % 8))


@attack("not a netsuke file")
def header_with_a_key_twice(parts: Parts) -> bytes:
    return parts.file(parts.header().replace(b'"__metadata__"', b'"__metadata__":{},"__metadata__"', 1))


@attack("not canonical")
def header_with_another_tensor(parts: Parts) -> bytes:
    return parts.file(parts.header()[:-1] + b',"more":{"data_offsets":[0,0],"dtype":"U8","shape":[0]}}')


@attack("not canonical")
def header_with_another_metadata_key(parts: Parts) -> bytes:
    return parts.file(
        parts.header().replace(b'{"netsuke":', b'{"netsuke":"2:a","netsuke":').replace(b'"2:a"', b'"1:a"')
    )


@attack("do not fit together")
def tensors_that_overlap(parts: Parts) -> bytes:
    a, b = len(parts.floats), len(parts.floats) + len(parts.bits)
    return parts.file(parts.header().replace(b"[%d,%d]" % (a, b), b"[%d,%d]" % (a - 4, b)))


@attack("do not fit together")
def tensors_with_a_hole_between(parts: Parts) -> bytes:
    a, b = len(parts.floats), len(parts.floats) + len(parts.bits)
    return parts.file(parts.header().replace(b"[%d,%d]" % (a, b), b"[%d,%d]" % (a + 4, b)))


@attack("do not fit together")
def shape_larger_than_its_tensor(parts: Parts) -> bytes:
    return parts.file(
        parts.header().replace(b'"shape":[%d]' % len(parts.bits), b'"shape":[%d]' % (len(parts.bits) + 1))
    )


@attack("wants")
def tensors_beyond_the_end_of_the_file(parts: Parts) -> bytes:
    return parts.file(parts.header(graph=1000))


@attack("wants")
def bytes_after_the_last_tensor(parts: Parts) -> bytes:
    return redigest(parts.file() + b"\x00")


@attack("do not fit together")
def tensor_of_two_gigabytes(parts: Parts) -> bytes:
    return parts.file(parts.header(floats=(1 << 31) - 4 - len(parts.floats)))


@attack("do not fit together")
def tensor_sizes_that_overflow_32_bits(parts: Parts) -> bytes:
    return parts.file(parts.header(floats=1 << 32))


@attack("do not fit together")
def float_tensor_of_no_whole_number_of_floats(parts: Parts) -> bytes:
    return replace(parts, floats=parts.floats + b"\x00\x00").file()


@attack("of format 2")
def file_of_a_later_format(parts: Parts) -> bytes:
    return parts.file(parts.header().replace(b'"1:', b'"2:'))


@attack("checksum")
def checksum_of_another_file(parts: Parts) -> bytes:
    file, other = parts.file(), replace(parts, bits=parts.bits[::-1]).file()
    return file.replace(re.findall(b"[0-9a-f]{64}", file)[0], re.findall(b"[0-9a-f]{64}", other)[0])


@attack("not canonical")
def checksum_in_upper_case(parts: Parts) -> bytes:
    return re.sub(rb"[0-9a-f]{64}", lambda match: match[0].upper(), parts.file(), count=1)


@attack("not finite")
def nan_among_the_floats(parts: Parts) -> bytes:
    return replace(parts, floats=struct.pack("<I", 0x7FC00000) + parts.floats[4:]).file()


@attack("not finite")
def infinity_in_a_float_that_nothing_uses(parts: Parts) -> bytes:
    return replace(parts, floats=parts.floats + struct.pack("<I", 0xFF800000)).file()


# ----------------------------------------------------------------------------------------------- the stream
@attack("more than")
def deflate_bomb(parts: Parts) -> bytes:
    return with_text(parts, zlib.compress(b"{" + b"[" * (1 << 26), 9))


@attack("cut off")
def deflate_stream_cut_off(parts: Parts) -> bytes:
    return with_text(parts, zlib.compress(parts.text, 9)[:-1])


@attack("bytes after its end")
def deflate_stream_with_bytes_after_it(parts: Parts) -> bytes:
    return with_text(parts, zlib.compress(parts.text, 9) + b"{}")


@attack("inflated")
def deflate_stream_with_a_preset_dictionary(parts: Parts) -> bytes:
    stream = zlib.compressobj(9, zdict=b'{"input":')
    return with_text(parts, stream.compress(parts.text) + stream.flush())


@attack("inflated")
def deflate_stream_with_a_wrong_adler32(parts: Parts) -> bytes:
    return with_text(parts, zlib.compress(parts.text, 9)[:-1] + b"\x00")


@attack("inflated")
def deflate_distance_before_the_start(parts: Parts) -> bytes:
    # A fixed-code block whose first symbol copies 3 bytes from 1 byte back.
    return with_text(parts, b"\x78\x9c" + bytes([0b00000011, 0b00000010]) + bytes(8))


@attack("inflated")
def deflate_block_of_the_reserved_type(parts: Parts) -> bytes:
    return with_text(parts, b"\x78\x9c" + bytes([0b00000111]) + bytes(8))


@attack("inflated")
def gzip_instead_of_zlib(parts: Parts) -> bytes:
    return with_text(parts, zlib.compress(parts.text, 9, 31))


@attack("cut off")
def graph_of_no_bytes(parts: Parts) -> bytes:
    return with_text(parts, b"")


@attack("not canonical JSON")
def graph_that_inflates_to_nothing(parts: Parts) -> bytes:
    return with_text(parts, zlib.compress(b""))


# ----------------------------------------------------------------------------------------------- the JSON text
@attack("not canonical JSON")
def json_nested_a_million_deep(parts: Parts) -> bytes:
    return with_text(parts, b'{"a":' + b"[" * 1_000_000)


@attack("nested deeper|not canonical JSON")
def json_nested_fifty_thousand_deep_and_closed(parts: Parts) -> bytes:
    return with_text(parts, b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}")


@attack("nested deeper")
def json_nested_nine_deep(parts: Parts) -> bytes:
    return with_text(parts, b'{"a":' + b"[" * 8 + b"]" * 8 + b"}")


@attack("not canonical JSON")
def json_integer_of_a_hundred_thousand_digits(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"after":2', b'"after":' + b"9" * 100_000))


@attack("an integer is not")
def json_integer_of_2_to_the_64_and_1(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"after":2', b'"after":%d' % ((1 << 64) + 2)))


@attack("an integer is not")
def json_integer_of_2_to_the_32_and_2(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"after":2', b'"after":%d' % ((1 << 32) + 2)))


@attack("not in canonical form")
def json_minus_zero(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"flip":1', b'"flip":-0'))


@attack("canonical")
def json_leading_zero(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"after":2', b'"after":02'))


@attack("not canonical JSON")
def json_fraction(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"after":2', b'"after":2.0'))


@attack("not canonical JSON")
def json_exponent(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"after":2', b'"after":2e0'))


@attack("not canonical JSON")
def json_nan(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"after":2', b'"after":NaN'))


@attack("bool")
def json_true_for_one(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"flip":1', b'"flip":true'))


@attack("NoneType")
def json_null(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"flip":1', b'"flip":null'))


@attack("not in canonical form")
def json_key_twice(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"flip":1', b'"flip":1,"flip":1'))


@attack("not in canonical form")
def json_keys_in_another_order(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"after":2,"before":1', b'"before":1,"after":2'))


@attack("not in canonical form")
def json_white_space(parts: Parts) -> bytes:
    return with_text(parts, parts.text + b" ")


@attack("a character")
def json_line_end(parts: Parts) -> bytes:
    return with_text(parts, parts.text + b"\n")


@attack("a character")
def json_escaped_letter(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"last"', b'"\\u006cast"'))


@attack("a character")
def json_delete_character_in_a_name(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"last"', b'"l\x7fst"'))


@attack("a character")
def json_not_ascii(parts: Parts) -> bytes:
    return with_text(parts, parts.text.replace(b'"last"', '"läst"'.encode()))


@attack("not canonical JSON")
def json_value_after_the_value(parts: Parts) -> bytes:
    return with_text(parts, parts.text + b"{}")


# ----------------------------------------------------------------------------------------------- keys and types
@graph_attack("has the keys")
def key_missing(root: Any) -> None:
    del root["nodes"][0]["groups"]


@graph_attack("has the keys")
def key_unknown(root: Any) -> None:
    root["nodes"][0]["run"] = "rm"


@graph_attack("has the keys")
def transform_without_a_key(root: Any) -> None:
    del root["input"]["transform"]["crop"]


@graph_attack("none of")
def operator_unknown(root: Any) -> None:
    root["nodes"][6]["op"] = "system"


@graph_attack("none of")
def operator_that_is_a_list(root: Any) -> None:
    root["nodes"][6]["op"] = ["identity"]


@graph_attack("none of")
def step_unknown(root: Any) -> None:
    root["nodes"][6]["epilogue"][0]["op"] = "softmax"


@graph_attack("an array is expected")
def nodes_that_are_an_object(root: Any) -> None:
    root["nodes"] = {}


@graph_attack("integers are expected")
def kernel_that_is_a_number(root: Any) -> None:
    root["nodes"][0]["kernel"] = 3


@graph_attack("integers are expected")
def shape_of_two_axes(root: Any) -> None:
    root["input"]["shape"] = [3, 10]


@graph_attack("bilinear or bicubic")
def interpolation_unknown(root: Any) -> None:
    root["input"]["transform"]["interpolation"] = "nearest"


@attack("times its scale is not finite")
def weight_that_its_scale_makes_infinite(parts: Parts) -> bytes:
    root = json.loads(parts.text)
    node = next(node for node in root["nodes"] if node["op"] == "conv2d")
    floats = bytearray(parts.floats)
    struct.pack_into("<f", floats, 4 * node["weight"][0], 1e30)
    node["weight_scale"] = [len(floats) // 4, node["channels"]]
    floats += struct.pack("<f", 1e30) * node["channels"]
    return with_text(replace(parts, floats=bytes(floats)), dump(root))


@graph_attack("RGB or BGR")
def channel_order_unknown(root: Any) -> None:
    root["input"]["transform"]["order"] = "GBR"


@graph_attack("inside or window")
def divisor_unknown(root: Any) -> None:
    root["nodes"][3]["divisor"] = "outside"


# Of every_operator: binary convolution 19 has a padding_mode of ones, 20 of replicate.
@graph_attack("padding_mode is one of")
def padding_mode_unknown(root: Any) -> None:
    root["nodes"][19]["padding_mode"] = "reflect"


@graph_attack("padding_mode is one of")
def padding_mode_that_is_a_list(root: Any) -> None:
    root["nodes"][19]["padding_mode"] = ["ones"]


@graph_attack("a padding_mode of zeros is not written")
def padding_mode_of_zeros(root: Any) -> None:
    root["nodes"][20]["padding_mode"] = "zeros"


@graph_attack("has the keys")
def padding_mode_of_a_float_convolution(root: Any) -> None:
    root["nodes"][0]["padding_mode"] = "ones"


@graph_attack("0 or 1")
def flip_of_two(root: Any) -> None:
    root["nodes"][1]["epilogue"][-1]["flip"] = 2


# ----------------------------------------------------------------------------------------------- ranges
@graph_attack("does not lie inside its tensor")
def range_beyond_the_tensor(root: Any) -> None:
    root["nodes"][0]["weight"][0] = 100_000


@graph_attack("does not lie inside its tensor")
def range_whose_end_overflows(root: Any) -> None:
    root["nodes"][0]["weight"][0] = (1 << 31) - 1


@graph_attack("does not lie inside its tensor")
def range_of_another_length(root: Any) -> None:
    root["nodes"][0]["weight"][1] -= 1


@graph_attack("does not lie inside its tensor")
def range_of_no_floats_with_an_offset(root: Any) -> None:
    root["nodes"][0]["bias"] = [4, 0]


@graph_attack("does not lie inside its tensor")
def range_of_no_floats_where_some_are_needed(root: Any) -> None:
    root["nodes"][1]["weight_scale"] = [0, 0]


@graph_attack("does not lie inside its tensor")
def range_of_bits_beyond_the_tensor(root: Any) -> None:
    root["nodes"][1]["weight"][0] += len(base().bits)


@attack("past the end of its weight")
def bit_set_past_the_end_of_a_weight(parts: Parts) -> bytes:
    assert 6 * 3 * 2 * 3 % 8  # the weight's last byte has bits to spare
    last = sum(json.loads(parts.text)["nodes"][1]["weight"]) - 1
    return replace(parts, bits=parts.bits[:last] + bytes([parts.bits[last] | 0x80]) + parts.bits[last + 1 :]).file()


@attack("shared for more than")
def one_range_of_floats_asked_for_hundreds_of_times(parts: Parts) -> bytes:
    root = json.loads(parts.text)
    root["input"] = {"shape": [8192, 1, 1]}
    step = {"op": "affine", "scale": [0, 8192], "shift": [0, 8192]}
    root["nodes"] = [_identity(epilogue=[step] * 60 + [{"op": "store", "out": out}]) for out in range(1, 6)]
    root["outputs"] = [{"rank": 4, "value": 1}]
    return with_text(replace(parts, floats=bytes(4 * 8192)), dump(root))


@attack("shared for more than")
def one_range_of_bits_asked_for_hundreds_of_times(parts: Parts) -> bytes:
    root = json.loads(parts.text)
    root["input"] = {"shape": [512, 1, 1]}
    _binary_nodes(root, 200, channels=512, kernel=[1, 1], padding=[0] * 4, depth=512)
    return with_text(replace(parts, bits=bytes(512 * 512 // 8), floats=_ones(1024)), dump(root))


# ----------------------------------------------------------------------------------------------- values
@graph_attack("made before it")
def node_that_reads_a_later_value(root: Any) -> None:
    root["nodes"][2]["inputs"] = [9]


@graph_attack("made before it")
def node_that_reads_its_own_value(root: Any) -> None:
    root["nodes"][2]["inputs"] = [5]


@graph_attack("made before it|not made before")
def node_that_adds_its_own_value(root: Any) -> None:
    root["nodes"][6]["epilogue"] = [{"op": "store", "out": 9}, {"op": "add", "value": 9}]


@graph_attack("as bits")
def binary_node_that_reads_floats(root: Any) -> None:
    root["nodes"][1]["inputs"] = [1]


@graph_attack("as float32")
def float_node_that_reads_bits(root: Any) -> None:
    root["nodes"][6]["inputs"] = [4]


@graph_attack("one input")
def node_without_an_input(root: Any) -> None:
    root["nodes"][0]["inputs"] = []


@graph_attack("one input")
def node_with_two_inputs(root: Any) -> None:
    root["nodes"][2]["inputs"] = [3, 3]


@graph_attack("the next one is")
def value_made_twice(root: Any) -> None:
    root["nodes"][6]["epilogue"][-1]["out"] = 8


@graph_attack("the next one is")
def value_number_skipped(root: Any) -> None:
    root["nodes"][6]["epilogue"][-1]["out"] = 10


@graph_attack("result's shape")
def addition_of_another_shape(root: Any) -> None:
    root["nodes"][6]["epilogue"][0]["value"] = 7


@graph_attack("result's shape")
def multiplication_by_another_shape(root: Any) -> None:
    root["nodes"][11]["epilogue"][0]["value"] = 7


@graph_attack("not made before|made before it")
def multiplication_by_its_own_value(root: Any) -> None:
    root["nodes"][11]["epilogue"].append({"op": "multiply", "value": 15})


@graph_attack("4 or 8|neither 4 nor 8")
def weights_of_six_bits(root: Any) -> None:
    root["nodes"][12]["bits"] = 6


@graph_attack("4 or 8|neither 4 nor 8")
def codes_of_five_bits(root: Any) -> None:
    root["nodes"][11]["epilogue"][-1]["bits"] = 5


@graph_attack("out of bounds|is 0 to 15")
def zero_beyond_four_bits(root: Any) -> None:
    root["nodes"][11]["epilogue"][-1]["zero"] = 16


@graph_attack("does not lie inside its tensor")
def four_bit_weight_of_as_many_bytes_as_eight_bit_ones(root: Any) -> None:
    root["nodes"][12]["bits"] = 8


@attack("-7 to 7|is -8")
def four_bit_weight_of_minus_8(parts: Parts) -> bytes:
    place = json.loads(parts.text)["nodes"][12]["weight"][0]
    return replace(parts, bits=parts.bits[:place] + b"\x18" + parts.bits[place + 1 :]).file()


@graph_attack("as float32")
def multiplication_by_bits(root: Any) -> None:
    root["nodes"][11]["epilogue"][0]["value"] = 4


@graph_attack("has the keys")
def sigmoid_with_a_slope(root: Any) -> None:
    root["nodes"][10]["epilogue"][0]["slope"] = 1


@graph_attack("one height and width|differ in size")
def concat_of_a_mean_and_a_map(root: Any) -> None:
    root["nodes"].append(_identity(op="concat", inputs=[12, 3], epilogue=[{"op": "store", "out": 35}]))


def _gather(root: Any, pieces: Any) -> None:
    """The gather of bits that reads 12 channels with other pieces."""
    root["nodes"][21]["pieces"] = pieces


@graph_attack("lies outside")
def gather_of_a_channel_too_many(root: Any) -> None:
    _gather(root, [[4, 0, 9]])


@graph_attack("lies outside")
def gather_of_a_run_of_no_channel(root: Any) -> None:
    _gather(root, [[0, 1]])


@graph_attack("lies outside")
def gather_of_2_to_the_31_channels(root: Any) -> None:
    _gather(root, [[2147483647, 2147483647]])


@graph_attack("a count and")
def gather_of_a_run_without_channels(root: Any) -> None:
    _gather(root, [[4]])


@graph_attack("a count and|holds no number")
def gather_of_a_name(root: Any) -> None:
    _gather(root, [[4, "0"]])


@graph_attack("a count and")
def gather_of_a_piece_that_is_a_number(root: Any) -> None:
    _gather(root, [4, 0])


@graph_attack("not empty|wrong length")
def gather_of_nothing(root: Any) -> None:
    _gather(root, [])


@graph_attack("more than 65536 channels|too many channels")
def gather_of_65537_channels(root: Any) -> None:
    _gather(root, [[1, *[0] * 65537]])


@graph_attack("as bits|not bits")
def gather_of_bits_and_floats(root: Any) -> None:
    root["nodes"][21]["inputs"] = [4, 3]


@graph_attack("as float32|not float32")
def gather_of_floats_and_bits(root: Any) -> None:
    root["nodes"][24]["inputs"] = [3, 4]


@graph_attack("as float32|not float32")
def gather_of_codes(root: Any) -> None:
    root["nodes"][24]["inputs"] = [10]


@graph_attack("xnor or or|unknown kind")
def logic_of_another_kind(root: Any) -> None:
    root["nodes"][23]["kind"] = "and"


@graph_attack("as bits|not bits")
def logic_of_floats(root: Any) -> None:
    root["nodes"][23]["inputs"] = [3, 3]


@graph_attack("one shape|shapes")
def logic_of_two_shapes(root: Any) -> None:
    root["nodes"][23]["inputs"] = [28, 4]


@graph_attack("two inputs|wrong length")
def logic_of_three_inputs(root: Any) -> None:
    root["nodes"][23]["inputs"] = [28, 28, 28]


@graph_attack("two inputs|wrong length")
def logic_of_one_input(root: Any) -> None:
    root["nodes"][23]["inputs"] = [28]


@graph_attack("input itself")
def output_that_is_the_input(root: Any) -> None:
    root["outputs"][0]["value"] = 0


@graph_attack("as float32")
def output_of_bits(root: Any) -> None:
    root["outputs"][0]["value"] = 4


@graph_attack("made before it")
def output_that_nobody_makes(root: Any) -> None:
    root["outputs"][0]["value"] = 35


@graph_attack("2, 3 or 4")
def output_of_rank_5(root: Any) -> None:
    root["outputs"][0]["rank"] = 5


@graph_attack("a width of 1")
def output_of_rank_3_and_two_axes(root: Any) -> None:
    root["outputs"][0]["rank"] = 3


@graph_attack("shorter or stretch")
def fit_unknown(root: Any) -> None:
    root["input"]["transform"]["fit"] = "longer"


@graph_attack("not written")
def fit_that_is_not_written(root: Any) -> None:
    root["input"]["transform"]["fit"] = "shorter"


@edge
def fit_of_stretch(root: Any) -> None:
    root["input"]["transform"]["fit"] = "stretch"


@graph_attack("outputs")
def no_outputs(root: Any) -> None:
    root["outputs"] = []


@graph_attack("outputs")
def sixty_five_outputs(root: Any) -> None:
    root["outputs"] = [root["outputs"][0]] * 65


@graph_attack("at least one node")
def no_nodes(root: Any) -> None:
    root["nodes"] = []


# ----------------------------------------------------------------------------------------------- operators
@graph_attack("stride is 1 to 255")
def stride_zero(root: Any) -> None:
    root["nodes"][0]["stride"] = [0, 1]


@graph_attack("dilation is 1 to 255")
def dilation_zero(root: Any) -> None:
    root["nodes"][0]["dilation"] = [1, 0]


@graph_attack("kernel is 1 to 255")
def pool_kernel_zero(root: Any) -> None:
    root["nodes"][2]["kernel"] = [0, 1]


@graph_attack("not 6 long|kernel is|not 0 long|is not")
def convolution_kernel_zero(root: Any) -> None:
    root["nodes"][0]["kernel"] = [0, 3]
    root["nodes"][0]["weight"] = [0, 0]


@graph_attack("padding is 0 to 255")
def padding_256(root: Any) -> None:
    root["nodes"][0]["padding"] = [256, 0, 0, 0]


@graph_attack("output channels")
def no_output_channels(root: Any) -> None:
    root["nodes"][0].update(channels=0, weight=[0, 0], bias=[0, 0])


@graph_attack("not divisible")
def groups_zero(root: Any) -> None:
    root["nodes"][0]["groups"] = 0


@graph_attack("not divisible")
def groups_that_do_not_divide_the_channels(root: Any) -> None:
    root["nodes"][1]["groups"] = 4


@graph_attack("does not fit into")
def result_of_no_rows(root: Any) -> None:
    root["nodes"][0]["dilation"] = [6, 1]


@graph_attack("does not fit into")
def result_whose_extent_is_one_if_division_truncates(root: Any) -> None:
    # 10 rows + 2 of padding, a window of 13: floor(-1 / 2) + 1 is 0, but C's (-1) / 2 + 1 is 1.
    root["nodes"][0]["kernel"] = [3, 3]
    root["nodes"][0]["dilation"] = [6, 1]
    root["nodes"][0]["stride"] = [2, 1]


@graph_attack("outside the image")
def pool_window_above_the_image(root: Any) -> None:
    root["nodes"][2]["padding"] = [2, 0, 0, 0]


@graph_attack("outside the image")
def pool_window_below_the_image(root: Any) -> None:
    root["nodes"][3]["padding"] = [0, 0, 3, 0]


@graph_attack("one height and width|differ in size")
def concat_of_different_heights(root: Any) -> None:
    root["nodes"][4]["inputs"] = [5, 3]


@graph_attack("inputs")
def concat_of_nothing(root: Any) -> None:
    root["nodes"][4]["inputs"] = []


@graph_attack("inputs")
def concat_of_65(root: Any) -> None:
    root["nodes"][4]["inputs"] = [5] * 65


@graph_attack("steps")
def epilogue_of_no_steps(root: Any) -> None:
    root["nodes"][0]["epilogue"] = []


@graph_attack("writes no value")
def epilogue_that_writes_nothing(root: Any) -> None:
    root["nodes"].append(_identity(epilogue=[{"op": "add", "value": 0}] * 3))


@graph_attack("steps")
def epilogue_of_65_steps(root: Any) -> None:
    root["nodes"][6]["epilogue"] = [{"op": "add", "value": 8}] * 64 + root["nodes"][6]["epilogue"][-1:]


@graph_attack("string of 0 to 200")
def name_of_201_characters(root: Any) -> None:
    root["nodes"][0]["name"] = "x" * 201


@graph_attack("string of 1 to 200")
def model_without_a_name(root: Any) -> None:
    root["model"] = ""


@attack("alpha_a")
def activation_scale_of_minus_zero(parts: Parts) -> bytes:
    place = json.loads(parts.text)["nodes"][1]["activation"][0]
    floats = bytearray(parts.floats)
    struct.pack_into("<f", floats, 4 * place, -0.0)
    return replace(parts, floats=bytes(floats)).file()


# ----------------------------------------------------------------------------------------------- 8 bits
@attack("-127 to 127")
def int8_weight_of_minus_128(parts: Parts) -> bytes:
    place = json.loads(parts.text)["nodes"][8]["weight"][0]
    return replace(parts, bits=parts.bits[:place] + b"\x80" + parts.bits[place + 1 :]).file()


@attack("past the end of its weight|past the last weight")
def half_a_byte_past_the_end_of_a_weight(parts: Parts) -> bytes:
    root = json.loads(parts.text)
    first = _identity(epilogue=[{"bits": 4, "multiplier": [0, 1], "op": "quantize", "out": 1, "zero": 0}])
    node = _int8_node(root, channels=1, groups=1, kernel=[1, 1], bits=4, weight=[0, 2])  # 3 weights
    root["nodes"], root["outputs"] = [first, node], [{"rank": 4, "value": 2}]
    return with_text(replace(parts, bits=b"\x11\x11"), dump(root))


@graph_attack("as uint8")
def int8_node_that_reads_floats(root: Any) -> None:
    root["nodes"][8]["inputs"] = [3]


@graph_attack("as uint8")
def int8_node_that_reads_bits(root: Any) -> None:
    root["nodes"][8]["inputs"] = [4]


@graph_attack("as float32")
def float_node_that_reads_uint8(root: Any) -> None:
    root["nodes"].append(_identity(inputs=[10], epilogue=[{"op": "store", "out": 35}]))


@graph_attack("as bits")
def binary_node_that_reads_uint8(root: Any) -> None:
    root["nodes"].append({**root["nodes"][1], "inputs": [10], "epilogue": [{"op": "store", "out": 35}]})


@graph_attack("as float32")
def addition_of_uint8(root: Any) -> None:
    copy = _identity(inputs=[3], epilogue=[{"op": "add", "value": 10}, {"op": "store", "out": 35}])
    root["nodes"].append(copy)


@graph_attack("as float32")
def output_of_uint8(root: Any) -> None:
    root["outputs"][0]["value"] = 10


@graph_attack("made before it")
def int8_node_that_reads_its_own_value(root: Any) -> None:
    root["nodes"][8]["epilogue"] = [{"bits": 8, "multiplier": [0, 1], "op": "quantize", "out": 11, "zero": 0}]
    root["nodes"][8]["inputs"] = [11]
    root["outputs"] = root["outputs"][:2]


@graph_attack("one input")
def int8_node_with_two_inputs(root: Any) -> None:
    root["nodes"][8]["inputs"] = [10, 10]


@graph_attack("`zero` is 0 to 255")
def int8_zero_of_256(root: Any) -> None:
    root["nodes"][8]["zero"] = 256


@graph_attack("`zero` is 0 to 255")
def int8_zero_that_is_a_range(root: Any) -> None:
    root["nodes"][8]["zero"] = [0, 1]


@graph_attack("has the keys")
def int8_node_without_a_zero(root: Any) -> None:
    del root["nodes"][8]["zero"]


@graph_attack("has the keys")
def int8_node_with_a_weight_offset(root: Any) -> None:
    root["nodes"][8]["weight_offset"] = [0, 0]


@graph_attack("has the keys")
def float_node_with_a_zero(root: Any) -> None:
    root["nodes"][0]["zero"] = 0


@graph_attack("does not lie inside its tensor")
def int8_weight_counted_in_bits(root: Any) -> None:
    weight = root["nodes"][8]["weight"]
    weight[1] = -(-weight[1] // 8)


@graph_attack("does not lie inside its tensor")
def int8_weight_beyond_the_tensor(root: Any) -> None:
    root["nodes"][12]["weight"][0] += 1 << 20


@graph_attack("does not lie inside its tensor")
def int8_weight_scale_for_the_whole_layer(root: Any) -> None:
    root["nodes"][8]["weight_scale"][1] = 1


@graph_attack("does not lie inside its tensor")
def int8_activation_of_two_numbers(root: Any) -> None:
    root["nodes"][8]["activation"][1] = 2


@graph_attack("not divisible")
def int8_groups_that_do_not_divide_the_channels(root: Any) -> None:
    root["nodes"][8]["groups"] = 4


@graph_attack("`zero` is 0 to 255")
def quantize_to_a_zero_of_256(root: Any) -> None:
    root["nodes"][7]["epilogue"][0]["zero"] = 256


@graph_attack("does not lie inside its tensor")
def quantize_multiplier_beyond_the_tensor(root: Any) -> None:
    root["nodes"][7]["epilogue"][0]["multiplier"] = [len(base().floats) // 4, 1]


@graph_attack("does not lie inside its tensor")
def quantize_multiplier_for_each_channel(root: Any) -> None:
    root["nodes"][7]["epilogue"][0]["multiplier"] = [0, 6]


@graph_attack("does not lie inside its tensor")
def quantize_multiplier_of_no_floats(root: Any) -> None:
    root["nodes"][7]["epilogue"][0]["multiplier"] = [0, 0]


@graph_attack("has the keys")
def quantize_without_a_zero(root: Any) -> None:
    del root["nodes"][7]["epilogue"][0]["zero"]


@graph_attack("has the keys")
def quantize_with_a_threshold(root: Any) -> None:
    root["nodes"][7]["epilogue"][0]["threshold"] = [0, 1]


@graph_attack("the next one is")
def quantize_that_skips_a_value(root: Any) -> None:
    root["nodes"][7]["epilogue"][0]["out"] = 11


@attack("more than 65536 taps")
def int8_window_of_two_taps_too_many(parts: Parts) -> bytes:
    return _int8_window(parts, depth=(1 << 15) + 1, kernel=[2, 1])


@attack("more than 65536 taps")
def int8_window_whose_sums_exceed_31_bits(parts: Parts) -> bytes:
    return _int8_window(parts, depth=8200, kernel=[3, 3])


def _int8_window(parts: Parts, depth: int, kernel: list[int]) -> bytes:
    """One 8-bit convolution, over a map of its kernel's size: a sum of 127 * 255 as often as it has taps."""
    root = json.loads(parts.text)
    taps = kernel[0] * kernel[1] * depth
    root["input"] = {"shape": [depth, *kernel]}
    root["nodes"] = [
        _identity(epilogue=[{"bits": 8, "multiplier": [0, 1], "op": "quantize", "out": 1, "zero": 255}]),
        _int8_node(root, channels=1, groups=1, kernel=kernel, weight=[0, taps], zero=0),
    ]
    root["outputs"] = [{"rank": 4, "value": 2}]
    return with_text(replace(parts, floats=bytes(4) + _ones(1), bits=b"\x7f" * taps), dump(root))


def _int8_node(root: Any, **fields: Any) -> dict[str, Any]:
    """An 8-bit convolution of value 1 that stores value 2; its floats are the second and later of the tensor."""
    plain = {"activation": [1, 1], "bias": [0, 0], "inputs": [1], "padding": [0] * 4, "stride": [1, 1]}
    scale = {"weight_scale": [1, fields["channels"]]}
    return {**root["nodes"][8], **plain, **scale, "epilogue": [{"op": "store", "out": 2}], **fields}


# ----------------------------------------------------------------------------------------------- detection
# Of every_operator: node 25 is a normalize, 26 a detect of two maps, (4, 5, 5) twice and (8, 5, 9) twice, of 3 labels.
def detect_attack(name: str, words: str, change: Callable[[dict[str, Any], Any], Any]) -> None:
    """Register a change of the detect node; it gets the whole object too."""
    ATTACKS[f"detect_{name}"] = (words, lambda: with_graph(lambda root: change(root["nodes"][26], root)))


def _set(key: str, value: Any) -> Callable[[dict[str, Any], Any], Any]:
    return lambda node, root: node.__setitem__(key, value)


detect_attack("without_labels", "labels are a list", _set("labels", []))
detect_attack("of_labels_that_are_no_list", "an array is expected", _set("labels", "boat"))
detect_attack("of_a_label_that_is_a_number", "a label", _set("labels", ["a", 2, "c"]))
detect_attack("of_an_empty_label", "a label", _set("labels", ["a", "", "c"]))
detect_attack("of_a_label_of_201_characters", "a label", _set("labels", ["a", "b", "c" * 201]))
detect_attack("of_4097_labels", "1 to 4096 strings", _set("labels", ["a"] * 4097))
detect_attack("of_a_label_too_many", "map 0 of 1 boxes and 5 classes", _set("labels", ["a"] * 4))
detect_attack("of_a_label_too_few", "map 0 of 1 boxes and 3 classes", _set("labels", ["a"] * 2))
detect_attack("without_maps", "twice as many inputs", _set("shapes", []))
detect_attack("of_a_map_too_few", "twice as many inputs", lambda node, root: node["shapes"].pop())
detect_attack("of_a_map_without_logits", "twice as many inputs", lambda node, root: node["inputs"].pop())
detect_attack("without_inputs", "twice as many inputs", _set("inputs", []))
detect_attack("of_66_inputs", "twice as many inputs", _set("inputs", [11, 25] * 33))
detect_attack("of_33_maps", "32", lambda node, root: _maps(node, 33))
detect_attack("of_bits", "as float32, but that value is bits", _set("inputs", [11, 25, 29, 30]))
detect_attack("of_a_value_not_made_yet", "made before it", _set("inputs", [11, 25, 29, 34]))
detect_attack("of_maps_the_other_way_round", "one height and width", _set("inputs", [11, 31, 29, 25]))
detect_attack("of_a_map_of_3_channels", "range", _set("inputs", [11, 25, 17, 31]))
detect_attack("of_shapes_of_two_boxes", "range", lambda node, root: node["shapes"][0].__setitem__(1, 4))
detect_attack("of_shapes_outside", "range", lambda node, root: node["shapes"][0].__setitem__(0, (1 << 31) - 2))
detect_attack("of_shapes_that_are_a_number", "integers are expected", _set("shapes", [3, 4]))
detect_attack("of_three_steps", "range", lambda node, root: node["steps"].__setitem__(1, 3))
detect_attack(
    "of_steps_by_map", "integers are expected", lambda node, root: node.__setitem__("steps", [node["steps"]] * 2)
)
detect_attack("of_shapes_of_any_sign", "above 0", lambda node, root: node["shapes"].__setitem__(0, _negative(root)))
detect_attack("of_variances_of_any_sign", "above 0", lambda node, root: node.__setitem__("variances", _negative(root)))
detect_attack(
    "of_thresholds_of_any_sign", "threshold", lambda node, root: node.__setitem__("thresholds", _negative(root))
)
detect_attack("without_candidates", "candidates", _set("candidates", 0))
detect_attack("of_too_many_candidates", "candidates", _set("candidates", (1 << 20) + 1))
detect_attack("without_rows", "keep", _set("keep", 0))
detect_attack("of_65537_rows", "keep", _set("keep", 65537))
detect_attack("of_rows_that_are_a_list", "keep", _set("keep", [12]))
detect_attack("with_a_field_more", "has the keys", _set("background", 0))


def _negative(root: Any) -> list[int]:
    """A range of two floats of which one is below 0: of the stem's weights."""
    floats = np.frombuffer(base().floats, np.float32)
    return next([i, 2] for i in range(len(floats) - 1) if floats[i] < 0)


def _maps(node: dict[str, Any], count: int) -> None:
    node["inputs"], node["shapes"] = [11, 25] * count, node["shapes"][:1] * count
    node["steps"] = [0, 2 * count]


@graph_attack("above 0")
def normalize_of_no_eps(root: Any) -> None:
    root["nodes"][25]["eps"] = [_negative(root)[0], 1]


@graph_attack("has the keys")
def normalize_over_an_axis(root: Any) -> None:
    root["nodes"][25]["axis"] = 1


@edge
def detect_of_no_suppression_and_all_rows(root: Any) -> None:
    """More rows and candidates than boxes."""
    root["nodes"][26].update(candidates=1 << 20, keep=1 << 16)


@edge
def detect_of_one_map_twice(root: Any) -> None:
    """Locations that are logits too."""
    node = root["nodes"][26]
    node.update(inputs=[11, 11, 29, 29], labels=["a", "b", "c"])


# ----------------------------------------------------------------------------------------------- fixed point
# Of every_operator: node 13 enters, 14 is a convolution, 15 and 16 pools, 17 and 18 copies.
def _one_and_a_half(root: Any) -> list[int]:
    """A range of one float that is no power of two."""
    return [root["nodes"][0]["weight"][0], 1]


@graph_attack("a power of two")
def fixed_scale_that_is_no_power_of_two(root: Any) -> None:
    root["nodes"][13]["epilogue"][0]["scale"] = _one_and_a_half(root)


@graph_attack("a power of two")
def fixed_weight_scale_that_is_no_power_of_two(root: Any) -> None:
    root["nodes"][14]["weight_scale"] = _one_and_a_half(root)


@graph_attack("has a scale that is not")
def fixed_result_finer_than_its_sums(root: Any) -> None:
    root["nodes"][15]["epilogue"][0]["scale"] = root["nodes"][16]["epilogue"][0]["scale"]


@graph_attack("`zero` is 0 to 15")
def fixed_zero_of_16_in_4_bits(root: Any) -> None:
    root["nodes"][15]["epilogue"][0]["zero"] = 16


@graph_attack("is not a step of a fixed-point node")
def sigmoid_of_integers(root: Any) -> None:
    root["nodes"][18]["epilogue"].insert(0, {"op": "sigmoid"})


@graph_attack("is not a step of a fixed-point node")
def quantize_of_integers(root: Any) -> None:
    step = {**root["nodes"][7]["epilogue"][0], "out": root["nodes"][18]["epilogue"][-1]["out"]}
    root["nodes"][18]["epilogue"][-1] = step


@graph_attack("as fixed, but that value is float32")
def float_added_to_integers(root: Any) -> None:
    root["nodes"][18]["epilogue"][0]["value"] = 3


@graph_attack("as float32, but that value is fixed")
def fixed_value_added_to_floats(root: Any) -> None:
    root["nodes"].append(_identity(inputs=[3], epilogue=[{"op": "add", "value": 18}, {"op": "store", "out": 35}]))


@graph_attack("as fixed, but that value is uint8")
def fixed_convolution_of_8_bit_codes(root: Any) -> None:
    root["nodes"][14]["inputs"] = [10]


@graph_attack("as uint8, but that value is fixed")
def int8_convolution_of_a_fixed_value(root: Any) -> None:
    root["nodes"].append({**root["nodes"][8], "inputs": [18], "epilogue": [{"op": "store", "out": 35}]})


@graph_attack("has the keys")
def fixed_convolution_with_a_zero(root: Any) -> None:
    root["nodes"][14]["zero"] = 0


@graph_attack("wholly outside")
def fixed_pool_outside_the_image(root: Any) -> None:
    root["nodes"][16]["padding"] = [2, 0, 0, 0]


# ----------------------------------------------------------------------------------------------- much from little
def _identity(**fields: Any) -> dict[str, Any]:
    return {"epilogue": [{"op": "add", "value": 0}], "inputs": [0], "name": "", "op": "identity", **fields}


@graph_attack("is 0 to 65536")
def padding_of_two_billion_channels(root: Any) -> None:
    root["nodes"].append(_identity(op="pad_channels", before=0, after=(1 << 31) - 1, inputs=[8]))


@graph_attack("elements are allowed")
def padding_of_a_large_map(root: Any) -> None:
    step = {"op": "clamp", "high": [0, 3], "low": [0, 3]}
    root["nodes"].append(_identity(op="pad_channels", before=0, after=60_000, inputs=[3], epilogue=[step]))
    root["input"]["shape"] = [3, 1000, 9]


@graph_attack("elements are allowed")
def input_of_more_than_16_million_elements(root: Any) -> None:
    root["input"]["shape"] = [3, 16384, 16384]


@graph_attack("is 1 to 65536|elements are allowed")
def input_of_two_billion_rows(root: Any) -> None:
    root["input"]["shape"] = [3, (1 << 31) - 1, 1]


@graph_attack("multiply-accumulates")
def pools_of_many_minutes(root: Any) -> None:
    root["input"] = {"shape": [3, 1000, 1000]}
    pool = {"inputs": [0], "kernel": [250, 250], "op": "max_pool", "padding": [0] * 4, "stride": [1, 1]}
    root["nodes"] = [_identity(**pool, epilogue=[{"op": "store", "out": out}]) for out in (1, 2, 3)]
    root["outputs"] = [{"rank": 4, "value": 1}]


@graph_attack("together have more than")
def sixty_four_outputs_of_one_large_value(root: Any) -> None:
    root["input"]["shape"] = [1, 1000, 1000]
    del root["input"]["transform"]
    root["nodes"] = [_identity(epilogue=[{"op": "store", "out": 1}])]
    root["outputs"] = [{"rank": 4, "value": 1}] * 64


@graph_attack("together have more than")
def a_thousand_large_values(root: Any) -> None:
    root["input"]["shape"] = [16, 300, 300]
    del root["input"]["transform"]
    root["nodes"] = [_identity(epilogue=[{"op": "store", "out": out}]) for out in range(1, 1001)]
    root["outputs"] = [{"rank": 4, "value": 1}]


@graph_attack("together have more than")
def row_sums_of_a_gigabyte(root: Any) -> None:
    """A mean is one number a channel, but an engine keeps a sum of every row."""
    root["input"]["shape"] = [1, 16384, 1]
    del root["input"]["transform"]
    means = [{"op": "mean", "out": out} for out in range(1, 1001)]
    root["nodes"] = [_identity(epilogue=means[at : at + 64]) for at in range(0, 1000, 64)]
    root["outputs"] = [{"rank": 4, "value": 1}]


def _binary_nodes(root: Any, count: int, *, channels: int, kernel: list[int], depth: int, **fields: Any) -> None:
    """Replace the nodes: the signs of the input, then `count` binary convolutions of one shared weight."""
    sign = _identity(epilogue=[{"op": "binarize", "flip": 0, "out": 1, "threshold": [0, 1]}])
    node = {
        "activation": [0, 2],
        "bias": [0, 0],
        "channels": channels,
        "dilation": [1, 1],
        "groups": 1,
        "inputs": [1],
        "kernel": kernel,
        "name": "",
        "op": "binary_conv2d",
        "stride": [1, 1],
        "weight": [0, -(-channels * kernel[0] * kernel[1] * depth // 8)],
        "weight_offset": [0, 0],
        "weight_scale": [0, channels],
        **fields,
    }
    root["nodes"] = [sign, *({**node, "epilogue": [{"op": "store", "out": 2 + number}]} for number in range(count))]
    root["outputs"] = [{"rank": 4, "value": 2}]


def _ones(count: int) -> bytes:
    return np.ones(count, "<f4").tobytes()


@attack("border classes")
def border_tables_of_a_gigabyte(parts: Parts) -> bytes:
    root = json.loads(parts.text)
    root["input"] = {"shape": [3, 40, 40]}
    _binary_nodes(root, 400, channels=1, kernel=[15, 15], padding=[14] * 4, depth=3)
    return with_text(replace(parts, floats=_ones(64), bits=bytes(85)), dump(root))


@attack("packed weights")
def packed_weights_much_larger_than_the_file(parts: Parts) -> bytes:
    # One channel a group: one bit of weight fills a word of 32 for each of 16 output channels.
    root = json.loads(parts.text)
    root["input"] = {"shape": [4096, 4, 4]}
    _binary_nodes(root, 200, channels=4096, kernel=[4, 4], padding=[0] * 4, depth=1, groups=4096)
    return with_text(replace(parts, floats=_ones(1 << 13), bits=bytes(1 << 13)), dump(root))


@attack("packed weights")
def packed_int8_weights_much_larger_than_the_file(parts: Parts) -> bytes:
    # One channel a group: one byte of weight fills a word of 4 for each of 16 output channels.
    root = json.loads(parts.text)
    root["input"] = {"shape": [4096, 4, 4]}
    node = _int8_node(root, channels=4096, groups=4096, kernel=[4, 4], weight=[0, 1 << 16])
    first = _identity(epilogue=[{"bits": 8, "multiplier": [0, 1], "op": "quantize", "out": 1, "zero": 0}])
    root["nodes"] = [first, *({**node, "epilogue": [{"op": "store", "out": 2 + n}]} for n in range(60))]
    root["outputs"] = [{"rank": 4, "value": 2}]
    return with_text(replace(parts, floats=_ones(1 << 13), bits=bytes(1 << 16)), dump(root))


# ----------------------------------------------------------------------------------------------- still allowed
@edge
def unchanged(root: Any) -> None:
    """The same graph, its text not deflated."""


@edge
def no_transform(root: Any) -> None:
    del root["input"]["transform"]


@edge
def name_of_200_characters(root: Any) -> None:
    root["nodes"][0]["name"] = "~" * 200


@edge
def node_without_a_name(root: Any) -> None:
    root["nodes"][0]["name"] = ""


@edge
def epilogue_of_64_steps(root: Any) -> None:
    root["nodes"][6]["epilogue"] = [{"op": "add", "value": 8}] * 63 + root["nodes"][6]["epilogue"][-1:]


@edge
def multiplications_of_every_kind(root: Any) -> None:
    """By a map, by one factor a channel, by both at once where the map is one pixel; by the node's own input."""
    product = [{"op": "multiply", "value": value} for value in (3, 13, 1, 13)]
    root["nodes"].append(_identity(inputs=[3], epilogue=[*product, {"op": "sigmoid"}, {"op": "mean", "out": 35}]))
    product = [{"op": "multiply", "value": value} for value in (12, 35, 12)]
    root["nodes"].append(_identity(inputs=[13], epilogue=[*product, {"op": "store", "out": 36}]))


@edge
def sixty_four_outputs(root: Any) -> None:
    root["outputs"] = [root["outputs"][0]] * 64


@edge
def concat_of_64(root: Any) -> None:
    root["nodes"][4]["inputs"] = [5] * 64
    for node in root["nodes"][5:7]:
        node["epilogue"] = [step for step in node["epilogue"] if step["op"] in ("store", "add")]


@edge
def stride_of_255(root: Any) -> None:
    root["nodes"].append(
        {
            "epilogue": [{"op": "store", "out": 35}],
            "inputs": [0],
            "kernel": [10, 9],
            "name": "",
            "op": "max_pool",
            "padding": [9, 8, 0, 0],
            "stride": [255, 255],
        }
    )


@edge
def window_of_padding_only(root: Any) -> None:
    """Convolutions, unlike pools, may look wholly outside the image."""
    root["nodes"].append({**root["nodes"][1], "padding": [255, 255, 255, 255], "stride": [255, 255], "kernel": [3, 2]})
    root["nodes"][-1]["epilogue"] = [{"op": "store", "out": 35}]


@edge
def model_of_one_character(root: Any) -> None:
    root["model"] = "a"


@edge
def crop_and_resize_of_16384(root: Any) -> None:
    root["input"]["transform"].update(crop=16384, resize=16384)


def edge_file(function: Callable[[Parts], bytes]) -> Callable[[Parts], bytes]:
    """Register a valid file made from the parts of the small one."""
    EDGES[function.__name__] = lambda: function(base())
    return function


@edge_file
def almost_all_the_memory_that_a_file_may_ask_for(parts: Parts) -> bytes:
    """Values close to MAX_TOTAL_ELEMENTS and packed weights close to MAX_PACKED, from a file of a few kilobytes."""
    root = json.loads(parts.text)
    root["input"] = {"shape": [16, 1024, 960]}
    _binary_nodes(root, 50, channels=4096, kernel=[4, 4], padding=[0] * 4, depth=1, groups=4096)
    copy = _identity(epilogue=[{"op": "store", "out": 1}, {"op": "binarize", "flip": 0, "out": 2, "threshold": [0, 1]}])
    pool = _identity(
        op="max_pool", kernel=[1, 1], padding=[0] * 4, stride=[255, 255], epilogue=[{"op": "store", "out": 3}]
    )
    wide = _identity(op="pad_channels", before=0, after=4080, inputs=[3])
    wide["epilogue"] = [{"op": "binarize", "flip": 0, "out": 4, "threshold": [0, 1]}]
    for number, node in enumerate(root["nodes"][1:]):
        node.update(inputs=[4], epilogue=[{"op": "store", "out": 5 + number}])
    root["nodes"] = [copy, pool, wide, *root["nodes"][1:]]
    root["outputs"] = [{"rank": 4, "value": 1}]
    return with_text(replace(parts, floats=_ones(1 << 13), bits=bytes(1 << 13)), dump(root))


@edge_file
def the_largest_int8_window(parts: Parts) -> bytes:
    """127 * 255 * 65,536 is just below 2^31."""
    return _int8_window(parts, depth=1 << 16, kernel=[1, 1])


@edge
def zero_points_of_255(root: Any) -> None:
    root["nodes"][7]["epilogue"][0]["zero"] = root["nodes"][8]["zero"] = 255


@edge
def int8_window_of_padding_only(root: Any) -> None:
    """Every tap holds the zero point: sums of 0."""
    root["nodes"].append({**root["nodes"][8], "padding": [255, 255, 255, 255], "stride": [255, 255]})
    root["nodes"][-1]["epilogue"] = [{"op": "store", "out": 35}]


@edge
def quantize_and_convolution_of_different_zero_points(root: Any) -> None:
    root["nodes"][8]["zero"] = 0


@edge_file
def int8_weights_of_a_binary_convolution_and_of_bytes_shared(parts: Parts) -> bytes:
    """One range of the bits tensor read as signs by one node and as 8-bit weights by another."""
    root = json.loads(parts.text)
    root["nodes"][8]["weight"][0] = 0
    return with_text(parts, dump(root))


@edge_file
def one_border_class_where_padding_counts(parts: Parts) -> bytes:
    """With a padding of zeros, their tables would be too large."""
    root = json.loads(parts.text)
    root["input"] = {"shape": [3, 40, 40]}
    _binary_nodes(root, 400, channels=1, kernel=[15, 15], padding=[14] * 4, depth=3, padding_mode="replicate")
    return with_text(replace(parts, floats=_ones(64), bits=bytes(85)), dump(root))


@edge_file
def the_largest_border_table(parts: Parts) -> bytes:
    root = json.loads(parts.text)
    root["input"] = {"shape": [3, 40, 40]}
    _binary_nodes(root, 310, channels=1, kernel=[15, 15], padding=[14] * 4, depth=3)
    return with_text(replace(parts, floats=_ones(64), bits=bytes(85)), dump(root))


@edge_file
def long_windows_of_few_pixels(parts: Parts) -> bytes:
    """Three windows of 16 MiB each, gathered, in a network whose values ask for 512 MiB with what surrounds them."""

    def read(name: str, value: int, out: int, depth: int, kernel: int, **fields: Any) -> Conv2d:
        weight, bias = np.ones((1, kernel, kernel, depth), np.float32), np.ones(1, np.float32)
        return Conv2d(name, [value], [Store(out)], weight=weight, bias=bias, **fields)

    wide: dict[str, Any] = {"padding": (200, 200, 200, 200), "stride": (255, 255)}
    nodes = [
        MaxPool("pool", [0], [Store(1)], kernel=(255, 255), stride=(255, 255)),
        MaxPool("pool again", [1], [Store(2)], kernel=(4, 4), stride=(4, 4)),
        PadChannels("widen", [2], [Store(3)], before=0, after=48),
        read("long", 3, 4, 64, 255, padding=(254, 255, 0, 255), stride=(1, 100)),
        Identity("copy", [0], [Store(5), Store(6)]),
        *(read(f"of {value}", value, 7 + k, 16, 1, **wide) for k, value in enumerate((0, 5, 6))),
    ]
    return artifact.encode(Graph("long", (16, 1024, 1024), nodes, [Output(9, 4)]))
