"""The network that a recipe trains, before its first step."""

import logging
from pathlib import Path

from harden.data import DataSet
from harden.errors import ConfigError, WeightsError
from harden.models import CHOICES, Choice, Classifier, CustomModel, build, default_for, load_into, read
from harden.seeds import stream
from harden.training.recipe import Recipe

logger = logging.getLogger(__name__)


def network(recipe: Recipe, data: DataSet) -> Choice:
    """What the recipe names, else what the weights it starts from are, else what suits the images."""
    choice: Choice | None = recipe.model
    if choice is not None:
        return choice
    if not recipe.init:
        return default_for(data.shape)
    _, card = read(Path(recipe.init))
    if card.model not in CHOICES:
        raise WeightsError(f"{recipe.init} holds a '{card.model}', which is unknown here; known: {', '.join(CHOICES)}")
    if CHOICES[card.model] is CustomModel:
        raise ConfigError(f"{recipe.init} holds a network of your own", "say model=custom model.entry=module:function")
    try:
        return CHOICES[card.model](**card.arguments)
    except TypeError as error:
        raise WeightsError(f"{recipe.init}: its card does not describe a '{card.model}': {error}") from error


def fresh_model(recipe: Recipe, data: DataSet) -> Classifier:
    """The network with weights drawn from the seed, or with those of `recipe.init`.

    Raises ConfigError or WeightsError where network, weights and images do not fit each other.
    """
    model = build(
        network(recipe, data),
        shape=data.shape,
        classes=len(data.classes),
        mean=data.mean,
        std=data.std,
        rng=stream(recipe.seed, "init"),
    )
    if recipe.init:
        card = load_into(model, Path(recipe.init))
        if card.classes != data.classes:
            logger.warning("%s was trained on classes of other names than those of %s", recipe.init, data.name)
    return model
