// A table of text in neat columns.
//
//   Table table({{"layer", Align::kRight}, {"token"}});
//   table.row({"3", " Lisbon"});
//   out.write(table.text(terminal_columns()));
#pragma once

#include <string>
#include <vector>

namespace microtome::cli {

enum class Align { kLeft, kRight };

class Table {
 public:
  struct Column {
    std::string name;
    Align align = Align::kLeft;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell for each column.
  void row(std::vector<std::string> cells);

  // The widest left-aligned column is cut where the table would be wider than `columns`.
  std::string text(int columns) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// 98362432 -> "98.4 MB"; 134515008 -> "134.5 M".
std::string bytes_text(double bytes);
std::string count_text(double count);

}  // namespace microtome::cli
