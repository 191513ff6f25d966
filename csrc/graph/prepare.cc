#include "graph/prepare.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "graph/codebook.h"

namespace netsuke {
namespace {

constexpr int64_t kWindowBytes = 32 << 10;  // a chunk's gathered windows should stay in the first cache
constexpr int64_t kTileBytes = 24 << 10;  // a chunk of the result, while it is in the tile
constexpr int kMostPixels = 480, kTilePixels = 12;
constexpr int64_t kMostRowBytes = 4 << 20;  // of one row in the tile, or of its gathered windows

// A copy of part of the graph's floats: the graph gives its arrays back once all tasks are prepared.
const float* keep(Task& t, const Graph& g, Range r) {
  if (r.count == 0) return nullptr;
  t.kept.emplace_back(static_cast<size_t>(r.count));
  std::copy_n(g.floats.data() + r.offset, r.count, t.kept.back().data());
  return t.kept.back().data();
}

Window window_of(const Node& n, const Value& in) {
  return {in.height,   in.width,    n.out_h,      n.out_w,      n.kernel[0],   n.kernel[1],  n.stride[0],
          n.stride[1], n.padding[0], n.padding[1], n.dilation[0], n.dilation[1]};
}

// Cuts the work of a node into units: chunks of pixels whose windows fit the cache, and shares of the channel blocks
// where there are too few chunks for the threads.
void cut(Task& t, const Node& n, int64_t window_bytes, int64_t tile_floats, int blocks, int threads) {
  const int pixels = n.out_h * n.out_w;
  int64_t most = kTileBytes / (4 * tile_floats) / kTilePixels * kTilePixels;
  if (window_bytes > 0) most = std::min(most, kWindowBytes / window_bytes / kTilePixels * kTilePixels);
  most = std::clamp<int64_t>(most, window_bytes > (1 << 20) ? 1 : 2 * kTilePixels, kMostPixels);
  const int wanted = threads == 1 ? 1 : 2 * threads;
  int chunks = static_cast<int>((pixels + most - 1) / most);
  int splits = 1;
  if (chunks < wanted) splits = std::min(blocks, (wanted + chunks - 1) / chunks);
  if (chunks * splits < wanted && most > 1) chunks = std::min((pixels + kTilePixels - 1) / kTilePixels, wanted);
  int chunk = (pixels + chunks - 1) / chunks;
  if (chunk > 1 && most > 1) chunk = static_cast<int>(round_up(chunk, kTilePixels));
  bool in_order = false;
  if (!t.means.empty()) {
    // Whole rows, so that no two units share one. Where a row is too long, units run in order.
    in_order = n.out_w > kMostPixels || std::max(window_bytes, 4 * tile_floats) * n.out_w > kMostRowBytes;
    const int rows = std::max(1, (chunk + n.out_w / 2) / n.out_w);
    if (!in_order) chunk = std::min(rows, n.out_h) * n.out_w;
  }
  t.units = {pixels, chunk, splits, (pixels + chunk - 1) / chunk * splits, in_order};
  // Register tiles are computed whole. Of the longest windows only one is computed at a time, in a tile of one or two.
  t.pixels_of_scratch = chunk + (most == 1 ? 3 : kChunkSlack);
  t.window_bytes = window_bytes;
  t.tile_floats = tile_floats;
}

void cut_blocks(Task& t, int outputs, int64_t length, int widest) {
  const int lanes = t.kernels->lanes;
  int64_t weight = 0;
  int vectors = (outputs + lanes - 1) / lanes;
  for (int channel = 0; vectors > 0;) {
    const int most = std::min(vectors, widest), take = most >= 4 ? 4 : most >= 2 ? 2 : 1;
    t.blocks.push_back({channel, take, weight});
    channel += take * lanes;
    vectors -= take;
    weight += length * take * lanes;
  }
}

// The place of a step in the order of a stage.
uint32_t flag_of(StepKind kind) {
  switch (kind) {
    case StepKind::affine: return Stage::kAffine;
    case StepKind::add: return Stage::kAdd;
    case StepKind::two_slope: return Stage::kTwoSlope;
    case StepKind::clamp: return Stage::kClamp;
    case StepKind::store: return Stage::kStore;
    case StepKind::binarize: return Stage::kBinarize;
    case StepKind::quantize:
    case StepKind::to_fixed: return Stage::kQuantize;
    case StepKind::multiply: return Stage::kMultiply;
    case StepKind::sigmoid: return Stage::kSigmoid;
    case StepKind::mean: return Stage::kMean;
  }
  return 0;
}

Epilogue epilogue_of(Task& t, const Graph& g, const Node& n, const std::vector<Place>& places) {
  constexpr uint32_t kOrder[] = {Stage::kGate,  Stage::kMultiply, Stage::kAffine, Stage::kAdd,      Stage::kTwoSlope,
                                 Stage::kClamp, Stage::kStore,    Stage::kMean,   Stage::kBinarize, Stage::kQuantize};
  const auto rank = [&](uint32_t flag) { return std::find(std::begin(kOrder), std::end(kOrder), flag) - kOrder; };
  ptrdiff_t reached = std::size(kOrder);
  for (const Step& s : n.epilogue) {
    const Value& value = g.values[static_cast<size_t>(s.value)];
    const bool gate = s.kind == StepKind::multiply && value.height == 1 && value.width == 1;
    const uint32_t flag = gate ? uint32_t{Stage::kGate} : flag_of(s.kind);
    if (flag == Stage::kSigmoid) {
      if (t.stages.empty()) t.stages.push_back({});  // which makes the sums float
      t.stages.push_back({});
      reached = std::size(kOrder);
    } else {
      if (rank(flag) <= reached) t.stages.push_back({});
      reached = rank(flag);
    }
    Stage& stage = t.stages.back();
    stage.flags |= flag;
    const float *a = keep(t, g, s.a), *b = keep(t, g, s.b);
    const Map& map = places[static_cast<size_t>(s.value)].map;
    switch (s.kind) {
      case StepKind::affine: stage.scale = a, stage.shift = b; break;
      case StepKind::two_slope: stage.positive = a, stage.negative = b; break;
      case StepKind::clamp: stage.low = a, stage.high = b; break;
      case StepKind::add: stage.add = map; break;
      case StepKind::multiply:
        if (gate)
          stage.gate = reinterpret_cast<const float*>(map.data);
        else
          stage.multiply = map;
        break;
      case StepKind::sigmoid: break;
      case StepKind::mean:
        t.row_sums.emplace_back(static_cast<size_t>(round_up(n.channels, 16) * n.out_h));
        stage.row_sums = t.row_sums.back().data();
        t.means.push_back({stage.row_sums, reinterpret_cast<float*>(map.data), n.channels, n.out_h, n.out_w});
        break;
      case StepKind::store: stage.store = map; break;
      case StepKind::binarize:
        stage.threshold = a, stage.one_threshold = s.a.count == 1, stage.flip = s.flip;
        stage.bits = map;
        break;
      case StepKind::quantize:
      case StepKind::to_fixed:
        stage.multiplier = s.multiplier, stage.zero = static_cast<float>(s.zero), stage.most = static_cast<float>(s.most);
        stage.codes = map;
        break;
    }
  }
  return {t.stages.data(), static_cast<int>(t.stages.size()), n.channels};
}

// The nearest int32.
int32_t saturated(double x) {
  return static_cast<int32_t>(std::clamp(std::nearbyint(x), -2147483648.0, 2147483647.0));
}

// One number a channel, of(channel).
template <class Of>
const int32_t* by_channel(Task& t, const Node& n, Of of) {
  t.kept_integers.emplace_back(static_cast<size_t>(round_up(n.channels, 16)));
  int32_t* numbers = t.kept_integers.back().data();
  for (int c = 0; c < n.channels; ++c) numbers[c] = of(c);
  return numbers;
}

FixedEpilogue fixed_epilogue_of(Task& t, const Graph& g, const Node& n, const std::vector<Place>& places) {
  uint32_t reached = FixedStage::kAll;
  for (const Step& s : n.epilogue) {
    const uint32_t flag = s.kind == StepKind::add     ? FixedStage::kAdd
                          : s.kind == StepKind::clamp ? FixedStage::kClamp
                          : s.kind == StepKind::store ? FixedStage::kStore
                                                      : FixedStage::kCodes;
    if (flag <= reached) t.fixed_stages.push_back({});
    reached = flag;
    FixedStage& stage = t.fixed_stages.back();
    stage.flags |= flag;
    const Value& value = g.values[static_cast<size_t>(s.value)];
    const Map& map = places[static_cast<size_t>(s.value)].map;
    const float *low = g.floats.data() + s.a.offset, *high = g.floats.data() + s.b.offset;
    switch (flag) {
      case FixedStage::kAdd:
        stage.add = map, stage.add_zero = value.zero;
        stage.add_shift = by_channel(t, n, [&](int c) { return value.exponent - n.unit_of(c); });
        break;
      case FixedStage::kClamp:
        stage.low = by_channel(t, n, [&](int c) { return saturated(std::ldexp(low[c], -n.unit_of(c))); });
        stage.high = by_channel(t, n, [&](int c) { return saturated(std::ldexp(high[c], -n.unit_of(c))); });
        break;
      case FixedStage::kStore: {
        stage.store = map;
        t.kept.emplace_back(static_cast<size_t>(round_up(n.channels, 16)));
        float* unit = t.kept.back().data();
        for (int c = 0; c < n.channels; ++c) unit[c] = std::ldexp(1.0f, n.unit_of(c));
        stage.unit = unit;
        break;
      }
      default: {
        const auto shift = [&](int c) { return s.exponent - n.unit_of(c); };
        stage.codes = map, stage.zero = s.zero, stage.most = s.most;
        stage.shift = by_channel(t, n, shift);
        stage.half = by_channel(t, n, [&](int c) { return shift(c) ? (1 << (shift(c) - 1)) - 1 : 0; });
        stage.odd = by_channel(t, n, [&](int c) { return shift(c) ? 1 : 0; });
      }
    }
  }
  return {t.fixed_stages.data(), static_cast<int>(t.fixed_stages.size()), n.channels};
}

// `count` <= 32 bits from bit `at` on. The buffer has slack behind it.
uint32_t bits_at(const uint8_t* bits, int64_t at, int count) {
  uint64_t eight;
  std::memcpy(&eight, bits + at / 8, 8);
  return static_cast<uint32_t>(eight >> (at % 8) & ((uint64_t{1} << count) - 1));
}

// Columns fall into parts of one border class each. Returns the class of each part.
std::vector<int> end_parts(Task& t, const BorderAxis& columns) {
  std::vector<int> classes, ends;
  for (size_t x = 0; x < columns.of.size(); ++x) {
    if (classes.empty() || columns.of[x] != classes.back()) classes.push_back(columns.of[x]), ends.push_back(0);
    ends.back() = static_cast<int>(x) + 1;
  }
  t.part_end = Buffer<int32_t>(ends.size());
  std::copy(ends.begin(), ends.end(), t.part_end.data());
  t.binary.conv.part_end = t.part_end.data(), t.binary.conv.parts = static_cast<int>(ends.size());
  return classes;
}

// The table of docs/format.md, section 4: D's base and K for every border class and channel.
// tap_sums[o][ky][kx] is the sum of s_w over one tap.
void border_tables(Task& t, const Graph& g, const Node& n, const Value& in, const std::vector<int32_t>& tap_sums) {
  const int kh = n.kernel[0], kw = n.kernel[1], of_group = in.channels / n.groups;
  const BorderAxis rows = border_axis(n, in, 0), columns = border_axis(n, in, 1);
  const size_t classes = rows.classes.size() * columns.classes.size();
  const int64_t stride = round_up(n.channels, 16);
  const auto taps_inside = [](const BorderAxis::Class& c) { return c.end - c.first; };
  t.row_inside = Buffer<int32_t>(rows.of.size()), t.column_inside = Buffer<int32_t>(columns.of.size());
  for (size_t i = 0; i < rows.of.size(); ++i) t.row_inside[i] = taps_inside(rows.classes[static_cast<size_t>(rows.of[i])]);
  for (size_t i = 0; i < columns.of.size(); ++i)
    t.column_inside[i] = taps_inside(columns.classes[static_cast<size_t>(columns.of[i])]) * of_group;
  const std::vector<int> part_class = end_parts(t, columns);
  t.border = Buffer<int32_t>(rows.of.size() * part_class.size());
  int32_t* border_at = t.border.data();
  for (const int row : rows.of)
    for (const int column : part_class)
      *border_at++ = static_cast<int32_t>((row * static_cast<int64_t>(columns.classes.size()) + column) * stride);
  t.border_base = Buffer<float>(classes * static_cast<size_t>(stride));
  t.constant = Buffer<float>(classes * static_cast<size_t>(stride));
  t.scale = Buffer<float>(static_cast<size_t>(n.channels));
  t.offset = Buffer<float>(static_cast<size_t>(n.channels));

  const float* f = g.floats.data();
  const double alpha_a = f[n.activation.offset], gamma = f[n.activation.offset + 1];
  bool any_offset = false;
  std::vector<int32_t> prefix(static_cast<size_t>((kh + 1) * (kw + 1)));
  const auto at = [&](int y, int x) -> int32_t& { return prefix[static_cast<size_t>(y * (kw + 1) + x)]; };
  for (int o = 0; o < n.channels; ++o) {
    const double alpha_w = f[n.weight_scale.offset + o];
    const double beta_w = n.weight_offset.count ? f[n.weight_offset.offset + o] : 0.0f;
    const double bias = n.bias.count ? f[n.bias.offset + o] : 0.0f;
    any_offset = any_offset || beta_w != 0;
    t.scale[static_cast<size_t>(o)] = static_cast<float>(alpha_w * alpha_a);
    t.offset[static_cast<size_t>(o)] = static_cast<float>(beta_w * alpha_a);
    for (int y = 0; y < kh; ++y)
      for (int x = 0; x < kw; ++x)
        at(y + 1, x + 1) = tap_sums[(static_cast<size_t>(o) * kh + y) * kw + x] + at(y, x + 1) + at(y + 1, x) - at(y, x);
    const int64_t n1 = int64_t{kh} * kw * of_group, all = at(kh, kw);
    for (size_t r = 0; r < rows.classes.size(); ++r)
      for (size_t c = 0; c < columns.classes.size(); ++c) {
        const BorderAxis::Class y = rows.classes[r], x = columns.classes[c];
        const int64_t sum = at(y.end, x.end) - at(y.first, x.end) - at(y.end, x.first) + at(y.first, x.first);
        const int64_t inside = int64_t{y.end - y.first} * (x.end - x.first) * of_group;
        const size_t border = r * columns.classes.size() + c, index = border * static_cast<size_t>(stride) + static_cast<size_t>(o);
        t.border_base[index] = static_cast<float>(n1 + all - sum);
        t.constant[index] = static_cast<float>(
            ((alpha_w * gamma) * static_cast<double>(sum) + (beta_w * gamma) * static_cast<double>(inside)) + bias);
      }
  }
  BinaryConvArgs& a = t.binary;
  a.base = t.border_base.data(), a.constant = t.constant.data(), a.border = t.border.data(), a.scale = t.scale.data();
  a.offset = any_offset ? t.offset.data() : nullptr;
  a.row_inside = t.row_inside.data(), a.column_inside = t.column_inside.data();
}

// How the windows of a convolution are read. A tap of one group has `tap_bytes`, of which one channel takes
// `channel_bits`.
void describe_windows(Conv& c, const Node& n, const Value& in, const Place& from, int tap_bytes, int channel_bits) {
  const int kh = n.kernel[0], kw = n.kernel[1];
  const Map& map = from.map;
  c.window = window_of(n, in);
  c.map = map;
  c.groups = n.groups, c.group_channels = in.channels / n.groups, c.group_outputs = n.channels / n.groups;
  c.tap_bytes = tap_bytes;
  const int group_bits = c.group_channels * channel_bits;
  c.group_bytes = group_bits % 8 ? 0 : group_bits / 8;
  const Halo needed = halo_of(n, in);
  c.fill = needed.fill;
  c.replicate = n.outside == Outside::replicate;
  c.gathered = !from.halo.holds(needed) || (c.groups > 1 && c.group_bytes == 0);
  const bool joined = kw == 1 || (c.groups == 1 && n.dilation[1] == 1 && map.pixel == tap_bytes);
  c.segment_taps = joined ? kw : 1;
  c.segments = kh * kw / c.segment_taps;
  c.words = (c.segment_taps * tap_bytes + 3) / 4;
}

// What every convolution needs: how its windows are read, its blocks of channels, its units of work, room for its
// weights.
void prepare_conv(Task& t, Conv& c, const Node& n, const Value& in, const Place& from, int tap_bytes, int channel_bits,
                  int threads) {
  const int lanes = t.kernels->lanes, kw = n.kernel[1];
  const Map& map = from.map;
  describe_windows(c, n, in, from, tap_bytes, channel_bits);
  const int used_bits = (c.groups == 1 ? c.segment_taps * tap_bytes * 8 : c.group_channels * channel_bits) % 32;
  c.masked = used_bits;
  t.word_at = Buffer<int32_t>(static_cast<size_t>(c.segments) * static_cast<size_t>(c.words));
  t.word_mask = Buffer<uint32_t>(t.word_at.size());
  for (int s = 0; s < c.segments; ++s) {
    const int tap = s * c.segment_taps;
    const int64_t at =
        c.gathered ? s * c.words * int64_t{4} : tap / kw * n.dilation[0] * map.row + tap % kw * n.dilation[1] * map.pixel;
    for (int k = 0; k < c.words; ++k) {
      const size_t word = static_cast<size_t>(s) * static_cast<size_t>(c.words) + static_cast<size_t>(k);
      t.word_at[word] = static_cast<int32_t>(at + k * 4);
      t.word_mask[word] = used_bits && k + 1 == c.words ? (1u << used_bits) - 1 : ~0u;
    }
  }
  c.word_at = t.word_at.data(), c.word_mask = t.word_mask.data();
  c.part_end = &c.window.out_w, c.parts = 1;

  const int64_t length = int64_t{c.segments} * c.words;
  cut_blocks(t, c.group_outputs, length, t.kernels->widest);
  c.blocks = t.blocks.data(), c.block_count = static_cast<int>(t.blocks.size());
  const Block& last = t.blocks.back();
  c.group_weights = last.weight + length * last.vectors * lanes;
  t.weight = Buffer<uint32_t>(static_cast<size_t>(c.group_weights * c.groups));
  c.weight = t.weight.data();

  const int64_t tile = c.groups == 1 ? int64_t{t.blocks.front().vectors} * lanes : round_up(n.channels, lanes) + kTileSlack;
  const bool together = c.gathered || ((n.op == Op::int8_conv2d || n.op == Op::fixed_conv2d) && t.kernels->tiles);
  cut(t, n, together ? length * 4 : 0, tile, c.groups == 1 ? c.block_count : 1, threads);
  c.units = t.units;

  const int windows = c.gathered ? t.units.chunk : t.units.pixels;
  t.window_at = Buffer<int32_t>(static_cast<size_t>(windows + kChunkSlack));
  for (int i = 0; i < windows + kChunkSlack; ++i) {
    const int p = std::min(i, windows - 1);
    const int64_t y = int64_t{p / n.out_w} * n.stride[0] - n.padding[0], x = int64_t{p % n.out_w} * n.stride[1] - n.padding[1];
    t.window_at[static_cast<size_t>(i)] =
        static_cast<int32_t>(c.gathered ? p * length * 4 : y * map.row + x * map.pixel);
  }
  c.window_at = t.window_at.data();
}

// Calls put(o, words, width) for every output channel o: its word k belongs to words[k * width].
template <class Put>
void pack(Task& t, const Conv& c, Put put) {
  for (int group = 0; group < c.groups; ++group)
    for (const Block& b : t.blocks) {
      const int64_t width = int64_t{b.vectors} * t.kernels->lanes;
      for (int lane = 0; lane < width && b.channel + lane < c.group_outputs; ++lane)
        put(group * c.group_outputs + b.channel + lane, t.weight.data() + group * c.group_weights + b.weight + lane, width);
    }
}

void prepare_binary(Task& t, const Graph& g, const Node& n, const Value& in, const Place& from, int threads) {
  const int taps = n.kernel[0] * n.kernel[1], of_group = in.channels / n.groups;
  Conv& c = t.binary.conv;
  prepare_conv(t, c, n, in, from, n.groups == 1 ? static_cast<int>(pixel_bytes(in.channels)) : (of_group + 7) / 8, 1, threads);
  std::vector<int32_t> tap_sums(static_cast<size_t>(n.channels) * static_cast<size_t>(taps));
  pack(t, c, [&](int o, uint32_t* to, int64_t width) {
    int64_t at = n.weight.offset * 8 + int64_t{o} * taps * of_group;
    for (int tap = 0; tap < taps; ++tap) {
      int ones = 0;
      for (int channel = 0; channel < of_group; channel += 32) {
        const int count = std::min(32, of_group - channel), byte = tap % c.segment_taps * c.tap_bytes + channel / 8;
        const uint32_t bits = bits_at(g.bits.data(), at, count);
        const int64_t word = int64_t{tap / c.segment_taps} * c.words + byte / 4;
        to[word * width] |= bits << (byte % 4 * 8);
        ones += __builtin_popcount(bits);
        at += count;
      }
      tap_sums[static_cast<size_t>(o) * static_cast<size_t>(taps) + static_cast<size_t>(tap)] = 2 * ones - of_group;
    }
  });
  border_tables(t, g, n, in, tap_sums);
  if (c.gathered && n.outside == Outside::ones) {
    t.outside = pixel_of_ones(in.channels);
    c.outside = t.outside.data();
  }
  if (!c.gathered && c.replicate && from.halo.any())
    t.edge = {from.map, in.height, in.width, from.halo.top, from.halo.left, from.halo.bottom, from.halo.right};
  // Of large kernels the rows would take much memory.
  t.binary.by_columns = t.binary.offset && !c.gathered && c.groups == 1 && c.segment_taps == n.kernel[1] &&
                        n.dilation[0] == 1 && n.kernel[0] <= 7 && n.stride[0] <= 4;
  if (t.binary.by_columns) {
    const int64_t height = std::min(n.out_h, t.units.chunk / n.out_w + 2);
    t.columns = (height * (n.stride[0] + 1) + n.kernel[0]) * (c.map.row / c.map.pixel);
  }
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->binary_conv(task.binary, unit, s); };
}

// The weights of a float convolution; in `own` where they have a scale.
const float* float_weights(const Graph& g, const Node& n, int64_t length, std::vector<float>& own) {
  const float* weight = g.floats.data() + n.weight.offset;
  if (!n.weight_scale.count) return weight;
  const float* scale = g.floats.data() + n.weight_scale.offset;
  own.resize(static_cast<size_t>(n.weight.count));
  for (int64_t k = 0; k < n.weight.count; ++k) own[static_cast<size_t>(k)] = weight[k] * scale[k / length];
  return own.data();
}

void prepare_float(Task& t, const Graph& g, const Node& n, const Value& in, const Place& from, const float* zeros,
                   int threads) {
  FloatConvArgs& a = t.floats;
  const int of_group = in.channels / n.groups;
  prepare_conv(t, a.conv, n, in, from, of_group * 4, 32, threads);
  const int64_t length = int64_t{n.kernel[0]} * n.kernel[1] * of_group;
  std::vector<float> own;
  const float* weight = float_weights(g, n, length, own);
  pack(t, a.conv, [&](int o, uint32_t* to, int64_t width) {
    for (int64_t k = 0; k < length; ++k) {
      const float w = weight[o * length + k] + 0.0f;  // -0 counts as 0
      std::memcpy(to + k * width, &w, 4);
    }
  });
  a.bias = n.bias.count ? keep(t, g, n.bias) : zeros;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->float_conv(task.floats, unit, s); };
}

