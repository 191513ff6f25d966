#include "graph/model.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>
#include <map>

#include "base/cpu.h"
#include "base/error.h"

namespace netsuke {
namespace {

// Memory handed out and taken back along the run of the network, lowest place that fits first.
class Planner {
 public:
  int64_t take(int64_t bytes) {
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if (it->second < bytes) continue;
      const int64_t at = it->first, rest = it->second - bytes;
      free_.erase(it);
      if (rest > 0) free_[at + bytes] = rest;
      return at;
    }
    const int64_t at = end_;
    end_ += bytes;
    return at;
  }

  void give(int64_t at, int64_t bytes) {
    auto next = free_.upper_bound(at);
    if (next != free_.end() && at + bytes == next->first) {
      bytes += next->second;
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == at) {
        before->second += bytes;
        return;
      }
    }
    free_[at] = bytes;
  }

  int64_t end() const { return end_; }

 private:
  std::map<int64_t, int64_t> free_;  // place -> bytes
  int64_t end_ = 0;
};

// The least halo that serves both readers of a value. A map of which the halo would be the larger part gets none (a small
// file must not ask for much memory), and so does one whose readers want something else there: windows are gathered then.
Halo widened(const Halo& a, const Halo& b, const Value& v) {
  if (!b.any()) return a;
  if (a.any() && !a.like(b)) return a;
  const Halo both = {std::max(a.top, b.top), std::max(a.left, b.left), std::max(a.bottom, b.bottom),
                     std::max(a.right, b.right), b.fill, b.outside};
  const int64_t pixels = int64_t{v.height} * v.width;
  const int64_t padded = int64_t{both.top + v.height + both.bottom} * (both.left + v.width + both.right);
  return padded <= 2 * pixels ? both : a;
}

// What a value's memory holds before any run: its halo, unless that repeats the pixels of each run.
void surround(uint8_t* begin, int64_t bytes, const Place& p, int channels) {
  std::memset(begin, p.halo.fill, static_cast<size_t>(bytes));
  if (p.halo.outside != Outside::ones) return;
  const Buffer<uint8_t> pixel = pixel_of_ones(channels);
  for (int64_t at = 0; at + p.map.pixel <= bytes; at += p.map.pixel)
    std::memcpy(begin + at, pixel.data(), static_cast<size_t>(p.map.pixel));
}

// Copies the pixels at the edges of a map into its halo.
void repeat_edge(const EdgeArgs& e) {
  const auto copy = [&](uint8_t* to, const uint8_t* from, int64_t n) { std::memcpy(to, from, static_cast<size_t>(n)); };
  for (int64_t y = 0; y < e.height; ++y) {
    uint8_t* row = e.map.data + y * e.map.row;
    for (int x = 1; x <= e.left; ++x) copy(row - x * e.map.pixel, row, e.map.pixel);
    const uint8_t* last = row + (e.width - 1) * e.map.pixel;
    for (int x = 0; x < e.right; ++x) copy(row + (e.width + x) * e.map.pixel, last, e.map.pixel);
  }
  uint8_t* first = e.map.data - e.left * e.map.pixel;
  for (int y = 1; y <= e.top; ++y) copy(first - y * e.map.row, first, e.map.row);
  uint8_t* behind = first + e.height * e.map.row;
  for (int y = 0; y < e.bottom; ++y) copy(behind + y * e.map.row, behind - e.map.row, e.map.row);
}

// Where a value lies inside another: from byte `byte` of its pixels on.
struct Inside {
  int host = -1;
  int64_t byte = 0;
};

// Values of bits that a gather does nothing with but put them side by side: they are written where it would put them, if
// they are whole words. A convolution would take the bits behind a value's own for zeros.
std::vector<Inside> side_by_side(const Graph& g) {
  std::vector<Inside> inside(g.values.size());
  std::vector<bool> settled(g.values.size(), false);
  for (const Node& n : g.nodes)
    if (n.convolves()) settled[static_cast<size_t>(n.inputs[0])] = true;
  for (const Node& n : g.nodes) {
    if (n.op != Op::gather || g.values[static_cast<size_t>(n.inputs[0])].kind != Kind::bits || !only_packs(g, n)) continue;
    int64_t channels = 0;
    bool whole = true;
    for (int id : n.inputs) {
      const int own = g.values[static_cast<size_t>(id)].channels;
      whole = whole && own % 32 == 0 && !settled[static_cast<size_t>(id)] && std::count(n.inputs.begin(), n.inputs.end(), id) == 1;
      channels += own;
    }
    whole = whole && channels == n.channels;
    for (int c = 0; whole && c < n.channels; ++c) whole = n.index[static_cast<size_t>(c)] == c;
    if (!whole) continue;
    const int host = n.epilogue[0].value;
    settled[static_cast<size_t>(host)] = true;
    int64_t byte = 0;
    for (int id : n.inputs) {
      inside[static_cast<size_t>(id)] = {host, byte};
      settled[static_cast<size_t>(id)] = true;
      byte += g.values[static_cast<size_t>(id)].channels / 8;
    }
  }
  return inside;
}

}  // namespace

