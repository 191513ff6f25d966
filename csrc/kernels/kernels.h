// The contract between the graph and the kernels: plain structs and function pointers, one table an instruction set.
//
// Letters: H, W extent of a map; C channels of its input, O of its result; p a pixel of the result, counted row by
// row; L lanes of a vector (output channels, so no sum ever crosses lanes).
//
// A float map has 4 * round_up(C, 16) bytes a pixel (exactly 4 * C for the network's input), a map of bits
// pixel_bytes(C), least significant bit first, bits past C zero, a map of uint8 exactly C. A map may have a halo:
// pixels around it that hold what a window sees outside the image. Per-channel arrays are padded with zeros to
// round_up(O, 16). Memory has kSlack bytes behind it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace netsuke {

// Bytes of one pixel of a map of bits: whole stores of any vector of 8 or 16 lanes.
constexpr int64_t pixel_bytes(int64_t channels) {
  return channels <= 16 ? 2 : (channels + 31) / 32 * 4;
}

// `data` is the first pixel inside; `pixel` and `row` are the bytes from one pixel, or row, to the next.
struct Map {
  uint8_t* data;
  int64_t pixel, row;
};

// ---------------------------------------------------------------------------------------------- epilogue
// A run of steps in this order, each there or not: gate, multiply, affine, add, two_slope, clamp, store, mean, binarize,
// quantize; or a sigmoid alone, never the first. Every epilogue is a sequence of stages; all but the last also leave y in
// the tile. A gate is a multiplication by one factor a channel.
struct Stage {
  enum Flag : uint32_t {
    kAdd = 1,
    kTwoSlope = 2,
    kStore = 4,
    kBinarize = 8,
    kCompiled = 16,  // the flags below it are compiled into the stage
    kAffine = 16,
    kClamp = 32,
    kQuantize = 64,
    kGate = 128,
    kMultiply = 256,
    kMean = 512,
    kSigmoid = 1024,
  };
  uint32_t flags;
  bool flip;             // binarize: y <= threshold instead of y >= threshold
  bool one_threshold;    // binarize: threshold[0] serves every channel
  const float *scale, *shift, *positive, *negative, *low, *high, *threshold, *gate;
  float multiplier, zero, most;       // quantize: most is the largest code
  Map multiply, add, store, bits, codes;  // float, float, float, bits, uint8
  // mean: the sum of each row of the result, rows of round_up(O, 16). A stretch of a row goes on where the one before it
  // ended, so stretches of one row run in order.
  float* row_sums;
};

struct Epilogue {
  const Stage* stages;
  int count;
  int channels;  // O
};

// The epilogue of a fixed-point node, over 32-bit integers: add, clamp, store, codes, in this order, each there or not.
struct FixedStage {
  enum Flag : uint32_t { kAdd = 1, kClamp = 2, kStore = 4, kCodes = 8, kAll = 16 };
  uint32_t flags;
  Map add, store, codes;  // uint8, float, uint8
  int add_zero, zero, most;
  // By channel. A result is shifted right by `shift`, rounded with half = 2^(shift - 1) - 1 and odd = 1, or 0 and 0 where it
  // is not shifted.
  const int32_t *add_shift, *low, *high, *shift, *half, *odd;
  const float* unit;      // store: what 1 stands for
};

struct FixedEpilogue {
  const FixedStage* stages;
  int count;
  int channels;  // O
};

// ---------------------------------------------------------------------------------------------- work
// A family's `run(args, unit, scratch)` does one unit: a run of `chunk` pixels and every `splits`-th share of the
// channels, epilogue included. Units are independent of one another. units = ceil(H*W / chunk) * splits.
struct Units {
  int pixels, chunk, splits, count;
  bool in_order;  // one after another: a row whose mean is taken lies in several chunks
};

struct Window {
  int in_h, in_w, out_h, out_w;
  int kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
};

// ---------------------------------------------------------------------------------------------- convolutions
// Output channels are cut into blocks of 4, 2 or 1 vectors, as many as the registers bear; weights lie block after block, each [segment][word][channel].
struct Block {
  int channel, vectors;     // first channel, width in vectors
  int64_t weight;           // where its weights begin, in words
};

