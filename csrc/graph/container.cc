#include "graph/container.h"

#include <cstring>

#include "base/error.h"
#include "graph/inflate.h"
#include "graph/limits.h"
#include "graph/sha256.h"

namespace netsuke {
namespace {

constexpr char kHead[] = "{\"__metadata__\":{\"netsuke\":\"1:";
constexpr size_t kDigits = 64;

// Reads `literal`, then a number without leading zeros.
struct Cursor {
  const std::string& text;
  size_t at = 0;

  [[noreturn]] void bad() const { fail("this is a safetensors file, but not one that netsuke wrote."); }
  void literal(const char* s) {
    const size_t n = std::strlen(s);
    if (text.compare(at, n, s) != 0) bad();
    at += n;
  }
  uint64_t number() {
    const size_t begin = at;
    uint64_t n = 0;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9' && at - begin < 15)
      n = n * 10 + static_cast<uint64_t>(text[at++] - '0');
    if (at == begin || (text[begin] == '0' && at > begin + 1)) bad();
    return n;
  }
};

}  // namespace

Container open_container(const uint8_t* data, size_t size) {
  uint64_t length = 0;
  for (int i = 7; i >= 0 && size >= 8; --i) length = length << 8 | data[i];
  const size_t at = 8 + sizeof kHead - 1;  // of the digest
  if (size < 8 || length % 8 != 0 || length > static_cast<uint64_t>(MAX_HEADER_BYTES) || length > size - 8 ||
      length < sizeof kHead - 1 + kDigits)
    fail("this is not a netsuke file, or it was cut short. Write one with `netsuke export`.");
  const std::string header(reinterpret_cast<const char*>(data) + 8, length);
  if (header.compare(0, sizeof kHead - 1, kHead) != 0) {
    const bool other_version = header.compare(0, sizeof kHead - 3, kHead, sizeof kHead - 3) == 0;
    fail(other_version ? "this netsuke file has a schema version that this netsuke cannot read. Update netsuke."
                       : "this is not a netsuke file. Write one with `netsuke export`.");
  }
  Sha256 hash;
  const std::string zeros(kDigits, '0');
  hash.update(data, at);
  hash.update(zeros.data(), kDigits);
  hash.update(data + at + kDigits, size - at - kDigits);
  if (header.compare(sizeof kHead - 1, kDigits, hash.hex()) != 0)
    fail("the file is damaged: its checksum does not match. Copy or export it again.");

  Cursor c{header};
  c.at = sizeof kHead - 1 + kDigits;
  c.literal("\"},\"bits\":{\"data_offsets\":[");
  const uint64_t bits_begin = c.number();
  c.literal(",");
  const uint64_t bits_end = c.number();
  c.literal("],\"dtype\":\"U8\",\"shape\":[");
  const uint64_t bits_count = c.number();
  c.literal("]},\"float32\":{\"data_offsets\":[0,");
  const uint64_t float_end = c.number();
  c.literal("],\"dtype\":\"F32\",\"shape\":[");
  const uint64_t float_count = c.number();
  c.literal("]},\"graph\":{\"data_offsets\":[");
  const uint64_t graph_begin = c.number();
  c.literal(",");
  const uint64_t graph_end = c.number();
  c.literal("],\"dtype\":\"U8\",\"shape\":[");
  const uint64_t graph_count = c.number();
  c.literal("]}}");
  if (length - c.at >= 8) c.bad();
  while (c.at < length) c.literal(" ");
  const uint64_t bytes = size - 8 - length;
  if (float_end != float_count * 4 || bits_begin != float_end || bits_end != bits_begin + bits_count ||
      graph_begin != bits_end || graph_end != graph_begin + graph_count || graph_end != bytes ||
      bytes > static_cast<uint64_t>(MAX_INTEGER))
    fail("the sizes in the header do not fit the file. Export it again.");

  const uint8_t* body = data + 8 + length;
  Container out{body, float_count, body + float_end, bits_count, {}};
  const uint8_t* graph = body + graph_begin;
  if (graph_count > static_cast<uint64_t>(MAX_GRAPH_BYTES) || graph_count == 0)
    fail("the graph is empty or too large. Export the file again.");
  if (graph[0] == '{')
    out.graph.assign(reinterpret_cast<const char*>(graph), graph_count);
  else
    out.graph = inflate(graph, graph_count, MAX_GRAPH_BYTES);
  return out;
}

}  // namespace netsuke
