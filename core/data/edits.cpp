// Edits: see edits.hpp.

#include "data/edits.hpp"

#include "plugin/guard.hpp"

namespace conclave::data {
namespace {

/// Null when the filter edits nothing in that domain.
const EditFilter* editor(const StageContext& context, std::size_t filter, std::size_t domain, int worker) {
  if (!context.request->filters[filter].sees(domain)) return nullptr;
  return dynamic_cast<const EditFilter*>((*context.instances)[filter][static_cast<std::size_t>(worker)].get());
}

std::size_t filters(const StageContext& context) {
  return context.instances == nullptr ? 0 : context.instances->size();
}

} // namespace

std::string edits_key(const StageContext& context, std::size_t domain) {
  std::string key;
  for (std::size_t f = 0; f < filters(context); ++f)
    if (editor(context, f, domain, 0) != nullptr) key += context.request->filters[f].annotate_key + "\n";
  return key;
}

Result<Document> edited(const StageContext& context, std::size_t domain, int worker, Document document,
                        EditBuffers& buffers) {
  std::size_t next = 0;
  for (std::size_t f = 0; f < filters(context); ++f) {
    const EditFilter* filter = editor(context, f, domain, worker);
    if (filter == nullptr) continue;
    CONCLAVE_ASSIGN(const bool changed, guard(context.request->filters[f].id.c_str(), "edit",
                                              [&] { return filter->edit(document, buffers[next]); }));
    if (!changed) continue;
    document.text = buffers[next];
    next = 1 - next;
  }
  return document;
}

} // namespace conclave::data
