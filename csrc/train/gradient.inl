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

#if defined(__AVX512BF16__)

constexpr int kChannels = 8;     // with three columns of the kernel, 24 sums stay in registers

// Two images side by side: a 32-bit word holds a number of the first and one of the second, so that one instruction
// multiplies and adds up both. Windows of any stride and shift stay whole words.
struct Pair {
  int64_t height, width;         // of a frame
  uint32_t *a, *grad;            // [C / 8][height][width][8], zeros around; [O / 16][H'][W'][16]
};

inline void fill(const WeightGradient& g, const Pair& pair, int64_t image) {
  const bool second = image + 1 < g.images;
  const int64_t words = g.channels / L, plane = pair.height * pair.width * kChannels;
  const __m512i high0 = _mm512_set1_epi32(g.high), low0 = _mm512_set1_epi32(g.low);
  const __m512i high1 = _mm512_slli_epi32(high0, 16), low1 = _mm512_slli_epi32(low0, 16);
  for (int64_t y = 0; y < g.in_h; ++y) {
    const uint16_t* bits0 = g.bits + (image * g.in_h + y) * g.in_w * words;
    const uint16_t* bits1 = bits0 + g.in_h * g.in_w * words;
    uint32_t* a = pair.a + ((y + g.pad_h) * pair.width + g.pad_w) * kChannels;
    for (int64_t x = 0; x < g.in_w; ++x, a += kChannels)
      for (int64_t k = 0; k < words; ++k) {
        __m512i both = _mm512_mask_blend_epi32(bits0[x * words + k], low0, high0);
        if (second) both = _mm512_or_si512(both, _mm512_mask_blend_epi32(bits1[x * words + k], low1, high1));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(a + 2 * k * plane), _mm512_castsi512_si256(both));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(a + (2 * k + 1) * plane), _mm512_extracti64x4_epi64(both, 1));
      }
  }
  const int64_t pixels = g.out_h * g.out_w, blocks = g.outputs / L;
  const uint16_t *grad0 = g.grad + image * pixels * g.outputs, *grad1 = grad0 + pixels * g.outputs;
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t k = 0; k < blocks; ++k) {
      const int64_t i = p * g.outputs + k * L;
      __m512i both = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(grad0 + i)));
      if (second) {
        const __m512i other = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(grad1 + i)));
        both = _mm512_or_si512(both, _mm512_slli_epi32(other, 16));
      }
      _mm512_storeu_si512(pair.grad + (k * pixels + p) * L, both);
    }
}

// Channels [c, c + 8) and outputs [o, o + 16) of kernel row ky.
template <int columns>
inline void add_pair(const WeightGradient& g, const Pair& pair, int64_t ky, int64_t c, int64_t o, float* sums) {
  __m512 sum[columns][kChannels];
  float* own = sums + (ky * columns * g.channels + c) * g.outputs + o;
  for (int kx = 0; kx < columns; ++kx)
    for (int k = 0; k < kChannels; ++k) sum[kx][k] = _mm512_loadu_ps(own + (kx * g.channels + k) * g.outputs);
  const uint32_t* plane = pair.a + c * pair.height * pair.width;
  const uint32_t* grad = pair.grad + o * g.out_h * g.out_w;
  for (int64_t y = 0; y < g.out_h; ++y) {
    const uint32_t* a = plane + (y * g.stride_h + ky) * pair.width * kChannels;
    for (int64_t x = 0; x < g.out_w; ++x, a += g.stride_w * kChannels, grad += L) {
      const __m512bh by = reinterpret_cast<__m512bh>(_mm512_loadu_si512(grad));
#pragma GCC unroll 3
      for (int kx = 0; kx < columns; ++kx)
#pragma GCC unroll 8
        for (int k = 0; k < kChannels; ++k) {
          const __m512i word = _mm512_set1_epi32(static_cast<int>(a[kx * kChannels + k]));
          sum[kx][k] = _mm512_dpbf16_ps(sum[kx][k], by, reinterpret_cast<__m512bh>(word));
        }
    }
  }
  for (int kx = 0; kx < columns; ++kx)
    for (int k = 0; k < kChannels; ++k) _mm512_storeu_ps(own + (kx * g.channels + k) * g.outputs, sum[kx][k]);
}

