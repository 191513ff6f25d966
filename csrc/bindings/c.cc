// The C interface: netsuke.h over graph/model.h. Every exception ends here, as a message.
#include "include/netsuke.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <vector>

#include "base/error.h"
#include "graph/model.h"

using netsuke::Model;

struct netsuke_model {
  std::unique_ptr<Model> model;
};

namespace {

void report(const char* what, char* error, size_t size) {
  if (error && size) std::snprintf(error, size, "%s", what);
}

// Runs `f`; on an exception reports it and returns `failed`.
template <class T, class F>
T guarded(T failed, char* error, size_t size, F f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    report("there is not enough memory for this model.", error, size);
  } catch (const std::exception& e) {
    report(e.what(), error, size);
  } catch (...) {
    report("an unknown error.", error, size);
  }
  return failed;
}

std::vector<uint8_t> read_file(const char* path) {
  const auto close = [](std::FILE* f) { std::fclose(f); };
  std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(path, "rb"), close);
  if (!file) netsuke::fail(std::string("cannot open ") + path + ": " + std::strerror(errno) + ".");
  std::vector<uint8_t> data;
  uint8_t part[1 << 16];
  while (const size_t n = std::fread(part, 1, sizeof part, file.get())) data.insert(data.end(), part, part + n);
  if (std::ferror(file.get())) netsuke::fail(std::string("cannot read ") + path + ".");
  return data;
}

netsuke_model* load(const uint8_t* data, size_t size, int threads, const char* isa) {
  auto result = std::make_unique<netsuke_model>();
  result->model = std::make_unique<Model>(netsuke::read_graph(data, size, threads), isa ? isa : "", threads);
  return result.release();
}

}  // namespace

netsuke_model* netsuke_load(const char* path, int threads, const char* isa, char* error, size_t error_size) {
  return guarded<netsuke_model*>(nullptr, error, error_size, [&] {
    const std::vector<uint8_t> data = read_file(path);
    return load(data.data(), data.size(), threads, isa);
  });
}

netsuke_model* netsuke_load_bytes(const void* data, size_t size, int threads, const char* isa, char* error,
                                  size_t error_size) {
  return guarded<netsuke_model*>(nullptr, error, error_size,
                                 [&] { return load(static_cast<const uint8_t*>(data), size, threads, isa); });
}

netsuke_info netsuke_describe(const netsuke_model* model) {
  const Model& m = *model->model;
  const netsuke::Graph& g = m.graph();
  return {g.model.c_str(), m.isa(), m.threads(), g.channels, g.height, g.width,
          g.has_transform, g.resize, g.crop, static_cast<int>(g.outputs.size())};
}

netsuke_shape netsuke_output_shape(const netsuke_model* model, int index) {
  const netsuke::Graph& g = model->model->graph();
  if (index < 0 || index >= static_cast<int>(g.outputs.size())) return {0, 0, 0};
  const netsuke::Value& v = g.values[static_cast<size_t>(g.outputs[static_cast<size_t>(index)].value)];
  return {v.channels, v.height, v.width};
}

int netsuke_run(netsuke_model* model, const void* images, netsuke_type type, size_t count, float* const* outputs,
                char* error, size_t error_size) {
  return guarded<int>(-1, error, error_size, [&] {
    const int64_t n = static_cast<int64_t>(count);
    if (type == NETSUKE_UINT8)
      model->model->run(static_cast<const uint8_t*>(images), n, outputs);
    else
      model->model->run(static_cast<const float*>(images), n, outputs);
    return 0;
  });
}

void netsuke_free(netsuke_model* model) { delete model; }
