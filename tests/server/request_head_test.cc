#include "microtome/server/request_head.h"

#include <gtest/gtest.h>

#include "microtome/server/errors.h"

namespace microtome::server {
namespace {

int status_of(const std::string& head) {
  HttpRequest request;
  try {
    parse_head(head, {}, request);
  } catch (const HttpError& e) {
    return e.status();
  }
  return 200;
}

std::string get(const std::string& headers) { return "GET / HTTP/1.1\r\nHost: localhost\r\n" + headers; }
std::string post(const std::string& headers) { return "POST /api/lens HTTP/1.1\r\nHost: localhost\r\n" + headers; }

TEST(RequestHead, reads_line_headers_and_length) {
  HttpRequest request;
  const BodyLength body = parse_head(post("Content-Length:  17 \r\nX-A: b\r\n"), {}, request);
  EXPECT_EQ(request.method, "POST");
  EXPECT_EQ(request.path, "/api/lens");
  EXPECT_EQ(request.minor, 1);
  ASSERT_NE(request.header("x-a"), nullptr);
  EXPECT_EQ(*request.header("x-a"), "b");
  EXPECT_EQ(body.bytes, 17u);
  EXPECT_TRUE(body.keep_alive);
  EXPECT_FALSE(body.expects_continue);
}

TEST(RequestHead, leaves_the_query_out_of_the_path) {
  HttpRequest request;
  parse_head("GET /x?y=/z HTTP/1.1\r\nHost: a\r\n", {}, request);
  EXPECT_EQ(request.path, "/x");
}

TEST(RequestHead, refuses_chunked_bodies) {
  EXPECT_EQ(status_of(post("Transfer-Encoding: chunked\r\n")), 411);
  EXPECT_EQ(status_of(post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n")), 411);
  EXPECT_EQ(status_of(get("transfer-encoding: gzip, chunked\r\n")), 411);
}

TEST(RequestHead, wants_the_length_of_a_posted_body) { EXPECT_EQ(status_of(post("")), 411); }

TEST(RequestHead, refuses_lengths_that_are_no_numbers_or_too_large) {
  for (const char* bad : {"-1", "+1", "1e3", "0x10", "", "1 2", "1,1"})
    EXPECT_EQ(status_of(post(std::string("Content-Length: ") + bad + "\r\n")), 400) << bad;
  EXPECT_EQ(status_of(post("Content-Length: 8388608\r\n")), 200);
  EXPECT_EQ(status_of(post("Content-Length: 8388609\r\n")), 413);
  EXPECT_EQ(status_of(post("Content-Length: 99999999999999999999999\r\n")), 413);
}

TEST(RequestHead, refuses_what_smugglers_send) {
  EXPECT_EQ(status_of(post("Content-Length: 4\r\nContent-Length: 5\r\n")), 400);
  EXPECT_EQ(status_of(post("Content-Length : 4\r\n")), 400);
  EXPECT_EQ(status_of(get("X: a\r\n folded\r\n")), 400);
  EXPECT_EQ(status_of(get("X: a\nY: b\r\n")), 400);
  EXPECT_EQ(status_of(get(std::string("X: a\0b\r\n", 8))), 400);
  EXPECT_EQ(status_of(get("Host: other\r\n")), 400);
}

TEST(RequestHead, refuses_malformed_lines) {
  for (const char* bad : {"", "GET", "GET /", "GET / HTTP/2", "GET  HTTP/1.1", "GET x HTTP/1.1", "GET http://a/ HTTP/1.1",
                          "GET /\x01 HTTP/1.1", "G(T / HTTP/1.1", "GET /a b HTTP/1.1"})
    EXPECT_EQ(status_of(std::string(bad) + "\r\nHost: a\r\n"), 400) << bad;
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.0\r\n"), 200);
}

TEST(RequestHead, bounds_the_number_of_headers_and_the_line) {
  std::string many;
  for (int i = 0; i < 63; ++i) many += "X: y\r\n";
  EXPECT_EQ(status_of(get(many)), 200);
  EXPECT_EQ(status_of(get(many + "X: y\r\n")), 431);
  EXPECT_EQ(status_of("GET /" + std::string(5000, 'a') + " HTTP/1.1\r\nHost: a\r\n"), 414);
}

TEST(RequestHead, keeps_connections_as_the_version_says) {
  const auto keeps = [](const std::string& head) {
    HttpRequest request;
    return parse_head(head, {}, request).keep_alive;
  };
  EXPECT_FALSE(keeps(get("Connection: close\r\n")));
  EXPECT_FALSE(keeps("GET / HTTP/1.0\r\n"));
  EXPECT_TRUE(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n"));
}

TEST(RequestHead, refuses_compressed_bodies_and_unknown_expectations) {
  EXPECT_EQ(status_of(post("Content-Length: 4\r\nContent-Encoding: gzip\r\n")), 415);
  EXPECT_EQ(status_of(post("Content-Length: 4\r\nExpect: tea\r\n")), 417);
  HttpRequest request;
  EXPECT_TRUE(parse_head(post("Content-Length: 4\r\nExpect: 100-continue\r\n"), {}, request).expects_continue);
}

}  // namespace
}  // namespace microtome::server
