// What the name of a Python global tells before anything is known of it.
#pragma once

#include <string_view>

namespace resnet {

/// Whether a file that names this global ("os.system") is refused: no weights need it, and Python
/// would run commands, load code or reach into its own insides with it. Also anything that is no
/// name. Nothing is called here either way; the list only tells the owner of such a file.
bool is_dangerous_global(std::string_view global);

/// Python's `getattr`, under both its names: with a class, it is how pickles of old protocols name
/// what is defined inside that class.
bool is_getattr(std::string_view global);

/// Whether it is a class of networks, so that an object of it is a model saved whole.
bool is_model_class(std::string_view global);

}  // namespace resnet
