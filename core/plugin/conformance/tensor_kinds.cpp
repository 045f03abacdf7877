// Cases of optimizer and model: what the step engine relies on. Float64 on the CPU where the kind allows it.

#include <ATen/ops/cat.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/scalar_tensor.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "conclave/model.hpp"
#include "conclave/optimizer.hpp"
#include "conclave/testkit_tensor.hpp"
#include "plugin/conformance/cases.hpp"

namespace conclave::conformance {
namespace {

bool finite(const at::Tensor& tensor) { return at::isfinite(tensor).all().item<bool>(); }

// ---- optimizer ----

const std::vector<std::vector<std::int64_t>> shapes = {{64, 48}, {96}, {16, 16}};

/// Elementwise optimizers get flat ranges, others matrices with their parameter.
struct Problem {
  std::vector<ParamSpec> specs; // segments point into it
  std::vector<Segment> segments;
};

Problem problem_of(const Optimizer& optimizer, at::ScalarType dtype) {
  Problem problem;
  const OptimizerTraits traits = optimizer.traits();
  std::vector<std::vector<std::int64_t>> wanted;
  for (const auto& shape : shapes) {
    if (traits.elementwise) {
      std::int64_t n = 1;
      for (const std::int64_t size : shape) n *= size;
      wanted.push_back({n});
    } else {
      wanted.push_back(shape);
    }
  }
  problem.segments = testkit::random_segments(traits, wanted, 7, dtype);
  if (traits.elementwise) return problem;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    ParamSpec spec;
    spec.name = "parameter." + std::to_string(i);
    spec.shape = shapes[i];
    problem.specs.push_back(std::move(spec));
  }
  for (std::size_t i = 0; i < shapes.size(); ++i) problem.segments[i].parameter = &problem.specs[i];
  return problem;
}

void update(Optimizer& optimizer, std::vector<Segment>& segments, int step, bool apply, double gradient_scale = 1) {
  const at::ScalarType dtype = segments.front().master.scalar_type();
  const StepGate gate = testkit::make_gate(apply, gradient_scale, dtype);
  optimizer.step(segments, {at::scalar_tensor(1e-3, dtype), at::scalar_tensor(step, at::kFloat), &gate});
}

std::vector<at::Tensor> everything(const std::vector<Segment>& segments) {
  std::vector<at::Tensor> all;
  for (const Segment& segment : segments) {
    all.push_back(segment.master.clone());
    for (const at::Tensor& state : segment.states) all.push_back(state.clone());
  }
  return all;
}

bool equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!a[i].equal(b[i])) return false;
  return a.size() == b.size();
}

void peak_is_finite(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto optimizer = subject.make<Optimizer>(host);
  const double peak = optimizer->peak_learning_rate();
  require(std::isfinite(peak) && peak >= 0, "peak_learning_rate() is " + std::to_string(peak));
  std::set<std::string> names;
  for (const std::string& state : optimizer->traits().states) {
    require(!state.empty(), "a state has no name");
    require(names.insert(state).second, "two states are called " + state);
  }
}

void updates_move_weights(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto optimizer = subject.make<Optimizer>(host);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    Problem problem = problem_of(*optimizer, dtype);
    const auto before = everything(problem.segments);
    for (int step = 1; step <= 3; ++step) update(*optimizer, problem.segments, step, true, 0.5);
    require(!equal(before, everything(problem.segments)), "three updates change nothing");
    for (const Segment& segment : problem.segments) {
      require(finite(segment.master), "weights are not finite after three updates");
      require(segment.master.scalar_type() == dtype, "an update changes the type of the weights");
      for (const at::Tensor& state : segment.states)
        require(finite(state), "states are not finite after three updates");
    }
  }
}

