"""A collector that knows OTLP from its public definition, and nothing of this crate: protobuf over HTTP."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire
from opentelemetry.proto.trace.v1.trace_pb2 import Status

SIGNALS = {
    "/v1/traces": (trace.ExportTraceServiceRequest, trace.ExportTraceServiceResponse),
    "/v1/metrics": (metrics.ExportMetricsServiceRequest, metrics.ExportMetricsServiceResponse),
    "/v1/logs": (logs.ExportLogsServiceRequest, logs.ExportLogsServiceResponse),
}


class Collector:
    """Takes what is exported to it, as a context; what came is there from the request's answer on."""

    def __init__(self):
        self.raw = []
        self.spans = []
        self.logs = []
        self.metrics = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def take(self, path, body):
        """One export; gives the answer to it."""
        request, response = SIGNALS[path]
        self.raw.append(body)
        message = request.FromString(body)
        if path == "/v1/traces":
            for resource in message.resource_spans:
                of = service(resource)
                self.spans += [Span(of, span) for scope in resource.scope_spans for span in scope.spans]
        elif path == "/v1/logs":
            for resource in message.resource_logs:
                of = service(resource)
                self.logs += [Line.exported(of, log) for scope in resource.scope_logs for log in scope.log_records]
        else:
            for resource in message.resource_metrics:
                of = service(resource)
                self.metrics += [(of, metric) for scope in resource.scope_metrics for metric in scope.metrics]
        return response().SerializeToString()

    def _handler(self):
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                known = self.path in SIGNALS and self.headers["content-type"] == "application/x-protobuf"
                if known and self.headers["content-encoding"] == "gzip":
                    body = gzip.decompress(body)
                answer = collector.take(self.path, body) if known else b""
                self.send_response(200 if known else 400)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        return Handler


class Span:
    def __init__(self, of, span):
        self.service = of
        self.name = span.name
        self.kind = Wire.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
        self.trace = span.trace_id.hex()
        self.id = span.span_id.hex()
        self.parent = span.parent_span_id.hex()
        self.began = span.start_time_unix_nano
        self.attributes = attributes(span)
        self.is_error = span.status.code == Status.STATUS_CODE_ERROR
        self.description = span.status.message


class Line:
    """A line of a log."""

    def __init__(self, of, trace, span, body):
        self.service = of
        self.trace = trace
        self.span = span
        self.body = body

    @classmethod
    def exported(cls, of, log):
        return cls(of, log.trace_id.hex(), log.span_id.hex(), log.body.string_value)

    @classmethod
    def printed(cls, text):
        fields = json.loads(text)
        return cls(fields["service"], fields.get("trace_id"), fields.get("span_id"), fields["body"])


def service(resource):
    return attributes(resource.resource).get("service.name")


def attributes(of):
    """Attributes as Python has them."""
    values = {attribute.key: attribute.value for attribute in of.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items() if value.WhichOneof("value")}
