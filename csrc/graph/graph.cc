#include "graph/graph.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>

#include "base/error.h"
#include "base/memory.h"
#include "graph/container.h"
#include "graph/expand.h"
#include "graph/fields.h"
#include "graph/json.h"
#include "graph/limits.h"

namespace netsuke {
namespace {

struct Reader {
  Graph& g;
  int64_t total_elements = 0, work = 0, packed = 0, border_table = 0, float_left = 0, bits_left = 0;

  // A range of a tensor. Ranges may share elements, but only so many: a small file must not ask for much memory.
  Range floats(Fields& f, const char* key, int64_t count, bool or_zeros = false) {
    return counted(f.range(key, count, static_cast<int64_t>(g.floats.size()), or_zeros), f.where());
  }

  // The same of a range in a list.
  Range floats_of(const Json& pair, int64_t count, const std::string& where) {
    return counted(range_of(pair, count, static_cast<int64_t>(g.floats.size()), where), where);
  }

  Range counted(Range r, const std::string& where) {
    float_left -= r.count;
    check(float_left >= 0, where, "too much of the float32 tensor is shared");
    return r;
  }

  void count_elements(int64_t c, int64_t h, int64_t w, const std::string& where) {
    count_numbers(round_up(c, 16) * h * w, where);
  }

  void count_numbers(int64_t count, const std::string& where) {
    total_elements += count;
    check(total_elements <= MAX_TOTAL_ELEMENTS, where, "the values together are too large");
  }

  void check_shape(int64_t c, int64_t h, int64_t w, const std::string& where) const {
    check(c >= 1 && c <= MAX_CHANNELS && h >= 1 && h <= MAX_EXTENT && w >= 1 && w <= MAX_EXTENT &&
              round_up(c, 16) * h * w <= MAX_ELEMENTS,
          where, "its result's shape is out of bounds");
  }

  // rows: of the map that a mean is of; a sum of each is kept.
  void add_value(Kind kind, int64_t c, int64_t h, int64_t w, const std::string& where, int64_t rows = 0) {
    check_shape(c, h, w, where);
    count_elements(c, h + rows, w, where);
    g.values.push_back({kind, static_cast<int>(c), static_cast<int>(h), static_cast<int>(w)});
  }

  const Value& value(int64_t id, Kind kind, int64_t made, const std::string& where) const {
    check(id >= 0 && id < made, where, "a value is read before it is made");
    const Value& v = g.values[static_cast<size_t>(id)];
    constexpr const char* kNames[] = {"float32", "bits", "uint8", "fixed"};
    if (v.kind != kind) refuse(where, std::string("it reads a value that is not ") + kNames[static_cast<int>(kind)]);
    return v;
  }

  void transform(const Json& json) {
    Fields f(json, "input.transform");
    g.has_transform = true;
    g.crop = static_cast<int>(f.integer("crop", 0, MAX_EXTENT));
    g.resize = static_cast<int>(f.integer("resize", 0, MAX_EXTENT));
    if (f.has("fit")) check(f.text("fit") == "stretch", f.where(), "unknown fit");
    const std::string& interpolation = f.text("interpolation");
    check(interpolation == "bilinear" || interpolation == "bicubic", f.where(), "unknown interpolation");
    const std::string& order = f.text("order");
    check(order == "RGB" || order == "BGR", f.where(), "unknown channel order");
    g.reverse = order == "BGR";
    g.scale = floats(f, "scale", g.channels);
    g.shift = floats(f, "shift", g.channels);
    f.done();
  }

  void input(const Json& json) {
    Fields f(json, "input");
    int shape[3];
    f.integers("shape", shape, 1, MAX_CHANNELS);
    g.channels = shape[0], g.height = shape[1], g.width = shape[2];
    add_value(Kind::float32, g.channels, g.height, g.width, f.where());
    if (json.find("transform")) transform(f.get("transform", Json::Kind::object));
    f.done();
  }

  // Extent of the result along one axis; refuses one below 1.
  static int64_t extent(int64_t in, int before, int after, int kernel, int stride, int dilation, const std::string& where) {
    const int64_t span = in + before + after - int64_t{dilation} * (kernel - 1) - 1;
    check(span >= 0, where, "the kernel is larger than the padded image");
    return span / stride + 1;
  }