void a_shut_gate_leaves_all(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto optimizer = subject.make<Optimizer>(host);
  Problem problem = problem_of(*optimizer, at::kFloat);
  update(*optimizer, problem.segments, 1, true);
  for (const double poison : {1.0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    const auto before = everything(problem.segments);
    for (Segment& segment : problem.segments) segment.gradient.fill_(poison);
    update(*optimizer, problem.segments, 2, false);
    require(equal(before, everything(problem.segments)),
            "weights or states change although gate.apply is 0 (gradients of " + std::to_string(poison) + ")");
  }
}

void updates_are_repeatable(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  std::vector<std::vector<at::Tensor>> ends;
  for (int run = 0; run < 2; ++run) {
    const auto optimizer = subject.make<Optimizer>(host);
    Problem problem = problem_of(*optimizer, at::kFloat);
    const auto gradients = problem_of(*optimizer, at::kFloat);
    for (int step = 1; step <= 3; ++step) {
      for (std::size_t i = 0; i < problem.segments.size(); ++i)
        problem.segments[i].gradient.copy_(gradients.segments[i].gradient);
      update(*optimizer, problem.segments, step, true);
    }
    ends.push_back(everything(problem.segments));
  }
  require(equal(ends[0], ends[1]), "two instances give other weights for the same gradients");
}

/// Sharded states cut flat ranges anywhere.
void elementwise_means_elementwise(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto optimizer = subject.make<Optimizer>(host);
  if (!optimizer->traits().elementwise) throw CaseSkipped("it takes whole matrices");
  const auto gradients = problem_of(*optimizer, at::kDouble);
  Problem whole = problem_of(*optimizer, at::kDouble);
  std::vector<Segment> parts;
  Problem cut = problem_of(*optimizer, at::kDouble);
  for (const Segment& segment : cut.segments) {
    const std::int64_t n = segment.master.numel(), middle = n / 3;
    for (const auto& [begin, end] : {std::pair{std::int64_t{0}, middle}, std::pair{middle, n}}) {
      Segment part = segment;
      part.master = segment.master.slice(0, begin, end);
      part.gradient = segment.gradient.slice(0, begin, end);
      for (at::Tensor& state : part.states) state = state.slice(0, begin, end);
      parts.push_back(std::move(part));
    }
  }
  for (int step = 1; step <= 2; ++step) {
    for (std::size_t i = 0; i < whole.segments.size(); ++i) {
      whole.segments[i].gradient.copy_(gradients.segments[i].gradient);
      cut.segments[i].gradient.copy_(gradients.segments[i].gradient);
    }
    update(*optimizer, whole.segments, step, true);
    update(*optimizer, parts, step, true);
  }
  for (std::size_t i = 0; i < whole.segments.size(); ++i)
    require(whole.segments[i].master.allclose(cut.segments[i].master, 1e-12, 1e-14),
            "traits() says elementwise, but a cut segment gives other weights");
}

// ---- model ----

constexpr std::int64_t vocabulary = 97, length = 32;
constexpr std::int64_t largest = 40'000'000; // parameters that a check on any machine can hold in fp64

StageRequest request_of(std::int64_t of_vocabulary = vocabulary) {
  StageRequest request;
  request.shape = {of_vocabulary, length};
  request.compute = request.master = at::kDouble;
  return request;
}

StageDescription describe(const Model& model, const StageRequest& request) {
  const auto stage = require_ok(model.make_stage(request), "make_stage()");
  require(stage != nullptr, "make_stage() returned null");
  return stage->describe();
}

std::int64_t volume(const std::vector<std::int64_t>& shape) {
  std::int64_t n = 1;
  for (const std::int64_t size : shape) n *= size;
  return n;
}

bool overlap(const Box& a, const Box& b) {
  for (std::size_t axis = 0; axis < a.size.size(); ++axis)
    if (a.offset[axis] + a.size[axis] <= b.offset[axis] || b.offset[axis] + b.size[axis] <= a.offset[axis])
      return false;
  return true;
}

bool inside(const Box& box, const std::vector<std::int64_t>& shape) {
  if (box.offset.size() != shape.size() || box.size.size() != shape.size()) return false;
  for (std::size_t axis = 0; axis < shape.size(); ++axis)
    if (box.offset[axis] < 0 || box.size[axis] < 1 || box.offset[axis] + box.size[axis] > shape[axis]) return false;
  return true;
}

/// With a vocabulary whose tables no machine holds: describing them must not make them.
void describes_without_allocating(const Subject& subject) {
  testkit::FakeHost host({.phase = Phase::check, .plugin_id = subject.descriptor.info.id});
  const auto model = subject.make<Model>(host);
  const std::int64_t huge = std::int64_t{1} << 40;
  const auto description = describe(*model, request_of(huge));
  require(!description.parameters.empty(), "describe() names no parameter");
  (void)require_ok(model->summarize({huge, length}, Mesh()), "summarize()");
}

void summary_counts_the_parameters(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto model = subject.make<Model>(host);
  const ModelSummary summary = require_ok(model->summarize({vocabulary, length}, Mesh()), "summarize()");
  std::int64_t total = 0;
  for (const ParamSpec& spec : describe(*model, request_of()).parameters)
    for (const ParamPiece& piece : spec.pieces) total += volume(piece.global.size);
  require(summary.parameters == total, "summarize() counts " + std::to_string(summary.parameters) +
                                           " parameters, describe() lists " + std::to_string(total));
  require(summary.active_parameters > 0 && summary.active_parameters <= summary.parameters,
          "active_parameters lies outside of (0, parameters]");
  require(std::isfinite(summary.forward_flops_per_token) && summary.forward_flops_per_token > 0,
          "forward_flops_per_token is not above 0");
}

void pieces_are_disjoint_and_cover(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto model = subject.make<Model>(host);
  std::set<std::string> names;
  std::map<std::string, std::vector<ParamPiece>> globals;
  for (const ParamSpec& spec : describe(*model, request_of()).parameters) {
    require(names.insert(spec.name).second, "two parameters are called " + spec.name);
    require(!spec.pieces.empty(), spec.name + " has no piece");
    for (std::size_t i = 0; i < spec.pieces.size(); ++i) {
      const ParamPiece& piece = spec.pieces[i];
      require(inside(piece.local, spec.shape),
              "piece " + piece.name + " lies outside of the local tensor of " + spec.name);
      require(inside(piece.global, piece.global_shape),
              "piece " + piece.name + " lies outside of its global parameter");
      require(volume(piece.local.size) == volume(piece.global.size),
              "piece " + piece.name + " has another size locally than globally");
      for (std::size_t j = 0; j < i; ++j)
        require(!overlap(piece.local, spec.pieces[j].local),
                "pieces " + piece.name + " and " + spec.pieces[j].name + " overlap in " + spec.name);
      globals[piece.name].push_back(piece);
    }
  }
  for (const auto& [name, pieces] : globals) { // on one rank nothing may be missing
    std::int64_t covered = 0;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      require(pieces[i].global_shape == pieces[0].global_shape, "pieces of " + name + " disagree on its shape");
      covered += volume(pieces[i].global.size);
      for (std::size_t j = 0; j < i; ++j)
        require(!overlap(pieces[i].global, pieces[j].global), "two pieces hold the same part of " + name);
    }
    require(covered == volume(pieces[0].global_shape), "the pieces of " + name + " do not cover it");
  }
}

