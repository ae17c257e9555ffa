"""Options that `qpu simulate` and `qpu replay` share. Imports nothing of the rehearsal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PolicyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        help="A policy to compare; may be repeated. Default: the site's, and the baselines.",
        show_default=False,
    ),
]
PageOption = Annotated[
    Path | None,
    typer.Option("--html", help="Write a page with pictures there.", show_default=False),
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(
        "--processes",
        help="Rehearsals at once. Default: 2, or 1 on one core.",
        min=1,
        max=64,
        show_default=False,
    ),
]
FiguresOption = Annotated[bool, typer.Option("--json", help="Figures as JSON.")]
