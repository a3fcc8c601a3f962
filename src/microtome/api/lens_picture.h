// The logit lens as a picture: layers down, positions across, in each cell the most probable token, its colour the probability
// of that token (of the target, where one was asked for).
//
//   const Json result = lens(context, options)[0];
//   write(lens_svg(result));        // one SVG image, light or dark as the viewer prefers
//   write(lens_html(result));       // one page that needs nothing else: the same, with details and other colourings
//
// Pure functions of the command's JSON; text out of models and prompts is escaped and inert. Any thread.
#pragma once

#include <string>

#include "microtome/base/json.h"

namespace microtome::api {

std::string lens_svg(const Json& lens);
std::string lens_html(const Json& lens);

// "blocks.3.hook_resid_pre" -> "3", "blocks.3.hook_resid_mid" -> "3 mid"; the last point -> "end".
std::string lens_point_label(const Json& lens, size_t point);

}  // namespace microtome::api
