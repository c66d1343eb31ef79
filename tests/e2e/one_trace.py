"""One trace across three services, as a collector that is not ours receives it, and nothing that is nobody's business.

    python tests/e2e/one_trace.py target/release/examples/one_trace

Starts the services of `examples/one_trace.rs` and a collector, sends one request full of what must not leave a service,
stops them, and looks at all that came, down to the raw bytes, and at the lines that the services printed.
"""

import pathlib
import sys
import urllib.request

from collector import Collector, Line
from processes import Running

CARD = "4111111111111111"
IBAN = "DE89370400440532013000"
EMAIL = "alice.liddell@example.com"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLWFsaWNl"
BEARER = "Bearer dGhpcy1pcy1ub2JvZHlzLWJ1c2luZXNz"
# However it is written, none of it may be in what leaves a service.
CANARIES = [CARD, IBAN, EMAIL, EMAIL.replace("@", "%40"), JWT, JWT.split(".")[1], BEARER, BEARER.split()[1]]

PATH = f"/accounts/{CARD}?iban={IBAN}&contact={EMAIL.replace('@', '%40')}&session={JWT}"
HEADERS = {
    "authorization": BEARER,
    "baggage": f"user={EMAIL}",
    "cookie": f"session={JWT}",
    "referer": f"https://bank.example/cards/{CARD}",
    "user-agent": f"{EMAIL}/1.0",
    "x-request-id": IBAN,
}

# Every span under its parent: whose it is, its kind and name, and what the conventions ask of it.
TRACE = """
gateway SERVER "GET /accounts/{id}" 200
  gateway INTERNAL "portfolio"
    gateway CLIENT "GET" 200
      portfolio SERVER "GET /portfolios/{id}" 200
        portfolio INTERNAL "ledger"
          portfolio CLIENT "GET" 503 error.type=503 error
            ledger SERVER "GET /balances/{id}" 503 error.type=503 error
          portfolio CLIENT "GET" 200 http.request.resend_count=1
            ledger SERVER "GET /balances/{id}" 200
"""

# A line of each call that was served, and what the ledger has to say of the first.
LINES = [
    "GET /accounts/{id} 200",
    "GET /balances/{id} 200",
    "GET /balances/{id} 503",
    "GET /portfolios/{id} 200",
    "the balance of [card] is not there yet",
]

# How often each service recorded a duration.
DURATIONS = {
    "http.server.request.duration": {"gateway": 1, "portfolio": 1, "ledger": 2},
    "http.client.request.duration": {"gateway": 1, "portfolio": 2},
}


def tree(spans):
    """The spans as `TRACE` has them."""

    def lines(parent, depth):
        for span in sorted((span for span in spans if span.parent == parent), key=lambda span: span.began):
            words = [span.service, span.kind, f'"{span.name}"']
            if (status := span.attributes.get("http.response.status_code")) is not None:
                words.append(str(status))
            names = ["http.request.resend_count", "error.type"]
            words += [f"{name}={span.attributes[name]}" for name in names if name in span.attributes]
            words += ["error"] if span.is_error else []
            words += [f"({span.description})"] if span.description else []
            yield "  " * depth + " ".join(words)
            yield from lines(span.id, depth + 1)

    return "\n" + "\n".join(lines("", 0)) + "\n"


def check(collector, printed):
    """All that is asked of what a collector received and what the services printed."""
    traces = {span.trace for span in collector.spans}
    assert len(traces) == 1, f"one request, and these traces: {traces}"
    seen = tree(collector.spans)
    assert seen == TRACE, f"the trace is{seen}\nand not{TRACE}"
    assert TRACE.count("\n") - 1 == len(collector.spans), "a span is nobody's child"

    spans = {span.id: span for span in collector.spans}
    for lines in [printed, collector.logs]:
        for line in lines:
            assert line.span in spans, f"a line in no span: {line.body!r} of {line.service}"
            assert line.trace in traces and spans[line.span].service == line.service, f"a line astray: {line.body!r}"
        served = sorted(line.body for line in lines if spans[line.span].kind == "SERVER")
        assert served == LINES, f"not a line of each served call: {served}"

    for name, expected in DURATIONS.items():
        counts = {}
        for service, metric in collector.metrics:
            if metric.name == name:
                assert metric.unit == "s", f"{name} is in {metric.unit!r}"
                counts[service] = sum(point.count for point in metric.histogram.data_points)
        assert counts == expected, f"{name} was recorded {counts} times"

    everything = b"".join(collector.raw)
    # Somebody looked at the query and at the path: or nothing would have been found for another reason.
    for sign in [b"url.query", b"iban=", b"url.path", b"/balances/"]:
        assert sign in everything, f"{sign} is not in what was exported"
    assert not leaks(everything), f"exported: {leaks(everything)}"


def leaks(data):
    """What of the request is in there."""
    return [canary for canary in CANARIES if canary.encode() in data]


def main(program):
    with Collector() as collector:

        def start(*arguments):
            return Running(program, *arguments, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)

        def address(service):
            return service.says("^http://.*", 10)[0]

        with (
            start("ledger") as ledger,
            start("portfolio", address(ledger)) as portfolio,
            start("gateway", address(portfolio)) as gateway,
        ):
            request = urllib.request.Request(address(gateway) + PATH, headers=HEADERS)
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.read() == b"4210.00\n"
            for service in [gateway, portfolio, ledger]:
                # Ends it in peace, and with it goes what it has not exported yet.
                assert service.end() == 0, f"{service.name} failed:\n{''.join(service.output)}"
                leaked = leaks("".join(service.output).encode())
                assert not leaked, f"it printed {leaked}:\n{''.join(service.output)}"
    output = gateway.output + portfolio.output + ledger.output
    lines = [Line.printed(line) for line in output if line.startswith("{")]
    check(collector, lines)
    received = f"{len(collector.spans)} spans, {len(collector.metrics)} metrics, {len(collector.logs)} lines of a log"
    print(f"{received}; the trace:{tree(collector.spans)}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
