"""A real Prometheus scrapes the quickstart, and has every series that docs/telemetry.md and the dashboards name.

    python3 tests/e2e/prometheus.py target/release/examples/quickstart target/slo

The second is where `examples/slo.rs` wrote its files. Needs `prometheus` and `promtool`. It takes as long as the quickstart's day,
and leaves nothing behind.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from expressions import expressions, filled, series
from processes import Running, until

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "telemetry.md"

# What the document names and the quickstart's day does not bring about.
ABSENT = {
    "resilience.hedge.calls": "it has no hedge",
    "resilience.rate_limiter.requests": "it has no rate limit",
    "resilience.answers.broken": "it speaks no gRPC",
    "resilience.attempt.duration": "it did not ask for it",
    "resilience.bulkhead.wait.duration": "its bulkheads are wide enough",
    "resilience.idempotency.outcomes": "it has no idempotency keys",
    "resilience.idempotency.leases_lost": "the same",
    "resilience.idempotency.store.duration": "the same",
    "resilience.idempotency.oldest_in_doubt": "the same",
    "resilience.deliveries": "it takes no messages off a queue",
    "resilience.dead_letters.failed": "the same",
    "messaging.process.duration": "the same",
    "messaging.client.consumed.messages": "the same",
    "http.server.request.body.size": "it did not ask for sizes",
    "http.server.response.body.size": "the same",
    "http.client.request.body.size": "the same",
    "http.client.response.body.size": "the same",
    "rpc.server.call.duration": "it speaks no gRPC",
    "rpc.client.call.duration": "the same",
}

CONFIGURATION = """
global: {{ scrape_interval: 1s, scrape_timeout: 1s }}
rule_files: [ '{rules}' ]
scrape_configs: [{{ job_name: quickstart, static_configs: [{{ targets: ['{target}'] }}] }}]
"""


def documented():
    """Every metric of the document: its name, its unit and its kind, which its section tells, and over a wire its unit."""
    sections = {"Totals": "counter", "States": "gauge", "Durations": "histogram", "Requests over a wire": "gauge"}
    section = None
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"##+ (.*)", line):
            section = heading[1]
        elif row := re.match(r"\| (`[a-z_.`, ]+`) \| `([^`]+)` \|", line):
            names, unit = re.findall(r"[a-z_.]+", row[1]), row[2]
            assert section in sections, f"what kind of metric are {names}? their section is none of {[*sections]}"
            for name in names:
                measured = section == "Requests over a wire" and unit in ("s", "By")
                yield name, unit, "histogram" if measured else sections[section]


def in_prometheus(name, unit, kind):
    """The series of a metric, by the OpenTelemetry specification of the Prometheus exporter."""
    units = {"s": "_seconds", "By": "_bytes", "1": "_ratio" if kind == "gauge" else ""}
    stem = name.replace(".", "_") + units.get(unit, "")
    suffixes = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    return [stem + suffix for suffix in suffixes[kind]]


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def lint(metrics):
    """`promtool check metrics` finds nothing to say."""
    said = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True, text=True)
    assert said.returncode == 0 and not said.stderr, f"promtool: {said.stdout}{said.stderr}"


class Prometheus:
    """The API of a running Prometheus."""

    def __init__(self, address):
        self.api = f"http://{address}/api/v1/"

    def _get(self, what):
        answer = json.loads(get(self.api + what))
        assert answer["status"] == "success", answer
        return answer["data"]

    def ask(self, query):
        """The values of all series that the query gives."""
        try:
            answer = self._get(f"query?query={urllib.parse.quote(query)}")
        except urllib.error.HTTPError as error:
            if error.code == 503:  # It is not ready yet.
                raise
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        return [float(found["value"][1]) for found in answer["result"]]

    def rules(self):
        """How all rules are, with what went wrong: None before they were first evaluated."""
        rules = [rule for group in self._get("rules")["groups"] for rule in group["rules"]]
        if not any(rule["health"] == "unknown" for rule in rules):
            return {f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}".strip() for rule in rules}

    def is_up(self):
        try:
            return self.ask("up") == [1]
        except urllib.error.URLError:
            return False


def dashboards_are_answered(prometheus, out, absent):
    """Every expression of the dashboards is understood, and names series that there are; gives how many."""
    asked = [query for file in sorted((out / "dashboards").glob("*.json")) for query in expressions(file)]
    assert len(asked) > 100, f"the dashboards were not understood: {asked}"
    # Rules are evaluated every 30 s.
    rules = until(40, prometheus.rules)
    assert rules and all(rule.endswith(": ok") for rule in rules), rules
    for where, expression in asked:
        prometheus.ask(filled(expression))
        for name in series(expression) - absent:
            assert until(3, lambda: prometheus.ask(f"count({name})")), f"{where}: there is no {name}: {expression}"
    return len(asked)


def counts_agree(prometheus):
    """What the service counts for its objective is what it answered, and what its durations say."""
    counted = 'sum by (slo_result) (slo_events_total{slo_name="portfolio"})'
    answered = 'sum(http_server_request_duration_seconds_count{http_route="/portfolio"})'
    bad = [f'slo:{how}:ratio_rate1h{{slo_name="portfolio"}}' for how in ["bad", "histogram_bad"]]
    assert len(prometheus.ask(counted)) == 2, "good and bad are there, whether there was any or not"
    assert until(3, lambda: prometheus.ask(f"sum({counted}) == {answered}")), f"{counted} is not {answered}"
    assert prometheus.ask(f"abs({bad[0]} - on (slo_name) {bad[1]}) < 0.01"), [prometheus.ask(one) for one in bad]


def main(quickstart, out):
    names = [*documented()]
    kinds = {kind for _, _, kind in names}
    assert len(names) > 20 and len(kinds) == 3, f"the document was not understood: {names}"
    unknown = ABSENT.keys() - {name for name, _, _ in names}
    assert not unknown, f"excused, but not in the document: {unknown}"

    with tempfile.TemporaryDirectory() as folder, Running(quickstart, "--serve-for", 120) as service:
        target = service.says(r"http://(\S+)/metrics", 10)[1]
        configuration = pathlib.Path(folder) / "prometheus.yml"
        configuration.write_text(CONFIGURATION.format(target=target, rules=out / "rules" / "*.yml"))
        arguments = [f"--config.file={configuration}", f"--storage.tsdb.path={folder}/data"]
        with Running("prometheus", "--web.listen-address=127.0.0.1:0", *arguments) as server:
            prometheus = Prometheus(server.says(r'msg="Listening on" address=(\S+)', 20)[1])
            assert until(20, prometheus.is_up), "Prometheus cannot scrape the service"

            service.says("The services go on", 90)
            metrics = get(f"http://{target}/metrics")
            lint(metrics)
            missing = [
                one
                for name, *of in names
                if name not in ABSENT
                for one in in_prometheus(name, *of)
                if not until(3, lambda: prometheus.ask(one))
            ]
            assert not missing, f"in docs/telemetry.md, not in Prometheus, and ABSENT does not say why: {missing}"

            absent = {one for name, *of in names if name in ABSENT for one in in_prometheus(name, *of)}
            asked = dashboards_are_answered(prometheus, out, absent)
            counts_agree(prometheus)

            # What somebody asks, and that the numbers are those of the service.
            calls = 'sum(resilience_calls_total{pipeline="portfolio"})'
            there = sum(map(float, re.findall(r'^resilience_calls_total{.*pipeline="portfolio".* (\d+)$', metrics, re.M)))
            assert there and until(3, lambda: prometheus.ask(calls) == [there]), f"{prometheus.ask(calls)}, not {there}"
            state = "sum by (pipeline) (resilience_circuit_breaker_state)"
            assert prometheus.ask(state) == [1], f"the states of a breaker: {prometheus.ask(state)}"
            slow = 'histogram_quantile(0.99, sum by (le) (rate(resilience_call_duration_seconds_bucket[2m])))'
            [p99] = prometheus.ask(slow)
            assert 0 < p99 < 10, f"99 % took {p99} s"
        exit_code = service.stop()
        assert exit_code == 0, f"the quickstart ended with {exit_code}: {''.join(service.output[-20:])}"
    print(f"{asked} expressions of dashboards were answered")
    print(f"{len(names) - len(ABSENT)} of {len(names)} metrics of docs/telemetry.md, in Prometheus; not looked for:")
    for name, why in ABSENT.items():
        print(f"  {name}: {why}")


if __name__ == "__main__":
    main(*(pathlib.Path(path).resolve() for path in sys.argv[1:3]))
