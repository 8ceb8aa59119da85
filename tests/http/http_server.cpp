#include "http/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <stdexcept>

namespace resnet::test {
namespace {

int listening_socket(int& port) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (socket < 0 || ::bind(socket, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(socket, 16) != 0 ||
      ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::runtime_error("no server on 127.0.0.1");
  }
  port = ntohs(address.sin_port);
  return socket;
}

HttpRequestSeen parse(const std::string& head) {
  HttpRequestSeen request;
  const std::size_t space = head.find(' ');
  request.target = head.substr(space + 1, head.find(' ', space + 1) - space - 1);
  for (std::size_t at = head.find("\r\n"); at + 2 < head.size();) {
    const std::size_t begin = at + 2;
    at = std::min(head.find("\r\n", begin), head.size());
    const std::string line = head.substr(begin, at - begin);
    const std::size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    request.headers[name] = line.substr(colon + 2);
  }
  return request;
}

}  // namespace

bool HttpConnection::send(const std::string& bytes) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t n = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<std::size_t>(n);
  }
  return true;
}

bool HttpConnection::respond(const std::string& status, const std::string& body,
                             const std::string& headers) {
  return send("HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n" + headers + "\r\n" + body);
}

void HttpConnection::stall() {
  pollfd client{.fd = socket_, .events = POLLRDHUP, .revents = 0};
  while (!closing_ && ::poll(&client, 1, 20) == 0) {
  }
}

HttpServer::HttpServer(Handler handler)
    : handler_(std::move(handler)), listener_(listening_socket(port_)) {
  acceptor_ = std::thread([this] {
    while (!closing_) {
      pollfd waiting{.fd = listener_, .events = POLLIN, .revents = 0};
      if (::poll(&waiting, 1, 20) <= 0) continue;
      const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket >= 0) workers_.emplace_back([this, socket] { serve(socket); });
    }
  });
}

HttpServer::~HttpServer() {
  closing_ = true;
  acceptor_.join();
  for (std::thread& worker : workers_) worker.join();
  ::close(listener_);
}

void HttpServer::serve(int socket) {
  std::string head;
  std::array<char, 4096> piece{};
  while (!closing_ && !head.ends_with("\r\n\r\n")) {
    pollfd waiting{.fd = socket, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, 20) == 0) continue;
    const ssize_t n = ::recv(socket, piece.data(), piece.size(), 0);
    if (n <= 0) break;
    head.append(piece.data(), static_cast<std::size_t>(n));
  }
  if (head.ends_with("\r\n\r\n")) {
    const HttpRequestSeen request = parse(head);
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    HttpConnection connection(socket, closing_);
    handler_(request, connection);
  }
  ::close(socket);
}

std::string HttpServer::url(const std::string& target) const {
  return "http://127.0.0.1:" + std::to_string(port_) + target;
}

std::vector<HttpRequestSeen> HttpServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void serve_file(const HttpRequestSeen& request, HttpConnection& connection, const std::string& body,
                const std::string& etag) {
  const auto header = [&](const char* name) {
    const auto found = request.headers.find(name);
    return found == request.headers.end() ? std::string() : found->second;
  };
  const std::string range = header("range"), if_range = header("if-range");
  const std::string tag = "ETag: " + etag + "\r\n";
  if (!range.starts_with("bytes=") || (!if_range.empty() && if_range != etag)) {
    connection.respond("200 OK", body, tag);
    return;
  }
  const std::size_t from = std::stoul(range.substr(6));
  if (from >= body.size()) {
    connection.respond("416 Range Not Satisfiable", "", tag);
    return;
  }
  connection.respond("206 Partial Content", body.substr(from),
                     tag + "Content-Range: bytes " + std::to_string(from) + "-" +
                         std::to_string(body.size() - 1) + "/" + std::to_string(body.size()) +
                         "\r\n");
}

std::string url_of_nobody() {
  int port = 0;
  ::close(listening_socket(port));
  return "http://127.0.0.1:" + std::to_string(port);
}

}  // namespace resnet::test
