#include "graph/prepare.h"

#include <algorithm>
#include <cstring>

namespace netsuke {
namespace {

constexpr int64_t kWindowBytes = 32 << 10;  // a chunk's windows should stay in the first cache
constexpr int kMostPixels = 84, kTilePixels = 6;

Window window_of(const Node& n, const Value& in) {
  return {in.height,   in.width,    n.out_h,      n.out_w,      n.kernel[0],   n.kernel[1],  n.stride[0],
          n.stride[1], n.padding[0], n.padding[1], n.dilation[0], n.dilation[1]};
}

// Cuts the work of a node into units: chunks of pixels whose windows fit the cache, and shares of the channel blocks
// where there are too few chunks for the threads.
void cut(Task& t, const Node& n, int64_t window_bytes, int64_t tile_floats, int blocks, int threads) {
  const int pixels = n.out_h * n.out_w;
  int64_t most = window_bytes > 0 ? kWindowBytes / window_bytes / kTilePixels * kTilePixels : kMostPixels;
  most = std::clamp<int64_t>(most, window_bytes > (1 << 20) ? 1 : 2 * kTilePixels, kMostPixels);
  const int wanted = threads == 1 ? 1 : 2 * threads;
  int chunks = static_cast<int>((pixels + most - 1) / most);
  int splits = 1;
  if (chunks < wanted) splits = std::min(blocks, (wanted + chunks - 1) / chunks);
  if (chunks * splits < wanted) chunks = std::min((pixels + kTilePixels - 1) / kTilePixels, wanted);
  int chunk = (pixels + chunks - 1) / chunks;
  if (chunk > 1 && most > 1) chunk = static_cast<int>(round_up(chunk, kTilePixels));
  t.units = {pixels, chunk, splits, (pixels + chunk - 1) / chunk * splits};
  // Register tiles are computed whole; a chunk of one pixel is only ever computed by a tile of one or two.
  t.pixels_of_scratch = chunk + (chunk == 1 ? 3 : kChunkSlack);
  t.window_bytes = window_bytes;
  t.tile_floats = tile_floats;
}

void cut_blocks(Task& t, int outputs, int64_t length, int lanes) {
  int64_t weight = 0;
  int vectors = (outputs + lanes - 1) / lanes;
  for (int channel = 0; vectors > 0;) {
    const int take = vectors >= 4 ? 4 : vectors >= 2 ? 2 : 1;
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
  }
  return 0;
}

Epilogue epilogue_of(Task& t, const Graph& g, const Node& n, const std::vector<Place>& places) {
  constexpr uint32_t kOrder[] = {Stage::kAffine, Stage::kAdd, Stage::kTwoSlope, Stage::kClamp, Stage::kStore, Stage::kBinarize};
  const auto rank = [&](uint32_t flag) { return std::find(std::begin(kOrder), std::end(kOrder), flag) - kOrder; };
  ptrdiff_t reached = std::size(kOrder);
  for (const Step& s : n.epilogue) {
    const uint32_t flag = flag_of(s.kind);
    if (rank(flag) <= reached) t.stages.push_back({});
    reached = rank(flag);
    Stage& stage = t.stages.back();
    stage.flags |= flag;
    const float *a = g.floats.data() + s.a.offset, *b = g.floats.data() + s.b.offset;
    const Place& place = places[static_cast<size_t>(s.value)];
    switch (s.kind) {
      case StepKind::affine: stage.scale = a, stage.shift = b; break;
      case StepKind::two_slope: stage.positive = a, stage.negative = b; break;
      case StepKind::clamp: stage.low = a, stage.high = b; break;
      case StepKind::add: stage.add = reinterpret_cast<const float*>(place.data), stage.add_stride = place.stride; break;
      case StepKind::store: stage.store = reinterpret_cast<float*>(place.data), stage.store_stride = place.stride; break;
      case StepKind::binarize:
        stage.threshold = a, stage.one_threshold = s.a.count == 1, stage.flip = s.flip;
        stage.bits = place.data, stage.bits_stride = place.stride;
        break;
    }
  }
  return {t.stages.data(), static_cast<int>(t.stages.size()), n.channels};
}

// `count` <= 32 bits from bit `at` on. The buffer has slack behind it.
uint32_t bits_at(const uint8_t* bits, int64_t at, int count) {
  uint64_t eight;
  std::memcpy(&eight, bits + at / 8, 8);
  return static_cast<uint32_t>(eight >> (at % 8) & ((uint64_t{1} << count) - 1));
}

// The tables of docs/format.md, section 4: D's base and K for every border class and channel.
// tap_sums[o][ky][kx] is the sum of s_w over one tap.
void border_tables(Task& t, const Graph& g, const Node& n, const Value& in, const std::vector<int32_t>& tap_sums) {
  const int kh = n.kernel[0], kw = n.kernel[1], of_group = in.channels / n.groups;
  const BorderAxis rows = border_axis(in.height, n.out_h, kh, n.stride[0], n.padding[0], n.dilation[0]);
  const BorderAxis columns = border_axis(in.width, n.out_w, kw, n.stride[1], n.padding[1], n.dilation[1]);
  const size_t classes = rows.classes.size() * columns.classes.size();
  const int64_t stride = round_up(n.channels, 16);
  const auto taps_inside = [](const BorderAxis::Class& c) { return c.end - c.first; };
  t.row_border = Buffer<int32_t>(rows.of.size()), t.row_inside = Buffer<int32_t>(rows.of.size());
  for (size_t i = 0; i < rows.of.size(); ++i) {
    t.row_border[i] = static_cast<int32_t>(rows.of[i] * static_cast<int64_t>(columns.classes.size()) * stride);
    t.row_inside[i] = taps_inside(rows.classes[static_cast<size_t>(rows.of[i])]);
  }
  t.column_border = Buffer<int32_t>(columns.of.size()), t.column_inside = Buffer<int32_t>(columns.of.size());
  for (size_t i = 0; i < columns.of.size(); ++i) {
    t.column_border[i] = static_cast<int32_t>(columns.of[i] * stride);
    t.column_inside[i] = taps_inside(columns.classes[static_cast<size_t>(columns.of[i])]) * of_group;
  }
  t.base = Buffer<int32_t>(classes * static_cast<size_t>(stride));
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
        const size_t border = r * columns.classes.size() + c, index = border * static_cast<size_t>(stride) + o;
        t.base[index] = static_cast<int32_t>(n1 + all - sum);
        t.constant[index] = static_cast<float>(
            ((alpha_w * gamma) * static_cast<double>(sum) + (beta_w * gamma) * static_cast<double>(inside)) + bias);
      }
  }
  BinaryConvArgs& a = t.binary;
  a.base = t.base.data(), a.constant = t.constant.data(), a.scale = t.scale.data();
  a.offset = any_offset ? t.offset.data() : nullptr;
  a.row_border = t.row_border.data(), a.column_border = t.column_border.data();
  a.row_inside = t.row_inside.data(), a.column_inside = t.column_inside.data();
}

