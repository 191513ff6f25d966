namespace {

template <class T>
void expand_as(const uint16_t* bits, int64_t begin, int64_t end, float high, float low, void* out) {
  I lanes;
  for (int i = 0; i < L; ++i) lanes[i] = 1 << i;
  for (int64_t i = begin; i < end; ++i) {
    const I set = ((I{} + bits[i]) & lanes) != 0;
    store(static_cast<T*>(out), i * L, select(set, set1(high), set1(low)), L);
  }
}

void expand(const uint16_t* bits, int64_t begin, int64_t end, bool half, float high, float low, void* out) {
  (half ? expand_as<uint16_t> : expand_as<float>)(bits, begin, end, high, low, out);
}

// Four binary numbers that meet four floats have 16 possible sums: made once, they are looked up ever after, four products
// and three sums in one addition (as T-MAC and others do forward).

constexpr int kFour = 4;

// Scratch memory from a cache line on. Only `memory` is for free().
struct Scratch {
  void* memory;
  uint8_t* begin;
};
inline Scratch scratch(int64_t bytes) {
  void* memory = __builtin_malloc(static_cast<size_t>(bytes) + 64);
  return {memory, reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(memory) + 63) & ~uintptr_t{63})};
}

// The gradient of the weight: the four are one pixel of four images, so that windows of any stride and shift stay whole.
// Lanes are outputs, and a channel's four bits say which vector of sums it adds.

constexpr int64_t kPixels = 24;      // at least, whose sums stay in the first cache
constexpr int kSumsOfPixel = 17;     // the last is 0, for what lies outside the image
constexpr int64_t kBytes = kSumsOfPixel * L * 4;
#if defined(__AVX512F__)
constexpr int kBlock = 8;            // channels: with three columns of the kernel, 24 vectors stay in registers
#else
constexpr int kBlock = 4;
#endif

// Of up to four images from `image` on: where the sum that a channel's four bits take begins, in bytes, [H][width][C], with
// columns of padding.
void interleave(const WeightGradient& g, int64_t image, uint16_t* offset) {
  const int64_t words = g.channels / L, plane = g.in_h * g.in_w * words, left = g.images - image, count = left < kFour ? left : kFour;
  I lanes;
  for (int i = 0; i < L; ++i) lanes[i] = 1 << i;
  for (int64_t y = 0; y < g.in_h; ++y, offset += g.width() * g.channels) {
    for (int64_t i = 0; i < g.width() * g.channels; ++i) offset[i] = 4 * L * (kSumsOfPixel - 1);
    for (int64_t x = 0; x < g.in_w; ++x)
      for (int64_t k = 0; k < words; ++k) {
        const uint16_t* bits = g.bits + ((image * g.in_h + y) * g.in_w + x) * words + k;
        I all{};
        for (int i = 0; i < count; ++i) all |= (((I{} + bits[i * plane]) & lanes) != 0) & (64 << i);
        const H stored = __builtin_convertvector(all, H);
        __builtin_memcpy(offset + (g.pad_w + x) * g.channels + k * L, &stored, sizeof stored);
      }
  }
}

// Of outputs [o, o + 16) of pixels [begin, end) of the result.
template <class T>
inline void sum_up(const WeightGradient& g, int64_t image, int64_t count, int64_t begin, int64_t end, int64_t o, uint8_t* sums) {
  const int64_t plane = g.out_h * g.out_w * g.outputs;
  for (int64_t p = begin; p < end; ++p, sums += kBytes) {
    const T* grad = static_cast<const T*>(g.grad) + image * plane + p * g.outputs + o;
    F made[L] = {}, step[kFour] = {};
    for (int i = 0; i < count; ++i) {
      const F own = load(grad, i * plane, L);
      made[0] += own * g.low, step[i] = own * (g.high - g.low);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kFour; ++i)
#pragma GCC unroll 8
      for (int k = 0; k < 1 << i; ++k) made[k | 1 << i] = made[k] + step[i];
#pragma GCC unroll 16
    for (int k = 0; k < L; ++k) store(reinterpret_cast<float*>(sums), k * L, made[k], L);
  }
}

