#!/usr/bin/env python3
"""Writes testdata/ with pyarrow. Run where pyarrow can be imported."""
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

folder = pathlib.Path(__file__).parent / "testdata"
folder.mkdir(exist_ok=True)
rows = 200
texts = [None if i % 20 == 10 else f"text {i} é中 " + "x" * (i % 7) for i in range(rows)]
keys = [None if i == 3 else f"key{i}" for i in range(rows)]
languages = [("en", "de", "zh")[i % 3] for i in range(rows)]
meta = pa.StructArray.from_arrays(
    [pa.array([f"http://x.example/{i}" for i in range(rows)]), pa.array(range(rows), pa.int32())], ["url", "number"],
    mask=pa.array([i == 5 for i in range(rows)]))
kinds = {"plain": pa.string(), "large": pa.large_string(), "binary": pa.binary(), "view": pa.string_view(),
         "dictionary": pa.dictionary(pa.int32(), pa.string())}
for (name, kind), codec in zip(kinds.items(), ("snappy", "zstd", "gzip", "none", "brotli")):
    table = pa.table({"text": pa.array(texts, kind), "key": keys, "language": pa.array(languages).dictionary_encode(),
                      "meta": meta, "list": [[1]] * rows, "real": [.5] * rows})
    pq.write_table(table, folder / f"{name}.parquet", row_group_size=60, compression=codec, data_page_size=500,
                   write_page_checksum=True)
pq.write_table(pa.table({"text": pa.array([], pa.string())}), folder / "empty.parquet")