void prepare_binary(Task& t, const Graph& g, const Node& n, const Value& in, const Place& from, int threads) {
  const int lanes = t.kernels->lanes, kh = n.kernel[0], kw = n.kernel[1];
  BinaryConvArgs& a = t.binary;
  a.window = window_of(n, in);
  a.bits = from.data, a.bits_stride = from.stride;
  a.groups = n.groups, a.group_channels = in.channels / n.groups, a.group_outputs = n.channels / n.groups;
  a.tap_bytes = static_cast<int>(pixel_bytes(a.group_channels));
  a.row_words = (kw * a.tap_bytes + 3) / 4;
  a.words = kh * a.row_words;
  cut_blocks(t, a.group_outputs, a.words, lanes);
  a.blocks = t.blocks.data(), a.block_count = static_cast<int>(t.blocks.size());
  const Block& last = t.blocks.back();
  a.group_weights = last.weight + int64_t{a.words} * last.vectors * lanes;

  t.binary_weight = Buffer<uint32_t>(static_cast<size_t>(a.group_weights * a.groups));
  std::vector<int32_t> tap_sums(static_cast<size_t>(n.channels) * kh * kw);
  int64_t at = n.weight.offset * 8;
  for (int o = 0; o < n.channels; ++o) {
    const int group = o / a.group_outputs, channel = o % a.group_outputs;
    const auto block = std::find_if(t.blocks.begin(), t.blocks.end(), [&](const Block& b) {
      return channel < b.channel + b.vectors * lanes;
    });
    const int64_t width = block->vectors * lanes;
    uint32_t* to = t.binary_weight.data() + group * a.group_weights + block->weight + (channel - block->channel);
    for (int tap = 0; tap < kh * kw; ++tap) {
      int ones = 0;
      for (int c = 0; c < a.group_channels; c += 32) {
        const int count = std::min(32, a.group_channels - c), byte = tap % kw * a.tap_bytes + c / 8;
        const uint32_t bits = bits_at(g.bits.data(), at, count);
        to[(tap / kw * a.row_words + byte / 4) * width] |= bits << (byte % 4 * 8);
        ones += __builtin_popcount(bits);
        at += count;
      }
      tap_sums[static_cast<size_t>(o) * kh * kw + tap] = 2 * ones - a.group_channels;
    }
  }
  a.weight = t.binary_weight.data();
  border_tables(t, g, n, in, tap_sums);

  const int64_t tile = a.groups == 1 ? 4 * lanes : round_up(n.channels, lanes) + kTileSlack;
  cut(t, n, a.words * int64_t{4}, tile, a.groups == 1 ? a.block_count : 1, threads);
  a.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->binary_conv(task.binary, unit, s); };
}

