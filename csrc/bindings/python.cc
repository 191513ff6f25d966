// The Python module netsuke.engine._native. The only file that includes Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <mutex>
#include <optional>

#include "base/cpu.h"
#include "base/error.h"
#include "graph/embedding_table.h"
#include "graph/limits.h"
#include "graph/model.h"
#include "graph/peak.h"

namespace nb = nanobind;
using netsuke::Graph;
using netsuke::Model;
using netsuke::Value;

namespace {

template <class T>
using Array = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;
using Floats = nb::ndarray<nb::numpy, float>;

Floats new_floats(const std::vector<size_t>& shape) {
  size_t count = 1;
  for (size_t n : shape) count *= n;
  float* data = new float[count ? count : 1];
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
  return Floats(data, shape.size(), shape.data(), owner);
}

// A model has one set of buffers, so one call runs at a time; callers on other threads wait.
class PyModel {
 public:
  PyModel(nb::bytes data, const std::string& isa, int threads) {
    const auto* bytes = static_cast<const uint8_t*>(data.data());
    const size_t size = data.size();
    nb::gil_scoped_release release;
    model_ = std::make_unique<Model>(netsuke::read_graph(bytes, size, threads), isa, threads);
  }

  const Graph& graph() const { return model_->graph(); }
  std::string isa() const { return model_->isa(); }
  int threads() const { return model_->threads(); }
  nb::dict sparse_nodes() const {
    nb::dict nodes;
    for (int i = 0; i < static_cast<int>(graph().nodes.size()); ++i)
      if (model_->sparse_weights(i) >= 0) nodes[nb::int_(i)] = model_->sparse_weights(i);
    return nodes;
  }

  nb::list codebook_nodes() const {
    nb::list nodes;
    for (int i = 0; i < static_cast<int>(graph().nodes.size()); ++i)
      if (model_->by_codebook(i)) nodes.append(i);
    return nodes;
  }

  template <class T>
  std::vector<Floats> run(Array<T> images) {
    const int64_t n = static_cast<int64_t>(images.shape(0));
    std::vector<Floats> results;
    std::vector<float*> outputs;
    for (const netsuke::Output& o : graph().outputs) {
      const Value& v = value(o.value);
      const size_t c = static_cast<size_t>(v.channels), h = static_cast<size_t>(v.height), w = static_cast<size_t>(v.width);
      std::vector<size_t> shape = {static_cast<size_t>(n), c, h, w};
      if (o.rank == 3) shape.pop_back();
      if (o.rank == 2) shape = {static_cast<size_t>(n), c * h * w};
      results.push_back(new_floats(shape));
      outputs.push_back(results.back().data());
    }
    nb::gil_scoped_release release;
    std::lock_guard<std::mutex> lock(mutex_);
    model_->run(images.data(), n, outputs.data());
    return results;
  }

  // Runs one node; `inputs` and the result are dictionaries from value id to planes (1, C, H, W).
  nb::dict run_node(int index, nb::dict inputs) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (index < 0 || index >= static_cast<int>(graph().nodes.size())) netsuke::fail("there is no node of this number.");
    for (auto [key, item] : inputs) {
      const int id = nb::cast<int>(key);
      const auto planes = nb::cast<Array<float>>(item);
      if (id < 0 || id >= static_cast<int>(graph().values.size()) ||
          static_cast<int64_t>(planes.size()) != value(id).elements())
        netsuke::fail("a value has another shape than the node needs.");
      model_->set_value(id, planes.data());
    }
    model_->run_node(index);
    nb::dict made;
    for (const netsuke::Step& s : graph().nodes[static_cast<size_t>(index)].epilogue) {
      if (!s.writes()) continue;
      const Value& v = value(s.value);
      Floats planes = new_floats({1, static_cast<size_t>(v.channels), static_cast<size_t>(v.height), static_cast<size_t>(v.width)});
      model_->get_value(s.value, planes.data());
      made[nb::int_(s.value)] = planes;
    }
    return made;
  }

  nb::list profile(Array<float> images, int runs) {
    std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::vector<float>> results;
    std::vector<float*> outputs;
    const int64_t n = static_cast<int64_t>(images.shape(0));
    for (const netsuke::Output& o : graph().outputs) {
      results.emplace_back(static_cast<size_t>(n * value(o.value).elements()));
      outputs.push_back(results.back().data());
    }
    model_->nanoseconds.assign(graph().nodes.size(), 0);
    model_->timed = true;
    for (int r = 0; r < runs; ++r) model_->run(images.data(), n, outputs.data());
    model_->timed = false;
    nb::list layers;
    for (size_t i = 0; i < graph().nodes.size(); ++i)
      layers.append(nb::make_tuple(graph().nodes[i].name, graph().nodes[i].op_name,
                                   static_cast<double>(model_->nanoseconds[i]) * 1e-9 / (static_cast<double>(runs) * static_cast<double>(n))));
    return layers;
  }

