#include "cli/usage.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "cli/values.h"
#include "core/nearest.h"
#include "core/text.h"

namespace resnet::cli {
namespace {

using Words = std::vector<std::string>;

// The deepest command that was given, as "resnet data stats", and where its own words begin.
struct Place {
  CLI::App* command;
  std::string path;
  std::size_t next;
};

std::vector<CLI::App*> commands_of(CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

Place place_of(CLI::App& app, const Words& words) {
  Place place{&app, app.get_name(), 0};
  for (bool deeper = true; deeper && place.next < words.size();) {
    deeper = false;
    for (CLI::App* c : commands_of(*place.command)) {
      if (c->get_name() != words[place.next]) continue;
      place = {c, place.path + " " + c->get_name(), place.next + 1};
      deeper = true;
      break;
    }
  }
  return place;
}

std::string name_part(const std::string& word) { return word.substr(0, word.find('=')); }

// "--lr", "-o"; no number and not the "-" of standard input.
bool looks_like_flag(const std::string& word) {
  return word.size() >= 2 && word[0] == '-' &&
         std::isdigit(static_cast<unsigned char>(word[1])) == 0 && word[1] != '.';
}

CLI::Option* option_of(const CLI::App& command, const std::string& word) {
  if (!looks_like_flag(word) || word == "--") return nullptr;
  if (!word.starts_with("--") && word.size() != 2) return nullptr;  // -ofile
  for (const CLI::Option* o : command.get_options()) {
    const auto& names = word.starts_with("--") ? o->get_lnames() : o->get_snames();
    const std::string name = name_part(word).substr(word.starts_with("--") ? 2 : 1);
    if (std::ranges::find(names, name) != names.end()) {
      return const_cast<CLI::App&>(command).get_option(word.starts_with("--") ? "--" + name
                                                                              : "-" + name);
    }
  }
  return nullptr;
}

bool is_number(const std::string& text) {
  return !text.empty() && number({.least = -1e300, .most = 1e300})(text).empty();
}

// What flags were called before version 1, of any command.
constexpr std::pair<std::string_view, std::string_view> kRenamed[] = {{"--pictures", "--images"}};

// Flags by their former or the nearest name; "help" only when nothing else is meant.
std::string nearest_flag(const CLI::App& command, const std::string& word) {
  for (const auto& [before, now] : kRenamed) {
    if (word == before && option_of(command, std::string(now)) != nullptr) return std::string(now);
  }
  Words known;
  for (const CLI::Option* o : command.get_options()) {
    for (const std::string& name : o->get_lnames()) known.push_back("--" + name);
  }
  return near_name(word, known);
}

// "train and find-lr", "train, eval and 9 others"
std::string owners(CLI::App& app, const CLI::App& but, const std::string& flag) {
  Words names;
  for (const auto& [name, command] : leaf_commands(app)) {
    if (command != &but && option_of(*command, flag) != nullptr) names.push_back(name);
  }
  if (names.size() < 2) return names.empty() ? "" : names[0];
  if (names.size() <= 3) {
    const std::string last = names.back();
    names.pop_back();
    return fmt::format("{} and {}", fmt::join(names, ", "), last);
  }
  return fmt::format("{}, {} and {} others", names[0], names[1], names.size() - 2);
}

// "unknown flag --arhc; did you mean --arch?", or "" when every flag is known.
std::string unknown_flag(CLI::App& app, const Place& place, const Words& words) {
  for (std::size_t i = place.next; i < words.size(); ++i) {
    const std::string word = name_part(words[i]);
    if (word == "--") break;
    const bool is_long = word.starts_with("--");
    if (!is_long && (word.size() != 2 || !looks_like_flag(word))) continue;
    const CLI::Option* option = option_of(*place.command, word);
    if (option != nullptr) {
      if (option->get_items_expected_max() > 0 && words[i].size() == word.size()) ++i;  // its value
      continue;
    }
    std::string text = fmt::format("unknown flag {}", printable(word, 60));
    const std::string meant = is_long ? nearest_flag(*place.command, word) : "";
    if (!meant.empty()) text += fmt::format("; did you mean {}?", meant);
    const std::string others = owners(app, *place.command, word);
    if (!others.empty()) text += fmt::format("; {} belongs to {}", word, others);
    return text;
  }
  return "";
}

std::string unknown_command(CLI::App& app, const Place& place, const Words& words) {
  const std::string& word = words[place.next];
  Words here, elsewhere;
  for (const CLI::App* c : commands_of(*place.command)) here.push_back(c->get_name());
  std::string meant = near_name(word, here);
  for (const auto& [name, command] : leaf_commands(app)) {
    if (command->get_name() == word) elsewhere.push_back(name);
  }
  if (meant.empty() || !elsewhere.empty()) {
    if (!elsewhere.empty()) meant = fmt::format("{}", fmt::join(elsewhere, " or "));
  }
  return meant.empty()
             ? fmt::format("unknown command {}; expected {}", printable(word, 60),
                           fmt::join(here, ", "))
             : fmt::format("unknown command {}; did you mean {}?", printable(word, 60), meant);
}

}  // namespace

Words normalised(CLI::App& app, const Words& words) {
  const Place place = place_of(app, words);
  Words out(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(place.next));
  for (std::size_t i = place.next; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") {
      out.insert(out.end(), words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
      break;
    }
    const CLI::Option* option = option_of(*place.command, word);
    if (option == nullptr) {
      out.push_back(word);
      continue;
    }
    const std::string flag = name_part(word);
    const bool has_value = flag.size() < word.size();
    if (option->get_items_expected_max() == 0) {
      if (has_value) throw CLI::ValidationError(flag, "takes no value, got " + printable(word, 60));
      out.push_back(word);
      continue;
    }
    std::string value = has_value ? word.substr(flag.size() + 1) : "";
    if (!has_value) {
      if (i + 1 == words.size()) throw CLI::ValidationError(flag, "expected a value, got nothing");
      value = words[++i];
      if (option_of(*place.command, value) != nullptr) {
        throw CLI::ValidationError(flag, "expected a value, got the flag " + value);
      }
      while (takes_list(*option) && is_number(value.substr(value.rfind(',') + 1)) &&
             i + 1 < words.size() && is_number(words[i + 1])) {
        value += "," + words[++i];
      }
    }
    out.push_back(flag);
    out.push_back(value);
  }
  return out;
}

std::string explain(CLI::App& app, const CLI::ParseError& error, const Words& words) {
  const Place place = place_of(app, words);
  Words commands;
  for (const CLI::App* c : commands_of(*place.command)) commands.push_back(c->get_name());
  std::string message = unknown_flag(app, place, words);
  if (!message.empty()) {
    // said already
  } else if (!commands.empty() && place.next < words.size()) {
    message = unknown_command(app, place, words);
  } else if (!commands.empty()) {
    message = fmt::format("expected a command: {}", fmt::join(commands, ", "));
  } else {
    message = error.what();
    message = message.substr(0, message.find('\n'));
  }
  return fmt::format("{} (see {} --help)", message, place.path);
}

}  // namespace resnet::cli
