#include "core/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/check.h"

namespace resnet {

// Makes the tree from nlohmann's events, which need none of its trees.
class JsonBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit JsonBuilder(int levels) : levels_(levels) {}
  Json root;
  std::string problem;

  bool null() override { return put({}); }
  bool boolean(bool x) override { return put(x); }
  bool number_integer(number_integer_t x) override { return put(x); }
  bool number_unsigned(number_unsigned_t x) override { return put(x); }
  bool number_float(number_float_t x, const std::string&) override { return put(x); }
  bool string(std::string& x) override { return put(std::move(x)); }
  bool binary(nlohmann::json::binary_t&) override { return false; }  // not in texts
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }

  bool key(std::string& x) override {
    if (passed_over_ == 0) open_.back()->members().emplace_back(std::move(x), Json());
    return true;
  }

  bool end_object() override {
    if (passed_over_ == 0) {
      std::vector<std::string_view> names;
      for (const auto& [name, value] : open_.back()->members()) names.push_back(name);
      std::ranges::sort(names);
      const auto twice = std::ranges::adjacent_find(names);
      if (twice != names.end()) {
        problem = fmt::format("\"{}\" appears twice", *twice);
        return false;
      }
    }
    return close();
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    problem = error.what();
    return false;
  }

 private:
  // The new value's place.
  Json& slot() {
    if (open_.empty()) return root;
    Json& parent = *open_.back();
    if (parent.is_object()) return parent.members().back().second;
    return parent.items().emplace_back();
  }
  bool put(Json x) {
    if (passed_over_ == 0) slot() = std::move(x);
    return true;
  }
  bool open(Json empty) {
    if (passed_over_ > 0 || static_cast<int>(open_.size()) == levels_) {
      if (passed_over_++ == 0) slot() = Json();
      return true;
    }
    Json& place = slot();
    place = std::move(empty);
    open_.push_back(&place);  // stays where it is until it is closed
    return true;
  }
  bool close() {
    if (passed_over_ > 0) {
      --passed_over_;
    } else {
      open_.pop_back();
    }
    return true;
  }

  const int levels_;
  std::vector<Json*> open_;
  std::size_t passed_over_ = 0;  // arrays and objects that are open below the levels
};

namespace {

using Handler = nlohmann::json::error_handler_t;

// nlohmann's texts of scalars, whose destructors take no memory.
std::string text_of(const std::string& x, bool ascii) {
  try {
    return nlohmann::json(x).dump(-1, ' ', ascii, ascii ? Handler::replace : Handler::strict);
  } catch (const nlohmann::json::type_error&) {
    fail(ErrorCode::kInvalidArgument, "a text is not UTF-8; rename what it names");
  }
}

struct Dump {
  bool ascii = false;
  int indent = -1;
  std::string out = {};

  void line(int level) {
    if (indent < 0) return;
    out += '\n';
    out.append(static_cast<std::size_t>(indent * level), ' ');
  }
  // `each` writes one of `list`.
  void list(const auto& list, int level, std::string_view brackets, const auto& each) {
    out += brackets[0];
    bool first = true;
    for (const auto& x : list) {
      if (!std::exchange(first, false)) out += ',';
      line(level + 1);
      each(x);
    }
    if (!list.empty()) line(level);
    out += brackets[1];
  }
  void write(const Json& x, int level) {
    if (x.is_null()) {
      out += "null";
    } else if (x.is_bool()) {
      out += x.as<bool>() ? "true" : "false";
    } else if (x.is_unsigned()) {
      out += std::to_string(x.as<std::uint64_t>());
    } else if (x.is_integer()) {
      out += std::to_string(x.as<std::int64_t>());
    } else if (x.is_number()) {
      out += nlohmann::json(x.as<double>()).dump();
    } else if (x.is_string()) {
      out += text_of(x.text(), ascii);
    } else if (x.is_array()) {
      list(x.items(), level, "[]", [&](const Json& item) { write(item, level + 1); });
    } else {
      list(x.members(), level, "{}", [&](const Json::Member& member) {
        out += text_of(member.first, ascii) + (indent < 0 ? ":" : ": ");
        write(member.second, level + 1);
      });
    }
  }
};

}  // namespace

// Here, so that not every user of a value compiles what a variant is. The copy is assigned: where
// memory ends in a copy constructor of GCC 12's variant, it destroys what it has not made.
Json::Json() = default;
Json::Json(const Json& other) : Json() { *this = other; }
Json::Json(Json&&) noexcept = default;
Json& Json::operator=(const Json&) = default;
Json& Json::operator=(Json&&) noexcept = default;
Json::~Json() = default;

std::optional<Json> Json::parse(std::string_view text, int levels, std::string* problem) {
  JsonBuilder builder(levels);
  if (nlohmann::json::sax_parse(text.begin(), text.end(), &builder)) {
    return std::move(builder.root);
  }
  if (problem != nullptr) *problem = std::move(builder.problem);
  return std::nullopt;
}

std::string_view Json::type_name() const {
  return is_null()     ? "null"
         : is_bool()   ? "boolean"
         : is_number() ? "number"
         : is_string() ? "string"
         : is_array()  ? "array"
                       : "object";
}

const Json* Json::find(std::string_view name) const {
  if (!is_object()) return nullptr;
  const auto it = std::ranges::find(members(), name, &Member::first);
  return it == members().end() ? nullptr : &it->second;
}

std::optional<Json> Json::take(std::string_view name) {
  Object& all = members();
  const auto it = std::ranges::find(all, name, &Member::first);
  if (it == all.end()) return std::nullopt;
  Json value = std::move(it->second);
  all.erase(it);
  return value;
}

bool Json::operator==(const Json& other) const { return value_ == other.value_; }

std::string Json::dump(int indent) const {
  Dump dump{false, indent};
  dump.write(*this, 0);
  return std::move(dump.out);
}

std::string Json::dump_ascii() const {
  Dump dump{true};
  dump.write(*this, 0);
  return std::move(dump.out);
}

}  // namespace resnet
