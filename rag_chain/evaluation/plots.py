"""The results of an evaluation as one HTML page with its plots in it; matplotlib draws them."""

from __future__ import annotations

import io
from html import escape
from typing import TYPE_CHECKING, Any

from rag_chain.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

WORST = 20
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{border-bottom:1px solid #ccc;padding:.2rem .8rem;text-align:left}"
    "svg{max-width:100%;height:auto}"
)


def write_html(results: Mapping[str, Any]) -> str:
    """Return the page: means with their intervals, how the values spread, and the questions that fared worst.

    Raises ``SettingsError`` where matplotlib is not installed.
    """
    rows = "".join(
        f"<tr><td>{escape(m)}</td><td>{value:.4f}</td><td>{results['confidence'][m][0]:.4f} to "
        f"{results['confidence'][m][1]:.4f}</td><td>{results['counts'][m]}</td></tr>"
        for m, value in results["metrics"].items()
    )
    title = escape(f"{results['dataset']}, {results['retriever']}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{results['queries']} questions; bars are 95 % bootstrap intervals of the mean.</p>"
        f"{_draw(results)}<table><tr><th>measure</th><th>mean</th><th>95 %</th><th>questions</th></tr>{rows}</table>"
        f"{_list_worst(results)}</html>\n"
    )


def _draw(results: Mapping[str, Any]) -> str:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SettingsError("plots need matplotlib: install it with: pip install 'rag-chain[evaluate]'") from None
    names = list(results["metrics"])
    means = [results["metrics"][name] for name in names]
    bounds = [results["confidence"][name] for name in names]
    figure = Figure(figsize=(9, 3 + 0.25 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2)
    errors = [
        [m - low for m, (low, _) in zip(means, bounds, strict=True)],
        [high - m for m, (_, high) in zip(means, bounds, strict=True)],
    ]
    left.barh(names, means, xerr=errors, color="#4477aa", capsize=3)
    left.set_xlim(0, 1)
    left.invert_yaxis()
    left.set_title("means")
    shown = names[0] if names else ""
    right.hist(list(results["per_query"].get(shown, {}).values()), bins=20, range=(0, 1), color="#4477aa")
    right.set_title(f"questions by their {shown}")
    picture = io.StringIO()
    figure.savefig(picture, format="svg", metadata={"Date": None, "Creator": None})
    return picture.getvalue()[picture.getvalue().index("<svg") :]


def _list_worst(results: Mapping[str, Any]) -> str:
    first = next(iter(results["per_query"]), None)
    if first is None:
        return ""
    worst = sorted(results["per_query"][first].items(), key=lambda pair: pair[1])[:WORST]
    cells = "<tr><td>{}</td><td>{}</td><td>{:.3f}</td></tr>"
    rows = "".join(cells.format(escape(q), escape(results["questions"].get(q, "")), value) for q, value in worst)
    head = f"<tr><th>id</th><th>question</th><th>{escape(first)}</th></tr>"
    return f"<h2>Lowest {escape(first)}</h2><table>{head}{rows}</table>"
