#include "core/absent.h"
#include "download/http.h"
#include "resnet/download.h"

namespace resnet {

HttpResult http_get(
    const HttpRequest& request,
    const std::function<bool(const HttpResponse&, std::span<const char>)>& /*receive*/,
    const std::function<bool()>& /*keep_going*/) {
  absent(request.url, "downloads nothing", "RESNET_DOWNLOAD");
}

std::string sha256_of(const std::filesystem::path& path, const std::atomic<bool>* /*stop*/) {
  absent(path.string(), "has no SHA-256", "RESNET_DOWNLOAD");
}

}  // namespace resnet