  void window(Fields& f, Node& n, const Value& in) {
    f.integers("kernel", n.kernel, 1, MAX_KERNEL);
    f.integers("stride", n.stride, 1, MAX_KERNEL);
    f.integers("padding", n.padding, 0, MAX_KERNEL);
    const int64_t h = extent(in.height, n.padding[0], n.padding[2], n.kernel[0], n.stride[0], n.dilation[0], f.where());
    const int64_t w = extent(in.width, n.padding[1], n.padding[3], n.kernel[1], n.stride[1], n.dilation[1], f.where());
    check(h <= MAX_EXTENT && w <= MAX_EXTENT, f.where(), "its result's shape is out of bounds");
    n.out_h = static_cast<int>(h), n.out_w = static_cast<int>(w);
  }

  static int bits(Fields& f) {
    const int64_t bits = f.integer("bits", 4, 8);
    check(bits == 4 || bits == 8, f.where(), "'bits' is neither 4 nor 8");
    return static_cast<int>(bits);
  }

  void convolution(Fields& f, Node& n, const Value& in) {
    const bool binary = n.op == Op::binary_conv2d, fixed = n.op == Op::fixed_conv2d, int8 = n.op == Op::int8_conv2d || fixed;
    f.integers("dilation", n.dilation, 1, MAX_KERNEL);
    window(f, n, in);
    n.channels = static_cast<int>(f.integer("channels", 1, MAX_CHANNELS));
    n.groups = static_cast<int>(f.integer("groups", 1, MAX_CHANNELS));
    check(in.channels % n.groups == 0 && n.channels % n.groups == 0, f.where(), "groups do not divide the channels");
    const int64_t of_group = in.channels / n.groups, length = of_group * n.kernel[0] * n.kernel[1];
    check(length <= (fixed ? MAX_FIXED_WINDOW : int8 ? MAX_INT8_WINDOW : MAX_WINDOW), f.where(), "the window is too large");
    n.bias = floats(f, "bias", n.channels, true);
    const int64_t words = int64_t{n.kernel[0]} * n.kernel[1] * (binary ? (of_group + 31) / 32 : int8 ? (of_group + 3) / 4 : of_group);
    packed += n.groups * round_up(n.channels / n.groups, 16) * (4 + words);
    check(packed <= MAX_PACKED, f.where(), "the weights together are too large");
    const int64_t weights = n.channels * length;
    if (!binary && !int8) {
      n.weight = floats(f, "weight", weights);
      n.weight_scale = floats(f, "weight_scale", n.channels, true);
      if (!n.weight_scale.count) return;
      const float* weight = g.floats.data() + n.weight.offset;
      const float* scale = g.floats.data() + n.weight_scale.offset;
      for (int64_t k = 0; k < weights; ++k)
        check(std::isfinite(weight[k] * scale[k / length]), f.where(), "a weight times its scale is not finite");
      return;
    }
    if (int8) n.weight_bits = bits(f);
    const int64_t bytes = binary ? (weights + 7) / 8 : (weights * n.weight_bits + 7) / 8;
    n.weight = f.range("weight", bytes, static_cast<int64_t>(g.bits.size()));
    bits_left -= n.weight.count;
    check(bits_left >= 0, f.where(), "too much of the bits tensor is shared");
    if (!fixed) n.activation = floats(f, "activation", binary ? 2 : 1);
    n.weight_scale = fixed ? floats_or_one(f, "weight_scale", n.channels) : floats(f, "weight_scale", n.channels);
    if (int8) {
      if (fixed)
        fixed_units(f, n, in);
      else
        n.zero = static_cast<int>(f.integer("zero", 0, 255));
      const uint8_t* from = g.bits.data() + n.weight.offset;
      if (n.weight_bits == 8) {
        check(!std::memchr(from, 0x80, static_cast<size_t>(weights)), f.where(), "a weight is -128");
        return;
      }
      for (int64_t k = 0; k < weights; ++k) check(half_byte(from, k) != -8, f.where(), "a weight is -8");
      check(weights % 2 == 0 || from[bytes - 1] >> 4 == 0, f.where(), "there is half a byte past the last weight");
      return;
    }
    if (weights % 8)
      check(g.bits[static_cast<size_t>(n.weight.offset + n.weight.count - 1)] >> (weights % 8) == 0, f.where(),
            "there are bits past the last weight");
    check(g.floats[static_cast<size_t>(n.activation.offset)] != 0, f.where(), "alpha_a is 0");
    n.weight_offset = floats(f, "weight_offset", n.channels, true);
    if (f.has("padding_mode")) {
      const std::string& mode = f.text("padding_mode");
      check(mode == "ones" || mode == "replicate", f.where(), "unknown padding_mode");
      n.outside = mode == "ones" ? Outside::ones : Outside::replicate;
    }
    const size_t rows = border_axis(n, in, 0).classes.size(), columns = border_axis(n, in, 1).classes.size();
    border_table += static_cast<int64_t>(rows * columns) * round_up(n.channels, 16);
    check(border_table <= MAX_BORDER_TABLE, f.where(), "there are too many border classes");
  }

