"""A view as a widget in a notebook, through anywidget."""

from functools import cache
from typing import TYPE_CHECKING, Any

from layerwise.errors import MissingDependencyError
from layerwise.view.document import Json
from layerwise.view.module import module_text, style_text

if TYPE_CHECKING:
    import anywidget


def widget(document: Json) -> "anywidget.AnyWidget":
    """Return a document's view as a widget.

    Raises:
        MissingDependencyError: anywidget is not installed.
    """
    return _widget_class()(document=document)


@cache
def _widget_class() -> Any:
    try:
        import anywidget
        import traitlets
    except ModuleNotFoundError as error:
        if error.name not in {"anywidget", "traitlets"}:
            raise
        raise MissingDependencyError(
            "A view in a notebook needs anywidget, which is not installed. Install it with "
            "`pip install 'layerwise[viewer]'`, or write a file with to_html('view.html') and open that."
        ) from error

    class View(anywidget.AnyWidget):
        """A view whose document is sent to the browser as it is."""

        _esm = module_text()
        _css = style_text()
        document = traitlets.Dict().tag(sync=True)

        def __repr__(self) -> str:
            return f"View({self.document.get('title')!r})"  # not the whole document

    return View
