// The one exception type at the public boundary.
#pragma once

namespace resnet {

/// For the `catch (...)` of a public function: throws what was caught again, as an `Error` if it is
/// the standard library's word for no memory (`kOutOfMemory`) or for a refusal of the system
/// (`kIo`). Other exceptions, of callbacks say, pass as they are.
///
///     ModelFile load_model(const std::filesystem::path& path) try {
///       …
///     } catch (...) {
///       throw_as_error();
///     }
[[noreturn]] void throw_as_error();

}  // namespace resnet
