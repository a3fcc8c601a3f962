// What clients see: event framing, error bodies, the page.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/request.h"
#include "microtome/server/errors.h"
#include "microtome/server/page.h"
#include "microtome/server/sse.h"

namespace microtome::server {
namespace {

TEST(Sse, puts_one_value_on_one_line) {
  EXPECT_EQ(sse_event({{"text", "a\nb\r\n"}}), "data: {\"text\":\"a\\nb\\r\\n\"}\n\n");
  EXPECT_EQ(sse_done(), "data: [DONE]\n\n");
  EXPECT_EQ(sse_comment("waiting"), ": waiting\n\n");
}

TEST(Sse, writes_numbers_that_are_not_finite_as_null) {
  EXPECT_EQ(sse_event({{"x", std::nan("")}, {"y", -INFINITY}}), "data: {\"x\":null,\"y\":null}\n\n");
}

TEST(Sse, survives_bytes_that_are_not_utf8) {
  const std::string event = sse_event({{"text", "\xe2\x82"}});
  EXPECT_EQ(event.find("\xe2"), std::string::npos);
}

template <class E>
ErrorAnswer answer_to(const E& error) {
  return describe(std::make_exception_ptr(error));
}

TEST(Errors, map_to_statuses) {
  EXPECT_EQ(answer_to(HttpError(404, "x")).status, 404);
  EXPECT_EQ(answer_to(api::FieldError("top", "x")).status, 422);
  EXPECT_EQ(answer_to(Error(ErrorKind::kNotFound, std::string("no site"))).status, 422);
  EXPECT_EQ(answer_to(Error(ErrorKind::kUnsupported, std::string("x"))).status, 422);
  EXPECT_EQ(answer_to(Error(ErrorKind::kCancelled, std::string("x"))).status, 503);
  EXPECT_EQ(answer_to(Error(ErrorKind::kIo, std::string("/secret/path"))).status, 500);
  EXPECT_EQ(answer_to(std::bad_alloc()).status, 500);
  EXPECT_EQ(answer_to(std::runtime_error("x")).status, 500);
}

TEST(Errors, name_the_field_and_hide_what_is_internal) {
  EXPECT_EQ(answer_to(api::FieldError("top", "too many")).body,
            R"({"error":{"type":"invalid_request_error","message":"too many","param":"top","code":null}})");
  EXPECT_EQ(answer_to(std::runtime_error("/secret/path")).body.find("secret"), std::string::npos);
  EXPECT_EQ(answer_to(Error(ErrorKind::kIo, std::string("/secret/path"))).body.find("secret"), std::string::npos);
}

TEST(Page, answers_at_the_root_and_nowhere_else) {
  EXPECT_EQ(page({.path = "/"}).status, 200);
  for (const char* path : {"/nothing", "/../etc/passwd", "/%2e%2e/x", "//"})
    EXPECT_THROW(page({.path = path}), HttpError) << path;
}

TEST(Page, is_asked_for_again_only_if_it_changed) {
  const HttpResponse first = page({.path = "/"});
  if (!first.gzip) GTEST_SKIP() << "built without the page";
  std::string tag;
  for (const auto& [name, value] : first.headers)
    if (name == "ETag") tag = value;
  EXPECT_EQ(page({.path = "/", .headers = {{"if-none-match", tag}}}).status, 304);
  EXPECT_EQ(page({.path = "/", .headers = {{"if-none-match", "\"other\""}}}).status, 200);
}

TEST(Page, allows_scripts_from_itself_only) {
  std::string policy;
  for (const auto& [name, value] : security_headers())
    if (name == "Content-Security-Policy") policy = value;
  EXPECT_NE(policy.find("script-src 'self';"), std::string::npos);
  EXPECT_EQ(policy.find("http"), std::string::npos);
}

}  // namespace
}  // namespace microtome::server
