#include "formats/pickle_names.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace resnet {
namespace {

bool starts_with_any(std::string_view text, auto beginnings) {
  return std::ranges::any_of(beginnings, [&](std::string_view b) { return text.starts_with(b); });
}
bool is_one_of(std::string_view text, auto words) {
  return std::ranges::find(words, text) != words.end();
}

// Modules that are dangerous whoever imported them: "numpy.os.system" is "os.system".
constexpr auto kAnywhere = std::to_array<std::string_view>(
    {"os", "posix", "nt", "subprocess", "sys", "importlib", "runpy", "pty", "ctypes", "_ctypes",
     "shutil", "builtins", "__builtin__"});
// Others whose names may be parts of innocent ones ("project.code.Config"), and single functions.
constexpr auto kFirst = std::to_array<std::string_view>({"socket.",
                                                         "_socket.",
                                                         "code.",
                                                         "codeop.",
                                                         "commands.",
                                                         "popen2.",
                                                         "platform.",
                                                         "pdb.",
                                                         "bdb.",
                                                         "profile.",
                                                         "cProfile.",
                                                         "timeit.",
                                                         "trace.",
                                                         "pip.",
                                                         "pkgutil.",
                                                         "imp.",
                                                         "_imp.",
                                                         "marshal.",
                                                         "pickle.",
                                                         "_pickle.",
                                                         "cPickle.",
                                                         "webbrowser.",
                                                         "_posixsubprocess.",
                                                         "_winapi.",
                                                         "msvcrt.",
                                                         "idlelib.",
                                                         "requests.",
                                                         "torch.hub.",
                                                         "torch.load",
                                                         "torch.serialization.load",
                                                         "torch.package.",
                                                         "torch.utils.cpp_extension.",
                                                         "torch.jit.",
                                                         "torch._inductor.",
                                                         "numpy.load",
                                                         "numpy.f2py.",
                                                         "numpy.testing.",
                                                         "operator.attrgetter",
                                                         "operator.itemgetter",
                                                         "operator.methodcaller",
                                                         "_operator.attrgetter",
                                                         "_operator.itemgetter",
                                                         "_operator.methodcaller",
                                                         "types.FunctionType",
                                                         "types.CodeType",
                                                         "io.open",
                                                         "_io."});

// Of Python's own names only plain types are harmless.
constexpr auto kTypes = std::to_array<std::string_view>(
    {"object",        "bool",     "int",        "long",      "float",          "complex",
     "str",           "unicode",  "bytes",      "bytearray", "tuple",          "list",
     "dict",          "set",      "frozenset",  "slice",     "range",          "xrange",
     "type",          "buffer",   "memoryview", "Ellipsis",  "NotImplemented", "NoneType",
     "BaseException", "Exception"});

/// Words with dots between them, as Python's names are; any character beyond ASCII may be a letter.
bool is_name(std::string_view global) {
  bool at_start = true;
  for (const char c : global) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '.') {
      if (at_start) return false;
    } else if (byte < 0x80 && c != '_' && std::isalnum(byte) == 0) {
      return false;
    }
    at_start = c == '.';
  }
  return !at_start;
}

}  // namespace

bool is_getattr(std::string_view global) {
  return global == "builtins.getattr" || global == "__builtin__.getattr";
}

bool is_dangerous_global(std::string_view global) {
  if (!is_name(global)) return true;
  for (const std::string_view own : {"builtins.", "__builtin__."}) {
    if (!global.starts_with(own)) continue;
    const std::string_view name = global.substr(own.size());
    const bool raised =
        name.find('.') == name.npos && (name.ends_with("Error") || name.ends_with("Warning"));
    return !raised && !is_one_of(name, kTypes);
  }
  if (starts_with_any(global, kFirst)) return true;
  bool first = true;
  for (std::string_view rest = global; !rest.empty(); first = false) {
    const std::string_view word = rest.substr(0, rest.find('.'));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    if (is_one_of(word, kAnywhere)) return true;
    // Attributes of Python's own, such as __globals__ and __subclasses__, lead anywhere.
    const bool own = word.size() > 4 && word.starts_with("__") && word.ends_with("__");
    if (own && !(first && word == "__main__")) return true;
  }
  return false;
}

bool is_model_class(std::string_view global) {
  constexpr std::array<std::string_view, 7> kPlaces = {
      "torch.nn.", "torchvision.", "timm.", "__main__.", "models.", "model.", "fastai."};
  return starts_with_any(global, kPlaces);
}

}  // namespace resnet
