"""Whether a run's recordings are real, as its `config.json` says: the demo's and simulated ones are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

Origin = Literal["demo", "simulated"]

ORIGIN_KEY: Final = "recordings"  # of `config.json`: an origin that the configuration does not tell
_BEFORE_THE_CAMERA: Final[Mapping[Origin, str]] = {"demo": "drawn shapes", "simulated": "photos"}
_SIMULATED_MOTION: Final = "saccades"  # the only one that the simulator knows


def settings_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration in `config.json`'s content, by section; none of it for imported weights."""
    settings: Mapping[str, Any] = document.get("experiment", document) or {}
    return settings


def origin_of(document: Mapping[str, Any]) -> Origin | None:
    """Where the recordings come from; None: they are real, or it is not known."""
    settings = settings_of(document)
    if settings.get("demo"):
        return "demo"
    if settings.get("simulate"):
        return "simulated"
    found = document.get(ORIGIN_KEY)
    return found if found in _BEFORE_THE_CAMERA else None


def describe_origin(documents: Iterable[Mapping[str, Any]]) -> str:
    """A sentence on the recordings that runs share, of which one may tell more than the others; "" as `origin_of`."""
    known = [(origin, document) for document in documents if (origin := origin_of(document)) is not None]
    if not known:
        return ""
    cameras = {camera for _, document in known if (camera := _compare_cameras(document))}
    camera = f", which {cameras.pop()} the one that photos are shown with" if len(cameras) == 1 else ""
    return f"The recordings are simulated: {_BEFORE_THE_CAMERA[known[0][0]]} before a simulated camera{camera}."


def shows_photos(document: Mapping[str, Any]) -> bool:
    """Whether photos taught a run, as far as its settings tell: `events` may lie beside photos, and shows none."""
    return (settings_of(document).get("train") or {}).get("method") != "events"


def _compare_cameras(document: Mapping[str, Any]) -> str:
    """What the camera of the recordings is to that of the photos; "" where no camera shows photos, or it is not known."""
    settings = settings_of(document)
    train, images = settings.get("train") or {}, settings.get("images") or {}
    if not shows_photos(document):
        return ""
    if train.get("encoding") == "saccade":
        motion = (train.get("saccade") or {}).get("motion", _SIMULATED_MOTION)
        if ":" in motion:  # one's own
            return ""
        return "moves as" if motion == _SIMULATED_MOTION else "is not"
    camera = (settings.get("demo") or {}).get("simulation") or settings.get("simulate")
    recorded = images.get("recorded")
    if train.get("encoding") != "recorded" or not camera or not recorded:
        return ""
    is_same_sensor = all(camera.get(key) == recorded.get(key) for key in ("seed", "sensor_width", "sensor_height"))
    if {**camera, "seed": 0} == {**recorded, "seed": 0}:
        return "is" if is_same_sensor else "is like"
    return "has the sensor of" if is_same_sensor else "is not"