 private:
  const Value& value(int id) const { return graph().values[static_cast<size_t>(id)]; }

  std::unique_ptr<Model> model_;
  std::mutex mutex_;
};

// Rows (n, row_bytes) to a table; indices and offsets, a bag's terms ending where the next one's begin, to sums.
class PyEmbeddingTable {
 public:
  using Rows = nb::ndarray<const uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

  PyEmbeddingTable(Rows rows, int64_t columns, int64_t padding, bool mean, const std::string& isa)
      : table_(rows.data(), static_cast<int64_t>(rows.shape(0)), static_cast<int64_t>(rows.shape(1)), columns, padding, mean, isa) {}

  std::string isa() const { return table_.isa(); }

  Floats look_up(Array<int64_t> indices, Array<int64_t> offsets, std::optional<Array<float>> weights) const {
    if (offsets.size() < 1 || (weights && weights->size() != indices.size())) netsuke::fail("the arrays do not fit together.");
    const size_t bags = offsets.size() - 1;
    Floats sums = new_floats({bags, static_cast<size_t>(table_.columns())});
    nb::gil_scoped_release release;
    table_.look_up(indices.data(), static_cast<int64_t>(indices.size()), offsets.data(), static_cast<int64_t>(bags),
                   weights ? weights->data() : nullptr, sums.data());
    return sums;
  }

 private:
  netsuke::EmbeddingTable table_;
};

}  // namespace

NB_MODULE(_native, m) {
  static nb::object error = nb::module_::import_("netsuke.artifact.contract").attr("Error");
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const netsuke::Error& e) {
      PyErr_SetString(error.ptr(), e.what());
    }
  });
  m.def("available_isas", &netsuke::available_isas);
  m.def("peak", [](const std::string& isa) {
    const netsuke::Peak p = netsuke::measure_peak(isa);
    return nb::make_tuple(p.binary, p.floats, p.int8);
  });
  m.attr("limits") = nb::dict();
  nb::dict limits = m.attr("limits");
#define LIMIT(name) limits[#name] = static_cast<int64_t>(netsuke::name)
  LIMIT(SCHEMA_VERSION), LIMIT(MAX_HEADER_BYTES), LIMIT(MAX_GRAPH_BYTES), LIMIT(MAX_JSON_DEPTH), LIMIT(MAX_INTEGER);
  LIMIT(MAX_NAME), LIMIT(MAX_NODES), LIMIT(MAX_INPUTS), LIMIT(MAX_STEPS), LIMIT(MAX_OUTPUTS), LIMIT(MAX_CHANNELS);
  LIMIT(MAX_EXTENT), LIMIT(MAX_KERNEL), LIMIT(MAX_WINDOW), LIMIT(MAX_INT8_WINDOW), LIMIT(MAX_FIXED_WINDOW);
  LIMIT(MAX_BIAS), LIMIT(MAX_SHIFT), LIMIT(MAX_EXPONENT), LIMIT(MAX_ELEMENTS), LIMIT(MAX_TOTAL_ELEMENTS);
  LIMIT(MAX_MACS), LIMIT(MAX_PACKED), LIMIT(MAX_BORDER_TABLE), LIMIT(MAX_LABELS), LIMIT(MAX_BOXES);
  LIMIT(MAX_SHARED);
#undef LIMIT
  nb::class_<PyModel>(m, "Model")
      .def(nb::init<nb::bytes, const std::string&, int>())
      .def_prop_ro("model", [](const PyModel& p) { return p.graph().model; })
      .def_prop_ro("isa", &PyModel::isa)
      .def_prop_ro("threads", &PyModel::threads)
      .def_prop_ro("input_shape",
                   [](const PyModel& p) {
                     return nb::make_tuple(p.graph().channels, p.graph().height, p.graph().width);
                   })
      .def_prop_ro("takes_uint8", [](const PyModel& p) { return p.graph().has_transform; })
      .def_prop_ro("nodes", [](const PyModel& p) { return p.graph().nodes.size(); })
      .def_prop_ro("sparse_nodes", &PyModel::sparse_nodes)
      .def_prop_ro("codebook_nodes", &PyModel::codebook_nodes)
      .def("run_f32", &PyModel::run<float>)
      .def("run_u8", &PyModel::run<uint8_t>)
      .def("run_node", &PyModel::run_node)
      .def("profile", &PyModel::profile);
  nb::class_<PyEmbeddingTable>(m, "EmbeddingTable")
      .def(nb::init<PyEmbeddingTable::Rows, int64_t, int64_t, bool, const std::string&>())
      .def_prop_ro("isa", &PyEmbeddingTable::isa)
      .def("look_up", &PyEmbeddingTable::look_up, nb::arg("indices"), nb::arg("offsets"), nb::arg("weights").none());
}
