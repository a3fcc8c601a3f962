// "Did you mean": the name closest to one that does not exist.
#pragma once

#include "microtome/base/edit_distance.h"

namespace microtome::api {

using microtome::nearest_name;

}  // namespace microtome::api
