// A web server of this process on 127.0.0.1, which can also be told to misbehave: a test says, byte
// for byte, what goes over the wire.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace resnet::test {

struct HttpRequestSeen {
  std::string target;                          ///< "/a/b"
  std::map<std::string, std::string> headers;  ///< names in lower case
};

/// The server's end of one connection.
class HttpConnection {
 public:
  HttpConnection(int socket, const std::atomic<bool>& closing)
      : socket_(socket), closing_(closing) {}
  /// False when the client has gone.
  bool send(const std::string& bytes);
  /// A response with its Content-Length; `headers` are whole lines that end in \r\n.
  bool respond(const std::string& status, const std::string& body, const std::string& headers = "");
  /// Sends nothing until the client goes or the server ends.
  void stall();

 private:
  int socket_;
  const std::atomic<bool>& closing_;
};

class HttpServer {
 public:
  /// Called for each request, in a thread of its own; afterwards the connection is closed.
  using Handler = std::function<void(const HttpRequestSeen&, HttpConnection&)>;
  explicit HttpServer(Handler handler);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string url(const std::string& target = "") const;  ///< "http://127.0.0.1:1234/a"
  std::vector<HttpRequestSeen> requests() const;

 private:
  void serve(int socket);

  Handler handler_;
  int port_ = 0;
  int listener_ = -1;
  std::atomic<bool> closing_{false};
  mutable std::mutex mutex_;
  std::vector<HttpRequestSeen> requests_;
  std::list<std::thread> workers_;
  std::thread acceptor_;
};

/// A well-behaved server of one file: ETag, Range and If-Range.
void serve_file(const HttpRequestSeen& request, HttpConnection& connection, const std::string& body,
                const std::string& etag);

/// An address on which nobody listens.
std::string url_of_nobody();

}  // namespace resnet::test
