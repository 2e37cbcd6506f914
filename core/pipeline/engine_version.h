// The engine's own version, beside those of the components: part of every run's key and of every fingerprint.
#pragma once

namespace sage {

// Raise it when the same pipeline of the same components, on the same weights, no longer gives the same planes: because of what
// is planned and how trials are priced, of which alternative is kept, of the column loop, of factors of Grams, or of a backend's
// statistics and fits. Stored runs and half-finished folders of another version then do not answer. A component whose own result
// changes raises its kVersion instead.
inline constexpr int kEngineVersion = 2;

}  // namespace sage
