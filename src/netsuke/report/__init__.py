"""Pictures and the page that holds them: training runs, what their networks cost, the loss around them."""

from netsuke.report.page import Section, page
from netsuke.report.published import Point, published
from netsuke.report.runs import Run, read_runs

__all__ = ["Point", "Run", "Section", "page", "published", "read_runs"]
