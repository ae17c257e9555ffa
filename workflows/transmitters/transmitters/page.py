"""The step `report`: one HTML page, complete in itself, and the workflow's answer."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from .charts import draw_sizes, highest_share, most_measured, percent
from .map_drawing import draw_map
from .scoring import ENOUGH_TIMES_RANDOM

STYLE = Path(__file__).with_name("page.css")
FILE = "report.html"
COUNTRIES = {"DE": "Germany", "FR": "France"}


def report(graph: dict[str, Any], best: dict[str, Any], directory: str | Path) -> dict[str, Any]:
    """Write the page `report.html` into a directory, and give the short answer.

    Args:
        graph: what the step `graph` returned.
        best: what the step `best_set` returned.
        directory: where the page goes, usually the run's directory; made if missing.

    Returns:
        `found` (code: name), `size`, `optimum_size`, `optimal`, `hit_rate`,
        `random_rate`, `ratio`, `physics_found_it`, `summary` (a sentence) and `report`,
        the page's name in the directory. Nothing in it depends on where or when the
        workflow ran.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(page(graph, best), encoding="utf-8")
    short = ("size", "optimum_size", "optimal", "hit_rate", "random_rate", "ratio")
    return {
        "found": {a["code"]: a["name"] for a in best["found"]},
        **{name: best[name] for name in (*short, "physics_found_it")},
        "summary": summary(graph, best),
        "report": FILE,
    }


def summary(graph: dict[str, Any], best: dict[str, Any]) -> str:
    """What was found and how good it is, in a sentence or two."""
    many = len(graph["airports"])
    goal = "the most possible" if best["optimal"] else f"{best['optimum_size']} would be possible"
    enough = (
        "the physics found it"
        if best["physics_found_it"]
        else (
            f"that is less than {ENOUGH_TIMES_RANDOM} times, so chance may have found it"
            if best["optimal"]
            else "no shot hit the optimum"
        )
    )
    return (
        f"{best['size']} of {many} airports can share one frequency, {goal}. In the best sweep "
        f"({best['best_duration_ns']} ns) {percent(best['hit_rate'])} of the unrepaired shots are "
        f"an optimal set, {best['ratio']:.0f} times as many as random bits would hit: {enough}."
    )


def page(graph: dict[str, Any], best: dict[str, Any]) -> str:
    """The page as text: map, numbers, histograms, and who was left out."""
    found = {a["code"] for a in best["found"]}
    country = COUNTRIES.get(graph["country"], graph["country"])
    title = f"Airports of {country} on one frequency"
    sections = [
        f"<header><h1>{escape(title)}</h1>"
        f'<p class="lead">{escape(summary(graph, best))}</p></header>',
        _figures(graph, best),
        f'<section class="card">{draw_map(graph, found)}{_legend(graph)}</section>',
        _sweeps_table(best),
        _histograms(best),
        _chosen_table(graph, found),
        _left_out_table(graph),
        _how(graph, best),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style></head>"
        f"<body><main>\n{chr(10).join(sections)}\n</main></body></html>\n"
    )


def _figures(graph: dict[str, Any], best: dict[str, Any]) -> str:
    figures = [
        (f"{best['size']} / {best['optimum_size']}", "found / exact optimum"),
        (percent(best["hit_rate"]), "unrepaired shots on an optimal set"),
        (f"{best['ratio']:.0f} times", "as often as random bits"),
        (f"{len(graph['airports'])} + {len(graph['left_out'])}", "airports on atoms + left out"),
    ]
    cells = "".join(f"<div><b>{a}</b><span>{b}</span></div>" for a, b in figures)
    return f'<section class="figures">{cells}</section>'


def _legend(graph: dict[str, Any]) -> str:
    return (
        '<p class="legend"><span class="key found"></span>transmits '
        '<span class="key"></span>stays silent <span class="key out"></span>left out '
        f'<span class="key line"></span>at most {graph["radius_km"]:g} km apart: these two would '
        "disturb each other, their disks overlap</p>"
    )