  // F[count] or F[1].
  Range floats_or_one(Fields& f, const char* key, int64_t count) {
    const std::vector<Json>& range = f.array(key, 2, 2);
    const bool one = range[1].kind == Json::Kind::integer && range[1].number == 1;
    Fields again = f.again();
    return floats(again, key, one ? 1 : count);
  }

  // log2 of a scale, which is a power of two.
  static int exponent_of(float scale, const std::string& where) {
    int exponent;
    const float fraction = std::frexp(scale, &exponent);
    check(fraction == 0.5f && exponent - 1 >= -MAX_EXPONENT && exponent - 1 <= MAX_EXPONENT, where, "a scale is not a power of two");
    return exponent - 1;
  }

  static void check_shift(int bits, const std::string& where) {
    check(bits >= 0 && bits <= MAX_SHIFT, where, "scales do not lie as they should");
  }

  void fixed_units(Fields& f, Node& n, const Value& in) {
    n.zero = in.zero;
    for (int64_t k = 0; k < n.weight_scale.count; ++k)
      n.unit.push_back(in.exponent + exponent_of(g.floats[static_cast<size_t>(n.weight_scale.offset + k)], f.where()));
    for (int o = 0; n.bias.count && o < n.channels; ++o) {
      const double whole = std::nearbyint(std::ldexp(g.floats[static_cast<size_t>(n.bias.offset + o)], -n.unit_of(o)));
      check(std::fabs(whole) <= MAX_BIAS, f.where(), "a bias is too large");
    }
  }

  void pooling(Fields& f, Node& n, const Value& in) {
    n.channels = in.channels;
    if (n.op == Op::average_pool) {
      const std::string& divisor = f.text("divisor");
      check(divisor == "inside" || divisor == "window", f.where(), "unknown divisor");
      n.inside_divisor = divisor == "inside";
    }
    window(f, n, in);
    for (int axis = 0; axis < 2; ++axis) {
      const BorderAxis b = border_axis(axis ? in.width : in.height, axis ? n.out_w : n.out_h, n.kernel[axis],
                                       n.stride[axis], n.padding[axis], 1);
      for (const BorderAxis::Class& c : b.classes) check(c.first < c.end, f.where(), "a window lies outside the image");
    }
    if (n.op != Op::fixed_average_pool) return;
    const int taps = n.kernel[0] * n.kernel[1];
    int shift = 0;
    while (1 << shift < taps) ++shift;
    if (1 << shift != taps) shift = kAverageBits, n.multiplier = (2 * (1 << kAverageBits) + taps) / (2 * taps);
    n.unit[0] -= shift;
  }