Model::Model(Graph graph, const std::string& isa, int threads)
    : graph_(std::move(graph)), kernels_(select_kernels(isa)), pool_(threads) {
  plan();
  plan_input();
  int channels = 0;
  for (const Node& n : graph_.nodes) channels = std::max(channels, n.channels);
  zeros_ = Buffer<float>(static_cast<size_t>(channels));
  int64_t tile = 0, windows = 0, pixels = 0, columns = 0;
  for (const Node& n : graph_.nodes) {
    tasks_.push_back(prepare(graph_, n, places_, zeros_.data(), kernels_, threads));
    const Task& t = *tasks_.back();
    tile = std::max(tile, t.pixels_of_scratch * t.tile_floats * 4);
    windows = std::max(windows, t.pixels_of_scratch * t.window_bytes);
    pixels = std::max(pixels, t.pixels_of_scratch);
    columns = std::max(columns, t.columns);
  }
  const int64_t parts[] = {tile, windows, pixels * 4, columns * 4, pixels * static_cast<int64_t>(sizeof(Row))};
  const auto padded = [](int64_t bytes) { return round_up(bytes + static_cast<int64_t>(kSlack), kAlignment); };
  int64_t one = 0;
  for (int64_t bytes : parts) one += padded(bytes);
  scratch_memory_ = Buffer<uint8_t>(static_cast<size_t>(one * threads));
  for (int t = 0; t < threads; ++t) {
    uint8_t *at = scratch_memory_.data() + one * t, *part[std::size(parts)];
    for (size_t i = 0; i < std::size(parts); at += padded(parts[i]), ++i) part[i] = at;
    scratch_.push_back({reinterpret_cast<float*>(part[0]), part[1], reinterpret_cast<float*>(part[2]),
                        reinterpret_cast<int32_t*>(part[3]), reinterpret_cast<Row*>(part[4])});
  }
  nanoseconds.assign(graph_.nodes.size(), 0);
  settle_tiles();
  graph_.floats = Buffer<float>(), graph_.bits = Buffer<uint8_t>();  // what runs is packed
}

