// What a chunk computes, moves and exchanges for one micro-batch.
//
// What this is: the operators of both passes as a GPU runs them, with their operations and the bytes that must move,
// and the collectives of tensor and expert ranks; experts are taken to be chosen equally often. What this is not: a
// time, which depends on a machine; small kernels of a few kB are left out.
#pragma once

#include <cstdint>

#include "conclave/model.hpp"
#include "options.hpp"

namespace conclave::moe_transformer {

/// Stage::work of the chunk that the request asks for.
StageWork stage_work(const Config& config, const StageRequest& request, std::int64_t rows, std::int64_t length);

/// Keys that a query sees on average in a full sequence; a window of 0 is none.
double average_span(std::int64_t length, std::int64_t window);

} // namespace conclave::moe_transformer
