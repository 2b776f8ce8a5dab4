import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from lightning_vae.data import Arrays

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def gathered(loader):
    batches = list(loader)
    if isinstance(batches[0], tuple):
        return tuple(torch.cat(column) for column in zip(*batches, strict=True))
    return torch.cat(batches)


def val(given):
    data = Arrays(train=np.zeros((1, 1)), val=given, batch_size=2)
    data.setup("validate")
    return gathered(data.val_dataloader())


IMAGES = np.array([[0, 51], [255, 1], [3, 4]], np.uint8)
FLOATS = torch.tensor([[0.0, 0.2], [1.0, -3.0], [0.5, 7.0]])
BITS = torch.tensor([[True, False], [False, False], [True, True]])
LABELS = torch.tensor([3, 0, 2])

# What is given -> what its batches hold.
CONVERSIONS = {
    "uint8 array": (IMAGES, torch.tensor(IMAGES) / 255),
    "uint8 tensor": (torch.tensor(IMAGES), torch.tensor(IMAGES) / 255),
    "uint8 labels": (LABELS.to(torch.uint8), LABELS),
    "float32": (FLOATS, FLOATS),
    "float64": (FLOATS.double().numpy(), FLOATS),
    "bfloat16": (FLOATS.bfloat16(), FLOATS.bfloat16().float()),
    "big-endian": (FLOATS.numpy().astype(">f4"), FLOATS),
    "bool": (BITS, BITS.float()),
    "bool array": (BITS.numpy(), BITS.float()),
    "int32": (LABELS.int(), LABELS),
    "uint16 array": (LABELS.numpy().astype(np.uint16), LABELS),
    "backwards": (FLOATS.numpy()[::-1], FLOATS.flip(0)),
    "transposed": (FLOATS.T, FLOATS.T),
    "needs grad": (torch.nn.Parameter(FLOATS), FLOATS),
    "images in colour": (
        torch.full((3, 3, 2, 2), 51, dtype=torch.uint8),
        torch.full((3, 3, 2, 2), 0.2),
    ),
}


@pytest.mark.parametrize(("given", "expected"), CONVERSIONS.values(), ids=CONVERSIONS.keys())
def test_numbers_come_out_as_promised(given, expected):
    out = val(given)
    assert out.dtype == expected.dtype
    assert not out.requires_grad
    torch.testing.assert_close(out, expected, rtol=1e-7, atol=0)


def test_a_read_only_array_is_taken_without_a_warning(recwarn):
    array = FLOATS.numpy().copy()
    array.flags.writeable = False
    assert val(array).equal(FLOATS)
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]


def test_a_tuple_gives_tuples_with_rows_kept_together():
    x, y, z = gathered(
        Arrays((FLOATS, LABELS, IMAGES), batch_size=2).train_dataloader(),
    )
    order = [LABELS.tolist().index(label) for label in y]
    assert sorted(order) == [0, 1, 2]
    assert x.equal(FLOATS[order])
    torch.testing.assert_close(z, torch.tensor(IMAGES[order]) / 255)


def test_a_tuple_of_one_gives_tuples_of_one():
    (x,) = val((FLOATS,))
    assert x.equal(FLOATS)


def test_npy_files_are_read(tmp_path):
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "y.npy", LABELS)
    x, y = val((tmp_path / "x.npy", str(tmp_path / "y.npy")))
    torch.testing.assert_close(x, torch.tensor(IMAGES) / 255)
    assert y.equal(LABELS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_data_may_live_on_a_gpu():
    assert val(FLOATS.cuda()).device.type == "cuda"


WRONG = {
    "empty": (np.zeros((0, 3)), r"^val has shape \(0, 3\): pass \[N, \*\] with N > 0"),
    "a number": (np.float32(1), r"^val must be a dense tensor .* got float32 of float32"),
    "no dimension": (torch.tensor(1.0), r"^val has shape \(\): pass \[N, \*\]"),
    "objects": (np.array([1, None]), r"^val must be .* got ndarray of object"),
    "text": (np.array(["a"]), r"^val must be .* got ndarray of <U1"),
    "complex": (torch.zeros(2, dtype=torch.complex64), r"^val must be .* of torch.complex64"),
    "sparse": (torch.eye(2).to_sparse(), r"^val must be a dense tensor"),
    "a list": ([1.0, 2.0], r"^val must be .* got list \[1.0, 2.0\]"),
    "nan": (torch.tensor([0.0, torch.nan]), r"^val has entries that are nan or inf"),
    "inf": (np.array([np.inf]), r"^val has entries that are nan or inf"),
    "too large": (np.array([1e300]), r"^val has entries that are nan or inf"),
    "0/1 in uint8": (BITS.to(torch.uint8), r"^val is uint8, .* largest value is 1: pass .* bool"),
    "lengths": ((FLOATS, LABELS[:2]), r"^val has arrays of \[3, 2\] examples"),
    "second": ((FLOATS, np.array([None] * 3)), r"^val\[1\] must be"),
    "no array": ((), r"^val is an empty tuple"),
    "archive": ("x.npz", r"^val='x.npz' must be a .npy file: write one with numpy.save"),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_data_is_named_in_setup(given, message):
    data = Arrays(train=FLOATS, val=given)
    with pytest.raises(ValueError, match=message):
        data.setup("fit")


def test_a_file_that_needs_pickle_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"code": "runs"}]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"^val='.*x.npy' cannot be read .*allow_pickle=False"):
        val(tmp_path / "x.npy")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.npy"):
        val(tmp_path / "x.npy")


@pytest.mark.parametrize(("stage", "name"), [("validate", "val"), ("test", "test")])
def test_a_stage_without_data_says_which(stage, name):
    data = Arrays(train=FLOATS)
    data.setup("fit")
    with pytest.raises(ValueError, match=rf"^{name} is not given: pass Arrays\(..., {name}=...\)"):
        data.setup(stage)


def test_drop_last_must_leave_something():
    data = Arrays(train=FLOATS, batch_size=4, drop_last=True)
    with pytest.raises(ValueError, match=r"drop_last leaves no batch of batch_size=4 from 3"):
        data.train_dataloader()


@pytest.mark.parametrize("given", [{}, {"val": torch.zeros(5, 32)}], ids=["no val", "val"])
def test_trains_with_and_without_validation(given):
    model = BoringModel()
    seen = []
    model.validation_step = lambda batch, batch_idx: seen.append(len(batch))
    trainer = Trainer(max_epochs=1, num_sanity_val_steps=0, **QUIET)
    trainer.fit(model, Arrays(torch.randn(10, 32), **given, batch_size=4))
    assert trainer.global_step == 3
    assert seen == ([4, 1] if given else [])
