"""Stand-ins for the CTK widgets that the panel's .ui names, with the properties and signals that are used."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import connects_by_text

HEADER = 26


@connects_by_text
class ctkCollapsibleButton(QtWidgets.QWidget):
    """A titled section; collapsing hides its children, and expanding shows those that were not hidden before."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._text, self._collapsed = "", False
        self._hidden_by_collapse: list[Any] = []
        self.setContentsMargins(0, HEADER, 0, 0)

    def _get_text(self) -> str:
        return self._text

    def _set_text(self, text: str) -> None:
        self._text = text
        self.update()

    def _get_collapsed(self) -> bool:
        return self._collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._show_contents(not collapsed)
        self.contentsCollapsed.emit(collapsed)

    text = QtCore.Property(str, _get_text, _set_text)
    collapsed = QtCore.Property(bool, _get_collapsed, _set_collapsed)

    def _show_contents(self, shown: bool) -> None:
        widgets = [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]
        if shown:
            for child in self._hidden_by_collapse:
                child.setVisible(True)
        else:
            self._hidden_by_collapse = [child for child in widgets if not child.isHidden()]
            for child in widgets:
                child.setVisible(False)
        self.setMaximumHeight(16777215 if shown else HEADER)
        if self.layout() is not None:
            self.layout().setEnabled(shown)
        self.updateGeometry()

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        """A child that is added to a collapsed section stays out of sight until it is expanded."""
        child = event.child()
        if event.added() and self._collapsed and isinstance(child, QtWidgets.QWidget):
            self._hidden_by_collapse.append(child)
            child.setVisible(False)

    def showEvent(self, event: Any) -> None:
        """Children that Qt shows with their parent go again when the section is collapsed."""
        if self._collapsed:
            for child in self._hidden_by_collapse:
                child.setVisible(False)

    def sizeHint(self) -> QtCore.QSize:
        """The header alone when collapsed."""
        return QtCore.QSize(200, HEADER) if self._collapsed else super().sizeHint()

    def minimumSizeHint(self) -> QtCore.QSize:
        """The header alone when collapsed."""
        return QtCore.QSize(0, HEADER) if self._collapsed else super().minimumSizeHint()

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        """A click on the header collapses or expands."""
        if event.position().y() <= HEADER:
            self.collapsed = not self._collapsed

    def paintEvent(self, event: Any) -> None:
        """Draw the header as a bar with an arrow and the title."""
        painter = QtGui.QPainter(self)
        painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
        colours = self.palette
        bar = QtCore.QRectF(0.5, 0.5, self.width - 1, HEADER - 3)
        painter.setPen(QtGui.QPen(colours.mid().color()))
        painter.setBrush(colours.button())
        painter.drawRoundedRect(bar, 3, 3)
        painter.setPen(QtCore.Qt.PenStyle.NoPen)
        painter.setBrush(colours.buttonText())
        middle = HEADER / 2 - 1
        arrow = (
            ((8, middle - 4), (14, middle), (8, middle + 4))
            if self._collapsed
            else ((7, middle - 3), (15, middle - 3), (11, middle + 3))
        )
        painter.drawPolygon(QtGui.QPolygonF([QtCore.QPointF(*point) for point in arrow]))
        painter.setPen(colours.buttonText().color())
        painter.drawText(bar.adjusted(22, 0, 0, 0), int(QtCore.Qt.AlignmentFlag.AlignVCenter), self._text)


@connects_by_text
class ctkPathLineEdit(QtWidgets.QWidget):
    """A line for a path with a button to browse; ``filters`` and ``options`` are kept as the .ui writes them."""

    currentPathChanged = QtCore.Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._filters, self._options = "", ""
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._line, self._browse = QtWidgets.QLineEdit(self), QtWidgets.QToolButton(self)
        self._browse.setText("…")
        row.addWidget(self._line)
        row.addWidget(self._browse)
        self._line.textChanged.connect(self.currentPathChanged)

    def _get_path(self) -> str:
        return self._line.text

    def _set_path(self, path: str) -> None:
        if path != self._line.text:
            self._line.setText(path)

    currentPath = QtCore.Property(str, _get_path, _set_path)
    filters = property(lambda self: self._filters, lambda self, value: setattr(self, "_filters", value))
    options = property(lambda self: self._options, lambda self, value: setattr(self, "_options", value))


class ctkMessageBox(QtWidgets.QMessageBox):
    """What ``slicer.util.messageBox`` opens; a test that gets here waits for a person, so it fails instead."""

    def exec_(self) -> int:
        """Refuse to wait."""
        raise RuntimeError(f"a modal dialog would have opened: {self.text}")


def _plain(name: str, base: type) -> type:
    return type(name, (base,), {"__doc__": "Named by Slicer's own Python files; not used by the panel."})


WIDGETS: dict[str, Any] = {
    "ctkCollapsibleButton": ctkCollapsibleButton,
    "ctkPathLineEdit": ctkPathLineEdit,
    "ctkMessageBox": ctkMessageBox,
}
_NAMED_ELSEWHERE = {
    "ctkCheckBox": QtWidgets.QCheckBox,
    "ctkCheckablePushButton": QtWidgets.QPushButton,
    "ctkColorPickerButton": QtWidgets.QPushButton,
    "ctkComboBox": QtWidgets.QComboBox,
    "ctkDirectoryButton": QtWidgets.QPushButton,
    "ctkDoubleRangeSlider": QtWidgets.QSlider,
    "ctkDoubleSlider": QtWidgets.QSlider,
    "ctkDoubleSpinBox": QtWidgets.QDoubleSpinBox,
    "ctkRangeWidget": QtWidgets.QWidget,
    "ctkSliderWidget": QtWidgets.QWidget,
}


@cache
def ctk_module() -> ModuleType:
    """Return the module ``ctk``."""
    module = ModuleType("ctk", "Stand-in for CTK.")
    vars(module).update(WIDGETS)
    vars(module).update({name: _plain(name, base) for name, base in _NAMED_ELSEWHERE.items()})
    return module