  void step(const Json& json, Node& n, int64_t made, const std::string& where) {
    Fields f(json, where);
    const std::string& op = f.text("op");
    Step s;
    const int64_t c = n.channels;
    if (op == "affine") {
      s.kind = StepKind::affine;
      s.a = floats(f, "scale", c), s.b = floats(f, "shift", c);
    } else if (op == "two_slope") {
      s.kind = StepKind::two_slope;
      s.a = floats(f, "positive", c), s.b = floats(f, "negative", c);
    } else if (op == "clamp") {
      s.kind = StepKind::clamp;
      s.a = floats(f, "low", c), s.b = floats(f, "high", c);
    } else if (op == "add") {
      s.kind = StepKind::add;
      s.value = static_cast<int>(f.integer("value", 0, MAX_INTEGER));
      const Value& v = value(s.value, n.fixed() ? Kind::fixed : Kind::float32, made, where);
      check(v.channels == c && v.height == n.out_h && v.width == n.out_w, where, "the shapes of a sum differ");
      for (int unit : n.unit) check_shift(v.exponent - unit, where);
    } else if (op == "multiply") {
      s.kind = StepKind::multiply;
      s.value = static_cast<int>(f.integer("value", 0, MAX_INTEGER));
      const Value& v = value(s.value, Kind::float32, made, where);
      const bool gate = v.height == 1 && v.width == 1;
      check(v.channels == c && (gate || (v.height == n.out_h && v.width == n.out_w)), where, "the shapes of a product differ");
    } else if (op == "sigmoid") {
      s.kind = StepKind::sigmoid;
    } else if (op == "mean") {
      s.kind = StepKind::mean;
      s.value = static_cast<int>(f.integer("out", 0, MAX_INTEGER));
      check(s.value == static_cast<int64_t>(g.values.size()), where, "values are not numbered in order");
      add_value(Kind::float32, c, 1, 1, where, n.out_h);
    } else if (op == "binarize" || op == "quantize" || op == "to_fixed" || op == "store") {
      s.kind = op == "store"      ? StepKind::store
               : op == "quantize" ? StepKind::quantize
               : op == "to_fixed" ? StepKind::to_fixed
                                  : StepKind::binarize;
      s.value = static_cast<int>(f.integer("out", 0, MAX_INTEGER));
      check(s.value == static_cast<int64_t>(g.values.size()), where, "values are not numbered in order");
      if (s.kind == StepKind::binarize) {
        s.flip = f.integer("flip", 0, 1);
        s.a = floats_or_one(f, "threshold", c);
      }
      if (s.kind == StepKind::quantize || s.kind == StepKind::to_fixed) {
        const bool fixed = s.kind == StepKind::to_fixed;
        const float number = g.floats[static_cast<size_t>(floats(f, fixed ? "scale" : "multiplier", 1).offset)];
        s.exponent = fixed ? exponent_of(number, where) : 0;
        s.multiplier = fixed ? 1 / number : number;
        for (int unit : n.unit) check_shift(s.exponent - unit, where);
        s.most = (1 << bits(f)) - 1;
        s.zero = static_cast<int>(f.integer("zero", 0, s.most));
      }
      const Kind kind = s.kind == StepKind::binarize   ? Kind::bits
                        : s.kind == StepKind::quantize ? Kind::uint8
                        : s.kind == StepKind::to_fixed ? Kind::fixed
                                                       : Kind::float32;
      add_value(kind, c, n.out_h, n.out_w, where);
      g.values.back().zero = s.zero, g.values.back().exponent = s.exponent;
    } else {
      refuse(where, "there is no step '" + op + "'");
    }
    f.done();
    const bool of_integers = s.kind == StepKind::add || s.kind == StepKind::clamp || s.kind == StepKind::store || s.kind == StepKind::to_fixed;
    check(!n.fixed() || of_integers, where, "a fixed-point node has no such step");
    n.epilogue.push_back(s);
  }

  static int64_t least_inputs(Op op) { return op == Op::logic || op == Op::detect ? 2 : 1; }

  static int64_t most_inputs(Op op) {
    const bool any = op == Op::concat || op == Op::fixed_copy || op == Op::gather || op == Op::detect;
    return any ? MAX_INPUTS : op == Op::logic ? 2 : 1;
  }

  // A range of numbers above 0.
  Range positive(Fields& f, const char* key, int64_t count) {
    const Range r = floats(f, key, count);
    check_positive(r, f.where());
    return r;
  }

