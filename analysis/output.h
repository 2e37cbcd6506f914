// Options that both verbs of analysis/ share, and where their text goes.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/variables_map.hpp>
#include <string>

#include "core/util/table.h"
#include "results/store.h"

namespace sage {

void declare_output(boost::program_options::options_description& options);  // --store --format --output
Store chosen_store(const boost::program_options::variables_map& vm);
// --format, else by the ending of --output (.md .tex .csv .json), else text for a terminal.
TableFormat chosen_format(const boost::program_options::variables_map& vm);
// To --output, whole or not at all, or to stdout. UserError for an output inside the store.
void deliver(const std::string& text, const boost::program_options::variables_map& vm);

}  // namespace sage
