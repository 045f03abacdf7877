// The entry of source-parquet.so.

#include "parquet_source.hpp"

CONCLAVE_PLUGINS(
    conclave::describe_plugin<conclave::parquet_source::ParquetSource, conclave::parquet_source::ParquetOptions>(
        {.id = "source/parquet",
         .version = "1.0.0",
         .output_revision = 1,
         .summary = "Columns of Parquet files",
         .licence = "MIT"},
        conclave::parquet_source::parquet_options()))
