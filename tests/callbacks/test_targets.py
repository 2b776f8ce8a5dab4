"""A dotted path finds the number it names, moves nothing else, and says what is near."""

from collections import OrderedDict
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import nn

from lightning_vae import ELBO, VAEModule
from lightning_vae.callbacks.targets import find
from lightning_vae.networks import ConvDecoder, ConvEncoder


class Weights(NamedTuple):
    kl: float
    rest: float


@dataclass
class Settings:
    gamma: float = 2.0
    layers: int = 3


@dataclass(frozen=True)
class Frozen:
    delta: float = 1.0


class Theirs(nn.Module):
    """Somebody else's module, with a number in every corner."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.1))
        self.width = 128
        self.weights = {"kl": 1.0, "rest": [0.5, 0.25], "_private": 1.0}
        self.pair = (1.0, 2.0)
        self.named = Weights(1.0, 0.5)
        self.settings = Settings()
        self.frozen = Frozen()
        self.table = MappingProxyType({"alpha": 1.0})
        self.nested = ((1.0, 2.0),)
        self.switch = True
        self.on = 1
        self.off = 0
        self.nothing = None
        self.tensor = torch.tensor(1.0)
        self.kind = Settings
        self.history = [0.0] * 1000
        self.tau = 1.0
        self._hidden = 1.0
        for i in range(100):  # many attributes are still attributes
            setattr(self, f"note_{i}", "")

    @property
    def temperature(self) -> float:
        return 2 * self.tau


MOVED = {
    "tau": lambda m: m.tau,
    "on": lambda m: m.on,
    "off": lambda m: m.off,
    "layers.2.p": lambda m: m.layers[2].p,
    "weights.kl": lambda m: m.weights["kl"],
    "weights.rest.1": lambda m: m.weights["rest"][1],
    "weights.rest.-1": lambda m: m.weights["rest"][1],
    "pair.0": lambda m: m.pair[0],
    "pair.-1": lambda m: m.pair[1],
    "named.1": lambda m: m.named.rest,
    "named.kl": lambda m: m.named.kl,
    "settings.gamma": lambda m: m.settings.gamma,
}


@pytest.mark.parametrize("path", MOVED)
def test_a_number_is_moved_where_it_lives(path):
    module, untouched = Theirs(), Theirs()
    target = find(module, path)
    assert target.get() == MOVED[path](untouched)
    target.set(0.125)
    assert target.get() == MOVED[path](module) == 0.125
    target.set(MOVED[path](untouched))
    names = ("weights", "pair", "named", "settings", "tau", "on", "off")
    assert all(getattr(module, name) == getattr(untouched, name) for name in names)
    assert type(module.named) is Weights
    assert type(module.pair) is tuple


REFUSED = {
    "switch": "is a bool, but only a plain number can be moved",
    "nothing": "is a NoneType, but only a plain number",
    "tensor": "is a Tensor, but only a plain number can be moved; make it one",
    "width.0": "does not exist",
    "pair.2": "does not exist",
    "": "does not exist",
    "pair": r"is \(1.0, 2.0\), one a group; write 'pair.0' for one",
    "weights.rest": r"is \[0.5, 0.25\], one a group; write 'weights.rest.0' for one",
    "temperature": "can be read but not assigned.*setter.*self.temperature = 2.0",
    "frozen.delta": "can be read but not assigned.*cannot assign to field 'delta'",
    "table.alpha": "can be read but not assigned",
    "nested.0.1": "can be read but not assigned",
}


@pytest.mark.parametrize("path", REFUSED)
def test_what_cannot_be_moved_is_refused_with_the_remedy(path):
    with pytest.raises(ValueError, match=REFUSED[path]):
        find(Theirs(), path)


def test_an_objectives_coefficient_may_be_none():
    assert find(VAEModule(objective=ELBO()), "objective.capacity").get() is None


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("pair.0", "pair.0", True),
        ("pair.0", "pair.1", False),
        ("pair.1", "pair.-1", True),
        ("weights.rest.-2", "weights.rest.0", True),
        ("weights.rest.-1", "weights.rest.0", False),
        ("named.kl", "named.0", True),
        ("weights.kl", "tau", False),
    ],
)
def test_two_paths_to_one_number_overlap(one, other, overlap):
    module = Theirs()
    assert find(module, one).overlaps(find(module, other)) == overlap


NEAR = {
    "beta": "'objective.beta.0'",
    "objective.betta.0": "'objective.beta.0'",
    "objective.free_bit": "'objective.free_bits'",
    "capacity": "'objective.capacity'",
    "kl": "'theirs.weights.kl'",
    "theirs.weigths.kl": "'theirs.weights.kl'",
    "gamma": "'theirs.settings.gamma'",
    "theirs.settings.gama": "'theirs.settings.gamma'",
    "theirs.par.1": "'theirs.pair.1'",
    "theirs.wdth": "'theirs.width'",
}


def both() -> VAEModule:
    vae = VAEModule(
        ConvEncoder((1, 16, 16), 4, (4, 8), hidden=(16,)),
        ConvDecoder((1, 16, 16), 4, (4, 8), hidden=(16,)),
        objective=ELBO(beta=(1.0, 2.0)),
    )
    vae.theirs = Theirs()
    return vae


@pytest.mark.parametrize("path", NEAR)
def test_the_nearest_names_are_offered(path):
    with pytest.raises(ValueError, match=f"did you mean {NEAR[path]}"):
        find(both(), path)


def offered(module: nn.Module, path: str = "zzzzzz") -> list[str]:
    with pytest.raises(ValueError, match="did you mean") as refused:
        find(module, path)
    return str(refused.value).partition("did you mean ")[2].rstrip(".").split(" or ")


def test_floats_are_offered_before_what_holds_several_and_those_before_whole_numbers():
    assert offered(both()) == [
        "'objective.free_bits'",
        "'objective.capacity'",
        "'objective.total_floor'",
        "'theirs.tau'",
        "'objective.beta.0'",
    ]
    module = nn.Module()
    module.width, module.tau, module.weights = 8, 1.0, OrderedDict(kl=1.0)
    module.plain = SimpleNamespace(rho=1.0, depth=4)
    assert offered(module) == [
        "'tau'",
        "'weights.kl'",
        "'plain.rho'",
        "'width'",
        "'plain.depth'",
    ]


@pytest.mark.parametrize("path", ["in_featur", "_hiden", "kernel_siz", "num_feature", "trainin"])
def test_layers_private_names_and_switches_are_not_offered(path):
    inner = (".in_features", "._hidden", ".kernel_size", ".num_features", ".training")
    assert not any(name in path for path in offered(both(), path) for name in inner)


def test_where_there_is_nothing_to_move_it_says_so():
    with pytest.raises(ValueError, match="it has no numbers to move"):
        find(nn.Linear(2, 2), "beta")
