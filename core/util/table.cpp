#include "core/util/table.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/util/errors.h"

namespace sage {
namespace {

constexpr double kScientificFrom = 1e5;  // a diverged perplexity of 3481920.117 is noise after its first digits
constexpr size_t kCaptionWidth = 80;

bool missing(const Table::Cell& c) { return !c.text && (!c.value || std::isnan(*c.value)); }
bool has_error(const Table::Cell& c) { return !missing(c) && c.value && c.error; }

// Columns a string takes on a terminal: wide characters count twice, combining ones not at all.
size_t display_width(std::string_view s) {
  size_t width = 0;
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(s.data());
  auto left = static_cast<utf8proc_ssize_t>(s.size());
  while (left > 0) {
    utf8proc_int32_t code = 0;
    const utf8proc_ssize_t n = utf8proc_iterate(at, left, &code);
    if (n <= 0) {  // not UTF-8: one replacement mark on most terminals
      ++at, --left, ++width;
      continue;
    }
    width += static_cast<size_t>(std::max(0, utf8proc_charwidth(code)));
    at += n, left -= n;
  }
  return width;
}

std::string padded(const std::string& s, size_t width, bool right) {
  const size_t w = display_width(s);
  const std::string fill(width > w ? width - w : 0, ' ');
  return right ? fill + s : s + fill;
}

// A line break or tab inside a cell would break the row.
std::string one_line(std::string s) {
  for (char& c : s)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return s;
}

std::string format_fixed(double v, int decimals) {
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  const std::string fixed = fmt::format("{:.{}f}", v, decimals);
  const bool vanished = v != 0 && std::abs(v) < 0.5 * std::pow(10.0, -decimals) && decimals > 0;
  if (std::abs(v) >= kScientificFrom || vanished) return fmt::format("{:.2e}", v);
  return fixed;
}

std::string format_cell(const Table::Cell& c, const Table::Column& column) {
  if (missing(c)) return "-";
  if (c.text) return one_line(*c.text);
  std::string s = format_fixed(*c.value, column.decimals);
  if (has_error(c)) s += " ± " + format_fixed(*c.error, column.decimals);
  return s;
}

// Shortest text that reads back as the same double.
std::string exact(double v) { return fmt::format("{}", v); }

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::string wrapped(const std::string& line, size_t width) {
  std::string out, row;
  for (size_t at = 0; at < line.size();) {
    const size_t end = std::min(line.find(' ', at), line.size());
    const std::string word = line.substr(at, end - at);
    at = end + 1;
    if (!row.empty() && display_width(row) + 1 + display_width(word) > width) {
      out += row + '\n';
      row.clear();
    }
    row += (row.empty() ? "" : " ") + word;
  }
  return out + row + '\n';
}

std::string markdown_escape(const std::string& s) {
  std::string out;
  for (char c : s) {
    if (c == '\n') {
      out += "<br>";
      continue;
    }
    if (c == '<') {
      out += "&lt;";
      continue;
    }
    if (c == '&') {
      out += "&amp;";
      continue;
    }
    if (std::string_view("\\|*_`[]#~").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string latex_escape(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size(); ++i) {
    const auto starts = [&](std::string_view p) { return s.substr(i, p.size()) == p; };
    if (starts("±")) {
      out += "$\\pm$";
      i += std::string_view("±").size() - 1;
    } else if (starts("†")) {
      out += "\\textdagger{}";
      i += std::string_view("†").size() - 1;
    } else {
      switch (s[i]) {
        case '\\': out += "\\textbackslash{}"; break;
        case '~': out += "\\textasciitilde{}"; break;
        case '^': out += "\\textasciicircum{}"; break;
        case '<': out += "\\textless{}"; break;
        case '>': out += "\\textgreater{}"; break;
        case '|': out += "\\textbar{}"; break;
        case '\n': out += "\\\\ "; break;
        case '&':
        case '%':
        case '$':
        case '#':
        case '_':
        case '{':
        case '}': out += std::string("\\") + s[i]; break;
        default: out += s[i];
      }
    }
  }
  return out;
}

std::string latex_number(const std::string& text) {
  if (text == "inf") return "$\\infty$";
  if (text == "-inf") return "$-\\infty$";
  const size_t e = text.find('e');
  if (e == std::string::npos) return text[0] == '-' ? "$" + text + "$" : text;
  return fmt::format("${}\\times10^{{{}}}$", text.substr(0, e), std::stoi(text.substr(e + 1)));
}

std::string latex_cell(const Table::Cell& c, const Table::Column& column) {
  if (missing(c)) return "--";
  if (c.text) return latex_escape(one_line(*c.text));
  std::string s = latex_number(format_fixed(*c.value, column.decimals));
  if (has_error(c)) s += " $\\pm$ " + latex_number(format_fixed(*c.error, column.decimals));
  return s;
}

std::string csv_quoted(const std::string& s) {
  if (s.find_first_of(",\"\r\n") == std::string::npos) return s;
  std::string out = "\"";
  for (char c : s)
    out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + '"';
}

std::string error_name(const Table::Column& c) { return c.name + " stderr"; }

bool column_has_errors(const Table& t, size_t column) {
  return std::any_of(t.rows().begin(), t.rows().end(), [&](const auto& row) { return has_error(row[column]); });
}

std::string render_text(const Table& t) {
  const size_t n = t.columns().size();
  std::vector<size_t> width(n);
  std::vector<std::vector<std::string>> cells;
  for (size_t c = 0; c < n; ++c)
    width[c] = display_width(one_line(t.columns()[c].name));
  for (const auto& row : t.rows()) {
    cells.emplace_back();
    for (size_t c = 0; c < n; ++c) {
      cells.back().push_back(format_cell(row[c], t.columns()[c]));
      width[c] = std::max(width[c], display_width(cells.back().back()));
    }
  }
  const auto line = [&](const std::vector<std::string>& texts) {
    std::string s;
    for (size_t c = 0; c < n; ++c)
      s += (c ? "  " : "") + padded(texts[c], width[c], t.columns()[c].number);
    s.erase(s.find_last_not_of(' ') + 1);
    return s + '\n';
  };
  std::vector<std::string> heads;
  size_t total = n == 0 ? 0 : 2 * (n - 1);
  for (size_t c = 0; c < n; ++c) {
    heads.push_back(one_line(t.columns()[c].name));
    total += width[c];
  }
  std::string out = line(heads) + std::string(total, '-') + '\n';
  for (const auto& row : cells)
    out += line(row);
  if (!t.caption().empty()) out += '\n';
  for (const std::string& l : lines_of(t.caption()))
    out += wrapped(l, std::max(total, kCaptionWidth));
  return out;
}

std::string render_markdown(const Table& t) {
  std::string out = "|", rule = "|";
  for (const auto& c : t.columns()) {
    out += ' ' + markdown_escape(one_line(c.name)) + " |";
    rule += c.number ? " ---: |" : " --- |";
  }
  out += '\n' + rule + '\n';
  for (const auto& row : t.rows()) {
    out += '|';
    for (size_t c = 0; c < row.size(); ++c)
      out += ' ' + markdown_escape(format_cell(row[c], t.columns()[c])) + " |";
    out += '\n';
  }
  for (const std::string& l : lines_of(t.caption()))
    out += '\n' + markdown_escape(l) + '\n';
  return out;
}

std::string render_latex(const Table& t) {
  std::string out = "\\begin{table}\n  \\centering\n";
  std::string caption;
  for (const std::string& l : lines_of(t.caption())) {
    if (!caption.empty()) caption += ' ';
    caption += latex_escape(l);
  }
  if (!caption.empty()) out += "  \\caption{" + caption + "}\n";
  out += "  \\begin{tabular}{";
  for (const auto& c : t.columns())
    out += c.number ? 'r' : 'l';
  out += "}\n    \\toprule\n    ";
  const auto separate = [&](size_t c) {
    if (c > 0) out += " & ";
  };
  for (size_t c = 0; c < t.columns().size(); ++c) {
    separate(c);
    out += latex_escape(one_line(t.columns()[c].name));
  }
  out += " \\\\\n    \\midrule\n";
  for (const auto& row : t.rows()) {
    out += "    ";
    for (size_t c = 0; c < row.size(); ++c) {
      separate(c);
      out += latex_cell(row[c], t.columns()[c]);
    }
    out += " \\\\\n";
  }
  return "% needs \\usepackage{booktabs}\n" + out + "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n";
}

std::string render_csv(const Table& t) {
  std::vector<bool> errors;
  std::string out;
  const auto end_line = [&] { out.back() = '\n'; };  // in place of the last comma
  for (size_t c = 0; c < t.columns().size(); ++c) {
    errors.push_back(column_has_errors(t, c));
    out += csv_quoted(t.columns()[c].name);
    out += ',';
    if (errors[c]) out += csv_quoted(error_name(t.columns()[c])) + ',';
  }
  if (out.empty()) return out;
  end_line();
  for (const auto& row : t.rows()) {
    for (size_t c = 0; c < row.size(); ++c) {
      if (!missing(row[c])) out += row[c].text ? csv_quoted(*row[c].text) : exact(*row[c].value);
      out += ',';
      if (errors[c] && has_error(row[c])) out += exact(*row[c].error);
      if (errors[c]) out += ',';
    }
    end_line();
  }
  return out;
}

// JSON has no infinity: it becomes the text "inf".
nlohmann::ordered_json json_number(double v) {
  if (std::isnan(v)) return nullptr;
  if (std::isinf(v)) return v > 0 ? "inf" : "-inf";
  return v;
}

std::string render_json(const Table& t) {
  nlohmann::ordered_json out;
  out["caption"] = t.caption();
  auto& rows = out["rows"] = nlohmann::ordered_json::array();
  for (const auto& row : t.rows()) {
    nlohmann::ordered_json r = nlohmann::ordered_json::object();
    for (size_t c = 0; c < row.size(); ++c) {
      const Table::Column& column = t.columns()[c];
      if (missing(row[c]))
        r[column.name] = nullptr;
      else if (row[c].text)
        r[column.name] = *row[c].text;
      else
        r[column.name] = json_number(*row[c].value);
      if (column_has_errors(t, c)) r[error_name(column)] = has_error(row[c]) ? json_number(*row[c].error) : nullptr;
    }
    rows.push_back(std::move(r));
  }
  return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace

TableFormat parse_table_format(std::string_view name) {
  if (name == "table" || name == "text") return TableFormat::kText;
  if (name == "md") return TableFormat::kMarkdown;
  if (name == "latex") return TableFormat::kLatex;
  if (name == "csv") return TableFormat::kCsv;
  if (name == "json") return TableFormat::kJson;
  throw UserError("--format: found '{}'; expected table, md, latex, csv or json; name one of them", name);
}

void Table::add_row(std::vector<Cell> cells) {
  if (cells.size() != columns_.size())
    throw std::logic_error(fmt::format("table row of {} cells for {} columns", cells.size(), columns_.size()));
  rows_.push_back(std::move(cells));
}

std::string Table::render(TableFormat format) const {
  switch (format) {
    case TableFormat::kText: return render_text(*this);
    case TableFormat::kMarkdown: return render_markdown(*this);
    case TableFormat::kLatex: return render_latex(*this);
    case TableFormat::kCsv: return render_csv(*this);
    case TableFormat::kJson: return render_json(*this);
  }
  throw std::logic_error("unknown table format");
}

}  // namespace sage