// A window is read as `segments` runs of `words` 32-bit words: a run is a kernel row where its taps lie side by side
// in the map, else one tap. A word is a float, 32 bits or 4 codes.
struct Conv {
  Units units;
  Window window;
  Map map;
  // Where the halo of the map does not reach, or bits of a group do not begin at a byte, windows are gathered first.
  bool gathered;
  // What gathered windows hold outside the image: the nearest pixel of the map, the pixel `outside`, or else `fill` in
  // every byte.
  bool replicate;
  const uint8_t* outside;
  uint8_t fill;
  int segments, words;
  int segment_taps, tap_bytes;
  // Where the windows begin, in bytes from the map's first pixel, by pixel of the result (of the chunk, if gathered);
  // behind the last stand kChunkSlack copies of it. Where each word lies from there, and which of its bits belong to the
  // window (some do not only if `masked`, in a binary convolution).
  const int32_t *window_at, *word_at;
  const uint32_t* word_mask;
  bool masked;
  const int32_t* part_end;    // columns of the result where a stretch ends, the last is its width
  int parts;
  int groups, group_channels, group_outputs;
  int64_t group_bytes;        // from one group's channels to the next's in a pixel
  const uint32_t* weight;
  int64_t group_weights;      // words of one group
  const Block* blocks;        // of one group
  int block_count;
  Epilogue epilogue;
};

struct BinaryConvArgs {
  Conv conv;
  // Tables by border class, a row of round_up(O, 16) each. D = base - 2 * popcount(window XOR weight), constant is K of
  // docs/format.md, section 4.
  const float *base, *constant;
  const int32_t* border;    // by stretch of the result, row by row: where its class begins in the tables
  const int32_t *row_inside, *column_inside;  // n = row_inside[y] * column_inside[x]
  const float* scale;       // [O]: A
  const float* offset;      // [O]: B, or null when every beta_w is 0
  bool by_columns;          // windows of a chunk share rows of the map: their popcounts are added up once
};

struct FloatConvArgs {
  Conv conv;
  const float* bias;        // [O]
};

// A float layer with one pixel of result whose weights are mostly zeros. L rows of the weights are a slice: step j of it
// holds the j-th term of each row, its place in the window and its weight. Terms of a row ascend; a row that has fewer
// than the longest of its slice holds some of its zeros too. Rows of kPanel channels are sorted by length, so
// that those of a slice are about as long as one another.
struct SparseLinearArgs {
  Conv conv;                // the window is gathered; of the weights only the units are used, shares of the panels
  int terms;                // of a window
  int slices;
  const int64_t* begin;     // [slices + 1]: the first step of each slice
  const uint16_t* index;    // [steps][L]
  const float* value;       // [steps][L]
  const int32_t* channel;   // [slices][L]
  const float* bias;        // [slices][L]
};

// A float layer with one pixel of result whose weights take at most kCodebookValues values, times a scale by output: 2 bits a
// weight. A word holds the codes of kCodesOfWord terms of one output, the first lowest; words lie as the weights of
// a convolution do, block after block, each [word][channel].
struct CodebookLinearArgs {
  Conv conv;                // the window is gathered; of the rest the units, the weights and their blocks are used
  int terms;                // of a window
  const float* table;       // [kTableFloats]: the values, again and again
  const float* scale;       // [O], or null
  const float* bias;        // [O]
};

struct Int8ConvArgs {
  Conv conv;
  const int32_t* base;      // [O]: S = base + what the dot products of code_offset give
  const float *scale, *bias;  // [O]: A, bias
  bool narrow;              // no weight is larger than Kernels.narrow
  bool tiled;               // use the tiles of an instruction set that has them
  bool fixed;               // a fixed-point convolution: y is S, with the bias in `base`, and goes through `integers`
  FixedEpilogue integers;
};

struct PoolArgs {
  Units units;
  Window window;
  Map map;
  bool average, inside_divisor;
  Epilogue epilogue;
};

