// The graph of a file, checked: what artifact/graph.py is in Python. Every number in it is inside its bounds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/memory.h"
#include "kernels/kernels.h"

namespace netsuke {

struct Range {
  int64_t offset = 0, count = 0;
};

enum class StepKind { affine, add, multiply, two_slope, sigmoid, clamp, binarize, quantize, to_fixed, store, mean };

struct Step {
  StepKind kind;
  Range a, b;         // affine scale, shift; two_slope positive, negative; clamp low, high; binarize threshold
  int value = 0;      // add, multiply: the value read; binarize, quantize, store, mean: the value made
  bool flip = false;
  int zero = 0, most = 255;  // quantize, to_fixed: the code of 0, the largest one
  float multiplier = 0;      // quantize
  int exponent = 0;          // to_fixed: its scale is 2^exponent

  bool reads() const { return kind == StepKind::add || kind == StepKind::multiply; }
  bool writes() const { return writes_map() || kind == StepKind::mean; }
  bool writes_map() const {
    return kind == StepKind::binarize || kind == StepKind::quantize || kind == StepKind::to_fixed || kind == StepKind::store;
  }
};

enum class Op {
  conv2d,
  binary_conv2d,
  int8_conv2d,
  fixed_conv2d,
  fixed_max_pool,
  fixed_average_pool,
  fixed_copy,
  max_pool,
  average_pool,
  pad_channels,
  concat,
  gather,
  logic,
  identity,
  normalize,
  detect
};

// Of a detect. shapes: by map, pairs of a width and a height; steps: a pair a map.
struct Detection {
  std::vector<Range> shapes;
  Range steps, variances;
  int classes = 0, boxes = 0, candidates = 0, keep = 0;
  float score_threshold = 0, iou_threshold = 0;
};

// What the taps outside the image see, a binary convolution's padding_mode: nothing, +1, or the nearest pixel.
enum class Outside { zeros, ones, replicate };

constexpr int kAverageBits = 22;  // of the fraction by which a fixed_average_pool multiplies

struct Node {
  Op op;
  std::string op_name, name;
  std::vector<int> inputs;
  std::vector<Step> epilogue;
  int channels = 0;              // of the result
  int out_h = 0, out_w = 0;
  int kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1}, padding[4] = {0, 0, 0, 0};
  int groups = 1;
  Outside outside = Outside::zeros;
  Range weight, bias, activation, weight_offset, weight_scale;
  int zero = 0, weight_bits = 8;  // int8_conv2d, fixed_conv2d: of what it reads, of a weight
  std::vector<int> unit;         // of a fixed-point node, by channel or one for all: 1 stands for 2^unit
  int multiplier = 1;            // fixed_average_pool
  bool inside_divisor = false;
  int before = 0;                // pad_channels
  std::vector<int> index;        // gather: which of the inputs' channels
  bool either = false;           // logic: or, else xnor
  float eps = 0;                 // normalize
  Detection detection;

  bool convolves() const { return op <= Op::fixed_conv2d; }
  bool fixed() const { return op >= Op::fixed_conv2d && op <= Op::fixed_copy; }
  bool pools() const {
    return op == Op::max_pool || op == Op::average_pool || op == Op::fixed_max_pool || op == Op::fixed_average_pool;
  }
  int unit_of(int channel) const { return unit.size() == 1 ? unit[0] : unit[static_cast<size_t>(channel)]; }
};

enum class Kind { float32, bits, uint8, fixed };

struct Value {
  Kind kind;
  int channels, height, width;
  int zero = 0, exponent = 0;  // of a fixed-point value, which stands for (q - zero) * 2^exponent
  int64_t elements() const { return int64_t{channels} * height * width; }
  bool coded() const { return kind == Kind::uint8 || kind == Kind::fixed; }  // one byte a number
};

struct Output {
  int value, rank;
};

struct Graph {
  std::string model;
  int channels, height, width;   // of the input
  bool has_transform = false, reverse = false;
  int resize = 0, crop = 0;
  Range scale, shift;
  std::vector<Node> nodes;
  std::vector<Output> outputs;
  std::vector<Value> values;     // by id
  Buffer<float> floats;
  Buffer<uint8_t> bits;          // binary and 8-bit weights; has slack
};

// Weight k of the 4-bit ones that begin at `bytes`.
inline int half_byte(const uint8_t* bytes, int64_t k) { return ((bytes[k / 2] >> (k % 2 * 4) & 15) ^ 8) - 8; }

// Reads and checks a whole file. Throws Error on anything that docs/format.md does not allow.
Graph read_graph(const uint8_t* data, size_t size, int threads);

// The distinct sets of kernel taps inside the image along one axis, and which of them each result row (column) has.
struct BorderAxis {
  struct Class {
    int first, end;
  };
  std::vector<Class> classes;
  std::vector<int> of;  // by row
};
BorderAxis border_axis(int extent, int out, int kernel, int stride, int pad, int dilation);

// Of a binary convolution's rows (axis 0) or columns. Where taps outside the image count like others there is one class.
BorderAxis border_axis(const Node& convolution, const Value& input, int axis);

}  // namespace netsuke
