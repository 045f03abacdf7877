// The entry of source-html.so.

#include "html_source.hpp"

CONCLAVE_PLUGINS(conclave::describe_plugin<conclave::html::HtmlSource, conclave::html::HtmlOptions>(
    {.id = "source/html",
     .version = "1.0.0",
     .output_revision = 2,
     .summary = "The main text of HTML files (also .gz and .zst), a page or a section a document",
     .licence = "MIT"},
    conclave::html::html_options()))
