// Export of a run's checkpoint for other tools.
#pragma once

#include <filesystem>

#include "conclave/status.hpp"
#include "plugin/registry.hpp"
#include "run/log.hpp"

namespace conclave {

struct ExportRequest {
  std::filesystem::path source;      ///< a run directory (its newest good checkpoint) or a checkpoint folder
  std::filesystem::path destination; ///< made here; must be missing or empty
  std::string dtype = "bf16";        ///< "fp32", "bf16" or "fp16"
};

/// Writes config.json, safetensors and the tokenizer's files in the Hugging Face form of the run's model. A model without
/// such a form is refused with its own reason. Touches no GPU and no text.
Status export_run(const ExportRequest& request, PluginRegistry& registry, Logger& log);

} // namespace conclave