// A linear layer runs from its sparse form where that pays.
bool prepare_sparse(Task& t, const Graph& g, const Node& n, const Value& in, const Place& from, const float* zeros,
                    int threads, bool few) {
  const int64_t terms = int64_t{n.kernel[0]} * n.kernel[1] * in.channels;
  if (terms > kMostSparseTerms) return false;
  std::vector<float> own;
  const float* weight = float_weights(g, n, terms, own);
  const SparsePlan plan = plan_sparse(weight, n.channels, static_cast<int>(terms), t.kernels->lanes, few);
  if (!plan.pays) return false;
  t.sparse_weights = pack_sparse(plan, weight, n.bias.count ? g.floats.data() + n.bias.offset : zeros, n.channels);
  const SparseWeights& w = t.sparse_weights;
  SparseLinearArgs& a = t.sparse;
  a.terms = plan.terms, a.slices = static_cast<int>(plan.begin.size()) - 1;
  a.begin = w.begin.data(), a.index = w.index.data(), a.value = w.value.data();
  a.channel = w.channel.data(), a.bias = w.bias.data();
  describe_windows(a.conv, n, in, from, in.channels * 4, 32);
  cut(t, n, terms * 4, kPanel, (n.channels + kPanel - 1) / kPanel, threads);
  t.pixels_of_scratch = 1;  // nothing is computed past the one pixel
  a.conv.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->sparse_linear(task.sparse, unit, s); };
  return true;
}

