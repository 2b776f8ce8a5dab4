"""The notebooks run from top to bottom, shortened; as committed they ran in full, and are light."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
HEAVY = 200_000  # bytes


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell.outputs]


def pictures(notebook):
    return [output for output in outputs(notebook) if "image/png" in output.get("data", {})]


def test_there_are_five():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom_and_draws_what_it_shows(path, tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTNING_VAE_SHORT", "1")
    # Another backend, as of a machine without a display, would show no picture.
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    shown = nbformat.read(path, as_version=4)
    notebook = nbformat.read(path, as_version=4)
    for cell in code(notebook):
        cell.outputs = []
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=180, resources=where).execute()  # raises what a cell raises
    assert len(pictures(notebook)) == len(pictures(shown)) > 0


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_as_committed_it_ran_in_full_and_is_light(path):
    assert path.stat().st_size < HEAVY
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {output.output_type for output in outputs(notebook)} <= {
        "stream",
        "display_data",
        "execute_result",
    }
    assert not [output for output in outputs(notebook) if output.get("name") == "stderr"]
    assert any('os.environ.get("LIGHTNING_VAE_SHORT")' in cell.source for cell in cells)
