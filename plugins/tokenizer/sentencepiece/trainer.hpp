// Training of a SentencePiece model from texts that a callback yields.
//
// The result is a pure function of the texts, their order and the options: nothing is sampled, and the number of threads is
// an option and not the machine's. libsentencepiece prints its progress to the standard error; it is silenced, and what
// matters goes to HostContext::log.
//
// Threading: call it from one thread; it uses options.threads of its own.
#pragma once

#include <functional>
#include <string>

#include "conclave/host.hpp"
#include "conclave/status.hpp"
#include "options.hpp"

namespace conclave::sentencepiece_plugin {

/// The serialised model. Too little text for the vocabulary is an error that says so.
Result<std::string> train_model(const Options& options, const std::function<bool(std::string& text)>& next,
                                HostContext& host);

} // namespace conclave::sentencepiece_plugin