  void check_positive(Range r, const std::string& where) const {
    const float* first = g.floats.data() + r.offset;
    check(std::all_of(first, first + r.count, [](float x) { return x > 0; }), where, "a number is not above 0");
  }

  void detection(Fields& f, Node& n) {
    Detection& d = n.detection;
    const std::vector<Json>& labels = f.array("labels", 1, MAX_LABELS);
    for (const Json& label : labels) {
      check(label.kind == Json::Kind::string, f.where(), "a label is no string");
      check(!label.text.empty() && static_cast<int64_t>(label.text.size()) <= MAX_NAME, f.where(), "a label is empty or too long");
    }
    d.classes = static_cast<int>(labels.size()) + 1;
    const int64_t maps = static_cast<int64_t>(n.inputs.size()) / 2;
    check(n.inputs.size() % 2 == 0, f.where(), "a map has no logits");
    int64_t boxes = 0;
    const std::vector<Json>& shapes = f.array("shapes", maps, maps);
    for (size_t m = 0; m < shapes.size(); ++m) {
      const Value& located = g.values[static_cast<size_t>(n.inputs[2 * m])];
      const Value& logits = g.values[static_cast<size_t>(n.inputs[2 * m + 1])];
      const int64_t count = located.channels / 4;
      check(count >= 1 && located.channels % 4 == 0 && logits.channels == count * d.classes && logits.height == located.height &&
                logits.width == located.width,
            f.where(), "the shapes of a map's locations and logits do not fit");
      d.shapes.push_back(floats_of(shapes[m], 2 * count, f.where()));
      check_positive(d.shapes.back(), f.where());
      boxes += count * located.height * located.width;
    }
    check(boxes <= MAX_BOXES, f.where(), "there are too many boxes");
    d.boxes = static_cast<int>(boxes);
    d.steps = positive(f, "steps", 2 * maps);
    d.variances = positive(f, "variances", 2);
    const float* thresholds = g.floats.data() + floats(f, "thresholds", 2).offset;
    d.score_threshold = thresholds[0], d.iou_threshold = thresholds[1];
    for (int k = 0; k < 2; ++k) check(thresholds[k] >= 0 && thresholds[k] <= 1, f.where(), "a threshold is not 0 to 1");
    d.candidates = static_cast<int>(f.integer("candidates", 1, MAX_BOXES));
    d.keep = static_cast<int>(f.integer("keep", 1, MAX_CHANNELS));
    count_numbers(boxes * (3 * d.classes + 8), f.where());
    const int64_t most = std::min<int64_t>(d.candidates, boxes);
    work += boxes * d.classes + (d.classes - 1) * most * most;
    n.channels = d.keep, n.out_h = 6, n.out_w = 1;
  }

  bool is_bits(const Json& id) const {
    const bool made = id.kind == Json::Kind::integer && id.number < static_cast<int64_t>(g.values.size());
    return made && g.values[static_cast<size_t>(id.number)].kind == Kind::bits;
  }

  // The channels that a gather takes of so many. Returns their number.
  int64_t gathered(Fields& f, Node& n, int64_t of) {
    constexpr int64_t kPackedOfAChannel = 8;
    for (const Json& piece : f.array("pieces", 1, MAX_CHANNELS)) {
      check(piece.kind == Json::Kind::array && piece.items.size() >= 2, f.where(), "a piece is not a count and channels");
      for (const Json& number : piece.items) check(number.kind == Json::Kind::integer, f.where(), "a piece holds no number");
      const int64_t count = piece.items[0].number, runs = static_cast<int64_t>(piece.items.size()) - 1;
      check(count >= 1 && count <= of, f.where(), "a piece lies outside the channels");
      for (int64_t k = 1; k <= runs; ++k)
        check(piece.items[static_cast<size_t>(k)].number <= of - count, f.where(), "a piece lies outside the channels");
      check(static_cast<int64_t>(n.index.size()) + count * runs <= MAX_CHANNELS, f.where(), "there are too many channels");
      for (int64_t i = 0; i < count; ++i)
        for (int64_t k = 1; k <= runs; ++k)
          n.index.push_back(static_cast<int>(piece.items[static_cast<size_t>(k)].number + i));
    }
    packed += kPackedOfAChannel * static_cast<int64_t>(n.index.size());
    check(packed <= MAX_PACKED, f.where(), "the weights together are too large");
    return static_cast<int64_t>(n.index.size());
  }

