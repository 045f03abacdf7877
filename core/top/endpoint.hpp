// Endpoint: a run's metrics page, asked again and again. Curves begin when the asking does.
#pragma once

#include <string>
#include <string_view>

#include "top/view.hpp"

namespace conclave::top {

class Endpoint final : public Source {
 public:
  explicit Endpoint(std::string url) : url_(std::move(url)) {}
  Status refresh(View& view) override;

 private:
  std::string url_;
};

/// What a page says, put into the view. `now`: Unix time in seconds.
void take_page(std::string_view page, double now, View& view);

} // namespace conclave::top
