#include "microtome/server/access.h"

#include <gtest/gtest.h>

#include "microtome/base/error.h"
#include "microtome/server/errors.h"

namespace microtome::server {
namespace {

TEST(Access, takes_the_names_of_this_machine_on_any_port) {
  for (const char* host : {"localhost", "LOCALHOST:8571", "127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:8571"})
    EXPECT_TRUE(host_allowed({}, host)) << host;
}

TEST(Access, refuses_other_names) {
  for (const char* host : {"", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.2",
                           "localhost:", "localhost:x", "localhost:80:80", "user@localhost", "[::1", "[::1]x", "::1"})
    EXPECT_FALSE(host_allowed({}, host)) << host;
}

TEST(Access, takes_the_name_it_is_bound_to_and_the_hosts_of_allowed_origins) {
  EXPECT_TRUE(host_allowed({.host = "lab.local", .allow_origins = {}}, "Lab.local:8571"));
  EXPECT_TRUE(host_allowed({.allow_origins = {"https://lab.example"}}, "lab.example"));
  EXPECT_FALSE(host_allowed({.allow_origins = {"*"}}, "lab.example"));
}

TEST(Access, takes_numeric_addresses_where_it_is_bound_to_all) {
  const AccessRules all{.host = "0.0.0.0", .allow_origins = {}};
  EXPECT_TRUE(host_allowed(all, "192.168.1.7:8571"));
  EXPECT_TRUE(host_allowed(all, "[fe80::1]:8571"));
  EXPECT_FALSE(host_allowed(all, "evil.example:8571"));
}

TEST(Access, takes_the_pages_own_origin_only) {
  EXPECT_TRUE(origin_allowed({}, "http://localhost:8571", "localhost:8571"));
  for (const char* origin :
       {"null", "https://localhost:8571", "http://localhost:3000", "http://127.0.0.1:8571", "http://evil.example", ""})
    EXPECT_FALSE(origin_allowed({}, origin, "localhost:8571")) << origin;
}

TEST(Access, takes_origins_that_the_user_allowed) {
  const AccessRules rules{.allow_origins = {"https://lab.example"}};
  EXPECT_TRUE(origin_allowed(rules, "https://lab.example", "localhost:8571"));
  EXPECT_FALSE(origin_allowed(rules, "http://lab.example", "localhost:8571"));
  EXPECT_FALSE(origin_allowed(rules, "https://lab.example.evil", "localhost:8571"));
  EXPECT_TRUE(origin_allowed({.allow_origins = {"*"}}, "https://any.example", "localhost:8571"));
}

TEST(Access, refuses_with_403) {
  const auto status = [](HeaderList headers) {
    try {
      check_access({}, {.headers = std::move(headers)});
    } catch (const HttpError& e) {
      return e.status();
    }
    return 200;
  };
  EXPECT_EQ(status({{"host", "localhost"}}), 200);
  EXPECT_EQ(status({{"host", "evil.example"}}), 403);
  EXPECT_EQ(status({{"host", "localhost"}, {"origin", "http://localhost"}}), 200);
  EXPECT_EQ(status({{"host", "localhost"}, {"origin", "http://evil.example"}}), 403);
}

TEST(Access, refuses_origins_that_are_none) {
  check_origins({"*", "https://a.example", "http://localhost:3000"});
  for (const char* bad : {"a.example", "https://", "https://a.example/", "ftp://a.example", "https://a.example/x", ""})
    EXPECT_THROW(check_origins({bad}), Error) << bad;
}

TEST(Access, answers_preflights_of_pages) {
  const HttpResponse r =
      preflight({.headers = {{"origin", "http://a"}, {"access-control-request-headers", "content-type, x-b"}}}, "POST, OPTIONS");
  EXPECT_EQ(r.status, 204);
  EXPECT_NE(std::find(r.headers.begin(), r.headers.end(),
                      std::pair<std::string, std::string>("Access-Control-Allow-Headers", "content-type, x-b")),
            r.headers.end());
}

}  // namespace
}  // namespace microtome::server
