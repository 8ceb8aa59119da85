// The one exception type at the public boundary.
#pragma once

namespace resnet {

/// For the `catch (...)` of a public function: throws what was caught again, as an `Error` if it is
/// the standard library's word for no memory (`kOutOfMemory`) or for a refusal of the system
/// (`kIo`). Other exceptions, of callbacks say, pass as they are.
///
/// All public functions have it that read, write, run, or hold images or weights. Those that look
/// up a name or build a description (`Graph`, `recipe`) let std::bad_alloc pass.
///
///     ModelFile load_model(const std::filesystem::path& path) try {
///       …
///     } catch (...) {
///       throw_as_error();
///     }
[[noreturn]] void throw_as_error();

}  // namespace resnet
