// Options several verbs share.
#pragma once

#include <boost/program_options/variables_map.hpp>

#include <string>
#include <vector>

namespace sage {

// Every --set of the command line. A path that starts with a slot of the pipeline ("saliency.center=zero") is taken as one of
// pipeline.*, so that the common case is short.
std::vector<std::string> pipeline_overrides(const boost::program_options::variables_map& m);

}  // namespace sage
