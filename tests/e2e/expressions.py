"""The expressions of dashboards, as they are asked."""

import json
import re

WORDS = {"and", "or", "unless", "by", "without", "sum"}


def expressions(dashboard):
    """All of them, with which panel each belongs to."""
    for panel in json.loads(dashboard.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", []):
            yield f"{dashboard.stem}, {panel['title']}", target["expr"]


def filled(expression):
    """What Grafana makes of it when nobody has chosen anything."""
    expression = expression.replace("$__rate_interval", "10s")
    expression = re.sub(r"\$(job|pipeline)\b", ".*", expression)
    assert "$" not in expression, f"there is a variable more: {expression}"
    return expression


def series(expression):
    """The series that it names."""
    for ignored in [r'"(\\.|[^"\\])*"', r"\[[^]]*\]", r"\{[^}]*\}", r"\bby \([^)]*\)"]:
        expression = re.sub(ignored, " ", expression)
    names = re.findall(r"(?<![\w.:])[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", expression)
    return {*names} - WORDS