void prepare_codebook(Task& t, const Graph& g, const Node& n, const Value& in, const Place& from, const float* zeros,
                      int threads, const Codebook& book) {
  CodebookLinearArgs& a = t.codebook;
  Conv& c = a.conv;
  describe_windows(c, n, in, from, in.channels * 4, 32);
  const int64_t terms = int64_t{n.kernel[0]} * n.kernel[1] * in.channels, length = (terms + kCodesOfWord - 1) / kCodesOfWord;
  cut_blocks(t, n.channels, length, kCodebookVectors);
  c.blocks = t.blocks.data(), c.block_count = static_cast<int>(t.blocks.size());
  const Block& last = t.blocks.back();
  t.weight = Buffer<uint32_t>(static_cast<size_t>(last.weight + length * last.vectors * t.kernels->lanes));
  c.weight = t.weight.data();
  const float* weight = g.floats.data() + n.weight.offset;
  pack(t, c, [&](int o, uint32_t* to, int64_t width) {
    for (int64_t k = 0; k < terms; ++k)
      to[k / kCodesOfWord * width] |= static_cast<uint32_t>(book.code_of(weight[o * terms + k])) << (k % kCodesOfWord * 2);
  });
  t.table = repeated(book);
  a.terms = static_cast<int>(terms), a.table = t.table.data(), a.scale = keep(t, g, n.weight_scale);
  a.bias = n.bias.count ? keep(t, g, n.bias) : zeros;
  cut(t, n, terms * 4, int64_t{t.blocks.front().vectors} * t.kernels->lanes, c.block_count, threads);
  t.pixels_of_scratch = 1;  // nothing is computed past the one pixel
  c.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->codebook_linear(task.codebook, unit, s); };
}

