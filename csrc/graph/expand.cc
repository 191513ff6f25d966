#include "graph/expand.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <iterator>

#include "base/thread_pool.h"
#include "code/floats.h"
#include "code/levels.h"

namespace netsuke {
namespace {

enum class Coded { bits, codebook, floats, int4, int8, int8_codebook };
constexpr const char* kKinds[] = {"bits", "codebook", "floats", "int4", "int8", "int8_codebook"};

struct Array {
  Coded kind;
  coding::Levels shape{1, 1, 1, 1, 0, 1};
  Range stream, codebook;
  int64_t count = 0;  // of numbers

  bool of_floats() const { return kind == Coded::codebook || kind == Coded::floats; }
  int64_t elements() const {  // of its tensor
    return kind == Coded::bits ? (count + 7) / 8 : kind == Coded::int4 ? (count + 1) / 2 : count;
  }
  bool by_codebook() const { return kind == Coded::codebook || kind == Coded::int8_codebook; }
};

// Its codebook may lie in the first `floats` numbers of the tensor float32.
Array read_array(const Json& json, size_t index, int64_t floats, int64_t bytes) {
  Fields f(json, "coded array " + std::to_string(index));
  const std::string& kind = f.text("kind");
  size_t k = 0;
  while (k < std::size(kKinds) && kind != kKinds[k]) ++k;
  if (k == std::size(kKinds)) refuse(f.where(), "there is no kind '" + kind + "'");
  Array a;
  a.kind = static_cast<Coded>(k);
  a.stream = f.any_range("stream", bytes);
  if (a.kind == Coded::floats) {
    a.count = f.integer("count", 0, MAX_PACKED);
  } else {
    int shape[4];
    f.integers("shape", shape, 1, MAX_CHANNELS);
    check(shape[1] <= MAX_EXTENT && shape[2] <= MAX_EXTENT, f.where(), "its shape is out of bounds");
    int64_t count = 1;
    for (int n : shape) {
      count *= n;
      check(count <= MAX_PACKED, f.where(), "its shape is out of bounds");
    }
    a.shape = {shape[0], shape[1], shape[2], shape[3], 0, 1};
    a.count = count;
  }
  if (a.kind != Coded::floats && a.kind != Coded::bits) {
    const int most = a.kind == Coded::codebook ? coding::kMostLevel : a.kind == Coded::int4 ? 7 : 127;
    int64_t levels;
    if (a.by_codebook()) {
      a.codebook = f.any_range("codebook", a.of_floats() ? floats : bytes);
      levels = a.codebook.count;
    } else {
      levels = f.integer("levels", 1, 2 * most + 1);
    }
    const int64_t zero = f.integer("zero", 0, most);
    check(zero < levels && levels - 1 - zero <= most, f.where(), "such levels are not possible");
    a.shape.least = static_cast<int>(-zero), a.shape.most = static_cast<int>(levels - 1 - zero);
  }
  f.done();
  return a;
}

void check_finite(const float* floats, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    if (!std::isfinite(floats[i])) fail("the file holds a number that is not finite. Export it again.");
}

// Whether the stream is sound. floats, stored: what codebooks lie in.
bool decode(const Array& a, const uint8_t* stored, const float* floats, void* out) {
  const uint8_t* stream = stored + a.stream.offset;
  const auto size = static_cast<size_t>(a.stream.count), count = static_cast<size_t>(a.count);
  if (a.kind == Coded::floats) {
    std::vector<uint32_t> bits(count);
    if (!coding::decode_floats(stream, size, bits.data(), count)) return false;
    if (count) std::memcpy(out, bits.data(), count * 4);
    check_finite(static_cast<const float*>(out), a.count);
    return true;
  }
  std::vector<int16_t> levels(count);
  if (!coding::decode(a.shape, stream, size, levels.data())) return false;
  if (a.kind == Coded::codebook) {
    const float* zero = floats + a.codebook.offset - a.shape.least;
    for (size_t i = 0; i < count; ++i) static_cast<float*>(out)[i] = zero[levels[i]];
    return true;
  }
  auto* bytes = static_cast<uint8_t*>(out);
  if (a.kind == Coded::int8_codebook) {
    const uint8_t* zero = stored + a.codebook.offset - a.shape.least;
    for (size_t i = 0; i < count; ++i) bytes[i] = zero[levels[i]];
    return true;
  }
  for (size_t i = 0; i < count; ++i) {
    if (a.kind == Coded::int8)
      bytes[i] = static_cast<uint8_t>(levels[i]);
    else if (a.kind == Coded::int4)
      bytes[i / 2] = static_cast<uint8_t>(bytes[i / 2] | (levels[i] & 15) << i % 2 * 4);
    else
      bytes[i / 8] = static_cast<uint8_t>(bytes[i / 8] | levels[i] << i % 8);
  }
  return true;
}

// A coded array with the place that it decodes to.
struct Unit {
  const Array* array;
  const uint8_t* stored;
  const float* floats;
  void* out;
  size_t index;  // in the list
};

void decode_all(std::vector<Unit> units, int threads) {
  std::stable_sort(units.begin(), units.end(), [](const Unit& a, const Unit& b) { return a.array->stream.count > b.array->stream.count; });
  std::vector<std::exception_ptr> errors(units.size());
  struct Context {
    const Unit* units;
    std::exception_ptr* errors;
  } context{units.data(), errors.data()};
  if (units.empty()) return;
  ThreadPool pool(std::min(threads, static_cast<int>(units.size())));
  pool.run(
      [](const void* given, int i, int) {
        const auto& c = *static_cast<const Context*>(given);
        const Unit& u = c.units[i];
        try {
          check(decode(*u.array, u.stored, u.floats, u.out), "coded array " + std::to_string(u.index), "its stream is damaged");
        } catch (...) {  // nothing may leave a thread
          c.errors[i] = std::current_exception();
        }
      },
      &context, static_cast<int>(units.size()));
  for (const std::exception_ptr& e : errors)
    if (e) std::rethrow_exception(e);
}

}  // namespace

void expand(Fields& top, const Container& c, Graph& g, int threads) {
  auto float_count = static_cast<int64_t>(c.float_count), bit_bytes = static_cast<int64_t>(c.bit_bytes), known = float_count;
  std::vector<Array> arrays;
  int64_t left = MAX_PACKED;
  bool floats_only = true;
  const std::vector<Json>& coded = top.array("coded", 0, MAX_NODES);
  for (size_t i = 0; i < coded.size(); ++i) {
    arrays.push_back(read_array(coded[i], i, known, static_cast<int64_t>(c.bit_bytes)));
    const Array& a = arrays.back();
    left -= a.count;
    check(left >= 0, "coded array " + std::to_string(i), "the coded arrays together are too large");
    check(a.kind != Coded::floats || floats_only, "coded array " + std::to_string(i), "floats come before the other kinds");
    (a.of_floats() ? float_count : bit_bytes) += a.elements();
    floats_only = a.kind == Coded::floats;
    if (floats_only) known = float_count;
  }
  g.floats = Buffer<float>(static_cast<size_t>(float_count));
  if (c.float_count) std::memcpy(g.floats.data(), c.floats, c.float_count * 4);
  check_finite(g.floats.data(), static_cast<int64_t>(c.float_count));
  g.bits = Buffer<uint8_t>(static_cast<size_t>(bit_bytes));
  if (c.bit_bytes) std::memcpy(g.bits.data(), c.bits, c.bit_bytes);
  float* floats = g.floats.data() + c.float_count;
  uint8_t* bytes = g.bits.data() + c.bit_bytes;
  std::vector<Unit> before, others;  // codebooks lie in what the first decode to
  for (size_t i = 0; i < arrays.size(); ++i) {
    const Array& a = arrays[i];
    void* out = a.of_floats() ? static_cast<void*>(floats) : bytes;
    (a.kind == Coded::floats ? before : others).push_back({&a, c.bits, g.floats.data(), out, i});
    if (a.of_floats())
      floats += a.elements();
    else
      bytes += a.elements();
  }
  decode_all(std::move(before), threads);
  decode_all(std::move(others), threads);
}

}  // namespace netsuke