def _sweeps_table(best: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{s['duration_ns']} ns</td><td>{s['shots']}</td><td>{s['hits']}</td>"
        f"<td>{percent(s['hit_rate'])}</td><td>{percent(best['random_rate'])}</td>"
        f"<td>{s['ratio']:.0f}</td><td>{percent(s['valid_rate'])}</td>"
        f"<td>{s['approximation_ratio']:.2f}</td><td>{s['best_size']}</td>"
        f"<td class='text'>{escape(_where(s))}</td></tr>"
        for s in best["sweeps"]
    )
    repair = best["after_repair"]
    return (
        '<section class="card"><h2>The sweeps</h2><div class="wide"><table><thead><tr>'
        "<th>duration</th><th>shots</th><th>on an optimum</th><th>hit rate</th>"
        "<th>random bits</th><th>times random</th><th>independent</th><th>mean size / optimum</th>"
        f"<th>largest set</th><th class='text'>measured on</th></tr></thead><tbody>{rows}</tbody>"
        "</table></div>"
        f'<p class="small">All rates are of shots as they were measured. A greedy repair would '
        f"bring {percent(repair['hit_rate'])} of all shots to an optimal set, and "
        f"{percent(repair['random_rate'])} of random bitstrings: on a graph this small the repair "
        "does most of that by itself, which is why it isn't counted.</p></section>"
    )


def _where(sweep: dict[str, Any]) -> str:
    kind = "emulating" if sweep["emulated"] else "device"
    return f"{sweep['qpu']} ({kind} {sweep['device']})"


def _histograms(best: dict[str, Any]) -> str:
    highest = highest_share(best)
    cards = "".join(
        f'<div class="card"><h3>{s["duration_ns"]} ns</h3>{draw_sizes(s, best, highest)}'
        f"<h4>Measured most often</h4>{most_measured(s)}</div>"
        for s in best["sweeps"]
    )
    return (
        f'<h2>What the atoms answered</h2><section class="sweeps">{cards}</section>'
        '<p class="legend"><span class="key block optimal"></span>an optimal set '
        '<span class="key block"></span>a smaller set <span class="key block bad"></span>'
        'disturbed: no independent set <span class="key chance"></span>what random bits give</p>'
    )


def _chosen_table(graph: dict[str, Any], found: set[str]) -> str:
    rows = "".join(
        f"<tr class='{'found' if a['code'] in found else ''}'><td class='text'>{a['code']}</td>"
        f"<td class='text'>{escape(a['name'])}</td><td>{a['latitude']:.2f}</td>"
        f"<td>{a['longitude']:.2f}</td><td>{a['x_um']:.1f}, {a['y_um']:.1f}</td>"
        f"<td class='text'>{'transmits' if a['code'] in found else 'silent'}</td></tr>"
        for a in graph["airports"]
    )
    return (
        '<section class="card"><h2>The airports</h2><div class="wide"><table><thead><tr>'
        "<th class='text'>code</th><th class='text'>airport</th><th>latitude</th>"
        "<th>longitude</th><th>atom (µm)</th><th class='text'></th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _left_out_table(graph: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td class='text'>{a['code']}</td><td class='text'>{escape(a['name'])}</td>"
        f"<td class='text'>{escape(a['reason'])}</td></tr>"
        for a in graph["left_out"]
    )
    return (
        f'<details class="card"><summary>{len(graph["left_out"])} airports were left out, so '
        f"that the atoms fit the device</summary><div class='wide'><table><tbody>{rows}</tbody>"
        "</table></div></details>"
    )


def _how(graph: dict[str, Any], best: dict[str, Any]) -> str:
    return (
        '<section class="small"><p>'
        f"The map was scaled to {1 / graph['um_per_km']:.1f} km per µm, one atom per airport on "
        f"{escape(graph['device'])}. Two atoms closer than {graph['blockade_um']:.2f} µm can't "
        f"both be excited, which is the rule of the map. Drive {graph['rabi']:.2f} rad/µs, "
        f"detuning swept from -{graph['detuning']:.2f} to {graph['detuning']:.2f} rad/µs. "
        f"The exact optimum was computed classically: {len(best['optimal_sets'])} of "
        f"{2 ** len(graph['airports'])} bitstrings are optimal.</p></section>"
    )
