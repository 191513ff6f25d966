// The contract between the graph and the kernels: plain structs and function pointers, one table an instruction set.
//
// Letters: H, W extent of a map; C channels of its input, O of its result; K length of one window; p a pixel of the
// result, counted row by row; L lanes of a vector (output channels, so no sum ever crosses lanes).
//
// Float maps lie in memory as pixels of `stride` floats (C rounded up to 16, or exactly C for the network's input);
// bit maps as pixels of pixel_bytes(C) bytes, least significant bit first, bits past C zero. Per-channel arrays are
// padded with zeros to round_up(O, 16). Memory has kSlack bytes behind it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace netsuke {

// Bytes of one pixel of a bit map, and of one tap of a binary window: whole stores of any vector of 8 or 16 lanes.
constexpr int64_t pixel_bytes(int64_t channels) {
  return channels <= 16 ? 2 : (channels + 31) / 32 * 4;
}

// ---------------------------------------------------------------------------------------------- epilogue
// A run of steps in this order, each there or not: affine, add, two_slope, clamp, store, binarize. Every epilogue is a
// sequence of stages; all but the last also leave y in the tile.
struct Stage {
  enum Flag : uint32_t {
    kAdd = 1,
    kTwoSlope = 2,
    kStore = 4,
    kBinarize = 8,
    kCompiled = 16,  // the flags below it are compiled into the stage
    kAffine = 16,
    kClamp = 32,
  };
  uint32_t flags;
  bool flip;             // binarize: y <= threshold instead of y >= threshold
  bool one_threshold;    // binarize: threshold[0] serves every channel
  const float *scale, *shift, *positive, *negative, *low, *high, *threshold;
  const float* add;      // a float map
  int64_t add_stride;    // floats a pixel
  float* store;          // a float map
  int64_t store_stride;  // floats a pixel
  uint8_t* bits;         // a bit map
  int64_t bits_stride;   // bytes a pixel
};

struct Epilogue {
  const Stage* stages;
  int count;
  int channels;  // O
};

// ---------------------------------------------------------------------------------------------- windows
struct Window {
  int in_h, in_w, out_h, out_w;
  int kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
};

// ---------------------------------------------------------------------------------------------- families
// A family's `run(args, unit, scratch)` does one unit: a run of `chunk` pixels and every `splits`-th share of the
// channels, epilogue included. Units are independent of one another. units = ceil(H*W / chunk) * splits.
struct Units {
  int pixels, chunk, splits, count;
};

// Output channels are cut into blocks of 4, 2 or 1 vectors; weights lie block after block, each [K][channels].
struct Block {
  int channel, vectors;     // first channel, width in vectors
  int64_t weight;           // where its weights begin, in elements
};

struct BinaryConvArgs {
  Units units;
  Window window;
  const uint8_t* bits;
  int64_t bits_stride;
  int groups, group_channels, group_outputs;
  int tap_bytes;            // one tap of one group in a packed window
  int row_words, words;     // one kernel row, and K, in 32-bit words
  const uint32_t* weight;   // per group, per block: [K][block]
  int64_t group_weights;    // elements of one group
  const Block* blocks;      // of one group
  int block_count;
  // Tables by border class, a row of round_up(O, 16) each. The row of a pixel begins at row_border[y] + column_border[x].
  const int32_t* base;      // D = base - 2 * popcount(window XOR weight)
  const float* constant;    // K of docs/format.md, section 4
  const int32_t *row_border, *column_border;
  const int32_t *row_inside, *column_inside;  // n = row_inside[y] * column_inside[x]
  const float* scale;       // [O]: A
  const float* offset;      // [O]: B, or null when every beta_w is 0
  Epilogue epilogue;
};

struct FloatConvArgs {
  Units units;
  Window window;
  const float* map;
  int64_t map_stride;
  int groups, group_channels, group_outputs;
  const float* weight;
  int64_t group_weights;
  const Block* blocks;
  int block_count;
  const float* bias;        // [O]
  Epilogue epilogue;
};

struct PoolArgs {
  Units units;
  Window window;
  const float* map;
  int64_t map_stride;
  bool average, inside_divisor;
  Epilogue epilogue;
};

// Inputs one after another along the channels, zeros before and after: pad_channels, concat and identity.
struct CopySource {
  const float* map;
  int64_t map_stride;
  int channels, at;         // written to channels [at, at + channels)
};

struct CopyArgs {
  Units units;
  const CopySource* sources;
  int source_count;
  Epilogue epilogue;
};

// One image, planes of uint8 or float32, to the network's input map.
struct TransformArgs {
  int channels, pixels;
  bool reverse;             // BGR
  const float* scale;
  const float* shift;
  float* map;               // stride is exactly `channels`
};

struct Scratch {
  float* tile;              // chunk x channels
  uint8_t* windows;         // chunk x window
  // Of each pixel of the chunk, in a binary convolution:
  int32_t* border;          // where its border class begins in the tables
  int32_t* ones;            // popcount of its window
  float* sum;               // Sa
};

struct Kernels {
  const char* isa;
  int lanes;                // L
  void (*binary_conv)(const BinaryConvArgs&, int unit, const Scratch&);
  void (*float_conv)(const FloatConvArgs&, int unit, const Scratch&);
  void (*pool)(const PoolArgs&, int unit, const Scratch&);
  void (*copy)(const CopyArgs&, int unit, const Scratch&);
  void (*transform_u8)(const TransformArgs&, const uint8_t* planes);
};

// Pixels of a scratch that a kernel may fill past the chunk: every register tile is computed whole.
constexpr int kChunkSlack = 16;
// Channels of a scratch tile past O, for the same reason.
constexpr int kTileSlack = 64;

const Kernels& scalar_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512vpopcnt_kernels();
const Kernels& neon_kernels();

}  // namespace netsuke