  void node(const Json& json, size_t index) {
    Fields f(json, "node " + std::to_string(index));
    Node n;
    n.op_name = f.text("op"), n.name = f.text("name");
    check(static_cast<int64_t>(n.name.size()) <= MAX_NAME, f.where(), "its name is too long");
    constexpr const char* kOps[] = {"conv2d",         "binary_conv2d",      "int8_conv2d", "fixed_conv2d",
                                    "fixed_max_pool", "fixed_average_pool", "fixed_copy",  "max_pool",
                                    "average_pool",   "pad_channels",       "concat",      "gather",
                                    "logic",          "identity",           "normalize",   "detect"};
    size_t op = 0;
    while (op < std::size(kOps) && n.op_name != kOps[op]) ++op;
    if (op == std::size(kOps)) refuse(f.where(), "there is no operator '" + n.op_name + "'");
    n.op = static_cast<Op>(op);

    const int64_t made = static_cast<int64_t>(g.values.size());
    const std::vector<Json>& inputs = f.array("inputs", least_inputs(n.op), most_inputs(n.op));
    const Kind reads = n.op == Op::binary_conv2d || n.op == Op::logic || (n.op == Op::gather && is_bits(inputs[0]))
                           ? Kind::bits
                       : n.op == Op::int8_conv2d ? Kind::uint8
                       : n.fixed()               ? Kind::fixed
                                                 : Kind::float32;
    for (const Json& id : inputs) {
      check(id.kind == Json::Kind::integer, f.where(), "an input is not a number");
      value(id.number, reads, made, f.where());
      n.inputs.push_back(static_cast<int>(id.number));
    }
    const Value in = g.values[static_cast<size_t>(n.inputs[0])];
    n.channels = in.channels, n.out_h = in.height, n.out_w = in.width;
    if (n.convolves()) {
      convolution(f, n, in);
    } else if (n.pools()) {
      if (n.fixed()) n.zero = in.zero, n.unit = {in.exponent};
      pooling(f, n, in);
    } else if (n.op == Op::logic) {
      const std::string& kind = f.text("kind");
      check(kind == "xnor" || kind == "or", f.where(), "unknown kind");
      n.either = kind == "or";
      const Value& other = g.values[static_cast<size_t>(n.inputs[1])];
      check(other.channels == in.channels && other.height == in.height && other.width == in.width, f.where(),
            "the shapes of its inputs differ");
    } else if (n.op == Op::normalize) {
      n.eps = g.floats[static_cast<size_t>(positive(f, "eps", 1).offset)];
    } else if (n.op == Op::detect) {
      detection(f, n);
    } else if (n.op != Op::identity) {
      int64_t channels = 0;
      if (n.op == Op::pad_channels || n.op == Op::fixed_copy) {
        n.before = static_cast<int>(f.integer("before", 0, MAX_CHANNELS));
        channels = n.before + f.integer("after", 0, MAX_CHANNELS);
      }
      if (n.fixed()) n.unit = {in.exponent};
      for (int id : n.inputs) {
        const Value& v = g.values[static_cast<size_t>(id)];
        check(v.height == in.height && v.width == in.width, f.where(), "the maps to concatenate differ in size");
        channels += v.channels;
        if (n.fixed()) n.unit[0] = std::min(n.unit[0], v.exponent);
      }
      for (int id : n.inputs)
        if (n.fixed()) check_shift(g.values[static_cast<size_t>(id)].exponent - n.unit[0], f.where());
      if (n.op == Op::gather) channels = gathered(f, n, channels);
      check(channels <= MAX_CHANNELS, f.where(), "there are too many channels");
      n.channels = static_cast<int>(channels);
    }
    check_shape(n.channels, n.out_h, n.out_w, f.where());
    const std::vector<Json>& steps = f.array("epilogue", 1, MAX_STEPS);
    int64_t taps = n.op == Op::normalize;  // of one element of the result
    if (n.convolves()) taps = int64_t{n.kernel[0]} * n.kernel[1] * (in.channels / n.groups);
    if (n.pools()) taps = int64_t{n.kernel[0]} * n.kernel[1];
    work += int64_t{n.channels} * n.out_h * n.out_w * (taps + static_cast<int64_t>(steps.size()));
    check(work <= MAX_MACS, f.where(), "the network needs too many operations");
    bool writes = false;
    for (size_t k = 0; k < steps.size(); ++k) {
      step(steps[k], n, made, f.where() + ", step " + std::to_string(k));
      writes = writes || n.epilogue.back().writes();
    }
    check(writes, f.where(), "it writes nothing");
    f.done();
    g.nodes.push_back(std::move(n));
  }

