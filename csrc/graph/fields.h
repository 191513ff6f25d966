// One object of a graph's JSON, read key by key and checked.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "graph/graph.h"
#include "graph/json.h"
#include "graph/limits.h"

namespace netsuke {

[[noreturn]] inline void refuse(const std::string& where, const std::string& what) {
  fail("the graph is wrong at " + where + ": " + what + ". Export the file again.");
}

inline void check(bool ok, const std::string& where, const char* what) {
  if (!ok) refuse(where, what);
}

// [offset, count] with count = `count`, inside a tensor of `size` elements.
inline Range range_of(const Json& pair, int64_t count, int64_t size, const std::string& where) {
  const auto integer = [&](size_t i) { return pair.items[i].kind == Json::Kind::integer; };
  check(pair.kind == Json::Kind::array && pair.items.size() == 2 && integer(0) && integer(1), where, "a range is no pair of integers");
  const Range r = {pair.items[0].number, pair.items[1].number};
  check(r.count == count && r.offset <= size && r.count <= size - r.offset, where, "a range lies outside its tensor or has the wrong length");
  return r;
}

// One object of the graph whose keys are known. Every key must be asked for exactly once.
class Fields {
 public:
  Fields(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    check(json.kind == Json::Kind::object, where_, "expected an object");
  }
  const std::string& where() const { return where_; }

  const Json& get(const char* key, Json::Kind kind) {
    const Json* found = json_.find(key);
    if (!found || found->kind != kind) refuse(where_, std::string("'") + key + "' is missing or of the wrong kind");
    ++used_;
    return *found;
  }
  bool has(const char* key) const { return json_.find(key) != nullptr; }
  int64_t integer(const char* key, int64_t low, int64_t high) {
    const int64_t n = get(key, Json::Kind::integer).number;
    if (n < low || n > high) refuse(where_, std::string("'") + key + "' is out of bounds");
    return n;
  }
  const std::string& text(const char* key) { return get(key, Json::Kind::string).text; }
  const std::vector<Json>& array(const char* key, int64_t least, int64_t most) {
    const std::vector<Json>& items = get(key, Json::Kind::array).items;
    const int64_t n = static_cast<int64_t>(items.size());
    if (n < least || n > most) refuse(where_, std::string("'") + key + "' has the wrong length");
    return items;
  }
  template <size_t N>
  void integers(const char* key, int (&out)[N], int64_t low, int64_t high) {
    const std::vector<Json>& items = array(key, N, N);
    for (size_t i = 0; i < N; ++i) {
      if (items[i].kind != Json::Kind::integer || items[i].number < low || items[i].number > high)
        refuse(where_, std::string("'") + key + "' is out of bounds");
      out[i] = static_cast<int>(items[i].number);
    }
  }
  // [offset, count] with count = `count`, or 0 at offset 0 where `or_zeros`; inside a tensor of `size` elements.
  Range range(const char* key, int64_t count, int64_t size, bool or_zeros = false) {
    int pair[2];
    integers(key, pair, 0, MAX_INTEGER);
    const Range r = {pair[0], pair[1]};
    const bool zeros = or_zeros && r.offset == 0 && r.count == 0;
    if (!zeros && (r.count != count || r.offset > size || r.count > size - r.offset))
      refuse(where_, std::string("'") + key + "' lies outside its tensor or has the wrong length");
    return r;
  }
  // [offset, count] inside a tensor of `size` elements.
  Range any_range(const char* key, int64_t size) {
    int pair[2];
    integers(key, pair, 0, MAX_INTEGER);
    if (pair[0] > size || pair[1] > size - pair[0]) refuse(where_, std::string("'") + key + "' lies outside its tensor");
    return {pair[0], pair[1]};
  }
  // The same object, of which nothing is asked for yet.
  Fields again() const { return {json_, where_}; }
  void done() { check(used_ == json_.keys.size(), where_, "there is a key that does not belong"); }

 private:
  const Json& json_;
  std::string where_;
  size_t used_ = 0;
};

}  // namespace netsuke