// The forms that a layer of one pixel has besides the dense one. False where that is the fastest.
bool prepare_linear(Task& t, const Graph& g, const Node& n, const Value& in, const Place& from, const float* zeros,
                    int threads) {
  if (n.out_h * n.out_w != 1 || n.groups != 1) return false;
  const int64_t terms = int64_t{n.kernel[0]} * n.kernel[1] * in.channels;
  const float* scale = n.weight_scale.count ? g.floats.data() + n.weight_scale.offset : nullptr;
  const std::optional<Codebook> book = codebook_of(g.floats.data() + n.weight.offset, scale, n.channels, terms);
  if (prepare_sparse(t, g, n, in, from, zeros, threads, book.has_value())) return true;
  if (book) prepare_codebook(t, g, n, in, from, zeros, threads, *book);
  return book.has_value();
}

void prepare_int8(Task& t, const Graph& g, const Node& n, const Value& in, const Place& from, const float* zeros,
                  int threads) {
  Int8ConvArgs& a = t.int8;
  const Conv& c = a.conv;
  const int of_group = in.channels / n.groups, taps = n.kernel[0] * n.kernel[1];
  prepare_conv(t, a.conv, n, in, from, of_group, 8, threads);
  t.base = Buffer<int32_t>(static_cast<size_t>(n.channels));
  a.fixed = n.fixed(), a.narrow = t.kernels->narrow > 0;
  if (!a.fixed) t.scale = Buffer<float>(static_cast<size_t>(n.channels));
  const double activation = a.fixed ? 0 : g.floats[static_cast<size_t>(n.activation.offset)];
  pack(t, c, [&](int o, uint32_t* to, int64_t width) {
    const uint8_t* bytes = g.bits.data() + n.weight.offset;
    int64_t k = int64_t{o} * taps * of_group;
    const int segment_bytes = c.segment_taps * of_group;
    int64_t sum = 0;
    for (int s = 0; s < c.segments; ++s)
      for (int i = 0; i < segment_bytes; ++i, ++k) {
        const int weight = n.weight_bits == 4 ? half_byte(bytes, k) : static_cast<int8_t>(bytes[k]);
        to[(int64_t{s} * c.words + i / 4) * width] |= uint32_t{static_cast<uint8_t>(weight)} << (i % 4 * 8);
        a.narrow = a.narrow && std::abs(weight) <= t.kernels->narrow;
        sum += weight;
      }
    const int64_t base = (t.kernels->code_offset - n.zero) * sum;
    if (a.fixed) {
      const float bias = n.bias.count ? g.floats[static_cast<size_t>(n.bias.offset + o)] : 0;
      const auto whole = static_cast<int64_t>(std::nearbyint(std::ldexp(double{bias}, -n.unit_of(o))));
      t.base[static_cast<size_t>(o)] = static_cast<int32_t>(static_cast<uint32_t>(base + whole));
      return;
    }
    t.base[static_cast<size_t>(o)] = static_cast<int32_t>(base);
    t.scale[static_cast<size_t>(o)] =
        static_cast<float>(static_cast<double>(g.floats[static_cast<size_t>(n.weight_scale.offset + o)]) * activation);
  });
  a.base = t.base.data(), a.tiled = t.kernels->tiles;
  if (!a.fixed) a.scale = t.scale.data(), a.bias = n.bias.count ? keep(t, g, n.bias) : zeros;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->int8_conv(task.int8, unit, s); };
}

