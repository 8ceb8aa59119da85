#include "cli/fetch.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <set>

#include "cli/command.h"
#include "core/check.h"
#include "resnet/pretrained.h"

namespace resnet::cli {

DownloadOptions download_options(ProgressLine& line, const std::filesystem::path& cache) {
  catch_signals();
  DownloadOptions options;
  options.cache = cache;
  options.stop = &stop_requested();
  options.warning = [&line](const std::string& text) { line.print("warning: " + text); };
  options.progress = [&line](const DownloadProgress& p) {
    const auto received = static_cast<double>(p.received), total = static_cast<double>(p.total);
    const std::string speed = format_bytes(p.bytes_per_second) + "/s";
    if (p.total == 0) {
      line.show(0, fmt::format("{}  {}", format_bytes(received), speed));
      return;
    }
    line.show(received / total,
              fmt::format("{} of {}  {}  ETA {}", format_bytes(received), format_bytes(total),
                          speed, format_seconds(p.eta_seconds)));
  };
  return options;
}

CLI::Option* add_cache_flag(CLI::App* command, std::string& cache) {
  return command->add_option("--cache", cache,
                             "Folder for what is fetched; default: $RESNET_CACHE, else "
                             "~/.cache/resnet");
}

void add_data_fetch_flags(CLI::App* command, DataFetchFlags& flags) {
  command->add_flag("--download", flags.download,
                    "Fetch DATA known by name (resnet data list) that is not in the cache");
  add_cache_flag(command, flags.cache);
}

void apply(const DataFetchFlags& flags, DataSpec& spec) {
  spec.download = flags.download;
  spec.cache = flags.cache;
}

void fetch_data(DataSpec& spec, ProgressLine& line) {
  spec.note = [&line, said = std::make_shared<std::set<std::string>>()](const std::string& text) {
    if (said->insert(text).second) line.note("note: " + text);
  };
  std::error_code ignored;
  if (!spec.download || std::filesystem::exists(spec.source, ignored) ||
      std::ranges::find(known_data(), spec.source, &KnownData::name) == known_data().end()) {
    return;
  }
  get_data(spec.source, download_options(line, spec.cache));
  line.clear();
}

void fetch_weights(const std::string& name, ProgressLine& line,
                   const std::filesystem::path& cache) {
  if (!is_pretrained_name(name)) return;
  get_pretrained(name, download_options(line, cache));
  line.clear();
}

void require_no_name(const std::string& path) {
  if (!is_pretrained_name(path)) return;
  fail(ErrorCode::kNotFound,
       "{0}: no such file; these are published weights, which `resnet weights get {0}` fetches: it "
       "prints the path to give here",
       path);
}

ModelFile open_model(const std::string& name, ProgressLine& line, const std::string& cache) {
  if (!is_pretrained_name(name)) {
    ModelFile model = map_model(name);
    check_weights(model, name);
    return model;
  }
  ModelFile model = load_pretrained(name, download_options(line, cache));
  line.clear();
  return model;
}

}  // namespace resnet::cli