// Of kernel row ky, columns [kx, kx + columns), channels [c, c + kBlock) of rows [begin, end) of the result.
template <int columns>
inline void add_rows(const WeightGradient& g, const uint16_t* offsets, const uint8_t* sums_of, int64_t begin, int64_t end, int64_t ky,
                     int64_t kx, int64_t c, float* sums) {
  F sum[columns][kBlock];
  float* own = sums + ((ky * g.kernel_w + kx) * g.channels + c) * L;
  const int64_t plane = g.channels * L;
#pragma GCC unroll 3
  for (int q = 0; q < columns; ++q)
#pragma GCC unroll 8
    for (int k = 0; k < kBlock; ++k) sum[q][k] = load(own + q * plane, k * L, L);
  for (int64_t y = begin; y < end; ++y) {
    const int64_t in_y = y * g.stride_h + ky - g.pad_h;
    if (in_y < 0 || in_y >= g.in_h) continue;
    const uint16_t* offset = offsets + (in_y * g.width() + kx) * g.channels + c;
    const uint8_t* from = sums_of + (y - begin) * g.out_w * kBytes;
    for (int64_t x = 0; x < g.out_w; ++x, offset += g.stride_w * g.channels, from += kBytes)
#pragma GCC unroll 3
      for (int q = 0; q < columns; ++q) {
        const uint16_t* at = offset + q * g.channels;
        asm("" : "+r"(at));  // one register, where GCC would keep one for each of the addresses
#pragma GCC unroll 8
        for (int k = 0; k < kBlock; k += 4) {
          uint64_t four;  // in one load: loads are what bounds this
          __builtin_memcpy(&four, at + k, sizeof four);
#pragma GCC unroll 4
          for (int i = 0; i < 4; ++i) sum[q][k + i] += load(reinterpret_cast<const float*>(from + (four >> 16 * i & 0xffff)), 0, L);
        }
      }
  }
#pragma GCC unroll 3
  for (int q = 0; q < columns; ++q)
#pragma GCC unroll 8
    for (int k = 0; k < kBlock; ++k) store(own + q * plane, k * L, sum[q][k], L);
}

void weight_gradient(const WeightGradient& g, const uint16_t* offsets, int64_t begin, int64_t end, int64_t o, float* sums) {
  const int64_t rows = g.out_w < kPixels ? kPixels / g.out_w : 1, pixels = rows * g.out_w;
  const Scratch memory = scratch(pixels * kBytes);
  __builtin_memset(memory.begin, 0, static_cast<size_t>(pixels * kBytes));
  for (int64_t image = begin; image < end; image += kFour) {
    const uint16_t* own = offsets + image / kFour * g.offsets();
    const int64_t count = end - image < kFour ? end - image : kFour;
    for (int64_t y = 0; y < g.out_h; y += rows) {
      const int64_t last = y + rows < g.out_h ? y + rows : g.out_h;
      (g.half ? sum_up<uint16_t> : sum_up<float>)(g, image, count, y * g.out_w, last * g.out_w, o, memory.begin);
      for (int64_t c = 0; c < g.channels; c += kBlock)
        for (int64_t ky = 0; ky < g.kernel_h; ++ky) {
          int64_t kx = 0;
          for (; kx + 3 <= g.kernel_w; kx += 3) add_rows<3>(g, own, memory.begin, y, last, ky, kx, c, sums);
          for (; kx < g.kernel_w; ++kx) add_rows<1>(g, own, memory.begin, y, last, ky, kx, c, sums);
        }
    }
  }
  __builtin_free(memory.memory);
}

#if defined(__AVX512F__)

// The gradient of the input: the four are outputs, and each lane, a channel, has signs of its own: one vector holds the 16
// sums, and a permutation picks. Indices take a word each: widening bytes would cost a fifth of the speed.
inline F look_up(const uint32_t* index, F from) {
  return reinterpret_cast<F>(_mm512_permutexvar_ps(_mm512_loadu_si512(index), reinterpret_cast<__m512>(from)));
}

// The taps that reach some columns of one row of the map: x = phase, phase + stride_w, ...
struct Taps {
  int64_t count;
  const float** tables;          // of the column that the first of them meets
  int64_t* tap;
};

// P columns from the j-th on, and V vectors of channels from c on.
template <int P, int V, class T>
inline void input_tile(const InputGradient& g, const Taps& taps, int64_t j, int64_t c, T* out) {
  const int64_t groups = g.outputs / kFour;
  F sum[P][V] = {};
  for (int64_t t = 0; t < taps.count; ++t) {
    const float* tables = taps.tables[t] + j * groups * L;
    const uint32_t* index = g.index + (c * g.kernel_h * g.kernel_w + taps.tap[t] * V * L) * groups;
    for (int64_t o = 0; o < groups; ++o, index += V * L, tables += L)
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) sum[p][v] += look_up(index + v * L, load(tables, p * groups * L, L));
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) store(out + p * g.stride_w * g.channels + c, v * L, sum[p][v], L);
}

