"""All analyses by name, with what a report says of each."""

from __future__ import annotations

from . import activity, alignment, embedding, few_shot, grad_cam, landscape
from .config import ActivityConfig, AlignmentConfig, EmbeddingConfig, FewShotConfig, GradCamConfig, LandscapeConfig
from .results import Analysis

ANALYSES = {
    analysis.name: analysis
    for analysis in (
        Analysis(
            name="activity",
            version=2,
            config=ActivityConfig,
            report=activity.ActivityReport,
            measure=activity.measure,
            draw=activity.draw,
            title="Activity and energy",
            reading="A firing rate of 0.1 is one spike in ten time steps for each neuron; the energy counts arithmetic "
            "alone, so compare it between networks, not with a device.",
            needs_known_layers=True,
        ),
        Analysis(
            name="alignment",
            version=2,
            config=AlignmentConfig,
            report=alignment.AlignmentReport,
            measure=alignment.measure,
            draw=alignment.draw,
            title="Alignment of the domains",
            reading="CKA is 0 where recordings and images cause unrelated activity and 1 where it is the same up to "
            "rotation and scale; what rose from before to after training is what the transfer aligned.",
            needs_images=True,
        ),
        Analysis(
            name="embedding",
            version=2,
            config=EmbeddingConfig,
            report=embedding.EmbeddingReport,
            measure=embedding.measure,
            draw=embedding.draw,
            title="Embedding of the aligned features",
            reading="Left, each class should be a cluster of its own, and right, recordings and images should mix in "
            "it; distances between far clusters and the sizes of clusters mean nothing in t-SNE.",
        ),
        Analysis(
            name="grad-cam",
            version=2,
            config=GradCamConfig,
            report=grad_cam.GradCamReport,
            measure=grad_cam.measure,
            draw=grad_cam.draw,
            title="Grad-CAM",
            reading="Bright regions are those whose activity raised the score of the explained class; the time steps "
            "of a row can be compared, different rows and the mean cannot.",
            needs_known_layers=True,
        ),
        Analysis(
            name="landscape",
            version=2,
            config=LandscapeConfig,
            report=landscape.LandscapeReport,
            measure=landscape.measure,
            draw=landscape.draw,
            title="Loss landscape",
            reading="The trained weights lie at the centre, and a wide, even basin stands for a loss that changes "
            "little with the weights; directions are as long as each filter, so landscapes of different runs can be "
            "compared.",
        ),
        Analysis(
            name="few-shot",
            version=1,
            config=FewShotConfig,
            report=few_shot.FewShotReport,
            measure=few_shot.measure,
            draw=None,
            title="Few-shot",
            reading="A query is given the class whose mean support feature is nearest. Seen classes were trained on: "
            "support from training recordings, queries from test recordings. Nothing was learned of novel classes. "
            "Intervals are over episodes from these recordings; they say nothing of other recordings or training "
            "seeds.",
        ),
    )
}
