// Canonical JSON (docs/format.md, section 2): a strict parser for objects, arrays, strings and integers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace netsuke {

struct Json {
  enum class Kind : uint8_t { object, array, string, integer };
  Kind kind;
  int64_t number = 0;
  std::string text;
  std::vector<std::string> keys;  // of an object, ascending
  std::vector<Json> items;        // of an object (beside its keys) or an array

  const Json* find(const char* key) const;  // null if absent or not an object
};

// Throws Error on anything that is not canonical.
Json parse_json(const std::string& text);

}  // namespace netsuke