void prepare_pool(Task& t, const Node& n, const Value& in, const Place& from, int threads) {
  PoolArgs& a = t.pool;
  a.window = window_of(n, in);
  a.map = from.map;
  a.average = n.op == Op::average_pool, a.inside_divisor = n.inside_divisor;
  cut(t, n, 0, round_up(n.channels, t.kernels->lanes), 1, threads);
  a.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->pool(task.pool, unit, s); };
}

void prepare_fixed_pool(Task& t, const Node& n, const Value& in, const Place& from, int threads) {
  FixedPoolArgs& a = t.fixed_pool;
  a.window = window_of(n, in);
  a.map = from.map;
  a.average = n.op == Op::fixed_average_pool, a.zero = n.zero, a.multiplier = n.multiplier;
  cut(t, n, 0, round_up(n.channels, t.kernels->lanes), 1, threads);
  a.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->fixed_pool(task.fixed_pool, unit, s); };
}

void prepare_fixed_copy(Task& t, const Graph& g, const Node& n, const std::vector<Place>& places, int threads) {
  int at = n.before;
  for (int id : n.inputs) {
    const Value& v = g.values[static_cast<size_t>(id)];
    t.fixed_sources.push_back({places[static_cast<size_t>(id)].map, v.channels, at, v.zero, v.exponent - n.unit[0]});
    at += v.channels;
  }
  FixedCopyArgs& a = t.fixed_copy;
  a.width = n.out_w;
  a.sources = t.fixed_sources.data(), a.source_count = static_cast<int>(t.fixed_sources.size());
  cut(t, n, 0, round_up(n.channels, t.kernels->lanes), 1, threads);
  a.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->fixed_copy(task.fixed_copy, unit, s); };
}

