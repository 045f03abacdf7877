// Tests of @ID@.

#include <gtest/gtest.h>

#include <cmath>

#include "conclave/model.hpp"
#include "conclave/testkit.hpp"
#include "conclave/testkit_tensor.hpp"

namespace testkit = conclave::testkit;

namespace {

conclave::StageRequest request() {
  conclave::StageRequest r;
  r.shape = {.vocabulary = 11, .max_length = 8};
  r.compute = r.master = at::kDouble;
  return r;
}

} // namespace

TEST(@CLASS@, StartsNearTheEntropyOfAUniformGuess) {
  testkit::FakeHost host;
  const auto model = testkit::make<conclave::Model>(testkit::this_library("@ID@"), host);
  ASSERT_TRUE(model.ok()) << model.error().render();
  auto bound = testkit::bind_stage(**model, request(), 1);
  ASSERT_TRUE(bound.ok()) << bound.error().render();
  const auto batch = testkit::random_batch(3, 8, 11, 2, 3);
  const auto output = bound->stage->forward({.batch = &batch});
  EXPECT_NEAR(testkit::total_loss(output, batch).item<double>(), std::log(11.0), 0.05);
}

TEST(@CLASS@, ItsGradientIsTheSlopeOfItsLoss) {
  testkit::FakeHost host;
  const auto model = testkit::make<conclave::Model>(testkit::this_library("@ID@"), host);
  ASSERT_TRUE(model.ok());
  auto bound = testkit::bind_stage(**model, request(), 1);
  ASSERT_TRUE(bound.ok());
  const auto batch = testkit::random_batch(3, 8, 11, 2, 3);
  const conclave::StageInput input{.batch = &batch, .loss = {.label_smoothing = 0.1, .z_loss = 1e-2}};
  const auto loss = [&] { return testkit::total_loss(bound->stage->forward(input), batch); };
  loss().backward();

  at::Tensor weight = bound->parameter("lm_head.weight");
  const double slope = weight.grad().view(-1)[5].item<double>();
  const double h = 1e-5;
  at::Tensor element = weight.detach().view(-1)[5];
  element.add_(h);
  const double above = loss().item<double>();
  element.sub_(2 * h);
  const double below = loss().item<double>();
  EXPECT_NEAR((above - below) / (2 * h), slope, 1e-8);
}