// Gives every value its place. A value with a halo, and one of bits, has memory of its own: what surrounds its pixels
// is written once, here. Any other's memory is free again after the last node that reads it; a value nobody reads
// lives for the node that makes it; outputs live to the end.
void Model::plan() {
  const size_t count = graph_.values.size(), last_node = graph_.nodes.size();
  std::vector<size_t> last(count, 0);
  std::vector<Halo> halos(count);
  std::vector<std::vector<int>> ends(last_node + 1);
  for (size_t i = 0; i < last_node; ++i) {
    const Node& n = graph_.nodes[i];
    for (int id : n.inputs) last[static_cast<size_t>(id)] = i;
    for (const Step& s : n.epilogue)
      if (s.writes() || s.reads()) last[static_cast<size_t>(s.value)] = i;
    const size_t input = static_cast<size_t>(n.inputs[0]);
    if (n.convolves()) halos[input] = widened(halos[input], halo_of(n, graph_.values[input]), graph_.values[input]);
  }
  for (const Output& o : graph_.outputs) last[static_cast<size_t>(o.value)] = last_node;
  for (size_t id = 0; id < count; ++id) ends[last[id]].push_back(static_cast<int>(id));

  const std::vector<Inside> inside = side_by_side(graph_);
  Planner planner;
  std::vector<int64_t> at(count, -1), bytes(count);  // -1: memory of its own
  std::vector<bool> taken_over(count, false);
  places_.resize(count);
  int64_t own = 0;
  const auto place = [&](int id) {
    if (inside[static_cast<size_t>(id)].host >= 0) return;
    const Value& v = graph_.values[static_cast<size_t>(id)];
    const Halo& halo = halos[static_cast<size_t>(id)];
    const int64_t pixel = v.kind == Kind::bits    ? pixel_bytes(v.channels)
                          : v.coded()             ? v.channels
                                                  : 4 * (id == 0 ? v.channels : round_up(v.channels, 16));
    const int64_t row = pixel * (halo.left + v.width + halo.right);
    places_[static_cast<size_t>(id)] = {{nullptr, pixel, row}, halo};
    int64_t& size = bytes[static_cast<size_t>(id)];
    size = round_up(row * (halo.top + v.height + halo.bottom), kAlignment);
    if (halo.any() || v.kind == Kind::bits)
      own += round_up(size + static_cast<int64_t>(kSlack), kAlignment);
    else
      at[static_cast<size_t>(id)] = planner.take(size);
  };
  place(0);
  for (size_t i = 0; i < last_node; ++i) {
    const Node& n = graph_.nodes[i];
    int added = -1;  // a value that is read for the last time here: what is stored next may lie in its place
    for (const Step& s : n.epilogue) {
      const size_t id = static_cast<size_t>(s.value);
      if (s.reads()) {
        const Value& v = graph_.values[id];
        const bool input = std::find(n.inputs.begin(), n.inputs.end(), s.value) != n.inputs.end();
        const bool again = std::any_of(&s + 1, n.epilogue.data() + n.epilogue.size(),
                                       [&](const Step& other) { return other.reads() && other.value == s.value; });
        const bool whole = v.kind == Kind::float32 && v.height == n.out_h && v.width == n.out_w;
        if (last[id] == i && at[id] >= 0 && id != 0 && !input && !again && whole) added = s.value;
      } else if (s.kind == StepKind::store && added >= 0 && !halos[id].any()) {
        places_[id] = places_[static_cast<size_t>(added)];
        at[id] = at[static_cast<size_t>(added)], bytes[id] = bytes[static_cast<size_t>(added)];
        taken_over[static_cast<size_t>(added)] = true;
        added = -1;
      } else if (s.writes()) {
        place(s.value);
      }
    }
    for (int id : ends[i])
      if (at[static_cast<size_t>(id)] >= 0 && !taken_over[static_cast<size_t>(id)])
        planner.give(at[static_cast<size_t>(id)], bytes[static_cast<size_t>(id)]);
  }
  const int64_t shared = round_up(planner.end() + static_cast<int64_t>(kSlack), kAlignment);
  arena_ = Buffer<uint8_t>(static_cast<size_t>(shared + own));
  uint8_t* next = arena_.data() + shared;
  for (size_t id = 0; id < count; ++id) {
    if (inside[id].host >= 0) continue;
    Place& p = places_[id];
    uint8_t* begin = at[id] >= 0 ? arena_.data() + at[id] : next;
    if (at[id] < 0) {
      surround(begin, bytes[id], p, graph_.values[id].channels);
      next += round_up(bytes[id] + static_cast<int64_t>(kSlack), kAlignment);
    }
    p.map.data = begin + p.halo.top * p.map.row + p.halo.left * p.map.pixel;
  }
  for (size_t id = 0; id < count; ++id) {
    if (inside[id].host < 0) continue;
    const Map& host = places_[static_cast<size_t>(inside[id].host)].map;
    places_[id].map = {host.data + inside[id].byte, host.pixel, host.row};
  }
}

// Tiles pay where windows and channels fill them, which differs from layer to layer and from machine to machine: both
// ways are tried here, and the faster one stays. They give the same bits.
void Model::settle_tiles() {
#ifndef NETSUKE_EMULATE_TILES
  using Clock = std::chrono::steady_clock;
  constexpr int kTries = 3;
  for (const std::unique_ptr<Task>& task : tasks_) {
    bool& tiled = task->int8.tiled;
    if (!tiled) continue;
    Clock::duration best[2] = {Clock::duration::max(), Clock::duration::max()};
    for (int i = 0; i < 2 * kTries; ++i) {
      tiled = i % 2;
      const Clock::time_point before = Clock::now();
      task->run(*task, 0, scratch_[0]);
      best[tiled] = std::min(best[tiled], Clock::now() - before);
    }
    tiled = best[1] < best[0];
  }
#endif
}

void Model::run_node(int index) {
  const Task& task = *tasks_[static_cast<size_t>(index)];
  struct Context {
    const Task* task;
    const Scratch* scratch;
  } const context{&task, scratch_.data()};
  const auto run = [](const void* c, int unit, int thread) {
    const Context& x = *static_cast<const Context*>(c);
    x.task->run(*x.task, unit, x.scratch[thread]);
  };
  if (task.edge.map.data) repeat_edge(task.edge);
  if (task.detector) task.detector->run(pool_, scratch_);
  if (task.units.in_order)
    for (int unit = 0; unit < task.units.count; ++unit) run(&context, unit, 0);
  else
    pool_.run(run, &context, task.units.count);
  for (const MeanArgs& mean : task.means) kernels_.mean(mean);
}