// Which input a channel lies in, and where there, counting through all of them.
struct Channel {
  int input, channel;
};

std::vector<Channel> channels_of(const Graph& g, const Node& n) {
  std::vector<Channel> all;
  for (size_t i = 0; i < n.inputs.size(); ++i)
    for (int c = 0; c < g.values[static_cast<size_t>(n.inputs[i])].channels; ++c) all.push_back({static_cast<int>(i), c});
  return all;
}

// The sources of a gather of floats: a run of channels each.
void gather_sources(Task& t, const Graph& g, const Node& n, const std::vector<Place>& places) {
  const std::vector<Channel> all = channels_of(g, n);
  for (size_t k = 0; k < n.index.size();) {
    const Channel first = all[static_cast<size_t>(n.index[k])];
    size_t end = k + 1;
    while (end < n.index.size() && n.index[end] == n.index[end - 1] + 1 &&
           all[static_cast<size_t>(n.index[end])].input == first.input)
      ++end;
    Map map = places[static_cast<size_t>(n.inputs[static_cast<size_t>(first.input)])].map;
    map.data += first.channel * 4;
    t.sources.push_back({map, static_cast<int>(end - k), static_cast<int>(k)});
    k = end;
  }
}

void prepare_normalize(Task& t, const Node& n, const Place& from, int threads) {
  NormalizeArgs& a = t.normalize;
  a.width = n.out_w, a.map = from.map, a.channels = n.channels, a.eps = n.eps;
  cut(t, n, 0, round_up(n.channels, t.kernels->lanes), 1, threads);
  a.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->normalize(task.normalize, unit, s); };
}