template <int V, class T>
inline void input_columns(const InputGradient& g, const Taps& taps, int64_t count, int64_t c, T* out) {
  const int64_t step = g.stride_w * g.channels;
  constexpr int P = 16 / V;
  int64_t j = 0;
  for (; j + P <= count; j += P) input_tile<P, V>(g, taps, j, c, out + j * step);
  for (; j + 4 <= count; j += 4) input_tile<4, V>(g, taps, j, c, out + j * step);
  for (; j < count; ++j) input_tile<1, V>(g, taps, j, c, out + j * step);
}

// Of one row of the gradient: kernel_w pixels of zeros stand on both sides already. values: as many floats as the row.
template <class T>
inline void input_tables(const InputGradient& g, const T* grad, float* values, float* tables) {
  tables += g.kernel_w * g.outputs / kFour * L;
  for (int64_t i = 0; i < g.out_w * g.outputs; i += L) store(values, i, load(grad, i, L), L);
  for (int64_t x = 0; x < g.out_w; ++x)
    for (int64_t o = 0; o < g.outputs; o += kFour, values += kFour, tables += L) {
      F sum{};
#pragma GCC unroll 4
      for (int i = 0; i < kFour; ++i) sum += load(g.choice, (o + i) * L, L) * values[i];
      store(tables, 0, sum, L);
    }
}

template <class T>
void input_gradient_of(const InputGradient& g, int64_t image) {
  const int64_t groups = g.outputs / kFour, row = (g.out_w + 2 * g.kernel_w) * groups * L, size = g.kernel_h * row * 4;
  const int64_t taps_size = g.kernel_h * g.kernel_w * static_cast<int64_t>(sizeof(void*));
  const Scratch memory = scratch(size + 2 * taps_size + 4 * g.out_w * g.outputs);
  __builtin_memset(memory.begin, 0, static_cast<size_t>(size));
  auto* ring = reinterpret_cast<float*>(memory.begin);  // as many rows of the gradient as a column of taps may meet
  Taps taps{0, reinterpret_cast<const float**>(memory.begin + size), reinterpret_cast<int64_t*>(memory.begin + size + taps_size)};
  auto* values = reinterpret_cast<float*>(memory.begin + size + 2 * taps_size);
  int64_t made = 0;              // rows of the gradient that have had tables
  for (int64_t y = 0; y < g.in_h; ++y) {
    const int64_t highest = (y + g.pad_h) / g.stride_h;
    for (; made <= highest && made < g.out_h; ++made)
      input_tables(g, static_cast<const T*>(g.grad) + (image * g.out_h + made) * g.out_w * g.outputs, values, ring + made % g.kernel_h * row);
    for (int64_t x = 0; x < g.stride_w && x < g.in_w; ++x) {
      taps.count = 0;
      for (int64_t ky = (y + g.pad_h) % g.stride_h; ky < g.kernel_h; ky += g.stride_h) {
        const int64_t down = (y + g.pad_h - ky) / g.stride_h;
        if (y + g.pad_h < ky || down >= g.out_h) continue;
        const float* from = ring + down % g.kernel_h * row;
        for (int64_t kx = (x + g.pad_w) % g.stride_w; kx < g.kernel_w; kx += g.stride_w) {
          taps.tables[taps.count] = from + ((x + g.pad_w - kx) / g.stride_w + g.kernel_w) * groups * L;
          taps.tap[taps.count++] = ky * g.kernel_w + kx;
        }
      }
      T* out = static_cast<T*>(g.out) + ((image * g.in_h + y) * g.in_w + x) * g.channels;
      const int64_t count = (g.in_w - x + g.stride_w - 1) / g.stride_w;
      int64_t c = 0;
      for (; c + 2 * L <= g.channels; c += 2 * L) input_columns<2>(g, taps, count, c, out);
      for (; c < g.channels; c += L) input_columns<1>(g, taps, count, c, out);
    }
  }
  __builtin_free(memory.memory);
}

void input_gradient(const InputGradient& g, int64_t image) {
  (g.half ? input_gradient_of<uint16_t> : input_gradient_of<float>)(g, image);
}

#else

constexpr void (*input_gradient)(const InputGradient&, int64_t) = nullptr;

#endif

}  // namespace
