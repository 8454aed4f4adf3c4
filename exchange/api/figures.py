"""Figures of several processes as one: counted together, and also those of processes that are gone, so that no counter goes back.

A process tells its figures as JSON can hold them; `together` makes one list of many, `written` the text for Prometheus.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

Told = list[dict[str, Any]]
"""Families, each with its name, type, documentation, and samples: name, labels, value."""

SUMMED: Final = ("counter", "histogram")
"""Types that only grow: what a process has counted stays counted when it is gone."""
HIGHEST: Final = frozenset({"exchange_journal_head_position", "exchange_replica_position", "exchange_build"})
"""Of these, all processes tell of the same thing, and the highest is the latest."""
OF_ONE: Final = "process_"
"""So begin figures of one process, which say which."""
WORKER: Final = "worker"


def told(registry: CollectorRegistry) -> Told:
    """Tell all figures of this process."""
    return [
        {
            "name": family.name,
            "type": family.type,
            "documentation": family.documentation,
            "samples": [(sample.name, sample.labels, sample.value) for sample in family.samples],
        }
        for family in registry.collect()
    ]


def of_worker(figures: Told, number: int) -> Told:
    """Say in figures of one process which it was."""
    return [
        family
        | {"samples": [(name, labels | {WORKER: str(number)}, value) for name, labels, value in family["samples"]]}
        if family["name"].startswith(OF_ONE)
        else family
        for family in figures
    ]


def lasting(figures: Told) -> Told:
    """Leave out what says something only of a process that lives."""
    return [
        family
        for family in figures
        if not family["name"].startswith(OF_ONE)
        and (family["type"] in SUMMED or (family["type"] == "gauge" and family["name"] in HIGHEST))
    ]


def together(all_of: Iterable[Told]) -> Told:
    """Make one of many: summed, but for those of which the highest is meant."""
    families: dict[str, dict[str, Any]] = {}
    values: dict[str, dict[tuple[Any, ...], tuple[str, dict[str, str], float]]] = {}
    for figures in all_of:
        for family in figures:
            families.setdefault(family["name"], family)
            seen = values.setdefault(family["name"], {})
            for name, labels, value in family["samples"]:
                key = (name, *sorted(labels.items()))
                _, _, before = seen.get(key, (name, labels, 0))
                seen[key] = name, labels, max(before, value) if family["name"] in HIGHEST else before + value
    return [family | {"samples": list(values[name].values())} for name, family in families.items()]


class _Collected(Collector):
    def __init__(self, figures: Told) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for family in self._figures:
            metric = Metric(family["name"], family["documentation"], family["type"])
            for name, labels, value in family["samples"]:
                metric.add_sample(name, labels, value)
            yield metric


def written(figures: Told) -> bytes:
    """Write figures as Prometheus reads them."""
    return generate_latest(_Collected(figures))
