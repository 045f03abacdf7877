// Key functions of the tensor interfaces, and GradSink's counting.

#include <utility>

#include "conclave/model.hpp"
#include "conclave/optimizer.hpp"
#include "conclave/param.hpp"

namespace conclave {

Stage::~Stage() = default;
Model::~Model() = default;
Optimizer::~Optimizer() = default;

Result<HuggingFaceForm> Model::hugging_face(const ModelShape&, const SpecialTokens&) const {
  return unsupported("this model has no Hugging Face form");
}

void GradSink::begin_step() noexcept {
  overwrite_ = true;
  last_ = false;
  completed_ = false;
  received_ = 0;
  received_in_last_ = 0;
}

void GradSink::begin_last_micro_batch() noexcept {
  last_ = true;
  received_in_last_ = 0;
}

void GradSink::ready() {
  overwrite_ = false;
  ++received_;
  if (last_ && ++received_in_last_ == expected) complete();
}

void GradSink::finish() {
  if (overwrite_) gradient.zero_();
  overwrite_ = false;
  complete();
}

void GradSink::complete() {
  if (std::exchange(completed_, true)) return;
  if (on_complete) on_complete();
}

} // namespace conclave
