// JSON of names that may be any bytes.
#pragma once

#include <string>
#include <utility>

#include "core/text.h"

namespace resnet {

/// Makes every text and key of a nlohmann::json valid UTF-8 by `json_text`.
template <class Json>
void make_utf8(Json& json) {
  if (json.is_string()) {
    auto& text = json.template get_ref<std::string&>();
    text = json_text(text);
  } else if (json.is_array()) {
    for (auto& value : json) make_utf8(value);
  } else if (json.is_object()) {
    Json object = Json::object();
    for (auto it = json.begin(); it != json.end(); ++it) {
      make_utf8(it.value());
      object[json_text(it.key())] = std::move(it.value());
    }
    json = std::move(object);
  }
}

/// On one line, and valid whatever bytes the names in it have.
template <class Json>
std::string json_line(Json json) {
  make_utf8(json);
  return json.dump();
}

}  // namespace resnet
