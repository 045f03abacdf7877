#!/usr/bin/env python3
"""Writes testdata/: a small archive by warcio, and what warcio reads from it again. Run where warcio can be imported."""
import io, json, pathlib

from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

folder = pathlib.Path(__file__).parent / "testdata"


def page(title, words=40):
    return f"<html><body><h1>{title}</h1><p>" + " ".join(f"{title}{i}" for i in range(words)) + "</p></body></html>"


def response(writer, url, body, status="200 OK", kind="text/html; charset=utf-8", **more):
    headers = StatusAndHeaders(status, [("Content-Type", kind)], protocol="HTTP/1.1")
    writer.write_record(writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=headers, **more))


def crawl(out, gzip):
    writer = WARCWriter(out, gzip=gzip)
    writer.write_record(writer.create_warcinfo_record("crawl.warc.gz", {"software": "test"}))
    response(writer, "http://one.example/", page("uno").encode())
    response(writer, "http://gone.example/", page("gone").encode(), status="404 Not Found")
    response(writer, "http://picture.example/x.png", b"\x89PNG\r\n\x1a\n\0\0", kind="image/png")
    response(writer, "http://latin.example/", page("café").encode("latin-1"), kind="text/html; charset=ISO-8859-1")
    response(writer, "http://japan.example/", page("日本").encode("shift_jis"), kind="text/html; charset=Shift_JIS")
    response(writer, "http://plain.example/robots.txt", b"plain \r\n\r\nWARC text", kind="text/plain")
    writer.write_record(writer.create_warc_record("http://two.example/", "resource",
        payload=io.BytesIO(page("dos").encode()), warc_content_type="text/html"))
    for url, text, languages in (("http://wet.example/", "Extracted text.\n", "eng"), ("http://wet.example/zh", "提取的文本。\n", "zho,eng")):
        writer.write_record(writer.create_warc_record(url, "conversion", payload=io.BytesIO(text.encode()),
            warc_content_type="text/plain", warc_headers_dict={"WARC-Identified-Content-Language": languages}))


for name, gzip in (("crawl.warc.gz", True), ("crawl.warc", False)):
    with open(folder / name, "wb") as out:
        crawl(out, gzip)
    rows = []
    with open(folder / name, "rb") as stream:
        records = ArchiveIterator(stream)
        for record in records:
            offset = records.get_record_offset()
            if record.rec_type not in ("response", "resource", "conversion"):
                continue
            if record.http_headers and record.http_headers.get_statuscode() != "200":
                continue
            rows.append({"offset": offset, "url": record.rec_headers.get_header("WARC-Target-URI"), "type": record.rec_type})
    (folder / (name + ".json")).write_text(json.dumps(rows, indent=1) + "\n")
