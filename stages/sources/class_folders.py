"""Data sets of the shape `<folder>/<class>/<stem>.<suffix>`, on disk or in their published archives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from .base import Sample
from .layout import Place, find_folder, open_place
from .reader import FileReader


class ClassFolderReader(FileReader):
    """Class names in label order are the names of the folders, in code point order, without `ignored_classes`."""

    folder: ClassVar[str]  # the published name of the folder that holds the class folders
    archives: ClassVar[tuple[str, ...]]  # published archives on the way to it
    suffixes: ClassVar[tuple[str, ...]]  # of a sample's file, lower case

    def _index(self) -> tuple[tuple[str, ...], tuple[Sample, ...]]:
        place = self._classes = self._find_classes()
        folders, _ = place.children()
        class_names = tuple(name for name in folders if name not in self.ignored_classes)
        samples: list[Sample] = []
        for label, class_name in enumerate(class_names):
            class_place = place.child(class_name)
            samples += self._add_class(class_name, label, class_place, self._sample_files(class_place))
        if not samples:
            raise self.wrong_layout(place)
        return class_names, tuple(samples)

    def _searched_places(self) -> Iterable[Place]:
        return (self._classes,)

    def _find_classes(self) -> Place:
        """Where the class folders lie; `self._way` keeps how it was reached."""
        start = open_place(self.path)
        self._way = find_folder(start, self.folder, self.archives)
        if not self._way:  # the path may name the folder of class folders itself
            folders, _ = start.children()
            if not any(self._sample_files(start.child(name)) for name in folders):
                raise self.wrong_layout(start)
            self._way = [start]
        return self._way[-1]

    def _sample_files(self, place: Place) -> list[str]:
        return [name for name in place.children()[1] if name.lower().endswith(self.suffixes)]
