// The list of components this program has. main fills the registries once; there are no static initialisers.
#pragma once

#include "core/strategy/registries.h"

namespace sage {

void register_builtin(Registries& registries);

}  // namespace sage