// Inputs, or runs of their channels, one after another, zeros before and after: pad_channels, concat, gather, identity.
struct CopySource {
  Map map;
  int channels, at;         // written to channels [at, at + channels)
};

struct CopyArgs {
  Units units;
  int width;                // of the result, in pixels
  const CopySource* sources;
  int source_count;
  bool direct;              // the epilogue reads the sources, not a tile that they are copied to
  Epilogue epilogue;
};

// Where some of a word's bits come from: 32 bits of a pixel of a source, from bit `shift` of byte `byte` on, or with
// `spread` 16 of them with a gap behind each; shifted up by `place`, those that are in `mask`.
struct BitsMove {
  uint32_t mask;
  int32_t source, byte;
  uint8_t shift, place;
  bool spread;
};

// logic, and gather of bits. moves: of a gather; those of word k of a pixel are begin[k] to begin[k + 1].
struct BitsArgs {
  Units units;
  int width;                // of the result, in pixels
  const Map* sources;
  const BitsMove* moves;
  const int32_t* begin;
  int words;                // of a pixel
  uint32_t last_mask;       // of its last word, the bits that are channels
  bool either;              // of logic: or, else xnor
  bool whole;               // of logic: no bits of a pixel are past the last channel
  bool packed;              // the result is wanted as bits alone, in `to`
  Map to;
  Epilogue epilogue;
};

struct FixedPoolArgs {
  Units units;
  Window window;
  Map map;
  bool average;
  int zero, multiplier;
  FixedEpilogue epilogue;
};

struct FixedSource {
  Map map;
  int channels, at, zero, shift;
};

struct FixedCopyArgs {
  Units units;
  int width;                // of the result, in pixels
  const FixedSource* sources;
  int source_count;
  FixedEpilogue epilogue;
};

// What is left of a mean when all units are done: mean[c] = (row_sums[0][c] + row_sums[1][c] + ...) / (height * width).
struct MeanArgs {
  const float* row_sums;
  float* mean;
  int channels, height, width;
};

// A halo that repeats the pixels at the edges of its map.
struct EdgeArgs {
  Map map;
  int height, width;
  int top, left, bottom, right;  // pixels of the halo
};

struct NormalizeArgs {
  Units units;
  int width;                // of the result, in pixels
  Map map;
  int channels;
  float eps;
  Epilogue epilogue;
};

// A map of a detect. `end`: boxes of this map and those before it.
struct DetectMap {
  Map locations, logits;
  int width, boxes, end;    // width in pixels; boxes of a pixel
};

// The scores and the coordinates of all boxes of a detect. A unit is `chunk` boxes, a multiple of 16. What is kept by box
// lies in planes of `stride` numbers, a multiple of 16.
struct DetectArgs {
  const DetectMap* maps;
  int boxes, chunk, classes;
  float centre_variance, size_variance;
  int64_t stride;
  const float* defaults;    // [4][stride]: cx, cy, w, h
  float* scores;            // [classes - 1][stride]
  float* corners;           // [4][stride]: x1, y1, x2, y2
};

// Whether a box overlaps one of `count` others by more than `threshold`. others: [5][stride], x1, y1, x2, y2, area.
struct OverlapArgs {
  const float* others;
  int64_t stride;
  int count;
  float box[5];             // likewise
  float threshold;
};

// One image, planes of uint8 or float32, to the network's input map: 4 * channels bytes a pixel, or, with `codes`,
// quantized to `channels` bytes.
struct TransformArgs {
  int channels, height, width;
  bool reverse;             // BGR
  const float *scale, *shift;
  Map map;
  bool codes;
  float multiplier, zero, most;
};

// Sums of rows of a table. A row is `row_bytes` long: its scale, the upper half of a float32, then a sign for each column, bit
// 1 being +; it stands for the signs times the scale. Behind the last row there is slack.
struct EmbeddingBagArgs {
  const uint8_t* rows;
  int64_t row_bytes, columns;
  int64_t padding;          // the row that does not count, or -1
  const int64_t* indices;   // [terms], each a row
  const float* weights;     // [terms], or null
  int64_t terms;
  const int64_t* offsets;   // [bags + 1]: bag b is the terms from offsets[b] to before offsets[b + 1]
  int64_t bags;
  bool mean;
  float* out;               // [bags][columns]
};

