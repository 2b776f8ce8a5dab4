"""TensorBoard's page in a headless Chromium: curves and images are on it as they were logged.

    python tests/benchmarks/tensorboard_page.py RUN [SCREENSHOT.png]

RUN is the folder of a run with `configs/pictures/basic.yaml`. The Chromium is that of Qt, from the
wheels of ``pip install -c constraints.txt PyQt6-WebEngine``.
"""

import base64
import io
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image
from tensorboard import program
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CURVES = ("schedule/beta", "val/elbo", "val/rate")
IMAGES = ("pictures/reconstructions", "pictures/samples", "pictures/traversal")
WIDTH, HEIGHT = 1560, 880  # so that all six are in sight: what is not is not drawn
PATIENCE = 120  # seconds
PIXEL = 0.05  # how far a curve may lie from where its values belong

# The cards by tag: the path of the curve, or the pixels of the image as they were decoded.
READ = """
JSON.stringify(Object.fromEntries([...document.querySelectorAll("card-view")].map(card => {
  const tag = card.querySelector("[title]")?.title;
  const path = card.querySelector(".series-view path:not([fill])")?.getAttribute("d");
  const image = card.querySelector("img");
  if (!image?.complete || !image.naturalWidth) return [tag, path];
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return [tag, canvas.toDataURL("image/png")];
})))
"""
# All of a curve is drawn, outliers too; then there is room for it.
SETTLE = """
if (document.querySelector("metrics-dashboard-right-pane")) {
  document.querySelector(".scalars-ignore-outliers input")?.click();
  document.querySelector(".settings-button").click();
}
"""


class Browser:
    """A page in Qt's Chromium, drawn to no screen."""

    def __init__(self, url: str) -> None:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
        # A sandbox needs a user other than root; the page is our own.
        os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = "--no-sandbox --disable-gpu"
        from PyQt6.QtCore import QEventLoop, QTimer, QUrl  # not there in other tests' environment
        from PyQt6.QtWebEngineWidgets import QWebEngineView
        from PyQt6.QtWidgets import QApplication

        self._loop, self._timer = QEventLoop, QTimer
        self._application = QApplication(sys.argv[:1])
        self._view = QWebEngineView()
        self._view.resize(WIDTH, HEIGHT)
        self._view.show()
        self._view.setUrl(QUrl(url))

    def ask(self, script: str):
        loop, answers = self._loop(), []
        self._view.page().runJavaScript(script, lambda it: (answers.append(it), loop.quit()))
        loop.exec()
        return answers[0]

    def wait(self, seconds: float) -> None:
        loop = self._loop()
        self._timer.singleShot(round(1000 * seconds), loop.quit)
        loop.exec()

    def keep(self, path: Path) -> None:
        assert self._view.grab().save(str(path)), path


def served(run: Path) -> str:
    """The address of a TensorBoard of this run, which ends with the process."""
    board = program.TensorBoard()
    name = f"{run.parent.name}:{run}"
    board.configure(argv=["tensorboard", "--logdir_spec", name, "--port", "0"])
    return str(board.launch())


def cards(browser: Browser) -> dict[str, str]:
    """What is on the page, as soon as all is there."""
    until = time.monotonic() + PATIENCE
    found: dict[str, str] = {}
    while time.monotonic() < until:
        browser.wait(1)
        browser.ask(SETTLE)
        found = json.loads(browser.ask(READ) or "{}")
        if all(found.get(tag) for tag in (*CURVES, *IMAGES)):
            return found
    missing = [tag for tag in (*CURVES, *IMAGES) if not found.get(tag)]
    raise AssertionError(f"after {PATIENCE} s the page lacks {missing}; it has {sorted(found)}")


def check_curve(path: str, steps: list[int], values: list[float]) -> None:
    """Where the path goes must be an affine function of steps and values, rising as they rise."""
    points = np.array([point.split(",") for point in path[1:].split("L")], float)
    assert len(points) == len(values) > 2, (points, values)
    for drawn, truth, sign in zip(points.T, (steps, values), (1, -1), strict=True):
        slope, start = np.polyfit(truth, drawn, 1)
        assert sign * slope > 0, slope  # a screen's y axis points down
        np.testing.assert_allclose(drawn, slope * np.array(truth) + start, atol=PIXEL)


def check_image(url: str, logged: bytes) -> None:
    """The pixels must be those that were logged, and not all the same."""
    shown = base64.b64decode(url.partition(",")[2])
    pixels, truth = (np.asarray(Image.open(io.BytesIO(f)).convert("RGB")) for f in (shown, logged))
    np.testing.assert_array_equal(pixels, truth)
    assert pixels.min() < pixels.max()


def main(run: Path, screenshot: Path | None = None) -> None:
    events = EventAccumulator(str(run), size_guidance={"images": 0})
    events.Reload()
    tags = quote("|".join((*CURVES, *IMAGES)))
    browser = Browser(f"{served(run)}?tagFilter={tags}&smoothing=0#timeseries")
    found = cards(browser)
    for tag in CURVES:
        curve = events.Scalars(tag)
        check_curve(found[tag], [e.step for e in curve], [e.value for e in curve])
    for tag in IMAGES:
        check_image(found[tag], events.Images(tag)[-1].encoded_image_string)
    if screenshot is not None:
        browser.keep(screenshot)
    agent = browser.ask("navigator.userAgent").split()
    print(f"on the page, as logged: {', '.join((*CURVES, *IMAGES))} ({agent[-2]})")
    # Qt's own teardown may fall over a page that is still drawing; all is done.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
