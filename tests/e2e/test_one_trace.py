"""That `one_trace.check` lets nothing wrong pass: exports as they should be, and each wrong in one way."""

import gzip
import unittest
import urllib.request

from collector import SIGNALS, Collector, Line
from one_trace import CANARIES, DURATIONS, check

TRACES, METRICS, LOGS = SIGNALS
SERVER, CLIENT, INTERNAL = 2, 3, 1

# Span, parent, service, kind, name, status, and the rest.
SPANS = [
    (1, 0, "gateway", SERVER, "GET /accounts/{id}", 200, {}),
    (2, 1, "gateway", INTERNAL, "portfolio", None, {}),
    (3, 2, "gateway", CLIENT, "GET", 200, {}),
    (4, 3, "portfolio", SERVER, "GET /portfolios/{id}", 200, {}),
    (5, 4, "portfolio", INTERNAL, "ledger", None, {}),
    (6, 5, "portfolio", CLIENT, "GET", 503, {"error.type": "503"}),
    (7, 6, "ledger", SERVER, "GET /balances/{id}", 503, {"error.type": "503"}),
    (8, 5, "portfolio", CLIENT, "GET", 200, {"http.request.resend_count": 1}),
    (9, 8, "ledger", SERVER, "GET /balances/{id}", 200, {"url.path": "/balances/…", "url.query": "iban=REDACTED"}),
]

# Span, service, and what it says.
LINES = [(number, of, f"{name} {status}") for number, _, of, kind, name, status, _ in SPANS if kind == SERVER]
LINES.append((7, "ledger", "the balance of [card] is not there yet"))


def put(attributes, key, value):
    attribute = attributes.add(key=key)
    if isinstance(value, int):
        attribute.value.int_value = value
    else:
        attribute.value.string_value = value


def scope(resource, service, kind):
    put(resource.resource.attributes, "service.name", service)
    return getattr(resource, kind).add()


def exports():
    """What the three services export, by path."""
    traces, metrics, logs = (request() for request, _ in SIGNALS.values())
    for number, parent, service, kind, name, status, rest in SPANS:
        span = scope(traces.resource_spans.add(), service, "scope_spans").spans.add(name=name, kind=kind)
        span.trace_id, span.span_id = b"t" * 16, number.to_bytes(8, "big")
        span.parent_span_id = parent.to_bytes(8, "big") if parent else b""
        span.start_time_unix_nano = number
        span.status.code = 2 if "error.type" in rest else 0
        for key, value in ({"http.response.status_code": status} | rest).items():
            if value is not None:
                put(span.attributes, key, value)
    for number, service, body in LINES:
        line = scope(logs.resource_logs.add(), service, "scope_logs").log_records.add()
        line.trace_id, line.span_id = b"t" * 16, number.to_bytes(8, "big")
        line.body.string_value = body
    for name, services in DURATIONS.items():
        for service, count in services.items():
            metric = scope(metrics.resource_metrics.add(), service, "scope_metrics").metrics.add(name=name, unit="s")
            metric.histogram.data_points.add(count=count)
    return {TRACES: traces, METRICS: metrics, LOGS: logs}


def printed():
    """What the three services print."""
    line = '{{"service":"{}","body":"{}","trace_id":"{}","span_id":"{:016x}"}}'
    return [Line.printed(line.format(of, body, (b"t" * 16).hex(), number)) for number, of, body in LINES]


def received(exports, encoding=None):
    """A collector that got them over HTTP."""
    with Collector() as collector:
        for path, message in exports.items():
            body, headers = message.SerializeToString(), {"content-type": "application/x-protobuf"}
            if encoding == "gzip":
                body, headers = gzip.compress(body), headers | {"content-encoding": "gzip"}
            request = urllib.request.Request(collector.endpoint + path, data=body, headers=headers)
            with urllib.request.urlopen(request, timeout=5) as answer:
                assert SIGNALS[path][1].FromString(answer.read()) == SIGNALS[path][1]()
    return collector


class Check(unittest.TestCase):
    def setUp(self):
        self.exports = exports()
        self.spans = [resource.scope_spans[0].spans[0] for resource in self.exports[TRACES].resource_spans]
        self.lines = [resource.scope_logs[0].log_records[0] for resource in self.exports[LOGS].resource_logs]
        self.metrics = [of.scope_metrics[0].metrics[0] for of in self.exports[METRICS].resource_metrics]

    def refused(self, why, lines=None):
        with self.assertRaisesRegex(AssertionError, why):
            check(received(self.exports), printed() if lines is None else lines)

    def test_what_is_right_passes_plain_and_packed(self):
        check(received(self.exports), printed())
        check(received(self.exports, "gzip"), printed())

    def test_a_trace_that_breaks_at_a_hop_is_two(self):
        self.spans[3].trace_id = b"u" * 16
        self.refused("these traces")

    def test_a_server_span_under_the_call_and_not_the_attempt_is_seen(self):
        self.spans[8].parent_span_id = self.spans[4].span_id
        self.refused("the trace is")

    def test_an_orphan_is_seen(self):
        orphan = scope(self.exports[TRACES].resource_spans.add(), "ledger", "scope_spans").spans.add()
        orphan.CopyFrom(self.spans[8])
        orphan.parent_span_id = b"nobody!!"
        self.refused("nobody's child")

    def test_a_name_with_a_path_is_seen(self):
        self.spans[0].name = "GET /accounts/7"
        self.refused("the trace is")

    def test_a_second_attempt_that_does_not_say_so_is_seen(self):
        del self.spans[7].attributes[:]
        self.refused("the trace is")

    def test_a_status_with_a_text_is_seen(self):
        self.spans[5].status.message = "503 Service Unavailable"
        self.refused("the trace is")

    def test_a_line_of_no_span_is_seen(self):
        self.lines[0].span_id = b"nobody!!"
        self.refused("a line in no span")

    def test_a_line_of_another_service_is_seen(self):
        self.lines[3].span_id = self.spans[7].span_id
        self.refused("astray")

    def test_a_call_without_a_line_is_seen(self):
        self.refused("not a line of each", printed()[1:])
        self.refused("not a line of each", [])
        del self.exports[LOGS].resource_logs[0]
        self.refused("not a line of each")

    def test_a_duration_too_few_is_seen(self):
        self.metrics[0].histogram.data_points[0].count = 2
        self.refused("was recorded")

    def test_milliseconds_are_seen(self):
        self.metrics[0].unit = "ms"
        self.refused("is in 'ms'")

    def test_nothing_to_find_canaries_in_is_seen(self):
        del self.spans[8].attributes[1:]
        self.refused("is not in what was exported")

    def test_a_canary_is_found_wherever_it_is(self):
        for canary in CANARIES:
            with self.subTest(canary):
                put(self.lines[0].attributes, "error", f"paid with {canary}.")
                self.refused("exported: ")
                self.lines[0].attributes.pop()


if __name__ == "__main__":
    unittest.main()
