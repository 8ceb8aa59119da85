#include "core/warning.h"

#include <mutex>
#include <set>
#include <utility>

#include "resnet/warning.h"

namespace resnet {
namespace {

struct Warnings {
  std::mutex mutex;
  std::function<void(const std::string&)> handler;
  std::set<std::string, std::less<>> told;
};

Warnings& warnings() {
  static Warnings all;
  return all;
}

}  // namespace

void set_warning_handler(std::function<void(const std::string&)> handler) {
  Warnings& all = warnings();
  const std::lock_guard lock(all.mutex);
  all.handler = std::move(handler);
  all.told.clear();
}

void warn_once(std::string_view kind, const std::string& text) {
  Warnings& all = warnings();
  const std::lock_guard lock(all.mutex);
  if (all.handler && all.told.emplace(kind).second) all.handler(text);
}

}  // namespace resnet
