// The page: the web bundle compiled into the program, or one line of text where it was built without.
#pragma once

#include "microtome/server/http_message.h"

namespace microtome::server {

// The file at the request's path ("/" is /index.html), compressed. Files under /assets/ carry a
// hash in their name and may be kept for ever; others are asked for again each time (ETag, 304). Throws HttpError 404.
HttpResponse page(const HttpRequest& request);

// Headers of every answer: nothing but this server's own scripts and data, in nobody's frame.
HeaderList security_headers();

}  // namespace microtome::server
