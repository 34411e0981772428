"""What swap, rollback and shadow share: their options, and how they show what a server serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from toolkit import terminal

F = TypeVar("F", bound=Callable[..., Any])

port_option = click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the server; not needed where there is only one."
)


def demand_options(command: F) -> F:
    """What a new version must hold beside being whole."""
    for option in (
        click.option("--require-gate", is_flag=True, help="Refuse it unless its evidence says that it passed."),
        click.option("--allow-new-inputs", is_flag=True, help="Let the typed inputs (OIP) differ."),
        click.option("--allow-new-labels", is_flag=True, help="Let the labels differ, or their order."),
    ):
        command = option(command)
    return command


def print_deployment(document: Mapping[str, Any], *, as_json: bool) -> None:
    """A table of the versions and, with a shadow, what it found; or the whole document as JSON."""
    shadow = document["shadow"]
    versions = {"served": document["served"], "previous": document["previous"]}
    if shadow:
        versions["shadow"] = shadow["served"]
    rows = [(word, v["name"], v["version"]) for word, v in versions.items() if v]
    terminal.show_table(("", "name", "version"), rows)
    if document.get("unchanged"):
        terminal.say("this version is what was served already")
    for note in filter(
        None, (document.get("note"), f"a {document['loading']} is under way" if document["loading"] else "")
    ):
        terminal.say(note)
    if shadow:
        terminal.say("")
        for line in shadow_lines(shadow):
            terminal.say(line)
    terminal.emit(document, as_json=as_json)


def shadow_lines(shadow: Mapping[str, Any]) -> list[str]:
    """What a shadow found, in words."""
    dropped = f"{shadow['requests']:,} requests, {shadow['dropped']:,} dropped, {shadow['failed']:,} failed"
    if not shadow["rows"]:
        return [f"nothing compared yet: {dropped}"]
    agreement, latency = shadow["agreement"], shadow["latency"]
    lines = [
        f"{shadow['rows']:,} rows of {dropped}",
        f"agreement {agreement['value']:.2%} ({agreement['low']:.2%} to {agreement['high']:.2%}), "
        f"scores differ by {shadow['largest_score_difference']:.3g} at most",
    ]
    if latency["pairs"]:
        lines.append(
            f"p50 {latency['shadow_p50_ms']:.3g} ms against {latency['live_p50_ms']:.3g} ms, "
            f"{latency['ratio_p50']:.2f} times ({latency['pairs']} pairs)"
        )
    differing = {label: found for label, found in shadow["disagreements"].items() if found["differ"]}
    lines += [f"  {label}: {found['differ']} of {found['rows']} differ" for label, found in differing.items()]
    return lines
