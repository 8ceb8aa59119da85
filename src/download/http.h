// One HTTP request by libcurl, with a body that goes to a receiver piece by piece.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

namespace resnet {

struct HttpRequest {
  std::string url;
  std::uint64_t from = 0;     ///< First byte wanted.
  std::string if_range = {};  ///< ETag or date: the server is to send all if it has another file.
  double connect_timeout_seconds = 20;
  double stall_timeout_seconds = 30;
};

/// Of the last response, after redirects.
struct HttpResponse {
  long status = 0;
  std::optional<std::uint64_t> length = {};       ///< Content-Length
  std::optional<std::uint64_t> range_start = {};  ///< of Content-Range
  std::string etag, last_modified;
  double retry_after_seconds = 0;
};

struct HttpResult {
  HttpResponse response;
  enum class Outcome : std::uint8_t {
    kDone,       ///< A response came in whole, whatever its status.
    kTransient,  ///< The network failed; another attempt may do better.
    kPermanent,  ///< No attempt would (a bad certificate, a refused redirect, …).
    kStopped,    ///< The receiver or `keep_going` said so.
  } outcome = Outcome::kDone;
  std::string error = {};  ///< What libcurl says.
};

/// `receive` gets each piece of the body with the response's headers, and returns false to stop.
/// `keep_going` is asked several times a second, also while nothing arrives.
HttpResult http_get(const HttpRequest& request,
                    const std::function<bool(const HttpResponse&, std::span<const char>)>& receive,
                    const std::function<bool()>& keep_going);

}  // namespace resnet