void prepare_copy(Task& t, const Graph& g, const Node& n, const std::vector<Place>& places, int threads) {
  int at = n.before;
  if (n.op == Op::gather) gather_sources(t, g, n, places);
  if (n.op == Op::detect) t.sources.push_back({t.detector->rows(), n.channels, 0});
  for (int id : n.inputs) {
    if (n.op == Op::gather || n.op == Op::detect) break;
    const Place& place = places[static_cast<size_t>(id)];
    const int channels = g.values[static_cast<size_t>(id)].channels;
    t.sources.push_back({place.map, channels, at});
    at += channels;
  }
  CopyArgs& a = t.copy;
  a.width = n.out_w;
  // Each source's channels fill whole vectors of the result by themselves: no tile between the maps.
  a.direct = n.op != Op::pad_channels;
  for (const CopySource& s : t.sources)
    a.direct = a.direct && s.at % 16 == 0 && (n.op != Op::gather || s.channels % 16 == 0);
  a.sources = t.sources.data(), a.source_count = static_cast<int>(t.sources.size());
  cut(t, n, 0, round_up(n.channels, t.kernels->lanes), 1, threads);
  a.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->copy(task.copy, unit, s); };
}

void prepare_detect(Task& t, const Graph& g, const Node& n, const std::vector<Place>& places, int threads) {
  std::vector<Map> inputs;
  for (int id : n.inputs) inputs.push_back(places[static_cast<size_t>(id)].map);
  t.detector = std::make_unique<Detector>(g, n, inputs, *t.kernels, threads);
  prepare_copy(t, g, n, places, threads);
  t.tile_floats = std::max(t.tile_floats, (t.detector->tile_floats() + t.pixels_of_scratch - 1) / t.pixels_of_scratch);
}

// Cuts the bits of every word of a gather into moves, the longest first.
void plan_moves(Task& t, const Graph& g, const Node& n) {
  const std::vector<Channel> all = channels_of(g, n);
  const int words = (n.channels + 31) / 32;
  t.move_begin = Buffer<int32_t>(static_cast<size_t>(words + 1));
  for (int w = 0; w < words; ++w) {
    const int count = std::min(32, n.channels - 32 * w);
    const auto from = [&](int bit) { return all[static_cast<size_t>(n.index[static_cast<size_t>(32 * w + bit)])]; };
    uint32_t left = count == 32 ? ~0u : (1u << count) - 1;
    while (left) {
      const int place = __builtin_ctz(left);
      const Channel first = from(place);
      uint32_t mask[2] = {0, 0};  // of a run, of a run with gaps
      for (int bit = place; bit < count; ++bit)
        for (int gap = 0; gap < 2; ++gap) {
          const Channel c = from(bit);
          const bool in_run = (bit - place) % (gap + 1) == 0 && c.input == first.input &&
                              c.channel == first.channel + (bit - place) / (gap + 1);
          mask[gap] |= uint32_t{in_run} << bit;
        }
      const bool spread = __builtin_popcount(mask[1] & left) > __builtin_popcount(mask[0] & left);
      t.moves.push_back({mask[spread] & left, first.input, first.channel / 8, static_cast<uint8_t>(first.channel % 8),
                         static_cast<uint8_t>(place), spread});
      left &= ~mask[spread];
    }
    t.move_begin[static_cast<size_t>(w + 1)] = static_cast<int32_t>(t.moves.size());
  }
}

