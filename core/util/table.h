// A table of results and its renderings: aligned text for terminals, Markdown, LaTeX, CSV and JSON.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sage {

enum class TableFormat { kText, kMarkdown, kLatex, kCsv, kJson };
// "table" | "md" | "latex" | "csv" | "json"; UserError with the choices otherwise.
TableFormat parse_table_format(std::string_view name);

class Table {
 public:
  struct Column {
    std::string name;         // heading, unit included: "stored bits"
    bool number = false;      // right-aligned; unquoted in CSV and JSON
    int decimals = 3;         // digits after the point in text, Markdown and LaTeX; CSV and JSON keep full precision
  };
  // A text, a number, or nothing (shown as a dash, null in JSON).
  // A number may carry a standard error: "16.43 ± 0.12" to readers, a column "NAME stderr" of its own in CSV and JSON.
  struct Cell {
    Cell() = default;
    Cell(const char* t) : text(t) {}
    Cell(std::string t) : text(std::move(t)) {}
    Cell(double v) : value(v) {}
    Cell(double v, double standard_error) : value(v) {
      if (std::isfinite(standard_error)) error = standard_error;
    }
    std::optional<std::string> text;
    std::optional<double> value;
    std::optional<double> error;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add_row(std::vector<Cell> cells);  // as many as there are columns
  void set_caption(std::string text) { caption_ = std::move(text); }
  const std::vector<Column>& columns() const { return columns_; }
  const std::vector<std::vector<Cell>>& rows() const { return rows_; }
  const std::string& caption() const { return caption_; }
  std::string render(TableFormat format) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
  std::string caption_;
};

}  // namespace sage
