"""Exports log records with one of the OpenTelemetry SDK's own OTLP exporters and prints what it reported.

Usage: export.py grpc|http ADDRESS COUNT none|gzip

Record i carries its number and, when i is a multiple of ten, the address 198.51.100.23; by turns in a body that is a
map, in a body that is JSON text, and in attributes of a record with a text body. Prints one line `result NAME` a batch, and one
line `log TEXT` for each message of the exporter's own log, as they happen.
"""

import json
import logging
import sys

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

BATCH = 100


def say(text):
    print(text, flush=True)


class Lines(logging.Handler):
    def emit(self, record):
        say("log " + record.getMessage().replace("\n", " "))


def record(number, resource, scope):
    address = "198.51.100.23" if number % 10 == 0 else "192.0.2.1"
    document = {"id": number, "source": {"ip": address}, "message": "made by the SDK"}
    attributes = {}
    if number % 3 == 0:
        body = document
    elif number % 3 == 1:
        body = json.dumps(document)
    else:
        body = "plain text"
        attributes = {"id": number, "source.ip": address}
    log_record = LogRecord(
        timestamp=1_700_000_000_000_000_000 + number,
        severity_number=SeverityNumber.INFO,
        body=body,
        attributes=attributes,
    )
    return ReadableLogRecord(log_record=log_record, resource=resource, instrumentation_scope=scope)


def over_grpc(address, gzip):
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    compression = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
    return OTLPLogExporter(endpoint=address, insecure=True, timeout=30, compression=compression)


def over_http(address, gzip):
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    compression = Compression.Gzip if gzip else Compression.NoCompression
    return OTLPLogExporter(endpoint=f"http://{address}/v1/logs", timeout=30, compression=compression)


def main():
    protocol, address, count, compression = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    logging.getLogger().addHandler(Lines())
    exporter = {"grpc": over_grpc, "http": over_http}[protocol](address, compression == "gzip")
    resource = Resource.create({"service.name": "python"})
    scope = InstrumentationScope("test")
    records = [record(number, resource, scope) for number in range(count)]
    for start in range(0, count, BATCH):
        say("result " + exporter.export(records[start : start + BATCH]).name)
    exporter.shutdown()


main()