  void read(Fields& f) {
    float_left = static_cast<int64_t>(g.floats.size()) + MAX_SHARED;
    bits_left = static_cast<int64_t>(g.bits.size()) + MAX_SHARED;
    g.model = f.text("model");
    check(!g.model.empty() && static_cast<int64_t>(g.model.size()) <= MAX_NAME, f.where(), "the model's name is empty or too long");
    input(f.get("input", Json::Kind::object));
    const std::vector<Json>& nodes = f.array("nodes", 1, MAX_NODES);
    for (size_t i = 0; i < nodes.size(); ++i) node(nodes[i], i);
    for (const Json& output : f.array("outputs", 1, MAX_OUTPUTS)) {
      Fields o(output, "outputs");
      const int id = static_cast<int>(o.integer("value", 1, MAX_INTEGER));
      const Value& v = value(id, Kind::float32, static_cast<int64_t>(g.values.size()), o.where());
      count_elements(v.channels, v.height, v.width, o.where());
      const int rank = static_cast<int>(o.integer("rank", 2, 4));
      check(rank != 3 || v.width == 1, o.where(), "an output of rank 3 has a width");
      o.done();
      g.outputs.push_back({id, rank});
    }
    f.done();
  }
};

}  // namespace

BorderAxis border_axis(int extent, int out, int kernel, int stride, int pad, int dilation) {
  BorderAxis axis;
  axis.of.resize(static_cast<size_t>(out));
  for (int p = 0; p < out; ++p) {
    // Tap k lies inside while 0 <= p * stride - pad + k * dilation < extent.
    const int64_t origin = int64_t{p} * stride - pad;
    int64_t first = origin >= 0 ? 0 : (-origin + dilation - 1) / dilation;
    int64_t end = origin >= extent ? 0 : (extent - 1 - origin) / dilation + 1;
    if (end > kernel) end = kernel;
    if (first > end) first = end = 0;
    if (first == end) first = end = 0;  // no tap: one class, wherever it is
    const BorderAxis::Class c = {static_cast<int>(first), static_cast<int>(end)};
    size_t i = 0;
    while (i < axis.classes.size() && (axis.classes[i].first != c.first || axis.classes[i].end != c.end)) ++i;
    if (i == axis.classes.size()) axis.classes.push_back(c);
    axis.of[static_cast<size_t>(p)] = static_cast<int>(i);
  }
  return axis;
}

BorderAxis border_axis(const Node& n, const Value& in, int axis) {
  const int out = axis ? n.out_w : n.out_h;
  if (n.outside != Outside::zeros) return {{{0, n.kernel[axis]}}, std::vector<int>(static_cast<size_t>(out), 0)};
  return border_axis(axis ? in.width : in.height, out, n.kernel[axis], n.stride[axis], n.padding[axis], n.dilation[axis]);
}

Graph read_graph(const uint8_t* data, size_t size, int threads) {
  const Container c = open_container(data, size);
  Graph g;
  const Json json = parse_json(c.graph);
  if (json.find("tables")) fail("it holds embedding tables, no network. Open it with netsuke.load_embeddings.");
  Fields f(json, "the top");
  expand(f, c, g, threads);
  Reader{g}.read(f);
  return g;
}

}  // namespace netsuke