void Model::run_tasks() {
  const int count = static_cast<int>(tasks_.size());
  if (!timed) {
    for (int i = first_task_; i < count; ++i) run_node(i);
    return;
  }
  using Clock = std::chrono::steady_clock;
  Clock::time_point before = Clock::now();
  for (int i = first_task_; i < count; ++i) {
    run_node(i);
    const Clock::time_point now = Clock::now();
    nanoseconds[static_cast<size_t>(i)] += std::chrono::duration_cast<std::chrono::nanoseconds>(now - before).count();
    before = now;
  }
}

void Model::set_value(int id, const float* planes) {
  const Value& v = graph_.values[static_cast<size_t>(id)];
  const Map& map = places_[static_cast<size_t>(id)].map;
  for (int64_t c = 0; c < v.channels; ++c)
    for (int64_t y = 0; y < v.height; ++y)
      for (int64_t x = 0; x < v.width; ++x) {
        const float number = *planes++;
        uint8_t* pixel = map.data + y * map.row + x * map.pixel;
        if (v.kind == Kind::float32)
          std::memcpy(pixel + c * 4, &number, 4);
        else if (v.coded())
          pixel[c] = static_cast<uint8_t>(number);
        else
          pixel[c / 8] = static_cast<uint8_t>((pixel[c / 8] & ~(1 << (c % 8))) | (number > 0) << (c % 8));
      }
}

void Model::get_value(int id, float* planes) const {
  const Value& v = graph_.values[static_cast<size_t>(id)];
  const Map& map = places_[static_cast<size_t>(id)].map;
  for (int64_t c = 0; c < v.channels; ++c)
    for (int64_t y = 0; y < v.height; ++y)
      for (int64_t x = 0; x < v.width; ++x, ++planes) {
        const uint8_t* pixel = map.data + y * map.row + x * map.pixel;
        if (v.kind == Kind::float32)
          std::memcpy(planes, pixel + c * 4, 4);
        else if (v.coded())
          *planes = pixel[c];
        else
          *planes = static_cast<float>((pixel[c / 8] >> (c % 8) & 1) * 2 - 1);
      }
}

// If all that reads the input is a node that only quantizes it, an image becomes codes at once and that node is skipped.
void Model::plan_input() {
  const Graph& g = graph_;
  const Node& n = g.nodes[0];
  const auto keep = [&](Range r) {
    Buffer<float> copy(static_cast<size_t>(r.count));
    std::copy_n(g.floats.data() + r.offset, r.count, copy.data());
    return copy;
  };
  input_scale_ = keep(g.scale), input_shift_ = keep(g.shift);
  input_ = {g.channels, g.height, g.width, g.reverse, input_scale_.data(), input_shift_.data(),
            places_[0].map, false, 0, 0, 0};
  int readers = 0;
  for (const Node& node : g.nodes) {
    for (int id : node.inputs) readers += id == 0;
    for (const Step& s : node.epilogue) readers += s.reads() && s.value == 0;
  }
  const Step& s = n.epilogue[0];
  const bool codes = s.kind == StepKind::quantize || s.kind == StepKind::to_fixed;
  if (n.op != Op::identity || readers != 1 || n.epilogue.size() != 1 || !codes) return;
  input_.map = places_[static_cast<size_t>(s.value)].map;
  input_.codes = true, input_.multiplier = s.multiplier, input_.zero = static_cast<float>(s.zero);
  input_.most = static_cast<float>(s.most);
  first_task_ = 1;
}

template <class T>
void Model::run_images(const T* images, int64_t n, float* const* outputs) {
  constexpr bool eight_bit = sizeof(T) == 1;
  const int64_t elements = graph_.values[0].elements();
  if constexpr (eight_bit) {
    if (!graph_.has_transform)
      fail("this file takes float32 input only: it was exported without preprocess=. Normalise the images first.");
  }
  for (int64_t image = 0; image < n; ++image, images += elements) {
    if constexpr (eight_bit)
      kernels_.transform_u8(input_, images);
    else if (!kernels_.transform_f32(input_, images))
      fail("the images hold a number that is not finite (NaN or infinity); check how they were made");
    run_tasks();
    for (size_t k = 0; k < graph_.outputs.size(); ++k) {
      const int id = graph_.outputs[k].value;
      get_value(id, outputs[k] + image * graph_.values[static_cast<size_t>(id)].elements());
    }
  }
}

void Model::run(const float* images, int64_t n, float* const* outputs) { run_images(images, n, outputs); }
void Model::run(const uint8_t* images, int64_t n, float* const* outputs) { run_images(images, n, outputs); }

}  // namespace netsuke
