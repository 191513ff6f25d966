// A node made ready for one instruction set: weights packed, tables computed, the kernel's arguments filled in.
#pragma once

#include <memory>
#include <vector>

#include "base/memory.h"
#include "graph/detect.h"
#include "graph/graph.h"
#include "graph/sparse.h"
#include "kernels/kernels.h"

namespace netsuke {

// What a value's windows see around it: that many pixels, each +1 in all channels, or a copy of the nearest pixel of the
// value, or else every byte `fill`.
struct Halo {
  int top = 0, left = 0, bottom = 0, right = 0;
  uint8_t fill = 0;
  Outside outside = Outside::zeros;

  bool any() const { return top || left || bottom || right; }
  bool like(const Halo& other) const { return fill == other.fill && outside == other.outside; }
  bool holds(const Halo& other) const {
    return !other.any() || (like(other) && top >= other.top && left >= other.left && bottom >= other.bottom &&
                            right >= other.right);
  }
};

// The halo that a convolution reads of its input.
Halo halo_of(const Node& convolution, const Value& input);

// One pixel of a map of bits, +1 in all channels: pixel_bytes(channels) bytes, which have slack.
Buffer<uint8_t> pixel_of_ones(int channels);

// Where a value lies.
struct Place {
  Map map;
  Halo halo;
};

struct Task {
  void (*run)(const Task&, int unit, const Scratch&);
  const Kernels* kernels;
  Units units{};
  int64_t tile_floats = 0, window_bytes = 0, pixels_of_scratch = 0, columns = 0;  // of one thread's scratch

  BinaryConvArgs binary{};
  FloatConvArgs floats{};
  SparseLinearArgs sparse{};
  CodebookLinearArgs codebook{};
  Int8ConvArgs int8{};
  PoolArgs pool{};
  CopyArgs copy{};
  BitsArgs bits{};
  FixedPoolArgs fixed_pool{};
  FixedCopyArgs fixed_copy{};
  NormalizeArgs normalize{};

  std::vector<MeanArgs> means;  // to end when all units are done
  EdgeArgs edge{};              // to do before any unit, where the map's halo repeats its edge
  std::unique_ptr<Detector> detector;  // likewise: it makes what the units then copy

  std::vector<Stage> stages;
  std::vector<FixedStage> fixed_stages;
  std::vector<Block> blocks;
  std::vector<CopySource> sources;
  std::vector<FixedSource> fixed_sources;
  std::vector<Map> maps;
  std::vector<BitsMove> moves;
  Buffer<uint32_t> weight, word_mask;
  SparseWeights sparse_weights;
  Buffer<float> scale, offset, border_base, constant, table;
  std::vector<Buffer<float>> row_sums, kept;
  std::vector<Buffer<int32_t>> kept_integers;
  Buffer<uint8_t> outside;
  Buffer<int32_t> move_begin, window_at, word_at, part_end, base, border, row_inside, column_inside;
};

// Whether all that is made of a node of bits is their bits, as they are, once.
bool only_packs(const Graph& graph, const Node& node);

// `zeros` holds as many zeros as the node has channels; `places` is indexed by value. The memory that they and the places
// point at must outlive the task; the graph's floats and bits need not.
std::unique_ptr<Task> prepare(const Graph& graph, const Node& node, const std::vector<Place>& places, const float* zeros,
                              const Kernels& kernels, int threads);

}  // namespace netsuke