// A stretch of one row of the result: `count` pixels from the `first` of the chunk, which is (y, x). A stretch ends where
// the row does, and in a binary convolution where the border class changes: it is the row's `part`.
struct Row {
  int first, count, y, x, part;
};

struct Scratch {
  float* tile;              // chunk x channels
  uint8_t* windows;         // chunk x window
  float* sum;               // one number a pixel of the chunk: Sa, or what a normalize divides by
  int32_t* columns;         // popcounts of the pixels that a chunk sees, and of the columns of its windows
  Row* rows;
};

struct Kernels {
  const char* isa;
  int lanes;                // L
  int widest;               // most vectors of a block of channels: 4, 2 or 1
  bool tiles;               // int8_conv can be tiled: its scratch then has room for all windows of a chunk
  int code_offset;          // int8_conv computes the sum of w * (q - code_offset)
  int narrow;               // weights up to this magnitude have a faster int8_conv; 0 where they have none
  void (*binary_conv)(const BinaryConvArgs&, int unit, const Scratch&);
  void (*float_conv)(const FloatConvArgs&, int unit, const Scratch&);
  void (*sparse_linear)(const SparseLinearArgs&, int unit, const Scratch&);
  void (*codebook_linear)(const CodebookLinearArgs&, int unit, const Scratch&);
  void (*int8_conv)(const Int8ConvArgs&, int unit, const Scratch&);
  void (*pool)(const PoolArgs&, int unit, const Scratch&);
  void (*copy)(const CopyArgs&, int unit, const Scratch&);
  void (*bits)(const BitsArgs&, int unit, const Scratch&);
  void (*fixed_pool)(const FixedPoolArgs&, int unit, const Scratch&);
  void (*fixed_copy)(const FixedCopyArgs&, int unit, const Scratch&);
  void (*mean)(const MeanArgs&);
  void (*normalize)(const NormalizeArgs&, int unit, const Scratch&);
  void (*detect_boxes)(const DetectArgs&, int unit, const Scratch&);  // its tile has (classes + 4) * L floats
  bool (*overlaps_any)(const OverlapArgs&);
  void (*transform_u8)(const TransformArgs&, const uint8_t* planes);
  bool (*transform_f32)(const TransformArgs&, const float* planes);  // false if a number is not finite
  void (*embedding_bag)(const EmbeddingBagArgs&);
  // The bare inner loops, for measuring what the machine could do; `memory` has kLoopFloats. They return how many
  // multiply-accumulates they did.
  int64_t (*binary_loop)(int64_t rounds, float* memory);
  int64_t (*float_loop)(int64_t rounds, float* memory);
  int64_t (*int8_loop)(int64_t rounds, float* memory);
};

// Steps a counter holds.
constexpr int kNoLimit = 1 << 30;

// Pixels of a register tile of 1, 2 and 4 vectors of channels.
struct TileRows {
  int of_1, of_2, of_4;
};

// Pixels of a scratch that a kernel may fill past the chunk: every register tile is computed whole.
constexpr int kChunkSlack = 16;
constexpr int kLoopFloats = 64;
constexpr int64_t kRowScaleBytes = 2;  // of a row of an embedding table
// Channels whose rows of sparse weights are sorted, and whose results go through the epilogue, together.
constexpr int kPanel = 64;
// Channels of a scratch tile past O, for the same reason.
constexpr int kTileSlack = 64;
constexpr int kCodebookValues = 4, kCodesOfWord = 16, kTableFloats = 16;
// Vectors of channels that codebook_linear sums at a time: fewer would wait for each other's multiply-adds.
constexpr int kCodebookVectors = 4;

const Kernels& scalar_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512vpopcnt_kernels();
const Kernels& amx_kernels();
const Kernels& neon_kernels();

}  // namespace netsuke
