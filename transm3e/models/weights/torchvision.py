"""Recognises torchvision's models by their names, and converts them."""

from __future__ import annotations

from transm3e.models.weights.mvit import convert_torchvision_mvit
from transm3e.models.weights.rename import under_prefix
from transm3e.models.weights.resnet import IMAGE_STEM, convert_image_resnet
from transm3e.models.weights.source import Converted, State, register_source
from transm3e.models.weights.videoswin import convert_torchvision_image, is_torchvision_image

MVIT_TOKEN = "pos_encoding.class_token"


@register_source("torchvision", r"^(pos_encoding\.class_token$|features\.\d+\.\d+\.|layer1\.0\.conv1\.weight$)")
def convert_torchvision(state: State, own: State) -> Converted:
    """mvit_v2_s; image models swin_*; other video models (swin3d) unchanged, under the prefix in ours."""
    if MVIT_TOKEN in state:
        return convert_torchvision_mvit(state)
    if IMAGE_STEM in state:
        return convert_image_resnet(state, own)
    if is_torchvision_image(state):
        return convert_torchvision_image(state, own)
    return Converted(under_prefix(state, own))