testkit::BoundStage bound_stage(const Model& model, testkit::Gradients gradients = testkit::Gradients::autograd) {
  const ModelSummary summary = require_ok(model.summarize({vocabulary, length}, Mesh()), "summarize()");
  if (summary.parameters > largest)
    throw CaseSkipped(std::to_string(summary.parameters) +
                      " parameters are too many to try: give smaller options with --with '{...}'");
  return require_ok(testkit::bind_stage(model, request_of(), 1, gradients), "bind()");
}

/// What training asks for: every loss has its part.
StageInput training_input(const Batch& batch) {
  return {.batch = &batch, .activations = {}, .loss = {.label_smoothing = 0.1, .z_loss = 1e-4}};
}

void forward_and_backward_are_finite(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto model = subject.make<Model>(host);
  auto bound = bound_stage(*model);
  const Batch batch = testkit::random_batch(2, length, vocabulary, 3, 5);
  const StageOutput output = bound.stage->forward(training_input(batch));
  require(!output.local_losses.empty(), "the last stage gives no loss");
  for (const LocalLoss& loss : output.local_losses) {
    require(loss.sum.defined() && loss.sum.numel() == 1, "loss " + loss.name + " is no scalar");
    require(finite(loss.sum), "loss " + loss.name + " is not finite");
  }
  require(output.token_nll.defined() && output.token_nll.sizes() == batch.tokens.sizes(), "token_nll is not [B, S]");
  require(finite(output.token_nll), "token_nll is not finite");
  require(output.token_nll.masked_select(batch.loss_mask.logical_not()).eq(0).all().item<bool>(),
          "token_nll is not 0 where the loss mask is false");
  const double nll = output.token_nll.sum().item<double>() / static_cast<double>(batch.global_loss_tokens);
  require(nll > 0 && nll < 3 * std::log(static_cast<double>(vocabulary)),
          "the first nll is " + std::to_string(nll) + ", far from that of a uniform guess (" +
              std::to_string(std::log(double{vocabulary})) + ")");
  testkit::total_loss(output, batch).backward();
  bool any = false;
  for (std::size_t i = 0; i < bound.storage.parameters.size(); ++i) {
    const at::Tensor gradient = bound.storage.parameters[i].value.grad();
    if (!gradient.defined()) continue; // an expert that got no token
    require(finite(gradient), "the gradient of " + bound.description.parameters[i].name + " is not finite");
    any = any || gradient.abs().sum().item<double>() > 0;
  }
  require(any, "no parameter gets a gradient");
}

