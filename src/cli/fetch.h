// Fetching with progress: weights and data sets by name.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/progress.h"
#include "resnet/data.h"
#include "resnet/download.h"
#include "resnet/model_file.h"

namespace resnet::cli {

/// Options that show progress on `line` and heed Ctrl-C; `cache` may be empty.
DownloadOptions download_options(ProgressLine& line, const std::filesystem::path& cache = {});

/// Adds --cache.
CLI::Option* add_cache_flag(CLI::App* command, std::string& cache);

/// What --download and --cache say about the data of a command.
struct DataFetchFlags {
  bool download = false;
  std::string cache;
};
void add_data_fetch_flags(CLI::App* command, DataFetchFlags& flags);
void apply(const DataFetchFlags& flags, DataSpec& spec);

/// Before data is opened: what is to be said of it goes to `line`, each once, and it is fetched,
/// with progress, if it is known by name, not there, and `spec.download`.
void fetch_data(DataSpec& spec, ProgressLine& line);

/// Fetches published weights by name, with progress, unless they are there; a path is left alone.
void fetch_weights(const std::string& name, ProgressLine& line, const std::filesystem::path& cache);

/// A model file, the folder of a run, or published weights by name, which are fetched and
/// converted.
ModelFile open_model(const std::string& name, ProgressLine& line, const std::string& cache = "");

/// For commands that read files only: the published weights of that name have to be fetched first.
void require_no_name(const std::string& path);

}  // namespace resnet::cli