void prepare_bits(Task& t, const Graph& g, const Node& n, const std::vector<Place>& places, int threads) {
  BitsArgs& a = t.bits;
  for (int id : n.inputs) t.maps.push_back(places[static_cast<size_t>(id)].map);
  if (n.op == Op::gather) plan_moves(t, g, n);
  a.width = n.out_w, a.sources = t.maps.data();
  a.moves = n.op == Op::gather ? t.moves.data() : nullptr, a.begin = t.move_begin.data();
  a.words = (n.channels + 31) / 32, a.last_mask = ~0u >> (32 * a.words - n.channels);
  a.either = n.either, a.whole = pixel_bytes(n.channels) * 8 == n.channels;
  a.packed = only_packs(g, n);
  if (a.packed) a.to = places[static_cast<size_t>(n.epilogue[0].value)].map;
  for (const Map& m : t.maps) a.whole = a.whole && m.pixel == a.to.pixel;
  cut(t, n, 0, a.packed ? a.words : round_up(n.channels, t.kernels->lanes), 1, threads);
  if (a.packed && t.maps[0].data == a.to.data) t.units.count = 0;  // the inputs lie in the result
  a.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->bits(task.bits, unit, s); };
}

}  // namespace

bool only_packs(const Graph& g, const Node& n) {
  const Step& s = n.epilogue[0];
  if (n.epilogue.size() != 1 || s.kind != StepKind::binarize || s.flip) return false;
  const float* thresholds = g.floats.data() + s.a.offset;
  return std::all_of(thresholds, thresholds + s.a.count, [](float x) { return x > -1 && x <= 1; });
}

Halo halo_of(const Node& n, const Value& in) {
  const auto behind = [](int extent, int out, int kernel, int stride, int pad, int dilation) {
    return std::max(0, (out - 1) * stride - pad + (kernel - 1) * dilation + 1 - extent);
  };
  return {n.padding[0], n.padding[1],
          behind(in.height, n.out_h, n.kernel[0], n.stride[0], n.padding[0], n.dilation[0]),
          behind(in.width, n.out_w, n.kernel[1], n.stride[1], n.padding[1], n.dilation[1]),
          static_cast<uint8_t>(n.zero), n.outside};
}

Buffer<uint8_t> pixel_of_ones(int channels) {
  Buffer<uint8_t> pixel(static_cast<size_t>(pixel_bytes(channels)));
  for (int c = 0; c < channels; ++c) pixel[static_cast<size_t>(c / 8)] |= static_cast<uint8_t>(1 << c % 8);
  return pixel;
}

std::unique_ptr<Task> prepare(const Graph& graph, const Node& node, const std::vector<Place>& places, const float* zeros,
                              const Kernels& kernels, int threads) {
  auto task = std::make_unique<Task>();
  Task& t = *task;
  t.kernels = &kernels;
  const Value& in = graph.values[static_cast<size_t>(node.inputs[0])];
  const Place& from = places[static_cast<size_t>(node.inputs[0])];
  if (node.fixed())
    t.int8.integers = t.fixed_pool.epilogue = t.fixed_copy.epilogue = fixed_epilogue_of(t, graph, node, places);
  const Epilogue epilogue = node.fixed() ? Epilogue{} : epilogue_of(t, graph, node, places);
  t.binary.conv.epilogue = t.floats.conv.epilogue = t.sparse.conv.epilogue = t.codebook.conv.epilogue = t.int8.conv.epilogue = t.pool.epilogue = t.copy.epilogue = t.bits.epilogue =
      t.normalize.epilogue = epilogue;
  switch (node.op) {
    case Op::binary_conv2d:
      prepare_binary(t, graph, node, in, from, threads);
      break;
    case Op::fixed_max_pool:
    case Op::fixed_average_pool:
      prepare_fixed_pool(t, node, in, from, threads);
      break;
    case Op::fixed_copy:
      prepare_fixed_copy(t, graph, node, places, threads);
      break;
    case Op::int8_conv2d:
    case Op::fixed_conv2d:
      prepare_int8(t, graph, node, in, from, zeros, threads);
      break;
    case Op::conv2d:
      if (!prepare_linear(t, graph, node, in, from, zeros, threads)) prepare_float(t, graph, node, in, from, zeros, threads);
      break;
    case Op::max_pool:
    case Op::average_pool:
      prepare_pool(t, node, in, from, threads);
      break;
    case Op::gather:
    case Op::logic:
      if (in.kind == Kind::bits)
        prepare_bits(t, graph, node, places, threads);
      else
        prepare_copy(t, graph, node, places, threads);
      break;
    case Op::normalize:
      prepare_normalize(t, node, from, threads);
      break;
    case Op::detect:
      prepare_detect(t, graph, node, places, threads);
      break;
    case Op::pad_channels:
    case Op::concat:
    case Op::identity:
      prepare_copy(t, graph, node, places, threads);
      break;
  }
  return task;
}

}  // namespace netsuke
