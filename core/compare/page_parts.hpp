// The page's own files, built into the program.
#pragma once

#include "page/page.hpp"

namespace conclave::compare {

page::Parts page_parts();

} // namespace conclave::compare
