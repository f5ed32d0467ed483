"""A digital low-pass filter over a measured signal, and a report of it.

    python lowpass.py INPUT.csv OUTPUT_FOLDER --cutoff 5 --order 4

INPUT is CSV: seconds and a value a line, evenly spaced, with or without a header. OUTPUT_FOLDER gets `NAME.filtered.csv`
and `report.html`, which holds its plots.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy import signal

SHOWN = 2000
"""Samples drawn of a long signal."""


def read(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Times, values and the sampling rate in hertz. Raises ValueError for what is no evenly spaced signal."""
    with path.open(encoding="utf-8") as file:
        header = not file.readline().lstrip()[:1].lstrip("-+.").isdigit()
    table = np.loadtxt(path, delimiter=",", skiprows=int(header), ndmin=2, usecols=(0, 1))
    if len(table) < 16:
        raise ValueError(f"{path.name} has {len(table)} samples; a filter needs 16 or more")
    if not np.isfinite(table).all():
        raise ValueError(f"{path.name} holds values that are no finite numbers")
    times, values = table[:, 0], table[:, 1]
    steps = np.diff(times)
    step = float(np.median(steps))
    if step <= 0 or np.abs(steps - step).max() > 0.01 * step:
        raise ValueError(f"the samples of {path.name} are not evenly spaced in time")
    return times, values, 1 / step


def lowpass(values: np.ndarray, rate: float, cutoff: float, order: int) -> tuple[np.ndarray, np.ndarray]:
    """The values without what is faster than `cutoff` hertz (Butterworth, forwards and backwards), and the filter."""
    if not 0 < cutoff < rate / 2:
        raise ValueError(f"the cutoff must lie between 0 and half the sampling rate, {rate / 2:g} Hz; it is {cutoff:g}")
    sections = signal.butter(order, cutoff, fs=rate, output="sos")
    padding = min(3 * (2 * len(sections) + 1), len(values) - 1)
    return signal.sosfiltfilt(sections, values, padlen=padding), sections


def plot(draw: Callable[[Axes], None]) -> str:
    """An <img> with the picture inside."""
    figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
    draw(axes)
    axes.grid(alpha=0.3)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    plt.close(figure)
    return f'<img alt="plot" src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'


def report(
    name: str,
    times: np.ndarray,
    values: np.ndarray,
    after: np.ndarray,
    rate: float,
    cutoff: float,
    order: int,
    sections: np.ndarray,
) -> str:
    """The whole page."""

    def over_time(axes: Axes) -> None:
        part = slice(0, SHOWN)
        axes.plot(times[part], values[part], linewidth=0.6, label="measured")
        axes.plot(times[part], after[part], linewidth=1.4, label="filtered")
        axes.set(xlabel="seconds", title="Signal")
        axes.legend(loc="upper right")

    def spectrum(axes: Axes) -> None:
        for data, label in ((values, "measured"), (after, "filtered")):
            frequencies, power = signal.periodogram(data, rate)
            axes.semilogy(frequencies[1:], np.maximum(power[1:], 1e-20), linewidth=0.8, label=label)
        axes.axvline(cutoff, linestyle="--", color="black", linewidth=0.8)
        axes.set(xlabel="hertz", title="Power spectral density")
        axes.legend(loc="upper right")

    def response(axes: Axes) -> None:
        frequencies, gain = signal.sosfreqz(sections, worN=1024, fs=rate)
        axes.plot(frequencies, 40 * np.log10(np.maximum(np.abs(gain), 1e-8)))
        axes.set(xlabel="hertz", ylabel="dB", title="Response, forwards and backwards")

    rows = {
        "samples": f"{len(values):,}",
        "sampling rate": f"{rate:g} Hz",
        "cutoff": f"{cutoff:g} Hz, order {order}",
        "root mean square before": f"{np.sqrt(np.mean(values**2)):.6g}",
        "root mean square after": f"{np.sqrt(np.mean(after**2)):.6g}",
    }
    table = "".join(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in rows.items())
    title = html.escape(f"Low-pass filter of {name}")
    style = "body{font-family:sans-serif;max-width:60rem;margin:2rem auto}th{text-align:left;padding-right:2rem}img{width:100%}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{style}</style>'
        f"<h1>{title}</h1><table>{table}</table>{plot(over_time)}{plot(spectrum)}{plot(response)}</html>\n"
    )


def main() -> int:
    """Filter one file; the exit code is 2 for an input that cannot be filtered."""
    parser = argparse.ArgumentParser(description="low-pass filter a CSV of seconds and values")
    parser.add_argument("input", type=Path)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("--cutoff", type=float, default=5.0, help="hertz")
    parser.add_argument("--order", type=int, default=4)
    options = parser.parse_args()
    try:
        times, values, rate = read(options.input)
        after, sections = lowpass(values, rate, options.cutoff, options.order)
    except (ValueError, OSError) as problem:
        print(f"lowpass: {problem}", file=sys.stderr)
        return 2
    name = options.input.name
    np.savetxt(
        options.outputs / f"{options.input.stem}.filtered.csv",
        np.column_stack([times, after]),
        delimiter=",",
        header="seconds,value",
        comments="",
        fmt="%.9g",
    )
    page = report(name, times, values, after, rate, options.cutoff, options.order, sections)
    (options.outputs / "report.html").write_text(page, encoding="utf-8")
    print(f"lowpass: {len(values)} samples of {name}, cutoff {options.cutoff:g} Hz of {rate:g} Hz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
