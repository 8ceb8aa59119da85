#include "download/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <exception>
#include <memory>
#include <mutex>
#include <string_view>

#include "core/check.h"
#include "core/text.h"

namespace resnet {
namespace {

constexpr long kRedirects = 10;

struct Transfer {
  const std::function<bool(const HttpResponse&, std::span<const char>)>& receive;
  const std::function<bool()>& keep_going;
  HttpResponse response;
  std::exception_ptr thrown;  // exceptions may not pass through libcurl
};

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end == text.data()) return std::nullopt;
  return value;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) {
    text.remove_prefix(1);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.remove_suffix(1);
  }
  return text;
}

std::size_t on_header(char* data, std::size_t, std::size_t size, void* user) {
  HttpResponse& r = static_cast<Transfer*>(user)->response;
  const std::string_view line = trimmed({data, size});
  if (line.starts_with("HTTP/")) {  // a new response: those before were redirects
    r = {};
    const std::size_t space = line.find(' ');
    if (space != std::string_view::npos) {
      r.status = static_cast<long>(parse_number(line.substr(space + 1)).value_or(0));
    }
    return size;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return size;
  const std::string name = lower(line.substr(0, colon));
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (name == "content-length") r.length = parse_number(value);
  if (name == "content-range" && value.starts_with("bytes ")) {
    r.range_start = parse_number(value.substr(6));
  }
  if (name == "etag") r.etag = value;
  if (name == "last-modified") r.last_modified = value;
  if (name == "retry-after") {
    r.retry_after_seconds = static_cast<double>(parse_number(value).value_or(0));
  }
  return size;
}

std::size_t on_body(char* data, std::size_t, std::size_t size, void* user) {
  Transfer& transfer = *static_cast<Transfer*>(user);
  try {
    return transfer.receive(transfer.response, {data, size}) ? size : size + 1;
  } catch (...) {
    transfer.thrown = std::current_exception();
    return size + 1;  // any number but `size` stops
  }
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  Transfer& transfer = *static_cast<Transfer*>(user);
  try {
    return transfer.keep_going() ? 0 : 1;
  } catch (...) {
    transfer.thrown = std::current_exception();
    return 1;
  }
}

bool is_transient(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR: return true;
    default: return false;
  }
}

}  // namespace

HttpResult http_get(const HttpRequest& request,
                    const std::function<bool(const HttpResponse&, std::span<const char>)>& receive,
                    const std::function<bool()>& keep_going) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> handle(curl_easy_init(),
                                                                   curl_easy_cleanup);
  if (handle == nullptr) throw std::bad_alloc();
  CURL* curl = handle.get();
  Transfer transfer{receive, keep_going, {}, {}};
  std::array<char, CURL_ERROR_SIZE> message{};
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(nullptr, curl_slist_free_all);

  const auto set = [curl](CURLoption option, auto value) {
    RESNET_CHECK(curl_easy_setopt(curl, option, value) == CURLE_OK);
  };
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  // What began encrypted stays so.
  set(CURLOPT_REDIR_PROTOCOLS_STR, request.url.starts_with("https:") ? "https" : "http,https");
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, kRedirects);
  set(CURLOPT_USERAGENT, "resnet.cpp");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout_seconds * 1000));
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, std::max(1L, static_cast<long>(request.stall_timeout_seconds)));
  set(CURLOPT_ERRORBUFFER, message.data());
  set(CURLOPT_HEADERFUNCTION, on_header);
  set(CURLOPT_HEADERDATA, &transfer);
  set(CURLOPT_WRITEFUNCTION, on_body);
  set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, on_progress);
  set(CURLOPT_XFERINFODATA, &transfer);
  const std::string range = fmt::format("{}-", request.from);
  if (request.from > 0) {
    set(CURLOPT_RANGE, range.c_str());
    if (!request.if_range.empty()) {
      headers.reset(curl_slist_append(nullptr, ("If-Range: " + request.if_range).c_str()));
      set(CURLOPT_HTTPHEADER, headers.get());
    }
  }

  const CURLcode code = curl_easy_perform(curl);
  if (transfer.thrown) std::rethrow_exception(transfer.thrown);
  HttpResult result;
  result.response = transfer.response;
  if (code == CURLE_OK) return result;
  result.error = message[0] != '\0' ? message.data() : curl_easy_strerror(code);
  if (code == CURLE_WRITE_ERROR || code == CURLE_ABORTED_BY_CALLBACK) {
    result.outcome = HttpResult::Outcome::kStopped;
  } else {
    result.outcome =
        is_transient(code) ? HttpResult::Outcome::kTransient : HttpResult::Outcome::kPermanent;
  }
  return result;
}

}  // namespace resnet