void weight_gradient(const WeightGradient& g, int64_t begin, int64_t end, float* sums) {
  const int64_t height = g.in_h + 2 * g.pad_h, width = g.in_w + 2 * g.pad_w;
  const size_t frame = static_cast<size_t>(height * width * g.channels);
  const size_t result = static_cast<size_t>(g.out_h * g.out_w * g.outputs);
  auto* memory = static_cast<uint32_t*>(__builtin_malloc(4 * (frame + result)));
  __builtin_memset(memory, 0, 4 * frame);
  const Pair pair{height, width, memory, memory + frame};
  for (int64_t image = begin; image < end; image += 2) {
    fill(g, pair, image);
    for (int64_t ky = 0; ky < g.kernel_h; ++ky)
      for (int64_t o = 0; o < g.outputs; o += L)
        for (int64_t c = 0; c < g.channels; c += kChannels)
          (g.kernel_w == 3 ? add_pair<3> : add_pair<1>)(g, pair, ky, c, o, sums);
  }
  __builtin_free(memory);
}

// One image's gradient; each row has kernel_w pixels of zeros on both sides.
struct Rows {
  int64_t row;                   // words
  uint32_t* grad;                // [H'][kernel_w + W' + kernel_w][O / 2]
};

// Columns of one row of the map that the same taps reach: x = phase, phase + stride_w, ...
struct Phase {
  int64_t y, x;                  // y: of the map. x: the phase
};

// P columns from the j-th of a phase on, and V vectors of channels from c on.
template <int P, int V>
inline void input_tile(const InputGradient& g, const Rows& rows, const Phase& phase, int64_t j, int64_t c, uint16_t* out) {
  const int64_t words = g.outputs / 2;
  __m512 sum[P][V] = {};
  for (int64_t ky = 0; ky < g.kernel_h; ++ky) {
    const int64_t down = phase.y + g.pad_h - ky;
    if (down < 0 || down % g.stride_h || down / g.stride_h >= g.out_h) continue;
    const uint32_t* row = rows.grad + down / g.stride_h * rows.row;
    for (int64_t kx = 0; kx < g.kernel_w; ++kx) {
      const int64_t right = phase.x + g.pad_w - kx + g.kernel_w * g.stride_w;
      if (right % g.stride_w) continue;
      const uint32_t* grad = row + (j + right / g.stride_w) * words;
      const uint32_t* weight = g.weight + (ky * g.kernel_w + kx) * words * g.channels + c;
      for (int64_t o = 0; o < words; ++o, weight += g.channels) {
        __m512bh w[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) w[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(weight + v * L));
#pragma GCC unroll 16
        for (int p = 0; p < P; ++p) {
          const auto by = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(grad[p * words + o])));
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sum[p][v] = _mm512_dpbf16_ps(sum[p][v], w[v], by);
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      store(out + p * g.stride_w * g.channels, v * L, reinterpret_cast<F>(sum[p][v]), L);
}

template <int V>
inline void input_phase(const InputGradient& g, const Rows& rows, const Phase& phase, int64_t c, uint16_t* out) {
  const int64_t count = (g.in_w - phase.x + g.stride_w - 1) / g.stride_w, step = g.stride_w * g.channels;
  constexpr int P = 16 / V;
  int64_t j = 0;
  for (; j + P <= count; j += P) input_tile<P, V>(g, rows, phase, j, c, out + j * step);
  for (; j + 4 <= count; j += 4) input_tile<4, V>(g, rows, phase, j, c, out + j * step);
  for (; j < count; ++j) input_tile<1, V>(g, rows, phase, j, c, out + j * step);
}

void input_gradient(const InputGradient& g, int64_t image) {
  const int64_t side = g.kernel_w * g.outputs, inner = g.out_w * g.outputs;  // in numbers of two bytes
  const Rows rows{side + inner / 2, static_cast<uint32_t*>(__builtin_malloc(static_cast<size_t>(g.out_h * (4 * side + 2 * inner))))};
  for (int64_t y = 0; y < g.out_h; ++y) {
    auto* row = reinterpret_cast<uint16_t*>(rows.grad + y * rows.row);
    __builtin_memset(row, 0, static_cast<size_t>(2 * side));
    __builtin_memcpy(row + side, g.grad + (image * g.out_h + y) * inner, static_cast<size_t>(2 * inner));
    __builtin_memset(row + side + inner, 0, static_cast<size_t>(2 * side));
  }
  for (int64_t y = 0; y < g.in_h; ++y)
    for (int64_t x = 0; x < g.stride_w && x < g.in_w; ++x) {
      uint16_t* out = g.out + ((image * g.in_h + y) * g.in_w + x) * g.channels;
      int64_t c = 0;
      for (; c + 2 * L <= g.channels; c += 2 * L) input_phase<2>(g, rows, {y, x}, c, out + c);
      for (; c < g.channels; c += L) input_phase<1>(g, rows, {y, x}, c, out + c);
    }
  __builtin_free(rows.grad);
}

#else

constexpr void (*weight_gradient)(const WeightGradient&, int64_t, int64_t, float*) = nullptr;
constexpr void (*input_gradient)(const InputGradient&, int64_t) = nullptr;

#endif

}  // namespace
