#include "graph/json.h"

#include "base/error.h"
#include "graph/limits.h"

namespace netsuke {
namespace {

struct Parser {
  const std::string& text;
  size_t at = 0;

  [[noreturn]] void bad() const {
    fail("the graph is not canonical JSON at byte " + std::to_string(at) + ". Export the file again.");
  }
  char peek() const { return at < text.size() ? text[at] : '\0'; }
  void expect(char c) {
    if (peek() != c || at >= text.size()) bad();
    ++at;
  }

  std::string string() {
    expect('"');
    const size_t begin = at;
    while (peek() != '"') {
      const char c = peek();
      if (at >= text.size() || c < 0x20 || c > 0x7e || c == '\\') bad();
      ++at;
    }
    return text.substr(begin, at++ - begin);
  }

  int64_t integer() {
    const size_t begin = at;
    int64_t n = 0;
    while (peek() >= '0' && peek() <= '9') {
      n = n * 10 + (text[at] - '0');
      if (n > MAX_INTEGER) bad();
      ++at;
    }
    if (at == begin || (text[begin] == '0' && at > begin + 1)) bad();
    return n;
  }

  Json value(int depth) {
    if (depth > MAX_JSON_DEPTH) bad();
    Json v;
    if (peek() == '{') {
      v.kind = Json::Kind::object;
      ++at;
      while (peek() != '}') {
        if (!v.keys.empty()) expect(',');
        std::string key = string();
        if (!v.keys.empty() && key <= v.keys.back()) bad();
        v.keys.push_back(std::move(key));
        expect(':');
        v.items.push_back(value(depth + 1));
      }
      ++at;
    } else if (peek() == '[') {
      v.kind = Json::Kind::array;
      ++at;
      while (peek() != ']') {
        if (!v.items.empty()) expect(',');
        v.items.push_back(value(depth + 1));
      }
      ++at;
    } else if (peek() == '"') {
      v.kind = Json::Kind::string;
      v.text = string();
    } else {
      v.kind = Json::Kind::integer;
      v.number = integer();
    }
    return v;
  }
};

}  // namespace

const Json* Json::find(const char* key) const {
  for (size_t i = 0; i < keys.size(); ++i)
    if (keys[i] == key) return &items[i];
  return nullptr;
}

Json parse_json(const std::string& text) {
  Parser parser{text};
  Json v = parser.value(1);
  if (parser.at != text.size()) parser.bad();
  return v;
}

}  // namespace netsuke
