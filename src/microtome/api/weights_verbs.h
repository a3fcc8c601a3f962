// The verbs of `weights`, each an analysis -> the fields of its result (internal to api/weights*.cc).
#pragma once

#include "microtome/api/weights.h"
#include "microtome/circuits/algebra/head_weights.h"

namespace microtome::api {

Json copying_rows(const Context& c, const WeightsOptions& o);
Json matching_rows(const Context& c, const WeightsOptions& o);
Json composition_rows(const Context& c, const WeightsOptions& o);
Json virtual_rows(const Context& c, const WeightsOptions& o);
Json induction_rows(const Context& c, const WeightsOptions& o);
Json pair_rows(const Context& c, const WeightsOptions& o);
Json skip_trigram_rows(const Context& c, const WeightsOptions& o);
Json bigram_rows(const Context& c, const WeightsOptions& o);
Json svd_rows(const Context& c, const WeightsOptions& o);
Json neuron_rows(const Context& c, const WeightsOptions& o);
Json residual_rows(const Context& c, const WeightsOptions& o);

// The first `top` of n rows; `otherwise` where the option is absent; 0 is all.
int64_t rows_wanted(const WeightsOptions& o, int64_t n, int64_t otherwise);
Json head_json(const algebra::HeadId& id);  // {layer, head}

}  // namespace microtome::api