void forward_is_repeatable(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto model = subject.make<Model>(host);
  auto bound = bound_stage(*model);
  const Batch batch = testkit::random_batch(2, length, vocabulary, 3, 5);
  std::vector<at::Tensor> buffers;
  for (const at::Tensor& buffer : bound.storage.buffers) buffers.push_back(buffer.clone());
  const StageInput evaluation{.batch = &batch, .activations = {}, .loss = {}, .training = false};
  const at::Tensor first = bound.stage->forward(evaluation).token_nll.clone();
  require(bound.stage->forward(evaluation).token_nll.equal(first), "two evaluations of one batch differ");
  for (std::size_t i = 0; i < buffers.size(); ++i)
    require(bound.storage.buffers[i].equal(buffers[i]),
            "an evaluation changes buffer " + bound.description.buffers[i].name);
}

bool same(const at::Tensor& a, const at::Tensor& b) { return a.allclose(b, 1e-9, 1e-12); }

/// Two micro-batches of one step through sinks give what autograd accumulates, in as many contributions as were announced.
void gradients_reach_their_sinks(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto model = subject.make<Model>(host);
  auto plain = bound_stage(*model);
  auto bound = bound_stage(*model, testkit::Gradients::sinks);
  for (const std::uint64_t micro_batch : {3, 4}) {
    const Batch batch = testkit::random_batch(2, length, vocabulary, micro_batch, 5);
    testkit::total_loss(plain.stage->forward(training_input(batch)), batch).backward();
    for (const auto& sink : bound.sinks) sink->begin_last_micro_batch(); // counts anew
    testkit::total_loss(bound.stage->forward(training_input(batch)), batch).backward();
    bound.collect_gradients();
    for (std::size_t i = 0; i < bound.sinks.size(); ++i)
      require(bound.sinks[i]->received_in_last() <= bound.sinks[i]->expected,
              bound.description.parameters[i].name + " gets " + std::to_string(bound.sinks[i]->received_in_last()) +
                  " contributions in one backward pass; its ParamSpec announces " +
                  std::to_string(bound.sinks[i]->expected));
  }
  for (std::size_t i = 0; i < bound.sinks.size(); ++i) {
    bound.sinks[i]->finish();
    const at::Tensor expected = plain.gradient(i), found = bound.gradient(i);
    require(expected.defined() ? same(found, expected) : found.eq(0).all().item<bool>(),
            "the sink of " + bound.description.parameters[i].name +
                " holds another gradient than autograd gives without sinks");
  }
}

/// Gradients by global name and place, so that layouts can be compared; shares of a tied parameter are summed.
void add_gradients(const testkit::BoundStage& bound, std::map<std::string, at::Tensor>& gradients) {
  for (std::size_t i = 0; i < bound.description.parameters.size(); ++i) {
    const at::Tensor gradient = bound.gradient(i);
    if (!gradient.defined()) continue;
    for (const ParamPiece& piece : bound.description.parameters[i].pieces) {
      at::Tensor part = gradient;
      std::string place = piece.name;
      for (std::size_t axis = 0; axis < piece.local.size.size(); ++axis)
        part = part.narrow(static_cast<std::int64_t>(axis), piece.local.offset[axis], piece.local.size[axis]);
      for (const std::int64_t offset : piece.global.offset) place += " " + std::to_string(offset);
      at::Tensor& sum = gradients[place];
      sum = sum.defined() ? sum.add(part) : part;
    }
  }
}

