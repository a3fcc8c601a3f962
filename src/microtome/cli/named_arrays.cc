#include "microtome/cli/named_arrays.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "microtome/base/error.h"
#include "microtome/cli/output.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

const char* dtype_of(const api::NamedArray& a) { return a.f64 ? "float64" : a.data.dtype() == DType::kI32 ? "int32" : "float32"; }

double bytes_of(const api::NamedArray& a) { return a.f64 ? 8 : 4.0 * static_cast<double>(a.data.numel()); }

}  // namespace

std::vector<std::string> split_sites(const std::vector<std::string>& lists) {
  std::vector<std::string> out;
  for (const std::string& list : lists)
    for (size_t begin = 0; begin <= list.size();) {
      const size_t end = std::min(list.find(',', begin), list.size());
      if (end == begin)
        throw Error(ErrorKind::kInvalidArgument, "--sites is \"{}\": a name is empty; write P or P,P", printable(list));
      out.push_back(list.substr(begin, end - begin));
      begin = end + 1;
    }
  return out;
}

void write_npz_output(const std::string& path, const std::vector<api::NamedArray>& arrays) {
  if (path != "-") {
    try {
      return api::write_arrays(path, arrays);
    } catch (const Error& e) {
      // Deep inside an archive its name is not known.
      if (std::string_view(e.what()).starts_with(printable(path, 200))) throw;
      throw Error(e.kind(), "{}: {}", printable(path, 200), e.what());
    }
  }
  std::ostringstream bytes;
  api::write_arrays(bytes, arrays);
  Output out;
  out.write(bytes.view());
  out.finish();
}

void report_arrays(const std::string& path, const std::string& model, const std::vector<api::NamedArray>& arrays, bool json,
                   bool quiet) {
  if (path == "-") return;
  Output out;
  if (json) {
    Json list = Json::array();
    for (const api::NamedArray& a : arrays)
      list.push_back({{"name", a.name}, {"shape", a.f64 ? Json::array() : Json(a.data.shape())}, {"dtype", dtype_of(a)}});
    out.json({{"model", model}, {"path", path}, {"arrays", std::move(list)}});
  } else if (!quiet) {
    Table table({{"array"}, {"shape"}, {"dtype"}, {"size", Align::kRight}});
    double total = 0;
    for (const api::NamedArray& a : arrays) {
      const std::string shape = a.f64 ? fmt::format("[] = {:.6g}", *a.f64) : to_string(a.data.shape());
      table.row({a.name, shape, dtype_of(a), bytes_text(bytes_of(a))});
      total += bytes_of(a);
    }
    out.write(table.text(terminal_columns()) + fmt::format("{}: {} arrays, {}\n", inert(path), arrays.size(), bytes_text(total)));
  }
  out.finish();
}

}  // namespace microtome::cli