void prepare_float(Task& t, const Graph& g, const Node& n, const Value& in, const Place& from, const float* zeros,
                   int threads) {
  const int lanes = t.kernels->lanes;
  FloatConvArgs& a = t.floats;
  a.window = window_of(n, in);
  a.map = reinterpret_cast<const float*>(from.data), a.map_stride = from.stride;
  a.groups = n.groups, a.group_channels = in.channels / n.groups, a.group_outputs = n.channels / n.groups;
  const int64_t length = int64_t{n.kernel[0]} * n.kernel[1] * a.group_channels;
  cut_blocks(t, a.group_outputs, length, lanes);
  a.blocks = t.blocks.data(), a.block_count = static_cast<int>(t.blocks.size());
  const Block& last = t.blocks.back();
  a.group_weights = last.weight + length * last.vectors * lanes;

  t.float_weight = Buffer<float>(static_cast<size_t>(a.group_weights * a.groups));
  const float* weight = g.floats.data() + n.weight.offset;
  for (int group = 0; group < a.groups; ++group)
    for (const Block& b : t.blocks) {
      const int64_t width = b.vectors * lanes;
      for (int lane = 0; lane < width && b.channel + lane < a.group_outputs; ++lane) {
        const float* row = weight + (int64_t{group} * a.group_outputs + b.channel + lane) * length;
        float* to = t.float_weight.data() + group * a.group_weights + b.weight + lane;
        for (int64_t k = 0; k < length; ++k) to[k * width] = row[k];
      }
    }
  a.weight = t.float_weight.data();
  a.bias = n.bias.count ? g.floats.data() + n.bias.offset : zeros;

  const int64_t tile = a.groups == 1 ? 4 * lanes : round_up(n.channels, lanes) + kTileSlack;
  cut(t, n, length * 4, tile, a.groups == 1 ? a.block_count : 1, threads);
  a.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->float_conv(task.floats, unit, s); };
}

void prepare_pool(Task& t, const Node& n, const Value& in, const Place& from, int threads) {
  PoolArgs& a = t.pool;
  a.window = window_of(n, in);
  a.map = reinterpret_cast<const float*>(from.data), a.map_stride = from.stride;
  a.average = n.op == Op::average_pool, a.inside_divisor = n.inside_divisor;
  cut(t, n, 0, round_up(n.channels, t.kernels->lanes), 1, threads);
  a.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->pool(task.pool, unit, s); };
}

void prepare_copy(Task& t, const Graph& g, const Node& n, const std::vector<Place>& places, int threads) {
  int at = n.before;
  for (int id : n.inputs) {
    const Place& place = places[static_cast<size_t>(id)];
    const int channels = g.values[static_cast<size_t>(id)].channels;
    t.sources.push_back({reinterpret_cast<const float*>(place.data), place.stride, channels, at});
    at += channels;
  }
  CopyArgs& a = t.copy;
  a.sources = t.sources.data(), a.source_count = static_cast<int>(t.sources.size());
  cut(t, n, 0, round_up(n.channels, t.kernels->lanes), 1, threads);
  a.units = t.units;
  t.run = [](const Task& task, int unit, const Scratch& s) { task.kernels->copy(task.copy, unit, s); };
}

}  // namespace

std::unique_ptr<Task> prepare(const Graph& graph, const Node& node, const std::vector<Place>& places, const float* zeros,
                              const Kernels& kernels, int threads) {
  auto task = std::make_unique<Task>();
  Task& t = *task;
  t.kernels = &kernels;
  const Value& in = graph.values[static_cast<size_t>(node.inputs[0])];
  const Place& from = places[static_cast<size_t>(node.inputs[0])];
  const Epilogue epilogue = epilogue_of(t, graph, node, places);
  t.binary.epilogue = t.floats.epilogue = t.pool.epilogue = t.copy.epilogue = epilogue;
  switch (node.op) {
    case Op::binary_conv2d:
      prepare_binary(t, graph, node, in, from, threads);
      break;
    case Op::conv2d:
      prepare_float(t, graph, node, in, from, zeros, threads);
      break;
    case Op::max_pool:
    case Op::average_pool:
      prepare_pool(t, node, in, from, threads);
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