/// Two pipeline chunks, activations handed over by hand, against the model in one piece.
void chunks_equal_the_whole(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto model = subject.make<Model>(host);
  StageRequest request = request_of();
  request.chunks = 2;
  if (const auto made = model->make_stage(request); !made.ok() && made.error().code != Code::internal)
    throw CaseSkipped("it cannot be cut in two: " + made.error().what);
  auto whole = bound_stage(*model); // skips what is too large
  auto first = require_ok(testkit::bind_stage(*model, request, 1), "bind() of chunk 0 of 2");
  request.chunk = 1;
  auto last = require_ok(testkit::bind_stage(*model, request, 1), "bind() of chunk 1 of 2");

  const Batch batch = testkit::random_batch(2, length, vocabulary, 3, 5);
  const StageOutput expected = whole.stage->forward(training_input(batch));
  testkit::total_loss(expected, batch).backward();
  StageOutput handed = first.stage->forward(training_input(batch));
  require(handed.activations.defined() && handed.activations.dim() == 3 && handed.activations.size(0) == 2 &&
              handed.activations.size(1) == length,
          "the first of two chunks gives no activations of shape [B, S, width]");
  StageInput input = training_input(batch);
  input.activations = handed.activations.detach().requires_grad_(true);
  const StageOutput output = last.stage->forward(input);
  require(output.token_nll.defined() && same(output.token_nll, expected.token_nll),
          "two chunks give another token_nll than one");
  testkit::total_loss(output, batch).backward();
  require(input.activations.grad().defined(), "the last chunk gives no gradient of its activations");
  at::Tensor seed = handed.activations.mul(input.activations.grad()).sum();
  if (!handed.local_losses.empty()) seed = seed.add(testkit::total_loss(handed, batch));
  seed.backward();

  std::map<std::string, at::Tensor> of_whole, of_chunks;
  add_gradients(whole, of_whole);
  add_gradients(first, of_chunks);
  add_gradients(last, of_chunks);
  require(of_whole.size() == of_chunks.size(), "two chunks have " + std::to_string(of_chunks.size()) +
                                                   " pieces with a gradient, one has " +
                                                   std::to_string(of_whole.size()));
  for (const auto& [place, gradient] : of_whole) {
    const auto found = of_chunks.find(place);
    require(found != of_chunks.end() && same(found->second, gradient),
            "the gradient of " + place + " is another one in two chunks");
  }
}

void a_shut_gate_leaves_the_buffers(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto model = subject.make<Model>(host);
  auto bound = bound_stage(*model);
  if (bound.description.buffers.empty()) throw CaseSkipped("it has no buffers");
  const Batch batch = testkit::random_batch(2, length, vocabulary, 3, 5);
  (void)bound.stage->forward(training_input(batch)); // fills the counters
  std::vector<at::Tensor> before;
  for (const at::Tensor& buffer : bound.storage.buffers) before.push_back(buffer.clone());
  bound.stage->update_buffers(testkit::make_gate(false, 1, at::kDouble));
  for (std::size_t i = 0; i < before.size(); ++i)
    require(bound.storage.buffers[i].equal(before[i]),
            "update_buffers() changes " + bound.description.buffers[i].name + " although gate.apply is 0");
}

/// Padding counts nowhere: other tokens in it leave every real position alone.
void padding_counts_nowhere(const Subject& subject) {
  testkit::FakeHost host(subject.in_training());
  const auto model = subject.make<Model>(host);
  auto bound = bound_stage(*model);
  Batch batch = testkit::random_batch(2, length, vocabulary, 3, 5);
  const StageInput evaluation{.batch = &batch, .activations = {}, .loss = {}, .training = false};
  const at::Tensor first = bound.stage->forward(evaluation).token_nll.clone();
  batch.tokens = batch.tokens.masked_fill(batch.token_mask.logical_not(), vocabulary - 1);
  require(bound.stage->forward(evaluation).token_nll.allclose(first, 1e-9, 1e-12),
          "tokens in the padding change the loss of real positions");
}

} // namespace

std::vector<Case> optimizer_cases() {
  return {{"its peak rate and states are sane", peak_is_finite},
          {"updates move weights and stay finite", updates_move_weights},
          {"a shut gate leaves all untouched", a_shut_gate_leaves_all},
          {"updates are repeatable", updates_are_repeatable},
          {"elementwise means elementwise", elementwise_means_elementwise}};
}

std::vector<Case> model_cases() {
  return {{"describes without allocating", describes_without_allocating},
          {"the summary counts the parameters", summary_counts_the_parameters},
          {"pieces are disjoint and cover", pieces_are_disjoint_and_cover},
          {"forward and backward are finite", forward_and_backward_are_finite},
          {"forward is repeatable", forward_is_repeatable},
          {"gradients reach their sinks", gradients_reach_their_sinks},
          {"two chunks equal the whole", chunks_equal_the_whole},
          {"a shut gate leaves the buffers", a_shut_gate_leaves_the_buffers},
          {"padding counts nowhere", padding_counts_nowhere}};
}

} // namespace conclave::conformance
