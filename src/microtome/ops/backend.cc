#include "microtome/ops/backend.h"

namespace microtome {

const Backend& backend(Device) {
  static const Backend cpu;
  return cpu;
}

}  // namespace microtome
