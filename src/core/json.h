// JSON values that can be destroyed where no memory is left. Those of nlohmann::json cannot: its
// destructor takes memory to flatten the tree, and ends the process if there is none. Parsing and
// numbers are left to that library.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace resnet {

class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;  // in the order of the text

  Json();
  Json(const Json&);
  Json(Json&&) noexcept;
  Json& operator=(const Json&);
  Json& operator=(Json&&) noexcept;
  ~Json();
  Json(bool x) : value_(x) {}
  Json(double x) : value_(x) {}
  template <std::integral T>
  Json(T x) {
    if (std::cmp_less(x, 0)) {
      value_ = static_cast<std::int64_t>(x);
    } else {
      value_ = static_cast<std::uint64_t>(x);
    }
  }
  Json(std::string x) : value_(std::move(x)) {}
  Json(std::string_view x) : Json(std::string(x)) {}
  Json(const char* x) : Json(std::string(x)) {}
  template <class T>
  Json(const std::vector<T>& list) : value_(Array(list.begin(), list.end())) {}
  static Json object(std::initializer_list<Member> members = {}) { return Json(Object(members)); }
  static Json array(std::initializer_list<Json> values = {}) { return Json(Array(values)); }

  /// Nothing if `text` is no JSON or names a member of an object twice; `problem` then says what is
  /// wrong. Arrays and objects below `levels` of them become null, so that a hostile text makes no
  /// tall tree.
  static std::optional<Json> parse(std::string_view text, int levels = 16,
                                   std::string* problem = nullptr);

  bool is_null() const { return holds<std::monostate>(); }
  bool is_bool() const { return holds<bool>(); }
  bool is_unsigned() const { return holds<std::uint64_t>(); }
  bool is_integer() const { return is_unsigned() || holds<std::int64_t>(); }
  bool is_number() const { return is_integer() || holds<double>(); }
  bool is_string() const { return holds<std::string>(); }
  bool is_array() const { return holds<Array>(); }
  bool is_object() const { return holds<Object>(); }
  /// "number", "object" …
  std::string_view type_name() const;

  // The value, which must be of that kind. Not of temporaries: a loop over it would outlive them.
  const std::string& text() const { return std::get<std::string>(value_); }
  const Array& items() const& { return std::get<Array>(value_); }
  Array& items() & { return std::get<Array>(value_); }
  Array& items() && = delete;
  const Object& members() const& { return std::get<Object>(value_); }
  Object& members() & { return std::get<Object>(value_); }
  Object& members() && = delete;
  /// A boolean or number as T; that it fits is for the caller to know.
  template <class T>
  T as() const {
    return std::visit(
        [](const auto& x) -> T {
          if constexpr (std::is_arithmetic_v<std::decay_t<decltype(x)>>) {
            return static_cast<T>(x);
          } else {
            throw std::bad_variant_access();
          }
        },
        value_);
  }

  /// The member, or null if there is none or this is no object.
  const Json* find(std::string_view name) const;
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// Adds a member that is not there yet.
  void add(std::string name, Json value) {
    members().emplace_back(std::move(name), std::move(value));
  }
  /// Takes a member out, if there is one.
  std::optional<Json> take(std::string_view name);

  bool operator==(const Json& other) const;

  /// On one line, or with `indent` spaces for each level. Throws Error (kInvalidArgument) if a text
  /// in it is not UTF-8.
  std::string dump(int indent = -1) const;
  /// For people: ASCII, on one line, whatever is in it.
  std::string dump_ascii() const;

 private:
  friend class JsonBuilder;
  explicit Json(Array x) : value_(std::move(x)) {}
  explicit Json(Object x) : value_(std::move(x)) {}
  template <class T>
  bool holds() const {
    return std::holds_alternative<T>(value_);
  }

  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, Array,
               Object>
      value_;
};

}  // namespace resnet
